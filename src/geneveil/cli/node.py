"""Commands of a node: agent, status, guard."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from geneveil.model.errors import ConfigError

if TYPE_CHECKING:
    from geneveil.model.guard import GuardSpec

DEFAULT_CONFIG = Path("/etc/geneveil/agent.yaml")

guard_app = typer.Typer(help="The nftables guard of this node.", no_args_is_help=True)


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


_CONFIG = typer.Option(
    DEFAULT_CONFIG, "--config", "-c", readable=False, help="The agent's configuration file."
)
_OUTPUT = typer.Option(Output.TABLE, "--output", "-o", help="For people or for machines.")
_CONFIG_UNUSABLE = 78
"""EX_CONFIG of sysexits.h. Not 2: Python itself ends with 2 when it cannot open its script, and the
unit of the guard lets Open vSwitch start after this one."""

_UNDERLAY = typer.Option(1500, min=68, max=65535, help="MTU of the nodes' underlay interfaces.")
_RUN_DIR = typer.Option(
    Path("/run/geneveil"), "--run-dir", readable=False, help="Where the agent writes."
)


_BOOT_GUARD = typer.Option(
    None,
    "--boot-guard",
    readable=False,
    help="Where the host's /etc is seen, as etc below this folder.",
)
_CLUSTER = typer.Option(False, "--cluster", help="All nodes of a Kubernetes cluster.")
_KUBECONFIG = typer.Option(
    None,
    "--kubeconfig",
    readable=False,
    help="With --cluster: instead of KUBECONFIG, or of a Pod's own access.",
)


def register(app: typer.Typer) -> None:
    """Add the node's commands."""
    app.command("agent", help=_AGENT_HELP, short_help="Run this node's agent.")(agent)
    app.command("status", help=_STATUS_HELP, short_help="Show whether all is well here.")(status)
    app.command("mtu", help=_MTU_HELP, short_help="Show how long pods' packets may be.")(mtu)
    app.add_typer(guard_app, name="guard")


_AGENT_HELP = """Run this node's agent: watch the tunnels, keep each of them inside IPsec.

Stopping it, by SIGTERM or otherwise, leaves everything in place.

Example: geneveil agent --config /etc/geneveil/agent.yaml
"""

_STATUS_HELP = """Show this node's peers, certificate and guard, and whether all is well.

With --cluster: every node of a Kubernetes cluster, from anywhere with a kubeconfig.

Exit status 0 only if all is well.

Examples: geneveil status; geneveil status -o json; geneveil status --cluster
"""


_MTU_HELP = """Show how long pods' packets may be, so that the underlay carries each in one piece.

Example: geneveil mtu --underlay 1500
"""


def agent(config: Path = _CONFIG) -> None:
    import os
    import sys

    from geneveil.agent.fallback.io import guard_without_config
    from geneveil.agent.store import read_agent_config

    try:
        read_agent_config(config)  # complain before anything starts
    except ConfigError:
        guard_without_config(config, _complain)
        raise
    # In place of this process: the command line brings libraries that the agent has no use for,
    # a quarter of the memory that it may have.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "geneveil.agent", str(config)])  # noqa: S606


def status(
    output: Output = _OUTPUT,
    run_dir: Path = _RUN_DIR,
    cluster: bool = _CLUSTER,
    kubeconfig: Path | None = _KUBECONFIG,
) -> None:
    if kubeconfig is not None and not cluster:
        raise ConfigError("--kubeconfig is for --cluster")
    if cluster:
        _cluster_status(output, kubeconfig)
        return
    from geneveil.cli.node_view import agent_lives, read_status, render_status
    from geneveil.model.clock import SystemClock

    lives = agent_lives(run_dir)  # before the document: an agent may end in between, never begin
    document, value = read_status(run_dir)
    complaint = value.staleness(SystemClock().now(), agent_lives=lives)
    if output is Output.JSON:
        _say(output, {**document, "agentRuns": lives, "stale": bool(complaint)}, "")
    else:
        render_status(value, complaint)
    if complaint or not value.is_well:
        raise typer.Exit(1)


def _cluster_status(output: Output, kubeconfig: Path | None) -> None:
    from geneveil.cli.cluster_view import read_cluster, render_cluster

    document = read_cluster(kubeconfig)
    if output is Output.JSON:
        _say(output, document, "")
    else:
        render_cluster(document)
    if not document["well"]:
        raise typer.Exit(1)


def mtu(underlay: int = _UNDERLAY, output: Output = _OUTPUT) -> None:
    from geneveil.model.mtu import Overlay, longest_pod_packet_bytes

    rows = [
        {
            "underlay": f"IPv{6 if ipv6 else 4}",
            "ipsec": ipsec,
            "encapsulated": nat_t,
            "podMtuBytes": longest_pod_packet_bytes(Overlay(underlay, ipv6, ipsec), nat_t=nat_t),
        }
        for ipv6 in (False, True)
        for ipsec, nat_t in ((False, False), (True, False), (True, True))
    ]
    words = {(False, False): "no IPsec", (True, False): "ESP", (True, True): "ESP in UDP 4500"}
    lines = [f"underlay MTU {underlay}: the longest packet of a pod, in bytes"]
    for row in rows:
        word = words[bool(row["ipsec"]), bool(row["encapsulated"])]
        lines.append(f"  {row['underlay']}  {word:<16}{row['podMtuBytes']:>6}")
    lines.append("with IPsec, give pods the figure of ESP in UDP: Auto may have to fall back to it")
    _say(output, {"underlayMtuBytes": underlay, "rows": rows}, "\n".join(lines))


