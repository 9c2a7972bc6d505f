"""Kubeconfigs and errors of the API server, as values."""

import base64
from typing import Any

import pytest

from geneveil.kube.access import Material, parse_kubeconfig, pod_access
from geneveil.kube.errors import (
    MOST_LATER_SECONDS,
    ApiRefusedError,
    ApiUnavailableError,
    ConflictError,
    ExistsError,
    GoneError,
    MissingError,
    explain_status,
)
from geneveil.model.errors import ConfigError, GeneveilError

STATUS = b'{"kind": "Status", "reason": "%s", "message": "said so"}'


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (404, b"NotFound", MissingError),
        (409, b"Conflict", ConflictError),
        (409, b"AlreadyExists", ExistsError),
        (410, b"Expired", GoneError),
        (429, b"TooManyRequests", ApiUnavailableError),
        (500, b"InternalError", ApiUnavailableError),
        (504, b"Timeout", ApiUnavailableError),
        (401, b"Unauthorized", ApiRefusedError),
        (403, b"Forbidden", ApiRefusedError),
        (422, b"Invalid", ApiRefusedError),
    ],
)
def test_what_an_answer_means(status: int, reason: bytes, expected: type[GeneveilError]) -> None:
    error = explain_status(status, STATUS % reason, "", "get nodes/a")
    assert type(error) is expected
    assert "said so" in error.render()
    assert error.retryable is (status in (409, 410, 429, 500, 504))


def test_a_busy_server_says_when_to_come_back() -> None:
    error = explain_status(429, b"", "7", "get nodes/a")
    assert isinstance(error, ApiUnavailableError)
    assert error.retry_after_seconds == 7.0


@pytest.mark.parametrize("asked", ["3600", "9" * 400])
def test_nobody_is_sent_away_for_long(asked: str) -> None:
    error = explain_status(503, b"closed for maintenance", asked, "list nodes")
    assert isinstance(error, ApiUnavailableError)
    assert error.retry_after_seconds == MOST_LATER_SECONDS


def test_a_body_that_is_no_status_is_shown_escaped() -> None:
    assert "\\x1b[31mbad" in explain_status(502, b"\x1b[31mbad", "", "get nodes/a").render()


def _kubeconfig(**user: object) -> dict[str, Any]:
    cluster = {"server": "https://192.0.2.1:6443", "certificate-authority": "ca.crt"}
    return {
        "current-context": "one",
        "contexts": [{"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "n"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }


def test_a_kubeconfig_is_read_with_files_beside_it() -> None:
    access = parse_kubeconfig(_kubeconfig(tokenFile="token"), "conf/kubeconfig")
    assert access.server == "https://192.0.2.1:6443"
    assert access.authority == Material(path="conf/ca.crt")
    assert access.token_file == "conf/token"
    assert access.namespace == "n"


def test_secrets_are_not_shown() -> None:
    key = base64.b64encode(b"very secret").decode()
    access = parse_kubeconfig(_kubeconfig(token="secret", **{"client-key-data": key}), "kubeconfig")
    assert access.key.data == b"very secret"
    assert "secret" not in repr(access)
    assert "secret" not in repr(access.key)


def test_a_server_that_nobody_can_prove_is_refused() -> None:
    document = _kubeconfig(token="t")
    document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
    with pytest.raises(ConfigError, match="insecure-skip-tls-verify is not accepted"):
        parse_kubeconfig(document, "kubeconfig")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"current-context": "two"}, "there is no context 'two'"),
        ({"clusters": []}, "there is no cluster 'c'"),
        ({"users": None}, "there is no user 'u'"),
        ({"current-context": None}, "current-context is not set"),
        ({"current-context": 3}, "current-context is not text"),
    ],
)
def test_what_is_missing_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_kubeconfig({**_kubeconfig(token="t"), **change}, "kubeconfig")


def test_a_pod_finds_its_server() -> None:
    environment = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"}
    access = pod_access(environment, "geneveil-system\n", "secrets")
    assert access.server == "https://[fd00::1]:443"
    assert access.namespace == "geneveil-system"
    with pytest.raises(ConfigError, match="no Pod"):
        pod_access({}, "", "secrets")
