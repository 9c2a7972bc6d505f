"""What the leak sentinel costs: packets over a pair of network namespaces, with it and without.

    python -m bench.sentinel [ROUNDS]        (as root)

Two namespaces, one veth wire, UDP to a port that is not the overlay's, as fast as one sender can:
each frame passes the sender's egress chain and the receiver's ingress chain and matches neither, as
ESP does. Both stand and are gone in turn, so that whatever else the machine does hits both alike;
the figure is the ratio of the medians. Small frames, so that the cost a frame shows.
"""

import statistics
import sys
import tempfile
from pathlib import Path

from geneveil.guard.sentinel.io import NftSentinel
from geneveil.model.sentinel import SentinelSpec
from tests.real.programs import network_namespace, run, wrapper

ROUNDS = 15
FRAMES = 60_000
SPEC = SentinelSpec(("eth0",), (6081,))
FLOOD = (
    "import socket, sys, time\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(('192.0.2.2', 4500))\n"
    "data = bytes(100); n = int(sys.argv[1]); t = time.process_time()\n"
    "for _ in range(n):\n"
    "    try: s.send(data)\n"
    "    except OSError: pass\n"
    "print((time.process_time() - t) / n * 1e9)\n"
)


def main(rounds: int) -> None:
    """Print nanoseconds of processor time a frame, and the ratio."""
    with (
        network_namespace() as near,
        network_namespace() as far,
        tempfile.TemporaryDirectory() as d,
    ):
        _join(near, far)
        sentinels = [NftSentinel(str(_wrapped(Path(d) / name, name))) for name in (near, far)]
        with_it: list[float] = []
        without: list[float] = []
        for number in range(2 * rounds):
            stands = number % 2 == 0
            for sentinel in sentinels:
                sentinel.apply(SPEC) if stands else sentinel.remove()
            argv = ["ip", "netns", "exec", near, sys.executable, "-c", FLOOD, str(FRAMES)]
            (with_it if stands else without).append(float(run(*argv)))
    on, off = statistics.median(with_it), statistics.median(without)
    pairs = [a / b for a, b in zip(with_it, without, strict=True)]
    print(f"without: {off:.0f} ns a frame (median of {rounds} rounds of {FRAMES} frames)")
    print(f"with:    {on:.0f} ns a frame; {on - off:+.0f} ns for both ends together")
    print(
        f"ratio side by side: median {statistics.median(pairs):.3f}, "
        f"{min(pairs):.3f} to {max(pairs):.3f}"
    )


def _wrapped(folder: Path, namespace: str) -> Path:
    folder.mkdir()
    return wrapper(folder, "nft", namespace)


def _join(near: str, far: str) -> None:
    run(
        *("ip", "-n", near, "link", "add", "eth0", "type", "veth"),
        *("peer", "name", "eth0", "netns", far),
    )
    for name, last, other in ((near, 1, 2), (far, 2, 1)):
        run("ip", "-n", name, "addr", "add", f"192.0.2.{last}/24", "dev", "eth0")
        card = f"02:00:00:00:00:0{last}"
        run("ip", "-n", name, "link", "set", "eth0", "address", card, "up")
        card = f"02:00:00:00:00:0{other}"
        place = ("lladdr", card, "dev", "eth0")
        run("ip", "-n", name, "neigh", "replace", f"192.0.2.{other}", *place)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
