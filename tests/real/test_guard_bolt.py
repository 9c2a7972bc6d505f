"""The bolt on a real kernel: who flushes everything takes the guard, and not this."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.real.programs import (
    DEADLINE_SECONDS,
    network_namespace,
    run,
    wait_until,
    wrapper,
)

pytestmark = pytest.mark.real

HOLD = """
import sys
from geneveil.guard.bolt.io import NftBolt
from geneveil.guard.io import NftGuard
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardSpec
bolt, guard = NftBolt(sys.argv[1]), NftGuard(sys.argv[1])
guard.apply(GuardSpec((6081,)))
for line in sys.stdin:
    try:
        print(bolt.hold(GuardSpec(tuple(map(int, line.split())))), flush=True)
    except GeneveilError as error:
        print(error.render(), flush=True)
"""
SEND = (
    "import socket, sys\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    "try: s.sendto(bytes.fromhex(sys.argv[2]), ('127.0.0.1', int(sys.argv[1])))\n"
    "except PermissionError: sys.exit(3)\n"
)
PROBE = "70726f6265"
GENEVE = "0200655800000500"
DROPPED = 3


@dataclass
class Place:
    """A namespace, and a process in it that holds the bolt when it is told to."""

    namespace: str
    nft: Path
    holder: "subprocess.Popen[str]"

    def hold(self, *ports: int) -> str:
        assert self.holder.stdin is not None
        assert self.holder.stdout is not None
        self.holder.stdin.write(" ".join(map(str, ports)) + "\n")
        self.holder.stdin.flush()
        return self.holder.stdout.readline().strip()

    def try_nft(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([str(self.nft), *words], capture_output=True, text=True)

    def tables(self) -> set[str]:
        return set(run(str(self.nft), "list", "tables").splitlines())

    def send(self, port: int, data: str = PROBE) -> int:
        argv = ["ip", "netns", "exec", self.namespace, sys.executable, "-c", SEND, str(port), data]
        return subprocess.run(argv, timeout=DEADLINE_SECONDS).returncode

    def end(self) -> None:
        self.holder.kill()
        self.holder.wait(DEADLINE_SECONDS)


def start_holder(namespace: str, nft: Path) -> "subprocess.Popen[str]":
    argv = ["ip", "netns", "exec", namespace, sys.executable, "-c", HOLD, str(nft)]
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with network_namespace() as name:
        nft = wrapper(tmp_path, "nft", name)
        holder = start_holder(name, nft)
        here = Place(name, nft, holder)
        try:
            yield here
        finally:
            here.end()


GUARD, BOLT = "table inet geneveil", "table inet geneveil_bolt"


def test_who_flushes_everything_does_not_take_it(place: Place) -> None:
    assert place.send(6081) == 0  # the control: without guard and bolt it goes
    assert place.hold(6081, 7000) == "True"
    assert place.hold(6081, 7000) == "False"
    place.try_nft("flush", "ruleset")
    assert place.tables() == {BOLT}
    for words in (("delete", *BOLT.split()), ("flush", "chain", "inet", "geneveil_bolt", "output")):
        refused = place.try_nft(*words)
        assert (refused.returncode, "Operation not permitted" in refused.stderr) == (1, True)
    assert [place.send(port) for port in (6081, 7000, 7001)] == [DROPPED, DROPPED, 0]
    assert place.send(7001, GENEVE) == DROPPED
    assert "packets 3 " in run(
        str(place.nft), "list", "counter", "inet", "geneveil_bolt", "cleartext_out"
    )


def test_what_the_guard_drops_does_not_reach_it(place: Place) -> None:
    place.hold(6081)
    assert place.send(6081) == DROPPED
    counter = ("list", "counter", "inet")
    assert "packets 1 " in run(str(place.nft), *counter, "geneveil", "cleartext_out")
    assert "packets 0 " in run(str(place.nft), *counter, "geneveil_bolt", "cleartext_out")


def test_it_outlives_its_owner_and_the_next_one_takes_it_over(place: Place) -> None:
    place.hold(6081)
    run(str(place.nft), "delete", *GUARD.split())
    place.send(6081)
    place.end()
    wait_until(lambda: "owner" not in run(str(place.nft), "list", *BOLT.split()), "no owner")
    assert place.send(6081) == DROPPED
    place.holder = start_holder(place.namespace, place.nft)
    assert place.hold(6081) == "True"
    assert "packets 2 " in run(
        str(place.nft), "list", "counter", "inet", "geneveil_bolt", "cleartext_out"
    )
    place.try_nft("flush", "ruleset")
    assert place.tables() == {BOLT}


def test_a_second_owner_is_refused_and_changes_nothing(place: Place, tmp_path: Path) -> None:
    place.hold(6081)
    first, place.holder = place.holder, start_holder(place.namespace, place.nft)
    try:
        assert "the kernel refused the bolt" in place.hold(6081, 7000)
        assert place.send(7000) == 0
        assert place.send(6081) == DROPPED
    finally:
        first.kill()
        first.wait(DEADLINE_SECONDS)
