"""A clock that is wrong, or was, makes no revocation undone and keeps none from the nodes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from geneveil.enroll.watch_wire import parse_watch_answer
from geneveil.operator.ca_view import ca_document
from geneveil.operator.clock_mark.io import open_clock_mark
from geneveil.operator.loop import OperatorProcess
from tests.unit.test_operator_trust import Bench, listed, make_bench, open_bench, revoke

SHORT_LIVES = """apiVersion: geneveil.io/v1alpha1
kind: ClusterIPsec
metadata: {name: prod}
spec: {mode: Full, certificates: {nodeLifetime: 100d, renewAfter: 90d}}
"""
BELIEVED, DISBELIEVED = 299, 366 * 6


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = make_bench(tmp_path / "state", SHORT_LIVES)
    yield made
    made.store.close()


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("days", [BELIEVED, DISBELIEVED, 3700])
def test_a_clock_that_leapt_takes_no_revocation_back(
    bench: Bench, days: int, is_restarted: bool
) -> None:
    peer, *others = [bench.enrol(f"node-{number}") for number in range(4)]
    serials = [node.serial for node in others]
    revoke(bench, "node-1")
    bench.keep()
    right = bench.clock.at
    bench.clock.at += timedelta(days=days)
    leapt = open_bench(bench.state, bench.clock) if is_restarted else bench
    leapt.keep()
    revoke(leapt, "node-2")  # while the clock is wrong
    for _ in range(3):
        leapt.seconds += 1
        leapt.keep()
    assert leapt.registry.state.revoked_chassis == ("node-1", "node-2")
    assert listed(leapt) == set(serials[:2])
    if days != BELIEVED:  # a node whose clock is right hears of it
        told = parse_watch_answer(leapt.watch(peer).document)
        assert told.revoked_chassis == ("node-1", "node-2")
        assert leapt.reason(leapt.watch(others[0])) == (403, "node-revoked")
    bench.clock.at = right
    revoke(leapt, "node-3")
    leapt.keep()
    assert len(leapt.registry.state.revoked_chassis) == 3
    assert listed(leapt) == set(serials)
    if leapt is not bench:
        leapt.store.close()


@pytest.mark.parametrize("years", [3, 6, 11])
def test_the_servers_certificate_is_good_for_nodes_whose_clocks_are_right(
    bench: Bench, years: int
) -> None:
    process = OperatorProcess(bench.state, bench.store, bench.clock)
    process.renew_server_file()
    bench.keep()
    right = bench.clock.at
    bench.clock.at += timedelta(days=366 * years)
    bench.keep()
    process = OperatorProcess(bench.state, bench.store, bench.clock)
    process._registry.believe(bench.registry.believed_now())
    assert process.renew_server_file() is (years < 10)  # nothing could be good after the authority
    assert not process.renew_server_file()
    pem = (bench.state / "cluster" / "server.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.not_valid_before_utc < right < certificate.not_valid_after_utc
    assert years > 10 or certificate.not_valid_after_utc > bench.clock.at


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_person_is_told_that_the_clock_is_not_believed(bench: Bench, is_kept: bool) -> None:
    mark = open_clock_mark(bench.state / "cluster")
    for days, is_believed in ((1, True), (BELIEVED, True), (DISBELIEVED, False)):
        bench.clock.at += timedelta(days=days)
        bench.keep()
        at = mark.read() if is_kept else None
        said = ca_document(bench.store, bench.clock.at, True, None, at)
        assert said["isClockBelieved"] is (is_believed or not is_kept)
    if is_kept:
        assert said["clockBelievedAt"].startswith("2027-09-19")


def test_who_was_revoked_is_named_until_the_end_closes_it(bench: Bench) -> None:
    for name in ("node-1", "node-2"):
        bench.enrol(name)
        revoke(bench, name)
    bench.enrol("node-2", readmit=True)
    bench.keep()
    while "node-2" not in bench.registry.expired_chassis:
        assert bench.clock.at < datetime(2028, 1, 1, tzinfo=UTC)
        bench.clock.at += timedelta(days=3)
        with bench.store.transaction():
            bench.registry.tables.bump()
        bench.keep()
        assert bench.registry.state.revoked_chassis == ("node-1",)
    bench.clock.at += timedelta(days=250)
    bench.enrol("node-3")
    revoke(bench, "node-3")
    bench.keep()
    assert "node-1" in bench.registry.state.revoked_chassis