@guard_app.command(
    "apply",
    short_help="Put the guard in place: Geneve inside IPsec, or not at all.",
    help="Put the guard in place: Geneve leaves and arrives inside IPsec, or not at all.\n\n"
    "Runs at boot, before Open vSwitch. Repeating it changes nothing. With mode Disabled it says "
    "so and does nothing. With a configuration file that cannot be used it fails with status 78, "
    "and sets the guard all the same, unless the file says `mode: Disabled`, or is not there, on a "
    "node that was never told to encrypt. Any other status but 0: a guard may be needed and does "
    "not stand.\n\n"
    "With --boot-guard it also has the host set the same guard by itself at its next boot, for a "
    "container that runs only long after Open vSwitch.\n\n"
    "Example: geneveil guard apply --config /etc/geneveil/agent.yaml",
)
def guard_apply(
    config: Path = _CONFIG, output: Output = _OUTPUT, boot_guard: Path | None = _BOOT_GUARD
) -> None:
    from geneveil.agent.boot_guard import plan_boot_guard
    from geneveil.agent.fallback.io import guard_without_config
    from geneveil.agent.store import SETTINGS, NodeStore, read_agent_config
    from geneveil.guard.io import NftGuard

    try:
        agent_config = read_agent_config(config)
    except ConfigError as error:
        if not guard_without_config(config, _complain):
            _complain(error.render())
            raise typer.Exit(1) from None
        _complain(error.render())
        raise typer.Exit(_CONFIG_UNUSABLE) from None
    store = NodeStore(agent_config.state_dir)
    since = store.decommissioned_since()
    if since and not store.is_decommissioned():
        _complain(f"this node is being decommissioned ({since}): until then the guard stands")
    elif since:
        text = f"this node was decommissioned ({since}): no guard is set"
        _say(output, {"mode": "Decommissioned", "changed": False}, text)
        return
    plan = plan_boot_guard(agent_config, store.read_seal(), *store.try_read(SETTINGS))
    for finding in plan.findings:
        _complain(f"{finding.what} ({finding.remedy})")
    if plan.spec is None:
        _say(output, {"mode": "Disabled", "changed": False}, "mode is Disabled: no guard is set")
        return
    # Never less than what stands: the running agent may have widened it for a tunnel.
    guard = NftGuard()
    was_there = boot_guard is None or guard.is_there()
    spec, changed = guard.cover(plan.spec)
    if plan.must_seal:
        # After the guard, never in its way: a full disk must not open the node.
        store.write_seal()
    if boot_guard is not None:
        _have_the_host_set_it(spec, boot_guard, was_there=was_there)
    ports = ", ".join(str(port) for port in spec.ports)
    _say(
        output,
        {"mode": "Full", "changed": changed, "ports": list(spec.ports)},
        f"the guard {'now stands' if changed else 'stood already'} for UDP port {ports}",
    )


def _have_the_host_set_it(spec: GuardSpec, root: Path, *, was_there: bool) -> None:
    from geneveil.agent.boot_files.io import are_installed, install_boot_files

    if are_installed(root) and not was_there:
        _complain(
            "no guard stood although this host is to set one at boot: either somebody took it out, "
            "or Geneve could leave in clear from the boot until now (systemctl status "
            "geneveil-boot-guard says why; it needs nft on the host)"
        )
    install_boot_files(spec, root)


@guard_app.command(
    "show",
    help="Show the guard that stands in the kernel, and what it dropped.\n\n"
    "Exit status 0 if it stands unaltered.\n\nExample: geneveil guard show -o json",
)
def guard_show(output: Output = _OUTPUT) -> None:
    from geneveil.guard.io import NftGuard

    observed = NftGuard().read()
    word = "absent" if not observed.present else "altered" if observed.ports is None else "in place"
    counters = {
        counter.value: {"packets": tally.packets, "bytes": tally.bytes}
        for counter, tally in observed.counters.items()
    }
    ports = list(observed.ports or ())
    lines = [f"guard: {word}", f"ports: {', '.join(map(str, ports)) or '-'}"]
    if observed.protocols:
        lines.append(f"IP protocols: {', '.join(map(str, observed.protocols))}")
    lines += [f"{name}: {c['packets']} packets, {c['bytes']} bytes" for name, c in counters.items()]
    document = {
        "state": word,
        "ports": ports,
        "protocols": list(observed.protocols),
        "counters": counters,
    }
    _say(output, document, "\n".join(lines))
    if word != "in place":
        raise typer.Exit(1)


def _complain(text: str) -> None:
    typer.echo(f"geneveil: {text}", err=True)


def _say(output: Output, document: object, text: str) -> None:
    import json

    typer.echo(json.dumps(document, indent=2) if output is Output.JSON else text)
