"""Who may do what to a cluster where IPsec is on: tried on a real API server, with real tokens."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import manifests
from lab.kube.arguments import Programs
from lab.kube.cluster import (
    await_established,
    make_agent_pod,
    make_namespace,
    make_node,
    request_token,
)
from lab.kube.objects import AGENT, NAMESPACE
from lab.kube.server import ApiServer
from tests.kube.operator_bench import WAIT_SECONDS

SEAL = "a" * 64


@pytest.fixture(scope="module")
def installed(
    kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    """A cluster with geneveil in mode Full, as `kubectl apply` puts it there."""
    with ApiServer.start(tmp_path_factory.mktemp("installed"), kube_programs) as server:
        make_namespace(server)
        _must(server, "apply", "--server-side", "-f", f"{manifests.TOP / 'deploy/crds'}/")
        await_established(server)
        _must(server, "create", "-f", "-", stdin=_secret("geneveil-ca"))
        _must(server, "create", "-f", "-", stdin=_config_map(LEDGER))
        _must(server, "create", "-f", "-", stdin=_config_map("geneveil-trust"))
        for name in ("full.yaml", "clusteripsec-full.yaml"):
            _must(server, "apply", "--server-side", "-f", str(manifests.FOLDER / name))
        for node in ("one", "two"):
            make_node(server, node)
            _must(server, "create", "-f", "-", stdin=_node_ipsec(node))
        # policies are compiled some time after they were made
        _until(lambda: [_refusal(server, *attempt, *DRY) for attempt in PROBES])
        yield server


LEDGER = "geneveil-ledger-0123"
DRY = ("--dry-run=server",)
PROBES = (
    ("delete", "clusteripsec", "cluster"),
    ("delete", "crd", "clusteripsecs.geneveil.io"),
    ("delete", "namespace", NAMESPACE),
    ("delete", "secret", "geneveil-ca", "-n", NAMESPACE),
    ("patch", "nodeipsec", "two", "--subresource=status", "--type=merge", '-p={"status":{}}'),
)


def _until(check: Callable[[], object], seconds: float = WAIT_SECONDS) -> None:
    """Try until it holds: the API server follows its own policies with some delay."""
    end = time.monotonic() + seconds
    while True:
        try:
            check()
        except AssertionError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            return


def _must(server: ApiServer, *arguments: str, stdin: Any = None, config: Path | None = None) -> str:
    text = None if stdin is None else json.dumps(stdin)
    done = server.kubectl(*arguments, stdin=text, config=config)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _refusal(
    server: ApiServer, *arguments: str, stdin: Any = None, config: Path | None = None
) -> str:
    text = None if stdin is None else json.dumps(stdin)
    done = server.kubectl(*arguments, stdin=text, config=config)
    assert done.returncode != 0, done.stdout
    return done.stderr


def _agent(server: ApiServer, node: str) -> Path:
    pods = json.loads(_must(server, "get", "pods", "-n", NAMESPACE, "-o", "json"))["items"]
    mine = [one for one in pods if one["spec"].get("nodeName") == node]
    pod = mine[0] if mine else make_agent_pod(server, node)
    return server.token_kubeconfig(f"agent-{node}", request_token(server, pod))


def _unbound(server: ApiServer, account: str) -> Path:
    token = _must(server, "create", "token", account, "-n", NAMESPACE).strip()
    return server.token_kubeconfig(f"unbound-{account}", token)


def _node_ipsec(name: str) -> dict[str, Any]:
    return {"apiVersion": "geneveil.io/v1alpha1", "kind": "NodeIPsec", "metadata": {"name": name}}


def _secret(name: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"k": "v"}}


def _config_map(name: str) -> dict[str, Any]:
    labels = {"geneveil.io/ledger": "node"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": "v"}}


def _status(node: str, **fields: Any) -> dict[str, Any]:
    return {**_node_ipsec(node), "status": fields}


SWITCH_OFF = [
    (
        ("patch", "clusteripsec", "cluster", "--type=merge", '-p={"spec":{"mode":"Disabled"}}'),
        "spec.mode stays Full: IPsec was switched on when the cluster was installed and is never "
        "off again; nothing was changed",
    ),
    (
        ("patch", "clusteripsec", "cluster", "--type=json", '-p=[{"op":"remove","path":"/spec"}]'),
        "spec.mode stays Full",
    ),
    (
        ("patch", "cipsec", "cluster", "--type=json", '-p=[{"op":"remove","path":"/spec/mode"}]'),
        "spec.mode stays Full",
    ),
    (("delete", "clusteripsec", "cluster"), "never off again; this ClusterIPsec cannot be deleted"),
    (("delete", "clusteripsec", "--all"), "never off again; this ClusterIPsec cannot be deleted"),
    (
        ("delete", "crd", "clusteripsecs.geneveil.io"),
        "clusteripsecs.geneveil.io cannot be deleted: its objects would go with it",
    ),
    (("delete", "crd", "--all"), "geneveil.io cannot be deleted"),
    (("delete", "crd", "nodeipsecs.geneveil.io"), "nodeipsecs.geneveil.io cannot be deleted"),
    (("delete", "namespace", NAMESPACE), "this namespace cannot be deleted"),
    (
        ("delete", "secret", "geneveil-ca", "-n", NAMESPACE),
        "geneveil-ca holds the keys of the certificate authority and cannot be deleted",
    ),
    (
        ("patch", "secret", "geneveil-ca", "-n", NAMESPACE, '-p={"data":{"k":null}}'),
        "geneveil-ca holds the keys of the certificate authority; only the operator writes it",
    ),
    (
        ("delete", "configmap", "geneveil-ledger-0123", "-n", NAMESPACE),
        "geneveil-ledger-0123 is the record of which certificates were issued and cannot be",
    ),
    (
        ("patch", "configmap", "geneveil-ledger-0123", "-n", NAMESPACE, '-p={"data":{"k":"w"}}'),
        "only the operator writes it",
    ),
    # a collection that is deleted at once: its request has no name
    (
        ("delete", "--raw", f"/api/v1/namespaces/{NAMESPACE}/secrets"),
        "geneveil-ca holds the keys of the certificate authority and cannot be deleted",
    ),
    (
        ("delete", "--raw", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
        "geneveil-ledger-0123 is the record of which certificates were issued and cannot be",
    ),
    (
        ("delete", "--raw", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"),
        "geneveil.io cannot be deleted",
    ),
    (
        ("delete", "--raw", "/apis/geneveil.io/v1alpha1/clusteripsecs"),
        "this ClusterIPsec cannot be deleted",
    ),
]


@pytest.mark.parametrize(("attempt", "words"), SWITCH_OFF, ids=lambda value: str(value)[:60])
def test_an_administrator_does_not_switch_ipsec_off(
    installed: ApiServer, attempt: tuple[str, ...], words: str
) -> None:
    assert words in _refusal(installed, *attempt)


def test_there_is_one_switch(installed: ApiServer) -> None:
    second = {
        "apiVersion": "geneveil.io/v1alpha1",
        "kind": "ClusterIPsec",
        "metadata": {"name": "another"},
        "spec": {"mode": "Full"},
    }
    refusal = _refusal(installed, "create", "-f", "-", stdin=second)
    assert "there is one ClusterIPsec, and its name is cluster" in refusal


def test_the_mode_holds_even_without_the_schemas_rule(own_api_server: ApiServer) -> None:
    server = own_api_server
    _must(server, "apply", "--server-side", "-f", f"{manifests.TOP / 'deploy/crds'}/")
    await_established(server)
    for name in ("full.yaml", "clusteripsec-full.yaml"):
        _must(
            server,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            str(manifests.FOLDER / name),
        )
    spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/x-kubernetes-validations"
    removal = json.dumps([{"op": "remove", "path": spec}])
    _must(server, "patch", "crd", "clusteripsecs.geneveil.io", "--type=json", f"-p={removal}")
    attempt = SWITCH_OFF[0][0]

    def check() -> None:
        assert "geneveil-keep-switch" in _refusal(server, *attempt, *DRY)

    _until(check)
    words = "spec.mode is set when the cluster is installed and never changes"
    assert words in _refusal(server, *attempt)


def test_settings_are_fixed_once_they_are_sealed(own_api_server: ApiServer) -> None:
    server = own_api_server
    _must(server, "apply", "--server-side", "-f", f"{manifests.TOP / 'deploy/crds'}/")
    await_established(server)
    _must(server, "apply", "-f", str(manifests.FOLDER / "clusteripsec-full.yaml"))

    def change(spec: str, *more: str) -> tuple[str, ...]:
        return ("patch", "cipsec", "cluster", "--type=merge", f"-p={spec}", *more)

    # a mistake can be put right before the operator has sealed it
    _must(server, *change('{"spec":{"certificates":{"nodeLifetime":"4y"}}}'))
    _must(server, *change(f'{{"status":{{"sealedSHA256":"{SEAL}"}}}}', "--subresource=status"))
    for field, value in (
        ("certificates", '{"nodeLifetime":"3y"}'),
        ("certificates", '{"rolloverWave":"6h"}'),
        ("encapsulation", '"Always"'),
        ("genevePorts", "[6082]"),
    ):
        refusal = _refusal(server, *change(f'{{"spec":{{"{field}":{value}}}}}'))
        assert f"spec.{field} was sealed when the cluster was installed and cannot" in refusal
    for other in ('{"status":null}', '{"status":{"sealedSHA256":"' + "b" * 64 + '"}}'):
        refusal = _refusal(server, *change(other, "--subresource=status"))
        assert "it is neither changed nor removed" in refusal
    _must(server, *change('{"metadata":{"labels":{"a":"b"}}}'))
    _must(server, *change('{"status":{"observedGeneration":3}}', "--subresource=status"))


def test_disabled_stays_disabled_and_can_be_taken_away(own_api_server: ApiServer) -> None:
    server = own_api_server
    _must(server, "apply", "--server-side", "-f", f"{manifests.TOP / 'deploy/crds'}/")
    await_established(server)
    for name in ("disabled.yaml", "clusteripsec-disabled.yaml"):
        _must(
            server,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f",
            str(manifests.FOLDER / name),
        )
    refusal = _refusal(
        server, "patch", "cipsec", "cluster", "--type=merge", '-p={"spec":{"mode":"Full"}}'
    )
    assert "spec.mode stays Disabled: IPsec can be switched on only while the cluster is" in refusal
    _must(server, "delete", "clusteripsec", "cluster")
    crd = ("delete", "crd", "clusteripsecs.geneveil.io")
    _until(lambda: _refusal(server, *crd, *DRY))
    assert "geneveil-keep-*" in _refusal(server, *crd)
    kept = [f"geneveil-keep-{what}" for what in ("crds", "state", "namespace", "switch")]
    _must(server, "delete", "validatingadmissionpolicybinding", *kept)
    _until(lambda: _must(server, "delete", "--wait=false", "crd", "clusteripsecs.geneveil.io"))


def test_an_agent_writes_the_status_of_its_own_node(installed: ApiServer) -> None:
    status = _status("one", chassis="c-1", peersUp=2, peersTotal=2, guard="InPlace")
    _must(
        installed,
        "apply",
        "--server-side",
        "--subresource=status",
        "-f",
        "-",
        stdin=status,
        config=_agent(installed, "one"),
    )


def test_nobody_writes_the_status_of_another_node(installed: ApiServer) -> None:
    words = "the status of NodeIPsec two is written by the agent of that node; "
    status = _status("two", chassis="c-1")
    write = ("apply", "--server-side", "--subresource=status", "-f", "-")
    assert words + "this token belongs to node one" in _refusal(
        installed, *write, stdin=status, config=_agent(installed, "one")
    )
    assert words + "this token is not bound to a node" in _refusal(
        installed, *write, stdin=status, config=_unbound(installed, AGENT)
    )
    assert words + "admin is not it" in _refusal(installed, *write, stdin=status)


def test_columns_names_and_defaults_are_as_documented(installed: ApiServer) -> None:
    for name in ("cipsec", "clusteripsec", "clusteripsecs", "geneveil"):
        assert "cluster" in _must(installed, "get", name)
    heads = _must(installed, "get", "cipsec", "-o", "wide").splitlines()[0].split()
    assert heads == [
        "NAME", "MODE", "AVAILABLE", "PROGRESSING", "DEGRADED", "CERTIFIED", "UP", "NODES",
        "TRUST", "SEALED", "AGE",
    ]  # fmt: skip
    heads = _must(installed, "get", "nipsec").splitlines()[0].split()
    assert heads == ["NAME", "READY", "UP", "PEERS", "GUARD", "EXPIRES", "HEARD", "AGE"]
    found = json.loads(_must(installed, "get", "cipsec", "cluster", "-o", "json"))
    assert found["spec"] == {
        "mode": "Full",
        "encapsulation": "Auto",
        "genevePorts": [6081],
        "certificates": {
            "keyType": "ECDSA-P256",
            "caLifetime": "10y",
            "nodeLifetime": "5y",
            "renewAfter": "54mo",
        },
    }
