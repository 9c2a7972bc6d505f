"""The agent's client of the Kubernetes API, against a server that can be made to misbehave."""

import base64
import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from geneveil.agent.kube import io as kube_io
from geneveil.agent.kube import pace
from geneveil.agent.kube.io import KubeConnector, KubeEnrolment
from geneveil.agent.kube.news import TRUST_KEY
from geneveil.agent.kube.place import Place
from geneveil.agent.kube.report.io import Reporter
from geneveil.agent.kube.request import request_document, request_name
from geneveil.enroll.port import JoinToken, NodeCredential, WatchAnswer, WatchState
from geneveil.enroll.settings import settings_document
from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.errors import MissingError
from geneveil.kube.kinds import TRUST_CONFIG_MAP
from geneveil.model.clock import SystemClock
from geneveil.model.cluster import CalendarSpan, ClusterSettings, KeyType, Mode
from geneveil.model.errors import (
    ConfigError,
    GeneveilError,
    OperatorUnreachableError,
    RefusedError,
    TrustError,
)
from geneveil.model.node_status import PeerState
from geneveil.pki.authority import encode_certificate, make_authority, sign_node
from geneveil.pki.keys import build_request, encode_key, make_key
from tests.fake_kube_api import FakeKubeApi, fake_kube_api
from tests.unit.test_agent_kube import node_status

NOW = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)
MAPS = "/api/v1/namespaces/geneveil-system/configmaps"
TRUST = f"{MAPS}/{TRUST_CONFIG_MAP}"
NODE = "/apis/geneveil.io/v1alpha1/nodeipsecs/node1"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
AUTHORITY = make_authority(
    "prod", make_key(KeyType.ECDSA_P256), CalendarSpan(120), NOW, bytes([1] * 20)
)
KEY = make_key(KeyType.ECDSA_P256)
CERTIFICATE = encode_certificate(
    sign_node(AUTHORITY, KEY.public_key(), "node1", "prod", CalendarSpan(60), NOW, bytes([2] * 20))
)
BUNDLE = encode_certificate(AUTHORITY.certificate)
CREDENTIAL = NodeCredential(encode_key(KEY), CERTIFICATE)
REQUEST = build_request(KEY, "node1")
STATE = WatchState(0, ("ab" * 32,), (), "02" * 20)


def trust(generation: int, **changes: Any) -> dict[str, Any]:
    document = {
        "generation": generation,
        "trustBundle": BUNDLE.decode(),
        "crls": [],
        "revokedChassis": [],
        "renewFrom": AUTHORITY.certificate.fingerprint(
            AUTHORITY.certificate.signature_hash_algorithm  # type: ignore[arg-type]
        ).hex(),
        "wave": None,
        "settings": settings_document(ClusterSettings(mode=Mode.FULL)),
        **changes,
    }
    return {"metadata": {"name": TRUST_CONFIG_MAP}, "data": {TRUST_KEY: json.dumps(document)}}


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeKubeApi]:
    with fake_kube_api(tmp_path) as served:
        served.put(TRUST, trust(1))
        served.put(NODE, {"metadata": {"name": "node1"}})
        yield served


@pytest.fixture
def place(api: FakeKubeApi) -> Place:
    return Place(api.access, "geneveil-system", "node1", "geneveil.io/node")


@pytest.fixture
def enrolment(place: Place) -> KubeEnrolment:
    return KubeEnrolment(place, KubeConnector(place).connect)


def decide(api: FakeKubeApi, **status: Any) -> threading.Thread:
    """Play the operator: wait for the request, then decide about it."""

    def work() -> None:
        api.await_asked(1, "GET", "watch=1")
        path = f"{REQUESTS}/{request_name('node1', REQUEST)}"
        api.put(path, {**api.objects[path], "status": status})

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def granted() -> dict[str, Any]:
    return {"certificate": base64.b64encode(CERTIFICATE).decode()}


