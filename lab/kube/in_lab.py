"""The API server of a lab's cluster: laid out on disk, and spoken to from outside the lab.

It runs beside the guests, in the lab's network namespace, at the host's own end of the management
wire. There is no kubelet: `lab.kube.kubelets` does what kubelets do about tokens.
"""

import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

from lab.kube import objects
from lab.kube.arguments import Layout, Programs, api_server_command, etcd_command
from lab.kube.server import ApiServer, prepare
from lab.spec import Service
from lab.topology import API_SERVER_PORT, CENTRAL, Topology

FOLDER = "kube"
OPERATOR_REPLICAS = 2
GUEST_FOLDER = "/disk/kube"
PODS_MADE = "pods-made"
ETCD, API_SERVER, KUBELETS = "etcd", "kube-apiserver", "kubelets"


def kube_layout(data_dir: Path, topology: Topology) -> Layout:
    """Where the lab's API server keeps everything, and where it listens."""
    return Layout(data_dir / FOLDER, str(topology.witness_address.ip), API_SERVER_PORT)


def lay_out_kube(data_dir: Path, topology: Topology, programs: Programs) -> tuple[Service, ...]:
    """Write keys, kubeconfigs and what guests need; what the supervisor is to run."""
    layout = kube_layout(data_dir, topology)
    prepare(layout)
    server = ApiServer(layout, programs)
    for guest in topology.guests:
        folder = data_dir / guest / "disk" / FOLDER
        folder.mkdir(parents=True)
        shutil.copy(server.authority, folder / "ca.crt")
    central = data_dir / CENTRAL / "disk" / FOLDER
    shutil.copy(server.kubeconfig(), central / "admin.kubeconfig")
    pods = []
    for node in topology.nodes:
        server.node_kubeconfig(node.name)
        token = data_dir / node.name / "disk" / FOLDER / "token"
        pods.append(_pod(node.name, objects.AGENT, f"{objects.AGENT}-{node.name}", token))
    for replica in range(OPERATOR_REPLICAS):
        token = central / f"operator-{replica}.token"
        on = topology.nodes[replica].name
        pods.append(_pod(on, objects.OPERATOR, f"{objects.OPERATOR}-{replica}", token))
        text = operator_kubeconfig(layout.url, f"operator-{replica}.token")
        (central / f"operator-{replica}.kubeconfig").write_text(text)
    plan = {
        "layout": {"folder": str(layout.folder), "address": layout.address, "port": layout.port},
        "programs": {name: str(path) for name, path in asdict(programs).items()},
        "pods": pods,
    }
    (layout.folder / "kubelets.json").write_text(json.dumps(plan, indent=1))
    return _services(layout, programs)


def _pod(node: str, account: str, name: str, token: Path) -> dict[str, str]:
    return {"node": node, "account": account, "name": name, "token": str(token)}


def _services(layout: Layout, programs: Programs) -> tuple[Service, ...]:
    folder = str(layout.folder)
    kubelets = (sys.executable, "-m", "lab.kube.kubelets", str(layout.folder / "kubelets.json"))
    top = str(Path(__file__).parents[2])
    return (
        Service(ETCD, tuple(etcd_command(programs, layout)), folder, f"{folder}/etcd.log"),
        Service(
            API_SERVER,
            tuple(api_server_command(programs, layout)),
            folder,
            f"{folder}/kube-apiserver.log",
        ),
        Service(KUBELETS, kubelets, top, f"{folder}/kubelets.log"),
    )


def operator_kubeconfig(url: str, token: str) -> str:
    """What a Pod of the operator has, as a file in its guest; names are relative to it."""
    cluster = {"server": url, "certificate-authority": "ca.crt"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": "operator", "user": {"tokenFile": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "operator"}}],
        "current-context": "lab",
    }
    return json.dumps(document, indent=1) + "\n"


def from_outside(
    data_dir: Path, run_dir: Path, topology: Topology, programs: Programs
) -> ApiServer:
    """The running API server of a lab: kubectl is run inside the lab's network namespace."""
    server = ApiServer(kube_layout(data_dir, topology), programs)
    pid = (run_dir / "pid").read_text().strip()
    user = () if os.geteuid() == 0 else ("--user", "--preserve-credentials")
    server.prefix = ("nsenter", "--target", pid, "--net", *user)
    return server
