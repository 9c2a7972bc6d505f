"""`geneveil operator revoke` and `geneveil operator remove`: shut a node out."""

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from geneveil.cli.operator_kube import (
    Kubeconfig,
    Kubernetes,
    wish_readmission,
    wish_revocation,
)
from geneveil.cli.operator_options import (
    DEFAULT_STATE_DIR,
    Output,
    OutputOption,
    StateDir,
    opened,
    print_json,
)
from geneveil.model.clock import SystemClock
from geneveil.model.errors import ConfigError

Node = Annotated[
    str, typer.Argument(metavar="NODE", help="Chassis name (system-id); on Kubernetes, the Node.")
]


class ReasonOption(Enum):
    """The words of RFC 5280 §5.3.1 that fit a node."""

    UNSPECIFIED = "unspecified"
    KEY_COMPROMISE = "keyCompromise"
    AFFILIATION_CHANGED = "affiliationChanged"
    SUPERSEDED = "superseded"
    CESSATION_OF_OPERATION = "cessationOfOperation"
    PRIVILEGE_WITHDRAWN = "privilegeWithdrawn"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        "revoke",
        short_help="Shut a node out, at once.",
        epilog="Example: geneveil operator revoke node-3 --reason keyCompromise",
    )(revoke)
    app.command(
        "remove",
        short_help="Shut a node out that left the cluster.",
        epilog="Example: geneveil operator remove node-3",
    )(remove)
    app.command("readmit", epilog="Example: geneveil operator readmit node-3 --kubernetes")(readmit)


def revoke(
    node: Node,
    reason: Annotated[
        ReasonOption,
        typer.Option(
            "--reason",
            case_sensitive=False,
            metavar="REASON",
            help=f"{', '.join(one.value for one in ReasonOption)} (RFC 5280).",
        ),
    ] = ReasonOption.UNSPECIFIED,
    state_dir: StateDir = DEFAULT_STATE_DIR,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Shut a node out: its certificates are revoked, its unspent join tokens void.

    Every node that is connected learns it at once and ends its tunnels with that node. It comes
    back only with a token made with --readmit, on Kubernetes by `operator readmit`.
    """
    if kubernetes:
        wish_revocation(kubeconfig, node, reason.value)
        if output is Output.JSON:
            print_json({"isRequested": True, "node": node, "reason": reason.value})
            return
        typer.echo(f"{node}: the leader revokes it as soon as it looks")
        return
    _shut_out(node, "revoked", reason.value, state_dir, output)


def remove(
    node: Node, state_dir: StateDir = DEFAULT_STATE_DIR, output: OutputOption = Output.TEXT
) -> None:
    """Decommission a node: the same as revoking it, because it left the cluster."""
    _shut_out(node, "removed", ReasonOption.CESSATION_OF_OPERATION.value, state_dir, output)


def readmit(node: Node, kubernetes: Kubernetes = False, kubeconfig: Kubeconfig = None) -> None:
    """Let a revoked node back, on Kubernetes. Standalone: `operator token NODE --readmit`."""
    if not kubernetes:
        raise ConfigError(
            "readmit is for Kubernetes",
            remedy=f"there say --kubernetes; else: geneveil operator token {node} --readmit",
        )
    wish_readmission(kubeconfig, node, SystemClock().now())
    typer.echo(f"{node}: it gets a certificate when its agent asks again")


def _shut_out(node: str, standing: str, reason: str, state_dir: Path, output: Output) -> None:
    from geneveil.operator.io import is_running
    from geneveil.operator.records import Standing
    from geneveil.operator.revocation import revoke_node
    from geneveil.operator.views import revocation_document
    from geneveil.pki.crl import RevocationReason

    with opened(state_dir) as store:
        done = revoke_node(
            store, node, Standing(standing), RevocationReason(reason), SystemClock().now()
        )
    runs = is_running(state_dir)
    if output is Output.JSON:
        print_json(revocation_document(done, runs))
        return
    if not done.is_new:
        typer.echo(f"{node} was {standing} before; nothing changed")
        return
    typer.echo(
        f"{node} is {standing}; certificates revoked: {done.certificates}, "
        f"join tokens void: {done.tokens}"
    )
    if not runs:
        typer.echo("no operator runs here: the nodes learn it when one is started", err=True)
