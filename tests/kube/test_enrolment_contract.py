"""`EnrolmentPort`, the same cases on both control planes: geneveil's operator over HTTPS, and the
operator of a real API server. What a node's agent relies on must hold on both.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from geneveil.agent.kube.io import KubeConnector, KubeEnrolment
from geneveil.agent.kube.place import Place
from geneveil.enroll.port import EnrolmentPort, JoinToken, NodeCredential, WatchState
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.io import open_client
from geneveil.model.cluster import KeyType, Mode
from geneveil.model.errors import GeneveilError, OperatorUnreachableError, RefusedError
from geneveil.pki.keyfiles import NamedBytes, parse_certificate, parse_identity
from geneveil.pki.keys import PrivateKey, build_request, encode_key, make_key
from lab.kube.arguments import Programs
from lab.kube.cluster import make_agent_pod, make_namespace, make_node, request_token
from lab.kube.server import ApiServer
from tests import operator_process
from tests.kube.operator_bench import NAMESPACE, SIGNER, install, read_trust, replica, switch_on
from tests.kube.operator_bench import wait_for as await_true


@dataclass(frozen=True)
class Member:
    """One node with what it enrols with."""

    port: EnrolmentPort
    token: JoinToken


@dataclass(frozen=True)
class Plane:
    """A control plane under test.

    Attributes:
        admit: lets a node of this name in.
        revoke: shuts it out.
    """

    admit: Callable[[str], Member]
    revoke: Callable[[str], None]


@pytest.fixture(scope="module", params=["standalone", "kubernetes"])
def plane(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Plane]:
    folder = tmp_path_factory.mktemp("plane")
    if request.param == "standalone":
        with operator_process.running(folder) as operator:
            yield Plane(
                lambda name: Member(operator.client, operator.token(name)),
                lambda name: _run(operator.command, "revoke", name, "--reason", "keyCompromise"),
            )
        return
    programs: Programs = request.getfixturevalue("kube_programs")
    with ApiServer.start(folder / "kube", programs) as server:
        make_namespace(server)
        install(server, programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, folder, "operator-0"):
            await_true("trust", lambda: read_trust(admin))
            yield Plane(
                lambda name: _admit(server, folder, name),
                lambda name: _run(server.kubectl, "delete", "node", name, "--wait=false"),
            )


def _run(command: Callable[..., object], *words: str) -> None:
    command(*words)


def _admit(server: ApiServer, folder: Path, name: str) -> Member:
    make_node(server, name, {"k8s.ovn.org/node-chassis-id": name})
    token = folder / f"{name}.token"
    token.write_text(request_token(server, make_agent_pod(server, name)))
    authority = Material(path=str(server.authority))
    access = KubeAccess(server.url, authority, NAMESPACE, token_file=str(token))
    place = Place(access, NAMESPACE, name, SIGNER)
    port = KubeEnrolment(place, KubeConnector(place).connect)
    return Member(port, JoinToken(name, b"", b"", b""))


def enrol(member: Member) -> tuple[PrivateKey, bytes, bytes]:
    """A new key, its certificate, and the bundle."""
    bootstrap = member.port.fetch_bootstrap(member.token.ca_pin)
    key = make_key(KeyType.ECDSA_P256)
    request = build_request(key, member.token.chassis)
    got = member.port.enrol(member.token, request, bootstrap.trust_bundle_pem)
    return key, got.certificate_pem, got.trust_bundle_pem


def state_of(certificate: bytes, generation: int) -> WatchState:
    serial = parse_certificate(NamedBytes("x", certificate)).serial_number
    return WatchState(generation, (), (), f"{serial:040x}")


def test_the_same_request_gets_the_same_certificate(plane: Plane) -> None:
    member = plane.admit("node-1")
    bootstrap = member.port.fetch_bootstrap(member.token.ca_pin)
    assert bootstrap.settings.mode is Mode.FULL
    key = make_key(KeyType.ECDSA_P256)
    request = build_request(key, "node-1")
    first = member.port.enrol(member.token, request, bootstrap.trust_bundle_pem)
    again = member.port.enrol(member.token, request, bootstrap.trust_bundle_pem)
    assert first == again
    now = parse_certificate(NamedBytes("x", first.certificate_pem)).not_valid_before_utc
    parts = (encode_key(key), first.certificate_pem, first.trust_bundle_pem)
    files = [NamedBytes(name, data) for name, data in zip("kcb", parts, strict=True)]
    assert parse_identity(files[0], files[1], files[2], "node-1", now).chassis == "node-1"


def test_another_nodes_name_is_refused(plane: Plane) -> None:
    member = plane.admit("node-2")
    bundle = member.port.fetch_bootstrap(member.token.ca_pin).trust_bundle_pem
    request = build_request(make_key(KeyType.ECDSA_P256), "node-1")
    with pytest.raises(RefusedError) as raised:
        member.port.enrol(member.token, request, bundle)
    # which of them is looked at first differs
    assert raised.value.reason in ("token-other-node", "csr-common-name")


def test_a_watch_is_held_ended_and_hears_of_a_revocation(plane: Plane) -> None:
    watcher, victim = plane.admit("node-3"), plane.admit("node-4")
    key, certificate, bundle = enrol(watcher)
    enrol(victim)
    credential = NodeCredential(encode_key(key), certificate)
    answer = watcher.port.watch(state_of(certificate, 0), credential, bundle)
    assert answer.generation > 0
    assert answer.trust_bundle_pem == bundle
    assert answer.renew_after is None
    state = replace(state_of(certificate, 0), generation=answer.generation)
    failures: list[GeneveilError] = []

    def hold() -> None:
        try:
            watcher.port.watch(state, credential, bundle)
        except GeneveilError as error:
            failures.append(error)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    holder.join(2)
    assert holder.is_alive(), "nothing changed, and it did not wait"

    def closed() -> bool:
        watcher.port.close()  # on a busy machine it may not have begun to wait
        holder.join(1)
        return not holder.is_alive()

    await_true("the watch ended", closed)
    assert isinstance(failures[0], OperatorUnreachableError)
    plane.revoke("node-4")
    news = watcher.port.watch(state, credential, bundle)
    while "node-4" not in news.revoked_chassis:  # there may be other news before
        later = replace(state, generation=news.generation)
        news = watcher.port.watch(later, credential, bundle)
    assert news.generation > answer.generation
    assert news.crls_pem
    full = replace(state, trusts=("ab" * 32,), crls=(("ab" * 32, 1),), in_use=("03" * 20,))
    for confirmed in (full, state, full):  # what was there and is gone is taken as that
        assert watcher.port.watch(confirmed, credential, bundle).generation == news.generation
