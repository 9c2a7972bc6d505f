"""An operator whose clock is years away from the API server's."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from geneveil.kube.io import open_client
from geneveil.kube.kinds import NODES
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.server import ApiServer
from tests.kube.operator_bench import (
    TOP,
    FakeAgent,
    install,
    read_trust,
    replica,
    switch_on,
    wait_for,
)

NEAR = timedelta(hours=1)


def test_the_servers_time_is_known_by_its_answers(api_server: ApiServer) -> None:
    client = open_client(api_server.kubeconfig())
    wrong = datetime(2031, 1, 1, tzinfo=UTC)
    assert client.server_now(wrong) == wrong
    assert client.find(NODES, "nobody") is None
    assert abs(client.server_now(wrong) - datetime.now(UTC)) < NEAR
    client.close()


@pytest.mark.parametrize("days", [1650, -1650])
def test_a_wrong_clock_keeps_no_node_out(
    kube_programs: Programs, tmp_path: Path, days: int
) -> None:
    ahead = timedelta(days=days)
    with ApiServer.start(tmp_path / "kube", kube_programs) as server:
        make_namespace(server)
        install(server, kube_programs.helm)
        admin = open_client(server.kubeconfig())
        switch_on(admin)
        with replica(server, tmp_path, "one", days_ahead=days) as operator:
            agent = FakeAgent(server, "a", "chassis-a")
            first = x509.load_pem_x509_certificate(agent.enrol())
            second = x509.load_pem_x509_certificate(agent.enrol())
            for one in (first, second):
                age = datetime.now(UTC) + ahead - one.not_valid_before_utc
                assert abs(age) < timedelta(days=2), "a certificate's time is the operator's own"
            assert not operator.said("csr-too-old")
            _check_wish(server, admin, days)


def _check_wish(server: ApiServer, admin: Any, days: int) -> None:
    """A person whose clock is as wrong in the other direction asks for another authority."""
    program = [sys.executable, "-m", "tests.kube.skewed_program", str(-days)]
    command = [*program, "operator", "ca", "rotate", "--kubernetes", "--wave", "1s"]
    done = subprocess.run(
        [*command, "--kubeconfig", str(server.kubeconfig())],
        env={**os.environ, "PYTHONPATH": f"{TOP / 'src'}:{TOP}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wait_for("a second authority", lambda: read_trust(admin)["trustBundle"].count("BEGIN") == 2)
