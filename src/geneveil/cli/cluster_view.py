"""`geneveil status --cluster`: reads the objects, prints the table."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geneveil.model.errors import ConfigError, GeneveilError, TrustError

if TYPE_CHECKING:
    from geneveil.kube.io import KubeClient


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
    named = [one for one in clusters if one["metadata"]["name"] == CLUSTER_NAME]
    return cluster_document(named[0] if named else None, nodes, SystemClock().now())


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
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    console.print(f"mode {document['mode']}")
    for one in document["conditions"]:
        is_good = (one["status"] == "True") == (one["type"] == "Available")
        colour = "green" if is_good else "yellow"
        console.print(
            f"[{colour}]{one['type']}: {one['status']}[/{colour}]  {escape(one['message'])}"
        )
    waiting = document["trust"].get("waitingFor") or []
    if document["trust"].get("phase") not in (None, "steady"):
        names = f"; waits for {', '.join(waiting)}" if waiting else ""
        console.print(f"roll-over of the authority: {document['trust']['phase']}{escape(names)}")
    table = Table(box=None, header_style="bold")
    for name in ("NODE", "CHASSIS", "CERTIFICATE UNTIL", "PEERS", "GUARD", "CLEAR OUT/IN", ""):
        table.add_column(name, overflow="fold")
    for line in document["nodes"]:
        table.add_row(
            line["node"],
            _shown(line["chassis"]),
            _shown(line["certificateEnd"])[:10],
            f"{_shown(line['peersUp'])}/{_shown(line['peersTotal'])}",
            line["guard"],
            f"{_shown(line['cleartextOut'])}/{_shown(line['cleartextIn'])}",
            f"[red]{escape(line['complaint'])}[/red]" if line["complaint"] else "[green]ok[/green]",
        )
    if document["nodes"]:
        console.print(table)
    console.print(escape(document["summary"]))


def _shown(value: object) -> str:
    return "-" if value is None else str(value)
