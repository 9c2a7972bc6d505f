"""The command lines of etcd and kube-apiserver. Pure, standard library only.

Whoever starts them uses `Layout.folder` as the working folder, because etcd's sockets are named
relative to it: a socket's whole name may have 107 bytes only.
"""

import json
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

ISSUER = "https://kubernetes.default.svc"
SERVICE_NETWORK = "10.96.0.0/16"
# Its first address; the API server's certificate names it.
SERVICE_ADDRESS = "10.96.0.1"
_ETCD_SOCKET = "unix://etcd.sock"
_ETCD_PEER_SOCKET = "unix://etcd-peer.sock"

# Requests are counted from the audit log; metadata of each, once, when it is answered.
AUDIT_POLICY = json.dumps(
    {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    },
    indent=1,
)


@dataclass(frozen=True)
class Programs:
    """Where the programs are.

    Args:
        helm: only for tests of the chart.
    """

    etcd: Path
    kube_apiserver: Path
    kubectl: Path
    helm: Path


@dataclass(frozen=True)
class Layout:
    """Where one API server keeps everything, and where it listens.

    Args:
        folder: absolute; only its owner may look into it.
        address: an IP address, that of a loopback interface too.
        port: TCP.
        names: what else clients may call it; in its certificate.
    """

    folder: Path
    address: str
    port: int
    names: tuple[str, ...] = ()

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def etcd_data(self) -> Path:
        return self.folder / "etcd"

    @property
    def audit_log(self) -> Path:
        """One JSON object a line for every answered request."""
        return self.folder / "audit.log"

    @property
    def audit_policy(self) -> Path:
        return self.folder / "audit-policy.json"

    @property
    def url(self) -> str:
        return f"https://{_host(self.address)}:{self.port}"


def etcd_command(programs: Programs, layout: Layout) -> list[str]:
    """One member, on UNIX sockets that only the folder's owner can reach.

    It does not wait for the disk: labs outlive a killed etcd, not a power cut.
    """
    return [
        str(programs.etcd),
        "--name=lab",
        f"--data-dir={layout.etcd_data}",
        f"--listen-client-urls={_ETCD_SOCKET}",
        f"--advertise-client-urls={_ETCD_SOCKET}",
        f"--listen-peer-urls={_ETCD_PEER_SOCKET}",
        f"--initial-advertise-peer-urls={_ETCD_PEER_SOCKET}",
        f"--initial-cluster=lab={_ETCD_PEER_SOCKET}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def api_server_command(programs: Programs, layout: Layout) -> list[str]:
    """As clusters run it: TLS, no anonymous users, RBAC, the Node authorizer and NodeRestriction.

    Unlike in most clusters a token ends when it says: no extension of a year for old clients.
    """
    pki = layout.pki
    return [
        str(programs.kube_apiserver),
        f"--bind-address={layout.address}",
        f"--advertise-address={layout.address}",
        f"--secure-port={layout.port}",
        # It would publish its address for pods, of which there are none; loopback is refused there.
        "--endpoint-reconciler-type=none",
        f"--service-cluster-ip-range={SERVICE_NETWORK}",
        f"--etcd-servers={_ETCD_SOCKET}",
        f"--cert-dir={pki}",
        f"--tls-cert-file={pki}/server.crt",
        f"--tls-private-key-file={pki}/server.key",
        f"--client-ca-file={pki}/ca.crt",
        f"--service-account-issuer={ISSUER}",
        f"--service-account-key-file={pki}/service-accounts.pub",
        f"--service-account-signing-key-file={pki}/service-accounts.key",
        "--service-account-extend-token-expiration=false",
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--audit-policy-file={layout.audit_policy}",
        f"--audit-log-path={layout.audit_log}",
        "--profiling=false",
    ]


def _host(address: str) -> str:
    return f"[{address}]" if ip_address(address).version == 6 else address
