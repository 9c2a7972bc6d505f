"""`geneveil node decommission` and `recommission`: the node leaves for good, or may come back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from geneveil.cli.kubeconfig import choose_kubeconfig
from geneveil.cli.node import DEFAULT_CONFIG, Output
from geneveil.model.errors import ConfigError

if TYPE_CHECKING:
    from geneveil.agent.config import AgentConfig

node_app = typer.Typer(help="This node's part in the cluster.", no_args_is_help=True)

_CONFIG = typer.Option(
    DEFAULT_CONFIG, "--config", "-c", readable=False, help="The agent's configuration file."
)
_OUTPUT = typer.Option(Output.TABLE, "--output", "-o", help="For people or for machines.")

_HOST_ROOT = typer.Option(
    Path("/"),
    "--host-root",
    readable=False,
    help="Where the host's /etc is seen, as etc below this folder.",
)

_KUBERNETES = typer.Option(
    "", "--kubernetes", metavar="NODE", help="Print the Pod that does it there; change nothing."
)
_KUBECONFIG = typer.Option(
    None,
    "--kubeconfig",
    readable=False,
    help="With --kubernetes: instead of KUBECONFIG and ~/.kube/config.",
)


@node_app.command(
    "decommission",
    short_help="Take geneveil off this node for good.",
    epilog="Example: systemctl stop geneveil-agent && geneveil node decommission --yes",
)
def decommission(
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    config: Path = _CONFIG,
    output: Output = _OUTPUT,
    host_root: Path = _HOST_ROOT,
    kubernetes: str = _KUBERNETES,
    kubeconfig: Path | None = _KUBECONFIG,
) -> None:
    """Take geneveil off this node for good: connections, key and certificate, and last the guard.

    The only command that takes the guard out, and only if everything else went. The agent must be
    stopped before. Repeating it is harmless, and goes on where it failed. Exit status 0 only if
    nothing of geneveil is left.

    With --kubernetes it does nothing but print the Pod that does this on a Node
    (docs/kubernetes.md).
    """
    if kubernetes:
        _print_pod(kubernetes, kubeconfig)
        return
    import json
    import sys

    from geneveil.agent.decommission.io import decommission as carry_out
    from geneveil.agent.decommission.plan import MEANING, Outcome, is_complete, steps_document
    from geneveil.model.clock import SystemClock

    agent_config = _read_config(config)
    typer.echo(MEANING, err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody is there to be asked", remedy="say --yes if it is meant")
        if not typer.confirm("Take geneveil off this node?", err=True):
            raise ConfigError("nothing was changed")
    at = SystemClock().now().isoformat(timespec="seconds")
    steps = carry_out(agent_config, at, host_root)
    if output is Output.JSON:
        typer.echo(json.dumps(steps_document(steps), indent=2))
    else:
        words = {
            Outcome.DONE: "removed",
            Outcome.NOTHING: "nothing there",
            Outcome.FAILED: "FAILED",
            Outcome.KEPT: "KEPT",
        }
        for step in steps:
            detail = f": {step.detail}" if step.detail else ""
            typer.echo(f"{step.part}: {words[step.outcome]}{detail}")
    if not is_complete(steps):
        guard = next(step for step in steps if step.part == "guard")
        stands = "; the guard stays until then" if guard.outcome is Outcome.KEPT else ""
        typer.echo(f"geneveil: something is left; see above, mend it and repeat{stands}", err=True)
        raise typer.Exit(1)
    typer.echo(
        "this node is decommissioned; on the operator: geneveil operator remove NODE; on "
        "Kubernetes: kubectl delete node NODE",
        err=True,
    )


def _print_pod(node: str, kubeconfig: Path | None) -> None:
    from geneveil.install.apply import read_decommission_pod
    from geneveil.install.decommission_pod import LABEL
    from geneveil.install.io import open_cluster
    from geneveil.install.render import render_yaml

    pod = read_decommission_pod(open_cluster(choose_kubeconfig(kubeconfig, os.environ), ""), node)
    typer.echo(render_yaml([pod]), nl=False)
    typer.echo(
        f"nothing was changed; it comes to {node} once kubectl label node {node} {LABEL}=true has "
        "taken the agent off, and is done after the next boot there",
        err=True,
    )


@node_app.command(
    "recommission",
    short_help="Let a node that was decommissioned enrol anew.",
    epilog="Example: geneveil node recommission",
)
def recommission(config: Path = _CONFIG) -> None:
    """Let the agent run again on a node that was decommissioned; it has to enrol anew."""
    from geneveil.agent.decommission.io import recommission as carry_out

    if carry_out(_read_config(config)):
        typer.echo("the agent may run again; give it a join token and start guard and agent")
    else:
        typer.echo("this node is not decommissioned; nothing changed")


def _read_config(path: Path) -> AgentConfig:
    from geneveil.agent.config import AgentConfig
    from geneveil.agent.store import read_agent_config

    # A package that was removed takes its configuration along: the rest stands at its usual place.
    return read_agent_config(path) if path.exists() else AgentConfig()
