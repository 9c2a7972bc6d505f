"""Whom the client believes: what the files say when it connects, not when it was made."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from geneveil.kube.access import KubeAccess, Material
from geneveil.kube.errors import ApiUnavailableError, ConflictError
from geneveil.kube.io import KubeClient
from geneveil.kube.kinds import NODES
from geneveil.model.errors import ConfigError, GeneveilError, TrustError
from geneveil.operator.kubernetes.elector.loop import Elector
from geneveil.operator.kubernetes.process.loop import (
    DISTRUST_SECONDS,
    KubernetesOperator,
    KubernetesTerms,
)
from tests.fake_kube_api import FakeKubeApi, _certificate, fake_kube_api
from tests.memory_kube_api import Memory

NODE = "/api/v1/nodes/a"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeKubeApi]:
    with fake_kube_api(tmp_path) as served:
        served.put(NODE, {"metadata": {"name": "a"}})
        yield served


def _reconnects(client: KubeClient) -> None:
    """As after a pause in which the server ended what was kept."""
    for connection in client._rest._idle:
        connection.close()
    client._rest._idle.clear()


def test_another_authority_is_believed_without_a_restart(api: FakeKubeApi, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    served, (another, _) = file.read_bytes(), _certificate()
    file.write_bytes(another)
    client = KubeClient(api.access)
    with pytest.raises(TrustError, match="not this cluster's API server"):
        client.read(NODES, "a")
    file.write_bytes(served)
    assert client.read(NODES, "a")["metadata"]["name"] == "a"
    file.write_bytes(another)
    _reconnects(client)
    with pytest.raises(TrustError):
        client.read(NODES, "a")
    client.close()


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERT", None])
def test_a_file_that_is_no_good_changes_nothing(
    api: FakeKubeApi, tmp_path: Path, content: bytes | None
) -> None:
    client = KubeClient(api.access)
    file = tmp_path / "ca.crt"
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert client.read(NODES, "a")
    _reconnects(client)
    assert client.read(NODES, "a")
    client.close()
    with pytest.raises(ConfigError):
        KubeClient(api.access)


class Answering(Memory):
    """An API server that answers with what the test says."""

    error: GeneveilError | None = None

    def find(self, *arguments: object, **more: object) -> None:
        if self.error is not None:
            raise self.error


STRANGER, AWAY = TrustError("not this cluster's API server"), ApiUnavailableError("away")


@pytest.mark.parametrize(
    ("answers", "is_distrusted"),
    [
        ([STRANGER, STRANGER], True),
        ([STRANGER, AWAY], True),
        ([AWAY, AWAY], False),
        ([STRANGER, None], False),
        ([STRANGER, ConflictError("another was faster")], False),
    ],
)
def test_an_operator_that_nobody_answers_is_restarted(
    monkeypatch: pytest.MonkeyPatch,
    answers: list[GeneveilError | None],
    is_distrusted: bool,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(
        "geneveil.operator.kubernetes.elector.loop.time.monotonic", lambda: clock[0]
    )
    port = Answering()
    terms = KubernetesTerms(KubeAccess("https://127.0.0.1:1", Material(), "n"), "n", "signer")
    operator = KubernetesOperator(terms)
    operator._elector = Elector(port, "n", "me")
    assert operator.judge_health(False) == ""
    for answer in answers:
        port.error = answer
        operator._elector._try_step()
        clock[0] += DISTRUST_SECONDS + 1
    assert ("believed" in operator.judge_health(False)) is is_distrusted