def test_a_request_is_made_awaited_and_granted(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    bootstrap = enrolment.fetch_bootstrap(b"")
    assert (bootstrap.trust_bundle_pem, bootstrap.settings.mode) == (BUNDLE, Mode.FULL)
    operator = decide(api, **granted())
    enrolled = enrolment.enrol(JoinToken("node1", b"", b"", b""), REQUEST, BUNDLE)
    operator.join()
    assert enrolled.certificate_pem == CERTIFICATE
    (made,) = (body for path, body in api.objects.items() if path.startswith(REQUESTS))
    assert made["spec"]["usages"] == ["ipsec tunnel"]
    assert made["spec"]["signerName"] == "geneveil.io/node"
    # The same bytes find the same object, and what was decided.
    again = enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)
    assert again.certificate_pem == CERTIFICATE


def test_a_denied_request_says_why(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    condition = {"type": "Denied", "reason": "csr-key-weak", "message": "1,024 bits"}
    operator = decide(api, conditions=[condition])
    with pytest.raises(RefusedError) as raised:
        enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)
    operator.join()
    assert raised.value.reason == "csr-key-weak"
    assert "1,024 bits" in raised.value.render()


def test_an_undecided_request_is_no_refusal(
    api: FakeKubeApi, enrolment: KubeEnrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def decision_seconds(undecided: int) -> float:
        asked.append(undecided)
        return 0.0 if undecided < 2 else 60.0

    monkeypatch.setattr(kube_io, "decision_seconds", decision_seconds)
    for _ in range(2):
        with pytest.raises(OperatorUnreachableError, match="not decided yet"):
            enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)
    operator = decide(api, **granted())
    assert enrolment.renew(REQUEST, CREDENTIAL, BUNDLE).certificate_pem == CERTIFICATE
    operator.join()
    enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)
    assert asked == [0, 1, 2, 0]


def test_somebody_elses_object_of_that_name_is_not_taken_for_ours(
    api: FakeKubeApi, enrolment: KubeEnrolment
) -> None:
    name = request_name("node1", REQUEST)
    other = build_request(make_key(KeyType.ECDSA_P256), "node1")
    body = request_document(name, other, "geneveil.io/node") | {"status": granted()}
    api.put(f"{REQUESTS}/{name}", body)
    with pytest.raises(TrustError, match="not this node's"):
        enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)


def test_a_forgotten_version_makes_the_request_be_read_anew(
    api: FakeKubeApi, enrolment: KubeEnrolment
) -> None:
    api.forgets = True
    operator = decide(api, **granted())
    assert enrolment.renew(REQUEST, CREDENTIAL, BUNDLE).certificate_pem == CERTIFICATE
    operator.join()


def test_a_watch_confirms_and_brings_news(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    first = enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    assert (first.generation, first.renew_after) == (1, None)
    path, manager, body = api.applied[-1]
    assert (path, manager) == (NODE, "geneveil-agent-trust")
    assert body["status"]["trust"]["trusts"] == ["ab" * 32]
    assert list(body["status"]) == ["trust"]

    def later() -> None:
        api.await_asked(1, "GET", "watch=1")
        api.put(TRUST, trust(2, revokedChassis=["node9"]))

    operator = threading.Thread(target=later)
    operator.start()
    second = enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE)
    operator.join()
    assert (second.generation, second.revoked_chassis) == (2, ("node9",))
    # Another generation is not said at once; nothing was read but through one watch.
    assert len(api.applied) == 1
    assert sum(path == TRUST for _, path in api.asked) == 1


