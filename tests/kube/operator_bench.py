"""The operator's processes and pretended agents, on a real API server."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from geneveil.kube.errors import ApiUnavailableError, ExistsError, MissingError
from geneveil.kube.io import KubeClient, open_client
from geneveil.kube.kinds import (
    CLUSTER_IPSECS,
    CONFIG_MAPS,
    NODE_IPSECS,
    SIGNING_REQUESTS,
)
from lab.kube.cluster import await_established, make_agent_pod, make_node, request_token
from lab.kube.server import ApiServer

TOP = Path(__file__).parents[2]
NAMESPACE = "geneveil-system"
SIGNER = "geneveil.io/node"
WAIT_SECONDS = 120.0
"""Only a failure takes as long: a test must hold on a machine with much else to do."""
TEMPLATES = ("rbac-operator", "rbac-agent", "policies")

_T = TypeVar("_T")


def wait_for(what: str, ask: Callable[[], _T], seconds: float = WAIT_SECONDS) -> _T:
    """Ask until the answer is true. An API server that cannot answer just now is asked again."""
    until = time.monotonic() + seconds
    while True:
        why = ""
        try:
            answer = ask()
            if answer:
                return answer
        except ApiUnavailableError as error:
            why = f", at last: {error.render()}"
        if time.monotonic() > until:
            raise AssertionError(f"{what}: not within {seconds:.0f} s{why}")
        time.sleep(0.05)


def install(server: ApiServer, helm: Path, more: tuple[str, ...] = ()) -> None:
    """CRDs, permissions and policies, as the chart makes them; no workloads.

    Args:
        more: further templates of the chart.
    """
    crds = server.kubectl("apply", "--server-side", "-f", str(TOP / "deploy/crds"))
    assert crds.returncode == 0, crds.stderr
    for name in ("clusteripsecs", "nodeipsecs"):
        crd = f"crd/{name}.geneveil.io"
        await_established(server, crd)
    shown = [f"--show-only=templates/{name}.yaml" for name in (*TEMPLATES, *more)]
    made = subprocess.run(
        [helm, "template", "geneveil", TOP / "deploy/chart/geneveil", "-n", NAMESPACE, *shown],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    done = server.kubectl("apply", "--server-side", "-f", "-", stdin=made.stdout)
    assert done.returncode == 0, done.stderr


def operator_kubeconfig(server: ApiServer) -> Path:
    """As the operator's Pod has it."""
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/geneveil-operator/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = server.post(path, request)["status"]["token"]
    return server.token_kubeconfig("operator", str(token))


@dataclass
class OperatorReplica:
    """One running `geneveil operator run --kubernetes`."""

    process: subprocess.Popen[bytes]
    log: Path

    def text(self) -> str:
        """What it said so far."""
        return self.log.read_text(errors="replace")

    def said(self, words: str) -> bool:
        """It said this."""
        return words in self.text()

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and how it ended."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=WAIT_SECONDS)


@contextmanager
def replica(
    server: ApiServer,
    folder: Path,
    name: str,
    dies: tuple[str, ...] = (),
    config: Path | None = None,
    days_ahead: int = 0,
    program_name: str = "geneveil",
) -> Iterator[OperatorReplica]:
    """Run one until the block ends.

    Args:
        dies: at which write it is killed; see `dying_operator`.
        config: instead of a kubeconfig with a token of its own.
        days_ahead: how wrong its clock is; see `skewed_program`.
        program_name: another program than the one that people run.
    """
    log = folder / f"{name}.log"
    program = ["tests.kube.dying_operator", *dies, "--"] if dies else [program_name]
    program = ["tests.kube.skewed_program", str(days_ahead)] if days_ahead else program
    command = [sys.executable, "-m", *program, "operator", "run", "--kubernetes"]
    command += ["--kubeconfig", str(config or operator_kubeconfig(server)), "--identity", name]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": f"{TOP / 'src'}:{TOP}"},
        )
        running = OperatorReplica(process, log)
        try:
            yield running
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def switch_on(admin: KubeClient, **spec: Any) -> None:
    """The ClusterIPsec of a test: on, with times that a test can wait for."""
    document = {"metadata": {"name": "cluster"}, "spec": {"mode": "Full", **spec}}
    admin.create(CLUSTER_IPSECS, document)


