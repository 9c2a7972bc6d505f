"""The operator as a process on this machine, and a node's client that talks to it over TLS."""

import contextlib
import http.client
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from geneveil.enroll.io import EnrolmentClient, verified_context
from geneveil.enroll.port import JoinToken
from geneveil.enroll.wire import enrol_request_document
from geneveil.model.clock import SystemClock
from geneveil.model.cluster import KeyType, Mode
from geneveil.model.errors import OperatorUnreachableError, RefusedError, TrustError
from geneveil.model.names import OPERATOR_IDENTITY
from geneveil.pki.keyfiles import NamedBytes, parse_identity
from geneveil.pki.keys import build_request, encode_key, make_key
from tests.forgery import Forgery, pem_of, with_broken_signature
from tests.operator_process import (
    CONFIG,
    DEADLINE_SECONDS,
    Operator,
    geneveil,
    init,
    running,
    start,
)

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def operator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    with running(tmp_path_factory.mktemp("operator")) as made:
        yield made


def post(operator: Operator, body: bytes, content_type: str = "application/json") -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection("127.0.0.1", operator.port, context=context)
    connection.request("POST", "/v1/enrol", body, {"Content-Type": content_type})
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def test_a_node_enrols(operator: Operator, tmp_path: Path) -> None:
    token, client = operator.token("6b2f1c1e-8a55-4c7e-9f1c-3f0a4b7d2f10"), operator.client
    bootstrap = client.fetch_bootstrap(token.ca_pin)
    assert bootstrap.settings.mode is Mode.FULL
    key = make_key(bootstrap.settings.certificates.key_type)
    csr = build_request(key, token.chassis)
    enrolment = client.enrol(token, csr, bootstrap.trust_bundle_pem)
    assert enrolment.settings == bootstrap.settings
    assert enrolment.trust_bundle_pem == bootstrap.trust_bundle_pem
    identity = parse_identity(
        NamedBytes("key.pem", encode_key(key)),
        NamedBytes("cert.pem", enrolment.certificate_pem),
        NamedBytes("ca.pem", enrolment.trust_bundle_pem),
        token.chassis,
        SystemClock().now(),
    )
    (listed,) = (
        row for row in operator.read("list")["certificates"] if row["chassis"] == token.chassis
    )
    assert listed["serial"] == identity.serial
    assert listed["status"] == "valid"
    assert operator.last_entry()["event"] == "issued"
    assert operator.last_entry()["remote"] == "127.0.0.1"
    assert client.enrol(token, csr, bootstrap.trust_bundle_pem) == enrolment
    assert operator.last_entry()["event"] == "issued-again"


def wrong(operator: Operator) -> JoinToken:
    token = operator.token()
    return JoinToken(token.chassis, token.identifier, bytes(32), token.ca_pin)


def expired(operator: Operator) -> JoinToken:
    token = operator.token(expires="1s")
    record = operator.read("tokens")["tokens"][-1]
    deadline = time.monotonic() + DEADLINE_SECONDS
    while record["status"] != "expired":
        assert time.monotonic() < deadline, record
        record = operator.read("tokens")["tokens"][-1]
    return token


def used(operator: Operator) -> JoinToken:
    token = operator.token()
    bundle = operator.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    own = build_request(make_key(KeyType.ECDSA_P256), "node-1")
    operator.client.enrol(token, own, bundle)
    return token


def fresh(operator: Operator) -> JoinToken:
    return operator.token()


