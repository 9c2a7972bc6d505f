"""Renewal, watch, revocation, roll-over and backup, on an operator that runs and nodes over TLS."""

import json
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from geneveil.enroll.io import HOLD_SECONDS, EnrolmentClient, verified_context
from geneveil.enroll.port import NodeCredential, WatchAnswer, WatchState
from geneveil.model.cluster import KeyType
from geneveil.model.errors import OperatorUnreachableError, RefusedError, TrustError
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.pki.crl import read_crl_state
from geneveil.pki.envelope import is_sealed
from geneveil.pki.keys import build_request, encode_key, make_key
from tests.operator_process import DEADLINE_SECONDS, Operator, geneveil, init, start

pytestmark = pytest.mark.real
AWAY_AFTER = ("--away-after", "12")
"""From when on a node counts as away. A busy machine keeps one that lives from asking for less."""


def wait_until(question: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not question():
        assert time.monotonic() < deadline, f"waited in vain for: {what}"
        time.sleep(0.02)


@dataclass
class Node:
    """A node that does what an agent does, without charon: it trusts what it is told."""

    chassis: str
    client: EnrolmentClient
    credential: NodeCredential
    bundle: bytes
    generation: int = 0
    crls: tuple[tuple[str, int], ...] = ()
    answers: list[tuple[float, WatchAnswer]] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    stopped: bool = False
    trusts_both: bool = True
    renews: bool = True
    thread: threading.Thread | None = None

    @property
    def serial(self) -> str:
        certificate = x509.load_pem_x509_certificate(self.credential.certificate_pem)
        return f"{certificate.serial_number:040x}"

    @property
    def trusts(self) -> tuple[str, ...]:
        bundle = x509.load_pem_x509_certificates(self.bundle)
        shown = bundle if self.trusts_both else bundle[:1]
        return tuple(one.fingerprint(hashes.SHA256()).hex() for one in shown)

    def watch(self) -> WatchAnswer:
        state = WatchState(self.generation, self.trusts, self.crls, self.serial)
        answer = self.client.watch(state, self.credential, self.bundle)
        self.generation, self.bundle = answer.generation, answer.trust_bundle_pem
        self.answers.append((time.monotonic(), answer))
        return answer

    def renew(self) -> None:
        key = make_key(KeyType.ECDSA_P256)
        request = build_request(key, self.chassis)
        renewal = self.client.renew(request, self.credential, self.bundle)
        assert self.client.renew(request, self.credential, self.bundle) == renewal
        self.credential = NodeCredential(encode_key(key), renewal.certificate_pem)
        self.generation = 0  # its word is new

    def live(self) -> None:
        while not self.stopped:
            try:
                answer = self.watch()
                if answer.renew_after is not None and self.renews:
                    self.renew()
            except OperatorUnreachableError:
                time.sleep(0.1)
            except (RefusedError, TrustError) as error:
                self.refusals.append(getattr(error, "reason", error.what))
                return

    def start(self) -> None:
        self.stopped = False
        self.thread = threading.Thread(target=self.live, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.stopped = True
        self.client.close()
        if self.thread:
            self.thread.join(DEADLINE_SECONDS)
            assert not self.thread.is_alive()


def enrol(operator: Operator, chassis: str, *options: str) -> Node:
    from geneveil.enroll.wire import parse_token

    token = parse_token(operator.command("token", chassis, *options).stdout)
    client = operator.client
    bundle = client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    key = make_key(KeyType.ECDSA_P256)
    enrolment = client.enrol(token, build_request(key, chassis), bundle)
    credential = NodeCredential(encode_key(key), enrolment.certificate_pem)
    return Node(chassis, client, credential, enrolment.trust_bundle_pem)


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = start(init(tmp_path), *AWAY_AFTER)
    yield made
    if made.process.poll() is None:
        made.stop()


def restart(operator: Operator, number: signal.Signals = signal.SIGKILL) -> None:
    """The same operator again, at the same port."""
    operator.stop(number)
    again = start(operator.state, *AWAY_AFTER, "--listen", f"127.0.0.1:{operator.port}")
    operator.process = again.process


def test_a_watch_is_held_until_something_changes(operator: Operator) -> None:
    node = enrol(operator, "node-1")
    first = node.watch()
    assert first.held_seconds < HOLD_SECONDS / 2  # it was answered at once
    assert first.revoked_chassis == ()
    assert first.renew_after is None
    assert first.renew_from == node.trusts[0]
    assert read_crl_state(first.crls_pem[0]).number == 1
    woken: list[WatchAnswer] = []

    def hold() -> None:
        while not woken:
            answer = node.watch()
            if answer.generation > first.generation:
                woken.append(answer)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    other = enrol(operator, "node-2")
    assert not woken
    operator.command("revoke", "node-2", "--reason", "keyCompromise")
    thread.join(DEADLINE_SECONDS)
    assert woken, "the watch is held still"
    final = woken[0]
    while not read_crl_state(final.crls_pem[0]).serials:
        final = node.watch()  # there may be news before that
    assert final.revoked_chassis == ("node-2",)
    assert read_crl_state(final.crls_pem[0]).serials == {other.serial}
    for refused in (other.watch, other.renew):
        with pytest.raises(RefusedError) as caught:
            refused()
        assert caught.value.reason == "node-revoked"


def test_a_revoked_node_comes_back_only_when_readmitted(operator: Operator) -> None:
    node = enrol(operator, "node-1")
    operator.command("token", "node-1")
    done = json.loads(operator.command("revoke", "node-1", "-o", "json").stdout)
    assert (done["certificatesRevoked"], done["tokensVoid"], done["isNew"]) == (1, 1, True)
    again = json.loads(operator.command("revoke", "node-1", "-o", "json").stdout)
    assert not again["isNew"]
    refused = operator.command("token", "node-1", expect=1)
    assert "--readmit" in refused.stderr
    assert operator.read("list")["nodes"][0]["standing"] == "revoked"
    fresh = enrol(operator, "node-1", "--readmit")
    assert fresh.watch().revoked_chassis == ()
    with pytest.raises(RefusedError) as caught:
        node.watch()
    assert caught.value.reason == "certificate-revoked"
    events = [entry["event"] for entry in operator.read("log")["entries"]]
    assert {"node-revoked", "node-readmitted", "crl-made"} <= set(events)
    assert operator.read("log", "--check")["whole"]


def test_too_early_and_of_another_cluster(operator: Operator, tmp_path: Path) -> None:
    node = enrol(operator, "node-1")
    with pytest.raises(RefusedError) as caught:
        node.renew()
    assert caught.value.reason == "renewal-too-early"
    (tmp_path / "other").mkdir()
    other = start(init(tmp_path / "other"))
    try:
        stranger = enrol(other, "node-1")
    finally:
        other.stop()
    stranger.bundle, stranger.client = node.bundle, operator.client
    # In TLS 1.3 the refusal comes after the handshake: as an alert that says why, or, when the
    # connection is reset before it is read, as a reset that does not. Either way it is shut out.
    with pytest.raises(OperatorUnreachableError):
        stranger.watch()


def ask_anew(node: Node) -> None:
    """End its watch: it asks again, says what is true now and is answered at once."""
    node.generation = 0
    node.client.close()


def test_who_the_operator_waits_for_is_who_a_person_is_shown(operator: Operator) -> None:
    node = enrol(operator, "node-1")
    operator.command("ca", "rotate")
    # it was just started, and can't know yet that the node is away
    wait_until(lambda: operator.read("ca", "status")["phase"] == "introduce", "the first phase")
    (missing,) = operator.read("ca", "status")["missing"]
    assert missing["chassis"] == "node-1"
    wait_until(lambda: operator.read("ca", "status")["phase"] == "retire", "it counts as away")
    node.client.close()


def kill_in(operator: Operator, phase: str) -> None:
    wait_until(lambda: operator.read("ca", "status")["phase"] == phase, f"phase {phase}")
    restart(operator)
    assert operator.read("ca", "status")["phase"] == phase


def test_the_authority_is_followed_by_another_with_kills_in_every_phase(
    operator: Operator,
) -> None:
    nodes = [enrol(operator, f"node-{number}") for number in range(3)]
    away = enrol(operator, "away")
    old = nodes[0].trusts[0]
    slow = nodes[0]  # each phase waits for it, however fast the others are
    slow.trusts_both = slow.renews = False
    for node in nodes:
        node.start()
    try:
        kill_in(operator, "steady")
        operator.command("ca", "rotate", "--wave", "2s")
        kill_in(operator, "introduce")
        slow.trusts_both = True
        ask_anew(slow)
        kill_in(operator, "switch")
        slow.renews = True
        ask_anew(slow)
        kill_in(operator, "retire")
        assert "under way" in operator.command("ca", "rotate").stdout
        wait_until(lambda: operator.read("ca", "status")["missingCount"] == 1, "only the one away")
        (missing,) = operator.read("ca", "status")["missing"]
        assert missing["chassis"] == "away"
        assert old in away.trusts
        assert away.watch().renew_after is not None  # it comes back: its old word is good
        away.renew()
        away.start()
        wait_until(lambda: operator.read("ca", "status")["phase"] == "steady", "the end")
        for node in (*nodes, away):
            wait_until(lambda node=node: old not in node.trusts, "the old one dropped")  # type: ignore[misc]
        assert not (operator.state / "cluster" / "ca-1.key").exists()
        assert operator.read("log", "--check")["whole"]
        assert all(not node.refusals for node in nodes)
        newcomer = enrol(operator, "newcomer")
        assert newcomer.trusts == nodes[0].trusts
    finally:
        for node in (*nodes, away):
            node.stop()


def test_a_restored_operator_goes_on_above_what_nodes_have_seen(
    operator: Operator, tmp_path: Path
) -> None:
    node, gone = enrol(operator, "node-1"), enrol(operator, "gone")
    operator.command("revoke", "gone")
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    backup = tmp_path / "operator.backup"
    operator.command("backup", str(backup), "--passphrase-file", str(secret))
    assert b"PRIVATE KEY" not in backup.read_bytes()
    assert backup.stat().st_mode & 0o777 == 0o600
    enrol(operator, "later")
    operator.command("revoke", "later")
    wait_until(
        lambda: len(read_crl_state(node.watch().crls_pem[0]).serials) == 2, "both on the list"
    )
    seen = read_crl_state(node.answers[-1][1].crls_pem[0]).number
    operator.stop()
    state = tmp_path / "restored"
    wrong = tmp_path / "wrong"
    wrong.write_text("battery staple\n")
    where = ("--state-dir", str(state))
    refused = geneveil("restore", str(backup), "--passphrase-file", str(wrong), *where, expect=1)
    assert "passphrase" in refused.stderr
    assert not (state / "cluster").exists()
    geneveil("restore", str(backup), "--passphrase-file", str(secret), *where)
    again = geneveil("restore", str(backup), "--passphrase-file", str(secret), *where, expect=1)
    assert "already" in again.stderr
    other = start(state, "--listen", f"127.0.0.1:{operator.port}")
    try:
        before = node.generation
        answer = node.watch()
        assert answer.generation > before
        crl = read_crl_state(answer.crls_pem[0])
        assert crl.number > seen
        assert crl.serials == {gone.serial}
        with pytest.raises(RefusedError) as caught:
            gone.watch()
        assert caught.value.reason == "node-revoked"
        assert other.read("log", "--check")["whole"]
    finally:
        other.stop()


def test_a_locked_key(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("correct horse")
    option = ("--ca-passphrase-file", str(secret))
    state = init(tmp_path, "Full", *option)
    assert b"PRIVATE" not in (state / "cluster" / "ca-1.key").read_bytes()
    done = geneveil("run", "--state-dir", str(state), expect=1)
    assert "locked with a passphrase" in done.stderr
    operator = start(state, *option)
    try:
        enrol(operator, "node-1").watch()
    finally:
        operator.stop()


def test_a_systemd_credential_locks_every_authoritys_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca-passphrase").write_text("correct horse")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    state = init(tmp_path)
    operator = start(state)
    enrol(operator, "node-1")
    operator.command("ca", "rotate")
    keys = [state / "cluster" / f"ca-{number}.key" for number in (1, 2)]
    wait_until(keys[1].exists, "the key of the next authority")
    for key in keys:
        assert is_sealed(key.read_bytes())
        assert b"PRIVATE" not in key.read_bytes()
    operator.stop()
    operator = start(state)
    assert len(operator.read("ca", "status")["authorities"]) == 2
    operator.stop()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    done = geneveil("run", "--state-dir", str(state), expect=1)
    assert "locked with a passphrase" in done.stderr


def test_who_says_nothing_is_hung_up_on(operator: Operator) -> None:
    bundle = enrol(operator, "node-1").bundle
    for beginning in (b"", b"POST /v1/enrol HTTP/1.1\r\nHost:"):
        plain = socket.create_connection(("127.0.0.1", operator.port))
        with verified_context(bundle).wrap_socket(plain, server_hostname=OPERATOR_IDENTITY) as tls:
            tls.settimeout(DEADLINE_SECONDS)
            tls.sendall(beginning)
            assert not tls.recv(1)
