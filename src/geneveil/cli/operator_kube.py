"""`geneveil operator … --kubernetes`: the same commands on a Kubernetes cluster.

What a person wishes is written where the leader looks for it: as an annotation of the ClusterIPsec
or of a NodeIPsec. Only the operator writes its ledger.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geneveil.cli.kubeconfig import choose_kubeconfig
from geneveil.model.clock import SystemClock
from geneveil.model.errors import ConfigError, RefusedError

if TYPE_CHECKING:
    from geneveil.kube.access import KubeAccess
    from geneveil.kube.io import KubeClient
    from geneveil.operator.kubernetes.store import KubeStore

Kubernetes = Annotated[
    bool, typer.Option("--kubernetes", help="On a Kubernetes cluster; see --kubeconfig.")
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        "--kubeconfig",
        readable=False,
        help="Instead of the Pod's own access, or of the environment KUBECONFIG.",
    ),
]
Namespace = Annotated[
    str, typer.Option("--namespace", help="Where geneveil is installed in the cluster.")
]
DEFAULT_NAMESPACE = "geneveil-system"


@dataclass(frozen=True)
class RunOptions:
    """How `operator run --kubernetes` is run.

    Attributes:
        away_after_seconds: None for the default.
    """

    kubeconfig: Path | None
    namespace: str
    identity: str
    signer_name: str
    health: str
    away_after_seconds: int | None


def find_access(kubeconfig: Path | None) -> "KubeAccess":
    """From the option, else a Pod's files, else KUBECONFIG or ~/.kube/config, as kubectl does."""
    from geneveil.kube.io import read_access

    kubeconfig = choose_kubeconfig(kubeconfig, os.environ)
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" not in os.environ:
        kubeconfig = Path("~/.kube/config").expanduser()
    return read_access(kubeconfig)


def run_on_kubernetes(options: RunOptions) -> None:
    """Run until stopped.

    Raises:
        ConfigError: nodes would count as away that are heard as often as they shall speak.
    """
    import signal

    from geneveil.operator.kubernetes.process.loop import (
        AWAY_AFTER_SECONDS,
        KubernetesOperator,
        KubernetesTerms,
    )
    from geneveil.operator.log_lines import start_logging

    away_after_seconds = options.away_after_seconds or AWAY_AFTER_SECONDS
    if away_after_seconds < AWAY_AFTER_SECONDS:
        raise ConfigError(
            f"--away-after {away_after_seconds} is too short on Kubernetes",
            why="a node with no news speaks once in six minutes there, and a roll-over would go on "
            "without nodes that live",
            remedy=f"{AWAY_AFTER_SECONDS:.0f} or more",
        )
    terms = KubernetesTerms(
        access=find_access(options.kubeconfig),
        namespace=options.namespace,
        signer_name=options.signer_name,
        identity=options.identity,
        health=_address(options.health) if options.health else None,
        away_after_seconds=float(away_after_seconds),
    )
    start_logging()
    if KubernetesOperator(terms).run() is signal.SIGINT:
        raise typer.Exit(130)


@contextmanager
def opened_client(kubeconfig: Path | None) -> "Iterator[KubeClient]":
    """A client of the cluster's API server."""
    from geneveil.kube.io import KubeClient

    client = KubeClient(find_access(kubeconfig))
    try:
        yield client
    finally:
        client.close()


@contextmanager
def opened_ledger(kubeconfig: Path | None, namespace: str) -> "Iterator[KubeStore]":
    """The operator's memory, to be read; with what nodes said last."""
    from geneveil.operator.kubernetes.ledger_view import open_ledger

    with opened_client(kubeconfig) as client:
        store = open_ledger(client, namespace, SystemClock())
        try:
            yield store
        finally:
            store.close()


def is_leader_there(kubeconfig: Path | None, namespace: str) -> bool:
    """Somebody holds the Lease; whether they still do, only waiting could tell."""
    from geneveil.kube.kinds import LEASES
    from geneveil.operator.kubernetes.election import LEASE_NAME, read_lease

    with opened_client(kubeconfig) as client:
        document = client.find(LEASES, LEASE_NAME, namespace)
    return document is not None and bool(read_lease(document).holder)


def wish_rotation(kubeconfig: Path | None, wave: str, now: datetime) -> None:
    """Ask the leader for a roll-over."""
    from geneveil.kube.kinds import CLUSTER_IPSECS, CLUSTER_NAME
    from geneveil.operator.config import parse_duration
    from geneveil.operator.kubernetes.requested_rotation import ROTATE

    if wave:
        try:
            parse_duration(wave)
        except ValueError as error:
            raise ConfigError(f"--wave {error}") from None
    wish = f"{now:%Y-%m-%dT%H:%M:%SZ} {wave}".strip()
    with opened_client(kubeconfig) as client:
        _annotate(client, CLUSTER_IPSECS, CLUSTER_NAME, {ROTATE: wish})


def wish_revocation(kubeconfig: Path | None, node: str, reason: str) -> None:
    """Ask the leader to shut a node out."""
    from geneveil.operator.kubernetes.orders import READMIT, REVOKE

    with opened_client(kubeconfig) as client:
        _annotate_node(client, node, {REVOKE: reason, READMIT: None})


def wish_readmission(kubeconfig: Path | None, node: str, now: datetime) -> None:
    """Ask the leader to let a node back."""
    from geneveil.kube.kinds import NODE_IPSECS
    from geneveil.operator.kubernetes.orders import READMIT, REVOKE

    with opened_client(kubeconfig) as client:
        client.find(NODE_IPSECS, node)  # its answer says what time it is there
        _annotate_node(client, node, {READMIT: _stamp(client, now), REVOKE: None})


def _stamp(client: "KubeClient", now: datetime) -> str:
    """The API server's time, which the leader goes by: this machine's clock may be anything."""
    from geneveil.kube.csr_wire import time_text

    return time_text(client.server_now(now))


def _annotate_node(client: "KubeClient", node: str, annotations: dict[str, Any]) -> None:
    from geneveil.kube.errors import MissingError
    from geneveil.kube.kinds import NODE_IPSECS

    try:
        _annotate(client, NODE_IPSECS, node, annotations)
    except MissingError:
        raise RefusedError(
            "node-unknown",
            f"there is no NodeIPsec {node}",
            remedy="on Kubernetes a node is named as its Node; one that was deleted is "
            "revoked already",
        ) from None


def _annotate(client: "KubeClient", kind: Any, name: str, annotations: dict[str, Any]) -> None:
    client.patch(kind, name, {"metadata": {"annotations": annotations}})


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ConfigError(f"{text!r} is no address and port", remedy="write 127.0.0.1:9444")
    return host.strip("[]"), int(port)
