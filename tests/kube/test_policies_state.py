"""Who writes what the operator remembers and what nodes trust: tried on a real API server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from geneveil.kube.io import open_client
from lab.kube.arguments import Programs
from lab.kube.cluster import make_namespace
from lab.kube.objects import NAMESPACE
from lab.kube.server import ApiServer
from tests.kube.operator_bench import install, operator_kubeconfig, switch_on, wait_for

HERE = ("-n", NAMESPACE)
CA, LEDGER, TRUST = "geneveil-ca", "geneveil-ledger-0123", "geneveil-trust"
RESTORE = "geneveil.io/restore"
KEYS = f"{CA} holds the keys of the certificate authority; only the operator writes it"
RECORD = f"{LEDGER} is the record of which certificates were issued; only the operator writes it"
TRUSTED = f"{TRUST} is what every node trusts; only the operator writes it"
RIGHT = "needs the right to `restore` clusteripsecs.geneveil.io"


@pytest.fixture(scope="module")
def server(
    kube_programs: Programs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiServer]:
    with ApiServer.start(tmp_path_factory.mktemp("state"), kube_programs) as started:
        make_namespace(started)
        install(started, kube_programs.helm)
        switch_on(open_client(started.kubeconfig()))
        operator = operator_kubeconfig(started)
        for document in (_secret(CA), _config_map(LEDGER), _config_map(TRUST)):
            assert _create(started, document, operator) == ""
        probe = ("delete", "configmap", LEDGER, *HERE, "--dry-run=server")
        wait_for("the policy", lambda: started.kubectl(*probe).returncode)
        yield started


def _document(kind: str, name: str, **more: Any) -> dict[str, Any]:
    labels = {"geneveil.io/ledger": "node"}
    metadata = {"name": name, "namespace": NAMESPACE, "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **more}


def _secret(name: str) -> dict[str, Any]:
    return _document("Secret", name, type="Opaque", data={"k": "dg=="})


def _config_map(name: str) -> dict[str, Any]:
    return _document("ConfigMap", name, data={"k": "v"})


def _create(server: ApiServer, document: dict[str, Any], config: Path | None = None) -> str:
    done = server.kubectl("create", "-f", "-", stdin=json.dumps(document), config=config)
    assert bool(done.returncode) is bool(done.stderr), done.stderr
    return done.stderr


def _said(server: ApiServer, *words: str, config: Path | None = None) -> str:
    """What kubectl complained of; empty if it was done."""
    done = server.kubectl(*words, *HERE, config=config)
    return done.stderr if done.returncode else ""


def _patch(what: str, name: str, change: dict[str, Any]) -> tuple[str, ...]:
    return ("patch", what, name, "--type=merge", f"-p={json.dumps(change)}")


def _with_reason(reason: str, change: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"annotations": {RESTORE: reason}}, **change}


OWNER = {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u"}
META = {
    "finalizers": {"finalizers": ["example.org/stays"]},
    "owners": {"ownerReferences": [OWNER]},
}
ATTEMPTS: dict[str, tuple[tuple[str, ...], str]] = {
    "the trust": (_patch("configmap", TRUST, {"data": {"k": "w"}}), TRUSTED),
    "the trust, with a reason": (
        _patch("configmap", TRUST, _with_reason("why not", {"data": {"k": "w"}})),
        f"{TRUSTED}, from what the authority knows: there is nothing to restore here",
    ),
    "the trust away": (("delete", "configmap", TRUST), f"{TRUST} is what every node trusts and"),
    "the trust, for ever": (_patch("configmap", TRUST, {"immutable": True}), TRUSTED),
    "the ledger": (_patch("configmap", LEDGER, {"data": {"k": "w"}}), RECORD),
    "the ledger's bytes": (_patch("configmap", LEDGER, {"binaryData": {"b": "AAAA"}}), RECORD),
    "the ledger, for ever": (_patch("configmap", LEDGER, {"immutable": True}), RECORD),
    "the ledger's label": (("label", "configmap", LEDGER, "geneveil.io/ledger-"), RECORD),
    "another label": (("label", "configmap", LEDGER, "a=b"), RECORD),
    "finalizers": (_patch("configmap", LEDGER, {"metadata": META["finalizers"]}), RECORD),
    "owners": (_patch("configmap", LEDGER, {"metadata": META["owners"]}), RECORD),
    "the authority": (_patch("secret", CA, {"data": {"k": "AAAA"}}), KEYS),
    "the authority, for ever": (_patch("secret", CA, {"immutable": True}), KEYS),
    "the authority's labels": (("label", "secret", CA, "geneveil.io/ledger-"), KEYS),
    "a reason that says nothing": (
        _patch("configmap", LEDGER, _with_reason("", {"data": {"k": "w"}})),
        RIGHT,
    ),
    "everything at once": (
        ("delete", "--raw", f"/api/v1/namespaces/{NAMESPACE}/configmaps"),
        "cannot be deleted",
    ),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_an_administrator_changes_none_of_it_by_accident(server: ApiServer, attempt: str) -> None:
    words, expected = ATTEMPTS[attempt]
    done = server.kubectl(*words, *(() if "--raw" in words else HERE))
    assert done.returncode != 0, done.stdout
    assert expected in done.stderr


def test_nobody_makes_what_is_not_there_yet(server: ApiServer) -> None:
    name = "geneveil-ledger-4567"
    refused = _create(server, _config_map(name))
    assert f"{name} is the record of which certificates were issued; only the operator" in refused
    assert RIGHT in refused
    nameless = _config_map(name)
    nameless["metadata"]["generateName"] = "geneveil-ledger-"
    del nameless["metadata"]["name"]
    assert "is the record of which certificates were issued" in _create(server, nameless)
    assert _create(server, _config_map("another")) == ""
    assert _create(server, _config_map(name), operator_kubeconfig(server)) == ""


def test_what_is_written_again_as_it_is_may_be(server: ApiServer) -> None:
    """As when all Secrets are encrypted anew."""
    for what in (f"secret/{CA}", f"configmap/{LEDGER}", f"configmap/{TRUST}"):
        there = server.kubectl_json("get", what, *HERE)
        done = server.kubectl("replace", "-f", "-", stdin=json.dumps(there))
        assert done.returncode == 0, done.stderr
        assert _said(server, "annotate", *what.split("/"), "example.org/seen=yes") == ""


def test_who_restores_says_why_each_time(server: ApiServer) -> None:
    def change(reason: str, value: str) -> str:
        wanted = _with_reason(reason, {"data": {"k": value}})
        return _said(server, *_patch("configmap", LEDGER, wanted))

    assert change("the disk of etcd broke", "w") == ""
    assert RIGHT in change("the disk of etcd broke", "x")
    assert RECORD in _said(server, *_patch("configmap", LEDGER, {"data": {"k": "x"}}))
    assert change("and again", "v") == ""
    lost = _config_map("geneveil-ledger-89ab")
    lost["metadata"]["annotations"] = {RESTORE: "it was lost"}
    assert _create(server, lost) == ""
    assert "cannot be deleted" in _said(server, "delete", "configmap", "geneveil-ledger-89ab")


def test_who_administers_the_namespace_alone_restores_nothing(server: ApiServer) -> None:
    user = server.kubeconfig(user="namespace-admin", groups=("developers",))
    rights = ("--verb=*", "--resource=secrets,configmaps")
    assert _said(server, "create", "role", "all", *rights) == ""
    binding = ("--role=all", "--user=namespace-admin")
    assert _said(server, "create", "rolebinding", "all", *binding) == ""
    wanted = _with_reason("I may", {"data": {"k": "w"}})
    free = _config_map("geneveil-ledger-cdef")
    free["metadata"]["annotations"] = {RESTORE: "I may"}

    def is_known() -> bool:
        return _said(server, "get", "configmap", LEDGER, config=user) == ""

    wait_for("the role", is_known)
    assert RIGHT in _said(server, *_patch("configmap", LEDGER, wanted), config=user)
    assert RIGHT in _create(server, free, user)
