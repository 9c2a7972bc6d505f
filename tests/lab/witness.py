"""What the witness of a running lab has seen, counted by tcpdump: not by geneveil's own code."""

import asyncio
import subprocess
from pathlib import Path

from lab.bringup import Running
from lab.deadline import wait_until

GENEVE = "udp port 6081"
ESP = "esp or udp port 4500"
# More fragments flag set, or a fragment offset (RFC 791, 3.1).
FRAGMENT = "ip[6:2] & 0x3fff != 0"


def count_frames(capture: Path, expression: str) -> int:
    """How many frames of a capture match a pcap-filter(7) expression."""
    done = subprocess.run(
        ["tcpdump", "-nr", str(capture), expression], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 or "truncated dump file" in done.stderr, done.stderr
    return len(done.stdout.splitlines())


class Tally:
    """Frames that the witness sees from now on."""

    def __init__(self, running: Running, expression: str) -> None:
        self.capture = running.layout.capture
        self.expression = expression
        self.before = count_frames(self.capture, expression)

    def new(self) -> int:
        return count_frames(self.capture, self.expression) - self.before


async def ping(running: Running, source: str, address: str, *options: str) -> bool:
    """Ping from a node's first pod; true if any answer came."""
    pod = running.layout.topology.node(source).pods[0]
    command = ["ip", "netns", "exec", pod.namespace, "ping", "-n", "-i", "0.1", "-W", "3"]
    done = await running.remote(source).run([*command, *(options or ("-c", "3")), address])
    return done.status == 0


async def settle() -> None:
    """Let frames that are on the wire reach the witness's file, which is flushed per packet.

    Before "nothing was seen"; for what is to be seen there is `await_seen`.
    """
    await asyncio.sleep(0.5)


async def await_seen(tally: Tally, least: int) -> int:
    """Wait until the witness has so many frames; how many it has then.

    Raises:
        LabError: it has fewer after a while.
    """

    async def seen() -> bool:
        return await asyncio.to_thread(tally.new) >= least

    what = f"the witness to have {least} frames of {tally.expression}"
    await wait_until(seen, what, 15, poll_seconds=0.2)
    return tally.new()
