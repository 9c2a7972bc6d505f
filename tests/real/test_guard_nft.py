"""The guard on a real kernel's nftables, in namespaces of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from geneveil.guard.io import NftGuard
from geneveil.model.errors import DaemonError, KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, Tally
from tests.real.programs import (
    DEADLINE_SECONDS,
    network_namespace,
    run,
    wait_until,
    wrapper,
)

pytestmark = pytest.mark.real

SPEC = GuardSpec((6081,))
SEND = (
    "import socket, sys\n"
    "s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET,"
    " socket.SOCK_DGRAM)\n"
    "data = bytes.fromhex(sys.argv[3]) if len(sys.argv) > 3 else b'probe'\n"
    "try: s.sendto(data, (sys.argv[1], int(sys.argv[2])))\n"
    "except PermissionError: sys.exit(3)\n"
)
DROPPED = 3


@dataclass(frozen=True)
class Place:
    namespace: str
    nft: Path

    @property
    def guard(self) -> NftGuard:
        return NftGuard(str(self.nft))

    def rules(self, text: str) -> None:
        done = subprocess.run([self.nft, "-f", "-"], input=text, text=True, capture_output=True)
        assert done.returncode == 0, done.stderr

    def listing(self) -> str:
        return run(str(self.nft), "list", "ruleset")

    def send(self, address: str, port: int, data: str = "") -> int:
        argv = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", SEND]
        argv += [address, str(port), *([data] if data else [])]
        return subprocess.run(argv, timeout=DEADLINE_SECONDS).returncode

    def count(self, counter: GuardCounter) -> int:
        return self.guard.read().counters[counter].packets


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with network_namespace() as name:
        yield Place(name, wrapper(tmp_path, "nft", name))


def test_an_absent_guard_is_put_in_place_once(place: Place) -> None:
    assert not place.guard.read().present
    assert place.guard.apply(SPEC) is True
    assert place.guard.read().stands_for(SPEC)
    assert place.guard.apply(SPEC) is False


def test_many_ports_read_back_as_they_were_written(place: Place) -> None:
    spec = GuardSpec((4789, 6081, 7000))
    place.guard.apply(spec)
    assert place.guard.read().stands_for(spec)
    assert place.guard.apply(spec) is False


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_geneve_in_clear_is_dropped_and_counted_and_the_rest_goes(
    place: Place, address: str
) -> None:
    assert place.send(address, 6081) == 0  # the control: nothing drops it without a guard
    place.guard.apply(SPEC)
    assert place.send(address, 6081) == DROPPED
    assert place.send(address, 6082) == 0
    assert place.count(GuardCounter.CLEARTEXT_OUT) == 1


SHAPES = {
    "as Open vSwitch sends it": "0200655800000500010280010001000c",
    "without options": "0000655800000000" + "00" * 8,
    "control": "00806558ffffff00" + "00" * 8,
    "critical options": "0240655800000500" + "00" * 8,
}
OTHERS = {
    "another EtherType": "0200080000000500" + "00" * 8,
    "reserved bits": "0201655800000500" + "00" * 8,
    "a reserved byte": "0200655800000501" + "00" * 8,
    "too short": "02006558000005",
    "ESP in UDP": "c6d8655800000500" + "00" * 8,
}


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_geneve_is_dropped_on_whatever_port_it_leaves(place: Place, address: str) -> None:
    everything = {**SHAPES, **OTHERS}.items()
    assert not any(place.send(address, 7000, data) for _name, data in everything)  # the control
    place.guard.apply(SPEC)
    dropped = {name for name, data in everything if place.send(address, 7000, data) == DROPPED}
    assert dropped == set(SHAPES)
    assert place.count(GuardCounter.CLEARTEXT_OUT) == len(SHAPES)


def test_geneve_that_arrives_on_an_unknown_port_is_dropped(place: Place) -> None:
    with network_namespace() as peer:
        join(place.namespace, "to0", peer, "192.0.2")
        place.guard.apply(SPEC)
        place.rules(
            "table inet seen { chain i { type filter hook input priority 10; "
            "udp dport 7000 counter; }; }"
        )
        sender = Place(peer, place.nft)
        for data in (*SHAPES.values(), *OTHERS.values()):
            assert sender.send("192.0.2.1", 7000, data) == 0
        # The kernel takes in after it has let the sender go: that may be a while.
        wait_until(lambda: passed(place)[7000] == len(OTHERS), "the others to arrive")
        assert place.count(GuardCounter.CLEARTEXT_IN) == len(SHAPES)


ALTERATIONS = {
    "accept first": "insert rule inet geneveil output accept",
    "a rule gone": "flush chain inet geneveil input",
    "dormant": "add table inet geneveil { flags dormant; }",
    "another rule": "add rule inet geneveil output udp dport 9 accept",
    "another chain": "add chain inet geneveil extra",
}


@pytest.mark.parametrize("alteration", ALTERATIONS.values(), ids=ALTERATIONS.keys())
def test_an_altered_guard_is_seen_and_replaced_with_its_counts(
    place: Place, alteration: str
) -> None:
    place.guard.apply(SPEC)
    place.send("127.0.0.1", 6081)
    place.rules(alteration)
    assert place.guard.read().ports is None
    assert place.guard.apply(SPEC) is True
    assert place.guard.read().stands_for(SPEC)
    assert place.count(GuardCounter.CLEARTEXT_OUT) == 1
    assert place.send("127.0.0.1", 6081) == DROPPED


def test_a_guard_that_stands_keeps_counting(place: Place) -> None:
    place.guard.apply(SPEC)
    place.send("127.0.0.1", 6081)
    before = place.guard.read().counters[GuardCounter.CLEARTEXT_OUT]
    place.guard.apply(SPEC)
    assert place.guard.read().counters[GuardCounter.CLEARTEXT_OUT] == before
    assert before.packets == 1
    assert before.bytes > 0


def test_other_ports_replace_the_old_ones_and_keep_the_counts(place: Place) -> None:
    place.guard.apply(SPEC)
    place.send("127.0.0.1", 6081)
    place.guard.apply(GuardSpec((6081, 7000)))
    assert place.send("127.0.0.1", 7000) == DROPPED
    assert place.count(GuardCounter.CLEARTEXT_OUT) == 2


def test_what_belongs_to_others_is_left_alone(place: Place) -> None:
    place.rules("table inet theirs { counter c { packets 7 bytes 8; }; chain x { }; }")
    place.rules("table ip geneveil { chain x { }; }")  # our name, in a family that is not ours
    before = place.listing()
    place.guard.apply(SPEC)
    place.rules("insert rule inet geneveil output accept")
    place.guard.apply(SPEC)
    place.guard.remove()
    assert place.listing() == before


def test_taking_away_a_guard_that_is_not_there_succeeds(place: Place) -> None:
    place.guard.remove()
    assert not place.guard.read().present


ASK = (
    "import socket, sys\n"
    "v6 = ':' in sys.argv[1]\n"
    "s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)\n"
    "s.settimeout(float(sys.argv[4]))\n"
    "s.connect((sys.argv[1], int(sys.argv[2])))\n"
    "s.send(bytes.fromhex(sys.argv[3]))\n"
    "try: s.recv(1)\n"
    "except TimeoutError: sys.exit(0)\n"
    "except ConnectionRefusedError: sys.exit(3)\n"
)
REFUSED = 3


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_no_icmp_error_says_what_was_in_geneve(place: Place, address: str) -> None:
    """A rule of somebody else rejects it before the guard: as for what came through IPsec and that
    nobody takes, the kernel answers with an error that quotes it."""

    def ask(port: int, data: str, seconds: float) -> int:
        argv = ["ip", "netns", "exec", peer, sys.executable, "-c", ASK]
        argv += [address, str(port), data, str(seconds)]
        return subprocess.run(argv, timeout=DEADLINE_SECONDS).returncode

    with network_namespace() as peer:
        join(place.namespace, "to0", peer, "192.0.2")
        run("ip", "-n", place.namespace, "addr", "add", "2001:db8::1/64", "dev", "to0", "nodad")
        run("ip", "-n", peer, "addr", "add", "2001:db8::2/64", "dev", "eth0", "nodad")
        hook = "type filter hook input priority -10"
        place.rules(f"table inet wall {{ chain i {{ {hook}; meta l4proto udp reject; }}; }}")
        assert ask(6081, "00", DEADLINE_SECONDS) == REFUSED  # the control, without a guard
        place.guard.apply(SPEC)
        assert ask(6081, "00", 0.5) == 0
        assert [ask(7000, data, 0.2) for data in SHAPES.values()] == [0] * len(SHAPES)
        assert place.count(GuardCounter.QUOTED) == 1 + len(SHAPES)
        assert ask(7000, OTHERS["another EtherType"], DEADLINE_SECONDS) == REFUSED


def test_forwarded_geneve_is_dropped_and_counted(place: Place) -> None:
    with network_namespace() as source, network_namespace() as target:
        join(place.namespace, "to0", source, "192.0.2")
        join(place.namespace, "to1", target, "198.51.100")
        inside = ("ip", "netns", "exec", place.namespace)
        run(*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        place.guard.apply(SPEC)
        counted = "table inet seen { chain f { type filter hook postrouting priority 0; "
        place.rules(counted + "udp dport 6082 counter; udp dport 6081 counter; }; }")
        pod = Place(source, place.nft)
        assert pod.send("198.51.100.2", 6081) == 0
        assert pod.send("198.51.100.2", 6082) == 0  # the control: it forwards
        # The kernel forwards after it has let the sender go: that may be a while.
        wait_until(lambda: passed(place)[6082] == 1, "the control to be forwarded")
        wait_until(
            lambda: place.guard.read().counters[GuardCounter.FORWARDED] == Tally(1, 33),
            "the other one to be counted",
        )
        assert passed(place) == {6081: 0, 6082: 1}


def join(router: str, port: str, end: str, network: str) -> None:
    """A wire from the router to an end that sends everything through it."""
    run(
        *("ip", "-n", router, "link", "add", port, "type", "veth"),
        *("peer", "name", "eth0", "netns", end),
    )
    run("ip", "-n", router, "addr", "add", f"{network}.1/24", "dev", port)
    run("ip", "-n", router, "link", "set", port, "up")
    run("ip", "-n", end, "addr", "add", f"{network}.2/24", "dev", "eth0")
    run("ip", "-n", end, "link", "set", "eth0", "up")
    run("ip", "-n", end, "route", "add", "default", "via", f"{network}.1")


def passed(place: Place) -> dict[int, int]:
    listing = json.loads(run(str(place.nft), "-j", "list", "table", "inet", "seen"))["nftables"]
    found = {}
    for item in listing:
        if "rule" in item:
            match, counter = item["rule"]["expr"][:2]
            found[match["match"]["right"]] = counter["counter"]["packets"]
    return found


WIDE = GuardSpec((4789, 6081), (47,))
OLDER = """table inet geneveil {
  comment "Geneve travels inside IPsec or not at all; kept by geneveil"
  counter cleartext_out { packets 9 bytes 900 }
  counter cleartext_in { }
  counter forwarded { }
  chain output { type filter hook output priority 0; policy accept;
    udp dport { 6081, 7000 } rt ipsec missing counter name "cleartext_out" drop; }
  chain input { type filter hook input priority 0; policy accept;
    udp dport { 6081, 7000 } meta ipsec missing counter name "cleartext_in" drop; }
  chain forward { type filter hook forward priority 0; policy accept;
    udp dport { 6081, 7000 } counter name "forwarded" drop; }
}"""
"""The table as it was before it looked again after source NAT."""


def test_protocols_read_back_as_they_were_written(place: Place) -> None:
    for spec in (WIDE, GuardSpec((6081,), (47, 115))):
        assert place.guard.apply(spec) is True
        assert place.guard.read().stands_for(spec)
        assert place.guard.apply(spec) is False


def test_gre_in_clear_is_dropped_only_when_it_is_guarded(place: Place) -> None:
    raw = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)\n"
        "try: s.sendto(bytes(8), ('127.0.0.1', 0))\nexcept PermissionError: sys.exit(3)\n"
    )

    def send() -> int:
        argv = ["ip", "netns", "exec", place.namespace, sys.executable, "-c", raw]
        return subprocess.run(argv, timeout=DEADLINE_SECONDS).returncode

    place.guard.apply(SPEC)
    assert send() == 0
    place.guard.apply(WIDE)
    assert send() == DROPPED
    assert place.count(GuardCounter.CLEARTEXT_OUT) == 1


def test_at_the_start_what_stands_is_never_narrowed(place: Place) -> None:
    place.guard.apply(WIDE)
    assert place.guard.cover(SPEC) == (WIDE, False)
    place.rules("add rule inet geneveil output udp dport 9 accept")
    assert place.guard.cover(SPEC) == (WIDE, True)
    assert place.guard.read().stands_for(WIDE)
    assert place.guard.apply(SPEC) is True  # once the tunnels are known


def test_the_table_of_an_older_version_is_replaced_with_all_that_it_covered(place: Place) -> None:
    place.rules(OLDER)
    wide = GuardSpec((6081, 7000))
    assert place.guard.cover(SPEC) == (wide, True)
    observed = place.guard.read()
    assert observed.stands_for(wide)
    assert observed.counters[GuardCounter.CLEARTEXT_OUT] == Tally(9, 900)


def test_packets_are_dropped_all_through_an_upgrade(place: Place) -> None:
    """Sent without a pause while old and new take turns: each of them is dropped."""
    place.rules(OLDER)
    flood = (
        "import select, socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); passed = sent = 0\n"
        "print('ready', flush=True)\n"
        "while not select.select([sys.stdin], [], [], 0)[0]:\n"
        "    for _ in range(100):\n"
        "        sent += 1\n"
        "        try: s.sendto(b'probe', ('127.0.0.1', 7000)); passed += 1\n"
        "        except PermissionError: pass\n"
        "print(passed, 'of', sent, flush=True)\n"
    )
    argv = ["ip", "netns", "exec", place.namespace, sys.executable, "-c", flood]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True) as sender:
        assert sender.stdin is not None
        assert sender.stdout is not None
        assert sender.stdout.readline() == "ready\n"
        for _ in range(20):
            place.guard.cover(SPEC)
            place.rules(f"table inet geneveil {{ }}\ndelete table inet geneveil\n{OLDER}")
        sender.stdin.close()  # it sends until then
        passed, _, sent = sender.stdout.readline().split()
    assert int(passed) == 0
    assert int(sent) > 0


def test_without_nft_the_error_says_what_to_install() -> None:
    with pytest.raises(DaemonError, match="install nftables"):
        NftGuard("/nonexistent/nft").read()


def test_an_nft_that_fails_is_never_taken_for_no_guard(tmp_path: Path) -> None:
    broken = tmp_path / "nft"
    broken.write_text("#!/bin/sh\necho 'Error: Operation not permitted' >&2\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(KernelError, match="Operation not permitted"):
        NftGuard(str(broken)).read()
    with pytest.raises(KernelError, match="refused the guard"):
        NftGuard(str(broken)).apply(SPEC)
