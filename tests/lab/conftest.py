"""Labs for tests: what guests are made of, and running labs that tests of a module share.

A test that fails keeps its evidence: the data folder of its lab (disks, logs, capture) is under
out/tests/ and stays there; the failure's message says where.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab.bringup import Running, bring_up
from lab.build import artifacts, kubernetes, machine
from lab.deadline import PATIENCE
from lab.lifecycle import LabConfig, Programs, Supervised, lay_out
from lab.shared_folder import plan_cluster
from lab.topology import IPV6_SUBNETS, Subnets

os.environ[PATIENCE] = "4"
"""Here it is judged whether things happen; how fast they do is judged by `make soak`."""

T = TypeVar("T")
Await = Callable[[Coroutine[Any, Any, T]], T]
DATA_DIR = Path("out/tests")


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Kernel, root file system, packages and code; built if they are not there."""
    built = artifacts.ensure()
    return Programs(built.kernel, built.rootfs, built.site, built.code)


@pytest.fixture(scope="session")
def kube_programs(programs: Programs) -> Programs:
    """The same, with an API server."""
    return replace(programs, kube=kubernetes.ensure())


@pytest.fixture(scope="session")
def transport() -> str:
    return "raw" if machine.read_machine().tun_refused else "tap"


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all tests, because labs and their connections outlive a test."""
    with asyncio.Runner() as one:
        yield one


OpenLab = Callable[..., AbstractContextManager[Running]]


@pytest.fixture(scope="session")
def open_lab(programs: Programs, transport: str, runner: asyncio.Runner) -> OpenLab:
    """Boot a cluster for the length of a with block."""

    @contextmanager
    def booted(
        name: str,
        *,
        nodes: int = 2,
        ipsec: bool,
        encapsulation: str = "Auto",
        ipv6: bool = False,
        over: str = transport,
    ) -> Iterator[Running]:
        subnets = IPV6_SUBNETS if ipv6 else Subnets()
        config = LabConfig(name, nodes, ipsec, encapsulation, subnets, DATA_DIR)
        cluster = plan_cluster(ipsec, encapsulation, ipv6=ipv6)
        layout = lay_out(config, programs, cluster, over)
        lab = Supervised(layout)
        running = Running(layout, lab)
        try:
            runner.run(lab.start())
            runner.run(bring_up(running, lambda text: None))
            yield running
        finally:
            running.close()
            runner.run(lab.stop())

    return booted


@pytest.fixture(scope="session")
def open_kube_lab(kube_programs: Programs, transport: str, runner: asyncio.Runner) -> OpenLab:
    """Boot a cluster with IPsec that enrols through a Kubernetes API server."""

    @contextmanager
    def booted(name: str, *, nodes: int = 3) -> Iterator[Running]:
        config = LabConfig(name, nodes, True, data_dir=DATA_DIR, kubernetes=True)
        cluster = plan_cluster(True, "Auto", kubernetes=True)
        lab = Supervised(lay_out(config, kube_programs, cluster, transport))
        running = Running(lab.layout, lab)
        try:
            runner.run(lab.start())
            runner.run(bring_up(running, lambda text: None))
            yield running
        finally:
            running.close()
            runner.run(lab.stop())

    return booted
