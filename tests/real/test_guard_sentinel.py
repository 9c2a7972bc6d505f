"""The leak sentinel on a real kernel: it counts what is in clear and drops nothing."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from geneveil.guard.io import NftGuard
from geneveil.guard.sentinel.io import NftSentinel
from geneveil.model.errors import KernelError
from geneveil.model.guard import GuardSpec
from geneveil.model.sentinel import SentinelCounter, SentinelSpec
from tests.real.programs import (
    DEADLINE_SECONDS,
    network_namespace,
    run,
    wait_until,
    wrapper,
)

pytestmark = pytest.mark.real

SPEC = SentinelSpec(("eth0",), (6081,))
SEND = (
    "import socket, sys\n"
    "v6 = ':' in sys.argv[1]\n"
    "s = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_DGRAM)\n"
    "data = bytes.fromhex(sys.argv[5])\n"
    "for _ in range(int(sys.argv[3])):\n"
    "    try: s.sendto(data * int(sys.argv[4]), (sys.argv[1], int(sys.argv[2])))\n"
    "    except PermissionError: sys.exit(3)\n"
)


@dataclass(frozen=True)
class Wire:
    """Two ends of one wire; `near` has the sentinel."""

    near: str
    far: str
    nft: Path

    @property
    def sentinel(self) -> NftSentinel:
        return NftSentinel(str(self.nft))

    def send(
        self,
        source: str,
        address: str,
        port: int,
        count: int = 1,
        words: int = 1,
        data: str = b"probe".hex(),
    ) -> int:
        argv = ["ip", "netns", "exec", source, sys.executable, "-c", SEND, address, str(port)]
        argv += [str(count), str(words), data]
        return subprocess.run(argv, timeout=DEADLINE_SECONDS).returncode

    def answer_nothing(self, nft: Path) -> None:
        """Nobody listens here: else the kernel would answer with ICMP errors, which count too."""
        quiet = "table inet quiet { chain i { type filter hook input priority 100; "
        run(str(nft), quiet + "meta l4proto udp drop; }; }")

    def answer_again(self) -> None:
        run(str(self.nft), "delete table inet quiet")

    def counts(self) -> tuple[int, int]:
        counters = self.sentinel.read().counters
        return (
            counters[SentinelCounter.WIRE_OUT].packets,
            counters[SentinelCounter.WIRE_IN].packets,
        )


@pytest.fixture
def wire(tmp_path: Path) -> Iterator[Wire]:
    with network_namespace() as near, network_namespace() as far:
        run(
            *("ip", "-n", near, "link", "add", "eth0", "type", "veth"),
            *("peer", "name", "eth0", "netns", far),
        )
        for name, last in ((near, 1), (far, 2)):
            run("ip", "-n", name, "addr", "add", f"192.0.2.{last}/24", "dev", "eth0")
            run("ip", "-n", name, "addr", "add", f"2001:db8::{last}/64", "dev", "eth0", "nodad")
            own = f"02:00:00:00:00:0{last}"
            run("ip", "-n", name, "link", "set", "eth0", "address", own, "up")
        for name, other in ((near, 2), (far, 1)):  # so that nothing waits for neighbours
            card = ("lladdr", f"02:00:00:00:00:0{other}", "dev", "eth0")
            for network in ("192.0.2.", "2001:db8::"):
                run("ip", "-n", name, "neigh", "replace", f"{network}{other}", *card)
        (tmp_path / "far").mkdir()
        place = Wire(near, far, wrapper(tmp_path, "nft", near))
        for nft in (place.nft, wrapper(tmp_path / "far", "nft", far)):
            place.answer_nothing(nft)
        yield place


def test_it_reads_back_as_it_was_written_and_is_written_once(wire: Wire) -> None:
    run("ip", "-n", wire.near, "link", "add", "eth1", "type", "bridge")
    assert wire.sentinel.read().spec is None
    for spec in (SPEC, SentinelSpec(("eth0", "eth1"), (4789, 6081), (47,))):
        assert wire.sentinel.apply(spec) is True
        assert wire.sentinel.read().spec == spec
        assert wire.sentinel.apply(spec) is False


@pytest.mark.parametrize("network", ["192.0.2.", "2001:db8::"])
def test_what_leaves_and_arrives_in_clear_is_counted_and_passes(wire: Wire, network: str) -> None:
    wire.sentinel.apply(SPEC)
    assert wire.send(wire.near, f"{network}2", 6081, 3) == 0
    assert wire.send(wire.near, f"{network}2", 6082, 5) == 0  # the control: another port
    assert wire.send(wire.far, f"{network}1", 6081, 2) == 0
    # The kernel takes in after it has let the sender go: that may be a while.
    wait_until(lambda: wire.counts() == (3, 2), "what came in to be counted")


def test_geneve_on_a_port_that_nobody_named_is_counted_too(wire: Wire) -> None:
    """Known by its shape; on a port that was named it counts once all the same."""
    wire.sentinel.apply(SPEC)
    for port in (7000, 6081):
        assert wire.send(wire.near, "192.0.2.2", port, 2, data="0200655800000500") == 0
        assert wire.send(wire.far, "192.0.2.1", port, 1, data="0200655800000500") == 0
    assert wire.send(wire.near, "192.0.2.2", 7000, 1, data="0200080000000500") == 0
    wait_until(lambda: wire.counts() == (4, 2), "what came in to be counted")


@pytest.mark.parametrize("network", ["192.0.2.", "2001:db8::"])
def test_an_icmp_error_that_quotes_geneve_is_counted(wire: Wire, network: str) -> None:
    wire.answer_again()
    wire.sentinel.apply(SPEC)
    assert wire.send(wire.far, f"{network}1", 6081) == 0
    assert wire.send(wire.far, f"{network}1", 7000, data="0200655800000500") == 0
    assert wire.send(wire.far, f"{network}1", 7000) == 0  # the control: it quotes no Geneve
    wait_until(lambda: wire.counts() == (2, 2), "the answers to be counted")


def test_what_the_guard_drops_is_not_on_the_wire(wire: Wire) -> None:
    wire.sentinel.apply(SPEC)
    guard = NftGuard(str(wire.nft))
    guard.apply(GuardSpec((6081,)))
    assert wire.send(wire.near, "192.0.2.2", 6081, 1) == 3
    assert wire.counts() == (0, 0)
    guard.remove()
    assert wire.send(wire.near, "192.0.2.2", 6081, 1) == 0  # the control
    assert wire.counts() == (1, 0)


def test_a_fragmented_packet_counts_once(wire: Wire) -> None:
    wire.sentinel.apply(SPEC)
    assert wire.send(wire.near, "192.0.2.2", 6081, 1, words=600) == 0
    assert wire.counts() == (1, 0)


def test_what_is_altered_is_replaced_with_its_counts_and_others_stay(wire: Wire) -> None:
    run(str(wire.nft), "add table netdev theirs; add table inet theirs")
    before = run(str(wire.nft), "list ruleset")
    wire.sentinel.apply(SPEC)
    wire.send(wire.near, "192.0.2.2", 6081, 4)
    run(str(wire.nft), "flush chain netdev geneveil egress")
    assert wire.sentinel.read().spec is None
    assert wire.sentinel.apply(SPEC) is True
    assert wire.counts() == (4, 0)
    wire.sentinel.remove()
    wire.sentinel.remove()
    assert run(str(wire.nft), "list ruleset") == before


def test_an_nft_that_lists_no_devices_is_named_and_not_written_with_for_ever(
    wire: Wire, tmp_path: Path
) -> None:
    """As that of Debian 12."""
    older = tmp_path / "older-nft"
    written = tmp_path / "written"
    older.write_text(
        f'#!/bin/sh\ncase "$*" in *-f*) echo >> {written};; esac\n'
        f'printed=$({wire.nft} "$@") || exit 1\n'
        """printf %s "$printed" | sed 's/"dev": "eth0", //g'\n"""
    )
    older.chmod(0o755)
    sentinel = NftSentinel(str(older))
    for times in (1, 1):
        with pytest.raises(KernelError, match=r"nftables 1\.1"):
            sentinel.apply(SPEC)
        assert len(written.read_text()) == times
    assert wire.sentinel.read().spec == SPEC  # it stands, and counts
    assert wire.send(wire.near, "192.0.2.2", 6081) == 0
    assert sentinel.read().counters[SentinelCounter.WIRE_OUT].packets == 1
    wire.sentinel.remove()
    with pytest.raises(KernelError, match=r"nftables 1\.1"):
        sentinel.apply(SPEC)
    assert len(written.read_text()) == 2  # somebody took it


def test_a_device_that_goes_takes_no_other_with_it(wire: Wire) -> None:
    run("ip", "-n", wire.near, "link", "add", "eth1", "type", "bridge")
    both = SentinelSpec(("eth0", "eth1"), (6081,))
    wire.sentinel.apply(both)
    run("ip", "-n", wire.near, "link", "delete", "eth1")
    wire.sentinel.apply(SPEC)
    wire.send(wire.near, "192.0.2.2", 6081)
    assert wire.counts() == (1, 0)
