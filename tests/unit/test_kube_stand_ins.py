"""What stands in for an API server in tests does what a real one does.

The real one is tried with the very same cases in tests/kube/test_port_contract.py.
"""

from pathlib import Path

import pytest

from geneveil.kube.io import KubeClient
from geneveil.kube.port import Document
from tests.fake_kube_api import FakeKubeApi, fake_kube_api
from tests.kube_port_contract import CASES, NAMESPACE, Subject, cases_for
from tests.memory_kube_api import Memory

OF_MEMORY = frozenset({"create", "read", "replace", "delete", "list_all", "apply"})
OF_FAKE = frozenset({"create", "read", "apply", "watch", "gone"})


@pytest.mark.parametrize("case", cases_for(OF_MEMORY))
def test_the_memory_does_as_an_api_server(case: str) -> None:
    def unused(*arguments: object) -> None:
        raise AssertionError("nothing watches it")

    CASES[case].check(Subject(Memory(), OF_MEMORY, unused, unused), case)


def _put(api: FakeKubeApi, path: str, document: Document) -> None:
    api.put(path, document)


@pytest.mark.parametrize("case", cases_for(OF_FAKE))
def test_the_fake_does_as_an_api_server(case: str, tmp_path: Path) -> None:
    maps = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
    with fake_kube_api(tmp_path) as api:
        client = KubeClient(api.access)
        subject = Subject(
            client,
            OF_FAKE,
            change=lambda one: _put(api, f"{maps}/{one['metadata']['name']}", one),
            remove=lambda name: api.remove(f"{maps}/{name}"),
            forget=lambda: setattr(api, "forgets", True),
        )
        CASES[case].check(subject, case)
        client.close()
