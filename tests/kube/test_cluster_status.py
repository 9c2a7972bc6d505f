"""`geneveil status --cluster` on a real API server."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from lab.kube.cluster import await_established
from lab.kube.server import ApiServer
from tests.kube.operator_bench import WAIT_SECONDS

CRDS = Path(__file__).parents[2] / "deploy" / "crds"


def status(server: ApiServer, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "geneveil", "status", "--cluster"]
    command += ["--kubeconfig", str(server.kubeconfig()), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=WAIT_SECONDS)


def hold_lease(server: ApiServer) -> None:
    """As an operator does that leads."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    lease = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "geneveil-operator", "namespace": "geneveil-system"},
        "spec": {"holderIdentity": "one", "leaseDurationSeconds": 15, "renewTime": now},
    }
    server.kubectl_json("create", "-f", "-", stdin=lease)


def test_from_not_installed_to_well(own_api_server: ApiServer) -> None:
    server = own_api_server
    done = status(server)
    assert done.returncode == 2
    assert "geneveil is not installed in this cluster" in done.stderr
    assert server.kubectl("apply", "--server-side", "-f", str(CRDS)).returncode == 0
    await_established(server)
    done = status(server)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no ClusterIPsec" in done.stdout
    head = {"apiVersion": "geneveil.io/v1alpha1"}
    switch = {"kind": "ClusterIPsec", "metadata": {"name": "cluster"}, "spec": {"mode": "Full"}}
    server.kubectl_json("create", "-f", "-", stdin=head | switch)
    node = {"kind": "NodeIPsec", "metadata": {"name": "worker-1"}, "spec": {}}
    server.kubectl_json("create", "-f", "-", stdin=head | node)
    done = status(server)
    assert done.returncode == 1
    assert "worker-1" in done.stdout
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    conditions = [
        {"type": kind, "status": "True", "reason": "X", "message": "x", "lastTransitionTime": now}
        for kind in ("Ready", "CertificateValid", "GuardInPlace")
    ]
    told = {"peersUp": 2, "peersTotal": 2, "heartbeatTime": now, "conditions": conditions}
    patch = ("patch", "--subresource=status", "--type=merge")
    body = json.dumps({"status": told | {"guard": "InPlace", "chassis": "worker-1"}})
    assert server.kubectl(*patch, "nodeipsec", "worker-1", "-p", body).returncode == 0
    available = [{**conditions[0], "type": "Available"}]
    body = json.dumps({"status": {"conditions": available}})
    assert server.kubectl(*patch, "clusteripsec", "cluster", "-p", body).returncode == 0
    done = status(server)
    assert done.returncode == 1
    assert "no operator leads: there is no Lease of one" in done.stdout
    hold_lease(server)
    done = status(server, "-o", "json")
    assert done.returncode == 0, done.stdout
    document = json.loads(done.stdout)
    assert document["well"]
    (line,) = document["nodes"]
    assert (line["node"], line["peersUp"], line["guard"]) == ("worker-1", 2, "InPlace")
    server.kill_api_server()
    done = status(server)
    assert done.returncode == 1
    assert "no answer from the API server" in done.stderr
