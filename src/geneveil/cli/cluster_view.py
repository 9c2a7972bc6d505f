"""`geneveil status --cluster`: reads the objects, prints the table."""

import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geneveil.model.errors import ConfigError, GeneveilError, TrustError

if TYPE_CHECKING:
    from rich.text import Text

    from geneveil.kube.io import KubeClient
    from geneveil.operator.kubernetes.election import LeaseRecord

RENEWED_SECONDS = 60.0
"""A Lease that is no older, by whatever clock, need not be looked at again."""

SECOND_LOOK_SECONDS = 12.0
"""By then a leader has renewed it, or acts no more."""


def read_cluster(kubeconfig: Path | None) -> dict[str, Any]:
    """See `geneveil.cli.cluster_status.cluster_document`.

    Raises:
        ConfigError: no kubeconfig, or geneveil is not installed in that cluster.
        GeneveilError: the API server is away, or refuses.
    """
    from geneveil.cli.cluster_status import cluster_document
    from geneveil.cli.operator_kube import opened_client
    from geneveil.kube.errors import MissingError
    from geneveil.kube.kinds import CLUSTER_IPSECS, CLUSTER_NAME, NODE_IPSECS
    from geneveil.kube.port import Selection
    from geneveil.model.clock import SystemClock

    with opened_client(kubeconfig) as client:
        try:
            clusters = client.list_all(Selection(CLUSTER_IPSECS)).items
            nodes = client.list_all(Selection(NODE_IPSECS)).items
        except MissingError:
            raise _explain_absence(client) from None
        now = client.server_now(SystemClock().now())
        operator = _judge_operator(client, now) if clusters or nodes else ""
    named = [one for one in clusters if one["metadata"]["name"] == CLUSTER_NAME]
    return cluster_document(named[0] if named else None, nodes, now, operator)


def _judge_operator(client: "KubeClient", now: datetime) -> str:
    """What it said last stays in the ClusterIPsec, also when nothing is left to say otherwise.

    Returns:
        Empty if one leads, and if this person may not see whether one does.
    """
    from geneveil.cli.cluster_status import explain_lead
    from geneveil.kube.csr_wire import parse_time
    from geneveil.kube.errors import ApiRefusedError

    try:
        namespace = _find_namespace(client)
        lease = _read_lease(client, namespace)
        try:
            renewed = parse_time(lease.renewed) if lease is not None and lease.holder else None
        except ValueError:
            renewed = None
        if renewed is not None and abs((now - renewed).total_seconds()) < RENEWED_SECONDS:
            return ""
        time.sleep(SECOND_LOOK_SECONDS)
        return explain_lead(lease, _read_lease(client, namespace))
    except ApiRefusedError:
        return ""


def _find_namespace(client: "KubeClient") -> str:
    from geneveil.install.standing import namespace_of
    from geneveil.kube.kinds import CLUSTER_ROLE_BINDINGS

    binding = client.find(CLUSTER_ROLE_BINDINGS, "geneveil-operator")
    return namespace_of(binding or {})


def _read_lease(client: "KubeClient", namespace: str) -> "LeaseRecord | None":
    from geneveil.kube.kinds import LEASES
    from geneveil.operator.kubernetes.election import LEASE_NAME, read_lease

    document = client.find(LEASES, LEASE_NAME, namespace)
    return None if document is None else read_lease(document)


def _explain_absence(client: "KubeClient") -> GeneveilError:
    """Was geneveil never installed, or were its CRDs taken away?"""
    from geneveil.cli.operator_kube import DEFAULT_NAMESPACE
    from geneveil.kube.kinds import CONFIG_MAPS, TRUST_CONFIG_MAP

    why = f"{client.access.server} knows no kind ClusterIPsec or NodeIPsec"
    try:
        trust = client.find(CONFIG_MAPS, TRUST_CONFIG_MAP, DEFAULT_NAMESPACE)
    except GeneveilError:
        trust = None  # nothing is known; the next sentence is then the likelier one
    if trust is None:
        return ConfigError(
            "geneveil is not installed in this cluster",
            why=why,
            remedy="is it the right kubeconfig? else apply deploy/crds",
        )
    return TrustError(
        "geneveil's CustomResourceDefinitions are gone from this cluster",
        why=f"{why}, and yet {DEFAULT_NAMESPACE}/{TRUST_CONFIG_MAP} is there. Nodes go on "
        "encrypting as they were told last; each one's own `geneveil status` still says how it is",
        remedy="find out who did it, then apply deploy/crds again (or geneveil install): the "
        "operator makes the ClusterIPsec and the NodeIPsecs anew",
    )


def render_cluster(document: dict[str, Any]) -> None:
    """For a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, soft_wrap=True)
    console.print(_plain(f"mode {document['mode']}"))
    for one in document["conditions"]:
        is_good = (one["status"] == "True") == (one["type"] == "Available")
        line = _plain(f"{one['type']}: {one['status']}", "green" if is_good else "yellow")
        console.print(line.append_text(_plain(f"  {one['message']}")))
    if document["operator"]:
        console.print(_plain(document["operator"], "red"))
    waiting = document["trust"].get("waitingFor") or []
    if document["trust"].get("phase") not in (None, "steady"):
        names = f"; waits for {', '.join(waiting)}" if waiting else ""
        console.print(_plain(f"roll-over of the authority: {document['trust']['phase']}{names}"))
    table = Table(box=None, header_style="bold")
    for name in ("NODE", "CHASSIS", "CERTIFICATE UNTIL", "PEERS", "GUARD", "CLEAR OUT/IN", "WELL"):
        table.add_column(name, overflow="fold")
    for line in document["nodes"]:
        cells = (
            line["node"],
            _shown(line["chassis"]),
            _shown(line["certificateEnd"])[:10],
            f"{_shown(line['peersUp'])}/{_shown(line['peersTotal'])}",
            line["guard"],
            f"{_shown(line['cleartextOut'])}/{_shown(line['cleartextIn'])}",
        )
        is_well = line["well"]
        table.add_row(
            *map(_plain, cells), _plain("ok", "green") if is_well else _plain("no", "red")
        )
    if document["nodes"]:
        console.print(table, soft_wrap=False)
    for line in document["nodes"]:
        if line["complaint"]:
            console.print(_plain(f"{line['node']}: {line['complaint']}", "red"))
    console.print(_plain(document["summary"]))


def _plain(text: str, style: str = "") -> "Text":
    """As it is: a node may write what it likes into its object, and no terminal obeys it here."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() else "?" for c in text), style)


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