def test_generations_that_follow_one_another_are_said_once(
    api: FakeKubeApi, enrolment: KubeEnrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    for generation in range(2, 12):
        api.put(TRUST, trust(generation))
        state = replace(STATE, generation=generation - 1)
        assert enrolment.watch(state, CREDENTIAL, BUNDLE).generation == generation
    assert len(api.applied) == 1
    # the watch is held no longer than until it is due, and asked again by the agent
    now = replace(STATE, generation=11)
    assert 0 < enrolment._confirm(now) <= pace.CONFIRMATION_SECONDS
    monkeypatch.setattr(pace, "CONFIRMATION_SECONDS", 0.0)
    api.put(TRUST, trust(12))
    enrolment.watch(now, CREDENTIAL, BUNDLE)
    assert [said["status"]["trust"]["generation"] for _, _, said in api.applied] == [0, 11]


def test_whom_a_node_trusts_is_said_at_once_and_all_after_a_failure(
    api: FakeKubeApi, enrolment: KubeEnrolment
) -> None:
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    renewed = replace(STATE, serial="03" * 20)
    enrolment.watch(renewed, CREDENTIAL, BUNDLE)
    assert len(api.applied) == 2
    api.put(TRUST, trust(2))
    enrolment.watch(replace(renewed, generation=1), CREDENTIAL, BUNDLE)
    assert len(api.applied) == 2
    api.cut_watches()  # the server that comes back may be an older one
    while not enrolment._follower.failures:
        _hear(enrolment, 1, renewed)
    _hear(enrolment, 1, renewed)
    assert len(api.applied) == 3
    assert api.applied[-1][2]["status"]["trust"]["generation"] == 1


def test_that_the_server_is_back_is_news(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    """Else a node would say for another minute that it hears nobody."""
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    api.await_asked(1, "GET", "watch=1")
    until = time.monotonic() + kube_io.HOLD_SECONDS / 2
    while not enrolment._follower.failures:  # it may have asked, and not be answered yet
        assert time.monotonic() < until, "the watch was not cut"
        api.cut_watches()
        time.sleep(0.01)
    answer = _hear(enrolment, 1)
    assert answer.generation == 1
    assert answer.held_seconds < kube_io.HOLD_SECONDS / 2


def test_what_an_object_lost_is_confirmed_anew(
    api: FakeKubeApi, enrolment: KubeEnrolment, place: Place
) -> None:
    """Who has confirmed nothing counts as away, and a roll-over does not wait for it."""
    connect = KubeConnector(place).connect
    reporter = Reporter(place, connect, SystemClock(), enrolment.confirm_anew)
    reporter.tell(node_status(PeerState.UP))

    def said() -> list[str]:
        reporter._written_at = float("-inf")  # the heartbeat is due
        reporter._write_if_due()
        api.put(TRUST, trust(api.version))  # the watch ends at once
        enrolment.watch(STATE, CREDENTIAL, BUNDLE)
        return [manager for _, manager, _ in api.applied]

    first = said()
    assert first == ["geneveil-agent", "geneveil-agent-trust"]
    assert said() == [*first, "geneveil-agent"]
    api.put(NODE, {"metadata": {"name": "node1"}})  # it was deleted, and made again
    assert said()[3:] == first


def test_a_held_watch_ends_when_it_is_closed(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    failures: list[GeneveilError] = []

    def hold() -> None:
        try:
            enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE)
        except GeneveilError as error:
            failures.append(error)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    api.await_asked(1, "GET", "watch=1")
    for _ in range(120):  # it may have asked, and not wait yet
        enrolment.close()
        holder.join(1)
        if not holder.is_alive():
            break
    assert failures, "the watch is held still"
    assert isinstance(failures[0], OperatorUnreachableError)
    # A close that met nobody does not end the next one.
    enrolment.close()
    assert enrolment.watch(STATE, CREDENTIAL, BUNDLE).generation == 1


def test_what_was_missed_is_read_anew(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    api.await_asked(1, "GET", "watch=1")
    api.forgets = True  # the next watch is told 410
    api.cut_watches()
    api.put(TRUST, trust(5))
    assert _hear(enrolment, 1).generation == 5
    with api.changed:
        assert api.changed.wait_for(lambda: not api.forgets, 120)
    api.put(TRUST, trust(6))
    assert _hear(enrolment, 5).generation == 6


def _hear(enrolment: KubeEnrolment, generation: int, state: WatchState = STATE) -> WatchAnswer:
    """The next answer. A cut is told if it meets somebody who waits; either will do."""
    while True:
        with contextlib.suppress(OperatorUnreachableError):
            return enrolment.watch(replace(state, generation=generation), CREDENTIAL, BUNDLE)


def test_a_bookmark_moves_the_version_on(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    api.await_asked(1, "GET", "watch=1")
    api.bookmark(TRUST)
    api.put(TRUST, trust(2))
    assert enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE).generation == 2


def test_a_node_without_its_object_goes_on(
    api: FakeKubeApi, enrolment: KubeEnrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.remove(NODE)
    monkeypatch.setattr(kube_io, "UNCONFIRMED_HOLD_SECONDS", 0.1)
    assert enrolment.watch(STATE, CREDENTIAL, BUNDLE).generation == 1
    assert enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE).generation == 1
    assert not api.applied
    api.put(NODE, {"metadata": {"name": "node1"}})
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    assert len(api.applied) == 1


def test_a_deleted_or_senseless_config_map_changes_nothing(
    api: FakeKubeApi, enrolment: KubeEnrolment
) -> None:
    enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    api.await_asked(1, "GET", "watch=1")
    api.remove(TRUST)
    with pytest.raises(MissingError):
        enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE)
    with pytest.raises(OperatorUnreachableError, match="not published"):
        enrolment.fetch_bootstrap(b"")
    api.put(TRUST, {"metadata": {}, "data": {TRUST_KEY: "{}"}})
    with pytest.raises(TrustError, match="makes no sense"):
        enrolment.watch(replace(STATE, generation=1), CREDENTIAL, BUNDLE)


def test_a_node_of_the_old_authority_is_told_when_it_is_its_turn(
    api: FakeKubeApi, enrolment: KubeEnrolment
) -> None:
    wave = {"since": "2026-11-24T00:00:00Z", "seconds": 86400, "authority": "00" * 32}
    api.put(TRUST, trust(2, renewFrom="cd" * 32, wave=wave))
    turn = enrolment.watch(STATE, CREDENTIAL, BUNDLE).renew_after
    assert turn is not None
    assert NOW < turn < NOW + timedelta(days=1)
    api.put(TRUST, trust(3, renewFrom="cd" * 32))
    late = enrolment.watch(replace(STATE, generation=2), CREDENTIAL, BUNDLE).renew_after
    assert late is not None
    assert late <= NOW


def test_a_refusal_of_the_api_server_is_not_the_operators(
    api: FakeKubeApi, enrolment: KubeEnrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is told once it has lasted longer than an API server's start."""
    api.tokens = {"second"}
    for _ in range(2):
        with pytest.raises(OperatorUnreachableError):
            enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    monkeypatch.setattr(kube_io, "REFUSED_SECONDS", 0.0)
    with pytest.raises(TrustError, match="not accepted"):
        enrolment.renew(REQUEST, CREDENTIAL, BUNDLE)
    with pytest.raises(TrustError, match="not accepted"):
        enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    Path(api.access.token_file).write_text("second")
    assert enrolment.watch(STATE, CREDENTIAL, BUNDLE).generation == 1


def test_a_server_that_is_busy_away_or_another_is_told_apart(
    api: FakeKubeApi, enrolment: KubeEnrolment, place: Place, tmp_path: Path
) -> None:
    api.script.append((429, {"message": "too many"}, {"Retry-After": "7"}))
    with pytest.raises(OperatorUnreachableError) as raised:
        enrolment.fetch_bootstrap(b"")
    assert raised.value.retry_after_seconds == 7

    def of(access: KubeAccess) -> KubeEnrolment:
        other = replace(place, access=access)
        return KubeEnrolment(other, KubeConnector(other).connect)

    away = of(replace(place.access, server="https://127.0.0.1:1"))
    for ask in (
        lambda: away.fetch_bootstrap(b""),
        lambda: away.renew(REQUEST, CREDENTIAL, BUNDLE),
        lambda: away.watch(STATE, CREDENTIAL, BUNDLE),
    ):
        with pytest.raises(OperatorUnreachableError, match="no answer"):
            ask()
    other = tmp_path / "other.crt"
    stranger = of(replace(place.access, authority=Material(path=str(other))))
    with pytest.raises(ConfigError, match="can't be read"):
        stranger.fetch_bootstrap(b"")
    other.write_bytes(BUNDLE)
    with pytest.raises(TrustError, match="not this cluster's API server"):
        stranger.fetch_bootstrap(b"")
    # Once the right file is there it is used, without a restart.
    other.write_bytes((tmp_path / "ca.crt").read_bytes())
    os.utime(other, (1, 1))
    assert stranger.fetch_bootstrap(b"").trust_bundle_pem == BUNDLE


def test_all_that_concerns_a_node_is_told(api: FakeKubeApi, enrolment: KubeEnrolment) -> None:
    api.put(TRUST, trust(1, expiredChassis=["node9"], reissue=["02" * 20]))
    answer = enrolment.watch(STATE, CREDENTIAL, BUNDLE)
    assert answer.expired_chassis == ("node9",)
    assert answer.reissue == ("02" * 20,)
    assert answer.settings is not None