def make_csr(chassis: str, key: Any = None, **more: Any) -> bytes:
    """A CSR (PEM) as an agent makes it.

    Args:
        more: `names`: other SANs; `common_name`: another CN.
    """
    key = key or ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(name) for name in more.get("names", (chassis,))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, more.get("common_name", chassis))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@dataclass
class FakeAgent:
    """What one node's agent does on the API, with the real token of its Pod."""

    server: ApiServer
    node: str
    chassis: str
    pod: str = "agent"
    has_renewed: bool = False
    client: KubeClient = field(init=False)
    uid: str = field(init=False)

    def __post_init__(self) -> None:
        node = make_node(self.server, self.node, {"k8s.ovn.org/node-chassis-id": self.chassis})
        self.uid = str(node["metadata"]["uid"])
        pod = make_agent_pod(self.server, self.node, name=f"{self.pod}-{self.node}")
        token = request_token(self.server, pod)
        config = self.server.token_kubeconfig(f"agent-{self.node}", token)
        self.client = open_client(config)

    def ask(self, csr: bytes, **spec: Any) -> str:
        """Make the request, and give its name."""
        name = str(spec.pop("name", "")) or request_name(self.node, csr)
        document = {
            "metadata": {"name": name},
            "spec": {
                "request": base64.b64encode(csr).decode(),
                "signerName": SIGNER,
                "usages": ["ipsec tunnel"],
                **spec,
            },
        }
        self._insist(lambda: self.client.create(SIGNING_REQUESTS, document))
        return name

    def _insist(self, write: Callable[[], object]) -> None:
        """Write, again if nobody knows whether it was done, as an agent does."""
        is_again = False

        def attempt() -> bool:
            nonlocal is_again
            try:
                write()
            except ExistsError:
                if not is_again:
                    raise
            finally:
                is_again = True
            return True

        wait_for("the API server takes it", attempt)

    def enrol(self, seconds: float = WAIT_SECONDS) -> bytes:
        """A new key, and the certificate for it."""
        name = self.ask(make_csr(self.chassis))
        return wait_for(f"a certificate for {name}", lambda: self.certificate(name), seconds)

    def certificate(self, name: str) -> bytes:
        """The certificate of a request; empty while there is none."""
        status = self.client.read(SIGNING_REQUESTS, name).get("status") or {}
        return base64.b64decode(status.get("certificate") or "")

    def denial(self, name: str) -> str:
        """The reason of a denial; empty while there is none."""
        for condition in self.read(name).get("conditions") or ():
            if condition["type"] == "Denied":
                return str(condition["reason"])
        return ""

    def read(self, name: str) -> dict[str, Any]:
        """The status of a request."""
        status: dict[str, Any] = self.client.read(SIGNING_REQUESTS, name).get("status") or {}
        return status

    def confirm(self, **trust: Any) -> None:
        """Write NodeIPsec.status.trust."""
        document = {"metadata": {"name": self.node}, "status": {"trust": trust}}
        self._insist(
            lambda: self.client.apply(NODE_IPSECS, document, "geneveil-agent-trust", "status")
        )


def request_name(node: str, csr_pem: bytes) -> str:
    """As agents name their requests."""
    der = x509.load_pem_x509_csr(csr_pem).public_bytes(serialization.Encoding.DER)
    return f"geneveil-{node}-{hashlib.sha256(der).hexdigest()[:10]}"


def read_trust(admin: KubeClient) -> dict[str, Any]:
    """trust.json, or nothing while there is none."""
    import json

    try:
        document = admin.read(CONFIG_MAPS, "geneveil-trust", NAMESPACE)
    except MissingError:
        return {}
    found: dict[str, Any] = json.loads(document["data"]["trust.json"])
    return found


def revoked_serials(trust: dict[str, Any]) -> set[int]:
    """Every serial number that a CRL names."""
    found: set[int] = set()
    for pem in trust.get("crls", ()):
        found |= {entry.serial_number for entry in x509.load_pem_x509_crl(pem.encode())}
    return found


def condition(admin: KubeClient, kind: str) -> tuple[str, str, str]:
    """status, reason and message of a condition of the ClusterIPsec."""
    status = admin.read(CLUSTER_IPSECS, "cluster").get("status") or {}
    for one in status.get("conditions") or ():
        if one["type"] == kind:
            return str(one["status"]), str(one["reason"]), str(one["message"])
    return "", "", ""