REFUSALS: dict[str, tuple[Callable[[Operator], JoinToken], Callable[[], str], str]] = {
    "wrong token": (wrong, lambda: Forgery().pem(), "token-unknown"),
    "expired token": (expired, lambda: Forgery().pem(), "token-expired"),
    "used token": (used, lambda: Forgery().pem(), "token-used"),
    "other node's token": (
        lambda operator: operator.token("node-2"),
        lambda: Forgery().pem(),
        "token-other-node",
    ),
    "other common name": (
        fresh,
        lambda: Forgery(common_names=["node-2"]).pem(),
        "csr-common-name",
    ),
    "extra alternative name": (
        fresh,
        lambda: Forgery(names=[x509.DNSName("node-1"), x509.DNSName("node-2")]).pem(),
        "csr-alternative-name",
    ),
    "P-224": (
        fresh,
        lambda: Forgery(key=ec.generate_private_key(ec.SECP224R1())).pem(),
        "csr-key-type",
    ),
    "RSA 1024": (
        fresh,
        lambda: Forgery(
            key=rsa.generate_private_key(65537, 1024)  # noqa: S505
        ).pem(),
        "csr-key-type",
    ),
    "RSA 2048": (
        fresh,
        lambda: Forgery(key=rsa.generate_private_key(65537, 2048)).pem(),
        "csr-key-type",
    ),
    "broken signature": (
        fresh,
        lambda: pem_of(with_broken_signature(Forgery().der())),
        "csr-signature",
    ),
    "no request": (fresh, lambda: "hello", "csr-malformed"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_node_is_refused(operator: Operator, case: str) -> None:
    make, ask, reason = REFUSALS[case]
    token = make(operator)
    bundle = operator.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    before = operator.read("list")
    with pytest.raises(RefusedError) as caught:
        operator.client.enrol(token, ask().encode(), bundle)
    assert caught.value.reason == reason
    entry = operator.last_entry()
    assert (entry["event"], entry["reason"]) == ("refused", reason)
    assert operator.read("list") == before


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"x" * 20_000, "application/json", 413, "request-too-large"),
        (b"hello", "application/json", 400, "request-not-json"),
        (b"[]", "application/json", 400, "request-shape"),
        (b"{}", "text/plain", 415, "request-content-type"),
    ],
)
def test_bad_bodies(
    operator: Operator, body: bytes, content_type: str, status: int, reason: str
) -> None:
    answer = post(operator, body, content_type)
    assert (answer[0], answer[1]["reason"]) == (status, reason)
    assert operator.last_entry()["reason"] == reason


def test_nothing_tells_what_the_server_is_made_of(operator: Operator) -> None:
    token = operator.token()
    bundle = operator.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    for request in (b"JUNK\r\n\r\n", b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"):
        with (
            socket.create_connection(("127.0.0.1", operator.port)) as plain,
            verified_context(bundle).wrap_socket(plain, server_hostname=OPERATOR_IDENTITY) as tls,
        ):
            tls.sendall(request)
            answer = b""
            while chunk := tls.recv(4096):
                answer += chunk
        assert answer.startswith((b"HTTP/1.0 4", b"HTTP/1.1 4"))
        assert not re.search(rb"(?i)python|aiohttp|traceback|File \"", answer)


def test_tls_1_2_is_refused(operator: Operator) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", operator.port)) as plain,
        context.wrap_socket(plain) as tls,
    ):
        assert tls.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(("127.0.0.1", operator.port)) as plain,
        pytest.raises(ssl.SSLError),
    ):
        context.wrap_socket(plain)


def test_another_operator_is_not_believed(operator: Operator, tmp_path: Path) -> None:
    with running(tmp_path) as other:
        token = operator.token()
        with pytest.raises(TrustError, match="not the operator that the join token names"):
            other.client.fetch_bootstrap(token.ca_pin)
        bundle = operator.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
        with pytest.raises(TrustError, match="not to be believed"):
            other.client.enrol(token, b"x", bundle)


