"""How etcd and the API server are started, and what clients are given."""

import base64
import json
from pathlib import Path

import pytest

from geneveil.operator.kubernetes.process.loop import AWAY_AFTER_SECONDS
from lab.control_plane import ON_KUBERNETES_AWAY_AFTER_SECONDS
from lab.kube import kubeconfig
from lab.kube.arguments import (
    AUDIT_POLICY,
    Layout,
    Programs,
    api_server_command,
    etcd_command,
)

PROGRAMS = Programs(Path("/p/etcd"), Path("/p/kube-apiserver"), Path("/p/kubectl"), Path("/p/helm"))
LAYOUT = Layout(Path("/lab"), "198.51.100.1", 6443)


@pytest.mark.parametrize(
    "option",
    [
        "--anonymous-auth=false",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--bind-address=198.51.100.1",
        "--advertise-address=198.51.100.1",
        "--secure-port=6443",
        "--client-ca-file=/lab/pki/ca.crt",
        "--service-account-extend-token-expiration=false",
        "--audit-log-path=/lab/audit.log",
    ],
)
def test_the_api_server_is_started_as_clusters_do(option: str) -> None:
    assert option in api_server_command(PROGRAMS, LAYOUT)


def test_the_lab_knows_when_a_node_counts_as_away() -> None:
    assert ON_KUBERNETES_AWAY_AFTER_SECONDS == AWAY_AFTER_SECONDS


def test_the_api_server_turns_no_feature_on_or_off() -> None:
    options = " ".join(api_server_command(PROGRAMS, LAYOUT))
    assert "feature-gates" not in options
    assert "disable-admission-plugins" not in options


def test_etcd_is_reached_through_sockets_only_and_where_the_api_server_looks() -> None:
    options = dict(option.split("=", 1) for option in etcd_command(PROGRAMS, LAYOUT)[1:]
                   if "=" in option)  # fmt: skip
    assert {value.split("=")[-1].split(":")[0] for name, value in options.items()
            if name.endswith("-urls") or name == "--initial-cluster"} == {"unix"}  # fmt: skip
    servers = f"--etcd-servers={options['--listen-client-urls']}"
    assert servers in api_server_command(PROGRAMS, LAYOUT)


def test_every_request_is_audited_once() -> None:
    policy = json.loads(AUDIT_POLICY)
    assert policy["omitStages"] == ["RequestReceived"]
    assert policy["rules"] == [{"level": "Metadata"}]


@pytest.mark.parametrize(
    ("address", "url"),
    [("127.0.0.1", "https://127.0.0.1:6443"), ("2001:db8::1", "https://[2001:db8::1]:6443")],
)
def test_the_url_names_address_and_port(address: str, url: str) -> None:
    assert Layout(Path("/lab"), address, 6443).url == url


def test_a_kubeconfig_has_its_certificates_within() -> None:
    document = json.loads(kubeconfig.with_certificate("https://x:1", b"CA", b"CERT", b"KEY"))
    user = document["users"][0]["user"]
    assert base64.b64decode(user["client-certificate-data"]) == b"CERT"
    assert base64.b64decode(user["client-key-data"]) == b"KEY"
    cluster = document["clusters"][0]["cluster"]
    assert cluster["server"] == "https://x:1"
    assert base64.b64decode(cluster["certificate-authority-data"]) == b"CA"
