"""A burst of nodes at an operator that is killed again and again.

`make test` runs a short one; GENEVEIL_SOAK=1 runs 1,000 nodes and 100 kills.
"""

import asyncio
import contextlib
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.crowd import Member, enrol, make_members, make_room
from geneveil.enroll.io import EnrolmentClient, verified_context
from geneveil.enroll.wire import parse_token
from geneveil.operator.io import open_store
from tests.operator_process import Operator, init, start

pytestmark = pytest.mark.real
IS_SOAK = os.environ.get("GENEVEIL_SOAK", "") not in ("", "0")
NODES, KILLS = (1000, 100) if IS_SOAK else (150, 8)
SEED = 20_261_123
AT_ONCE = 200
LONGEST_WAIT_SECONDS = 0.5


class Assault:
    """Nodes that ask until they have a certificate, and then ask the same again, until it ends."""

    def __init__(self, operator: Operator, members: list[Member], bundle: bytes) -> None:
        self.operator = operator
        self.members = members
        self.tls = verified_context(bundle)
        self.is_over = False
        self.answers: dict[str, set[bytes]] = {}
        self.asked = Counter[str]()

    async def run(self, kills: int, chance: random.Random) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        nodes = [asyncio.ensure_future(self.live(member, gate)) for member in self.members]
        for _ in range(kills):
            await asyncio.sleep(chance.uniform(0.0, 0.4))
            await asyncio.to_thread(self.kill)
        while not all(member.certificate_pem for member in self.members):
            for node in nodes:
                if node.done():
                    node.result()  # it failed: nobody is done before all have theirs
            await asyncio.sleep(0.1)
        self.is_over = True
        await asyncio.gather(*nodes)

    def kill(self) -> None:
        self.operator.stop(signal.SIGKILL)
        again = start(self.operator.state, "--listen", f"127.0.0.1:{self.operator.port}")
        self.operator.process = again.process

    async def live(self, member: Member, gate: asyncio.Semaphore) -> None:
        chassis = member.token.chassis
        while not self.is_over:
            async with gate:
                await enrol(member, self.operator.port, self.tls, LONGEST_WAIT_SECONDS)
            assert not member.refusals, member.refusals
            self.asked[chassis] += 1
            self.answers.setdefault(chassis, set()).add(member.certificate_pem)
            await asyncio.sleep(0.2)


@pytest.mark.timeout(3600 if IS_SOAK else 900)
def test_killed_in_a_burst_nothing_is_issued_twice(tmp_path: Path) -> None:
    make_room()
    operator = start(init(tmp_path))
    try:
        names = [f"node-{number}" for number in range(NODES)]
        texts = operator.command("token", *names, "--expires", "6h").stdout.split()
        members = make_members([parse_token(text) for text in texts])
        client = EnrolmentClient(f"https://127.0.0.1:{operator.port}")
        bundle = client.fetch_bootstrap(members[0].token.ca_pin).trust_bundle_pem
        assault = Assault(operator, members, bundle)
        began = time.monotonic()
        asyncio.run(assault.run(KILLS, random.Random(SEED)))  # noqa: S311 - repeatable chance
        print(
            f"{NODES} nodes, {KILLS} kills, {assault.asked.total()} answers, "
            f"{sum(member.cut for member in members)} connections cut, "
            f"{time.monotonic() - began:.0f} s"
        )
        assert operator.read("log", "--check")["whole"]
        assert sum(member.cut for member in members) > 0
        check_books(operator, assault)
    finally:
        with contextlib.suppress(ProcessLookupError):
            operator.stop()


def check_books(operator: Operator, assault: Assault) -> None:
    """Every node has one certificate, the one in the books, and the log tells each issue once."""
    store = open_store(operator.state)
    try:
        records = [one for one in store.read_certificates() if one.kind.value == "node"]
        issued = [one.serial for one in store.read_audit() if one.event == "issued"]
        used = {token.serial for token in store.read_tokens()}
    finally:
        store.close()
    assert len(records) == len({record.chassis for record in records}) == NODES
    assert sorted(issued) == sorted(record.serial for record in records)
    assert len(set(issued)) == NODES
    assert used == set(issued)
    for record in records:
        assert assault.answers[record.chassis] == {record.certificate_pem}