def test_a_node_can_not_pose_as_the_operator(operator: Operator, tmp_path: Path) -> None:
    token = operator.token("node-7")
    bundle = operator.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    key = make_key(KeyType.ECDSA_P256)
    enrolment = operator.client.enrol(token, build_request(key, "node-7"), bundle)
    (tmp_path / "stolen.pem").write_bytes(encode_key(key) + enrolment.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "stolen.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pose() -> None:
            with contextlib.suppress(OSError):  # an SSLError is one
                context.wrap_socket(listener.accept()[0], server_side=True).close()

        poser = threading.Thread(target=pose)
        poser.start()
        client = EnrolmentClient(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(TrustError, match="not to be believed"):
            client.enrol(token, b"x", bundle)
        poser.join()


def test_nobody_answers() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody else gets the port meanwhile
        port = deaf.getsockname()[1]
        with pytest.raises(OperatorUnreachableError) as caught:
            EnrolmentClient(f"https://127.0.0.1:{port}").fetch_bootstrap(bytes(32))
    assert caught.value.retryable
    assert "Connection refused" in caught.value.render()


def test_somebody_else_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with contextlib.suppress(OSError), listener.accept()[0] as connection:
                connection.sendall(b"220 mail.example ESMTP\r\n")

        greeter = threading.Thread(target=greet)
        greeter.start()
        client = EnrolmentClient(f"https://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(OperatorUnreachableError):
            client.fetch_bootstrap(bytes(32))
        greeter.join()


def test_killed_after_issuing_it_gives_the_same_certificate_again(tmp_path: Path) -> None:
    state = init(tmp_path)
    first = start(state)
    token = first.token()
    bundle = first.client.fetch_bootstrap(token.ca_pin).trust_bundle_pem
    csr = build_request(make_key(KeyType.ECDSA_P256), "node-1")
    body = json.dumps(enrol_request_document(token, csr)).encode()
    head = f"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    with (
        socket.create_connection(("127.0.0.1", first.port)) as plain,
        verified_context(bundle).wrap_socket(plain, server_hostname=OPERATOR_IDENTITY) as tls,
    ):
        tls.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not first.read("list")["certificates"]:
            assert time.monotonic() < deadline, "no certificate was issued"
        first.stop(signal.SIGKILL)
    second = start(state)
    try:
        enrolment = second.client.enrol(token, csr, bundle)
        (row,) = second.read("list")["certificates"]
        certificate = x509.load_pem_x509_certificate(enrolment.certificate_pem)
        assert f"{certificate.serial_number:040x}" == row["serial"]
        assert [entry["event"] for entry in second.read("log")["entries"]][-2:] == [
            "issued",
            "issued-again",
        ]
        assert second.read("log", "--check")["whole"]
    finally:
        second.stop()


def test_it_stops_cleanly_and_runs_once(tmp_path: Path) -> None:
    state = init(tmp_path)
    for number, status in ((signal.SIGTERM, 0), (signal.SIGINT, 130)):
        operator = start(state)
        again = operator.command("run", expect=2)
        assert "is running on" in again.stderr
        assert operator.stop(number) == status
    (only,) = json.loads(geneveil("list", "--all", "--state-dir", str(state), "-o", "json").stdout)[
        "certificates"
    ]
    assert only["kind"] == "operator"


def test_a_cluster_without_ipsec_has_nothing_to_run(tmp_path: Path) -> None:
    state = init(tmp_path, mode="Disabled")
    done = geneveil("run", "--state-dir", str(state))
    assert "IPsec is off" in done.stdout
    refused = geneveil("token", "node-1", "--state-dir", str(state), expect=1)
    assert "IPsec off" in refused.stderr


def test_a_changed_mode_is_refused(tmp_path: Path) -> None:
    state, config = init(tmp_path, mode="Disabled"), tmp_path / "cluster.yaml"
    config.write_text(CONFIG.format(mode="Full"))
    arguments = ("init", "--config", str(config), "--state-dir", str(state))
    for extra in ((), ("--dry-run",)):
        done = geneveil(*arguments, *extra, expect=1)
        assert "only while the cluster is installed" in done.stderr
    assert "IPsec is off" in geneveil("run", "--state-dir", str(state)).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("token", "a*b"), "is no chassis name"),
        (("token", "central"), "a name of the operator itself"),
        (("token", "GENEVEIL-operator"), "a name of the operator itself"),
        (("token", "n", "--expires", "1y"), "--expires '1y' is no time to expiry"),
        (("token", "n", "--url", "http://x"), "--url 'http://x' is no URL"),
        (("run", "--listen", "nowhere"), "is no address and port"),
        (("init", "--config", "missing.yaml"), "missing.yaml can't be read"),
    ],
)
def test_bad_arguments(operator: Operator, arguments: tuple[str, ...], words: str) -> None:
    command = [sys.executable, "-m", "geneveil", "operator", *arguments]
    command += ["--state-dir", str(operator.state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_address_that_is_taken(operator: Operator, tmp_path: Path) -> None:
    state = init(tmp_path)
    listen = f"127.0.0.1:{operator.port}"
    done = geneveil("run", "--listen", listen, "--state-dir", str(state), expect=2)
    assert "can't listen on 127.0.0.1" in done.stderr
