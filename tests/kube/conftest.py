"""One real API server that all tests of a process share, with our namespace in it.

A test that stops it, or that needs it empty, starts its own: `own_api_server`.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.build import kubernetes
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer


@pytest.fixture(scope="session")
def kube_programs() -> Programs:
    """etcd, kube-apiserver, kubectl and helm; built if they are not there."""
    return kubernetes.ensure()


@pytest.fixture(scope="session")
def api_server(
    kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """Shared: use names of your own for nodes and whatever else has no namespace."""
    with ApiServer.start(tmp_path_factory.mktemp("kube"), kube_programs) as server:
        make_namespace(server)
        yield server


@pytest.fixture
def own_api_server(kube_programs: Programs, tmp_path: Path) -> Iterator[ApiServer]:
    """For one test alone, which may stop, kill, restore it."""
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        yield server
