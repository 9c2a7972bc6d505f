"""What can go wrong with an API server, done to one that runs: it stands still, refuses for being
busy, knows no token any more, or remembers an older time."""

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.kube import objects
from lab.kube.arguments import Layout
from lab.kube.authority import make_token_key
from lab.kube.server import ApiServer

_JAIL = "lab-jail"
_FLOW_CONTROL = "flowcontrol.apiserver.k8s.io/v1"


def freeze(layout: Layout) -> None:
    """It keeps its connections, takes new ones, and answers nobody."""
    _signal(layout, signal.SIGSTOP)


def thaw(layout: Layout) -> None:
    """Undo `freeze`."""
    _signal(layout, signal.SIGCONT)


def refuse_as_busy(server: ApiServer) -> None:
    """From now on the API server itself answers 429 to whatever geneveil's service accounts ask.

    A priority level without a seat and without a queue. Source: API Priority and Fairness,
    kubernetes.io/docs/concepts/cluster-administration/flow-control.
    """
    for document in _jail_documents():
        server.kubectl_json("create", "-f", "-", stdin=document)


def refuse_no_more(server: ApiServer) -> None:
    """Undo `refuse_as_busy`.

    Raises:
        LabError: kubectl failed.
    """
    for kind in ("flowschema", "prioritylevelconfiguration"):
        done = server.kubectl("delete", kind, _JAIL)
        if done.returncode:
            raise LabError(f"kubectl delete {kind} {_JAIL} failed", why=done.stderr.strip())


def forget_tokens(layout: Layout) -> None:
    """Once the API server starts anew it believes no token that was made until now."""
    make_token_key(layout.pki)


def copy_memory(layout: Layout) -> None:
    """Keep a copy of what etcd, which does not run, remembers."""
    shutil.rmtree(_copy_of(layout), ignore_errors=True)
    shutil.copytree(layout.etcd_data, _copy_of(layout))


def put_memory_back(layout: Layout) -> None:
    """What `copy_memory` kept, in place of what etcd, which does not run, remembers now."""
    shutil.rmtree(layout.etcd_data)
    shutil.copytree(_copy_of(layout), layout.etcd_data)


def _copy_of(layout: Layout) -> Path:
    return layout.folder / "etcd-copy"


def _signal(layout: Layout, number: signal.Signals) -> None:
    found = list(_processes(layout))
    if not found:
        raise LabError(f"no kube-apiserver of {layout.folder} runs")
    for pid in found:
        os.kill(pid, number)


def _processes(layout: Layout) -> Iterator[int]:
    """Seen from outside the lab's PID namespace, by the folder in its command line."""
    mark = f"--cert-dir={layout.pki}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if mark in words:
            yield int(path.parent.name)


def _jail_documents() -> tuple[dict[str, Any], dict[str, Any]]:
    accounts = (objects.AGENT, objects.OPERATOR)
    subjects = [
        {
            "kind": "ServiceAccount",
            "serviceAccount": {"name": name, "namespace": objects.NAMESPACE},
        }
        for name in accounts
    ]
    everything = {
        "verbs": ["*"],
        "apiGroups": ["*"],
        "resources": ["*"],
        "clusterScope": True,
        "namespaces": ["*"],
    }
    level = {
        "apiVersion": _FLOW_CONTROL,
        "kind": "PriorityLevelConfiguration",
        "metadata": {"name": _JAIL},
        "spec": {
            "type": "Limited",
            "limited": {
                "nominalConcurrencyShares": 0,
                "lendablePercent": 0,
                "borrowingLimitPercent": 0,
                "limitResponse": {"type": "Reject"},
            },
        },
    }
    schema = {
        "apiVersion": _FLOW_CONTROL,
        "kind": "FlowSchema",
        "metadata": {"name": _JAIL},
        "spec": {
            "priorityLevelConfiguration": {"name": _JAIL},
            "matchingPrecedence": 2,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": subjects, "resourceRules": [everything]}],
        },
    }
    return level, schema
