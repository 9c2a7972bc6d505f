"""`python -m lab`: up, down, status, exec, shell, logs, capture, demo, setup, clean, apiserver.

Heavy imports stay inside the commands.
"""

import asyncio
import io
import os
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geneveil.model.errors import GeneveilError
from lab.build import command as build_command
from lab.kube import command as kube_command

if TYPE_CHECKING:
    from lab.lifecycle import LabConfig, Programs

app = typer.Typer(
    name="lab",
    help="An OVN cluster of real kernels on this machine, with a witness on its wire.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
build_command.register(app)
kube_command.register(app)

Name = Annotated[str, typer.Option("--name", help="Which lab; several can be up at once.")]
Ipv6 = Annotated[bool, typer.Option("--ipv6", help="An IPv6 underlay, and pods of both families.")]
DataDir = Annotated[Path, typer.Option("--data-dir", help="Where labs keep disks, logs, captures.")]
ControlPlane = Annotated[
    str,
    typer.Option(
        "--control-plane",
        help="With IPsec: standalone (geneveil's own operator) or kubernetes (an API server).",
    ),
]
_DATA_DIR = Path("out/lab")


@app.command()
def up(
    nodes: Annotated[int, typer.Option(help="How many nodes, 2 to 8.")] = 3,
    ipsec: Annotated[
        bool, typer.Option("--ipsec", help="Install the cluster with IPsec on.")
    ] = False,
    name: Name = "lab",
    encapsulation: Annotated[
        str, typer.Option(help="With IPsec: Auto, or Always to force ESP into UDP 4500.")
    ] = "Auto",
    underlay: Annotated[str, typer.Option(help="Subnet of the underlay wire.")] = "192.0.2.0/24",
    management: Annotated[
        str, typer.Option(help="Subnet of the management wire.")
    ] = "198.51.100.0/24",
    cluster_network: Annotated[
        str, typer.Option("--cluster-network", help="Subnet of the pods.")
    ] = "10.128.0.0/16",
    ipv6: Ipv6 = False,
    control_plane: ControlPlane = "standalone",
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Bring a cluster up and leave it running.

    Examples:

      python -m lab up --ipsec

      python -m lab up --ipsec --control-plane kubernetes

      python -m lab up --name two --nodes 2 --encapsulation Always --ipsec
    """
    from dataclasses import replace

    from lab.lifecycle import LabConfig
    from lab.session import bring_up_and_keep
    from lab.topology import IPV6_SUBNETS, Subnets, parse_subnet, plan_topology

    _one_of("--encapsulation", encapsulation, "Auto", "Always")
    subnets = Subnets(
        parse_subnet(underlay, "--underlay"),
        parse_subnet(management, "--management"),
        parse_subnet(cluster_network, "--cluster-network"),
    )
    if ipv6:
        subnets = replace(subnets, underlay=IPV6_SUBNETS.underlay, cluster6=IPV6_SUBNETS.cluster6)
    plan_topology(nodes, subnets)
    is_kubernetes = _is_kubernetes(control_plane)
    if is_kubernetes and not ipsec:
        raise typer.BadParameter("needs --ipsec", param_hint="--control-plane kubernetes")
    config = LabConfig(name, nodes, ipsec, encapsulation, subnets, data_dir, is_kubernetes)
    programs, transport = _prepare(config)
    _run(bring_up_and_keep(config, programs, transport))


@app.command()
def down(
    name: Name = "lab",
    everything: Annotated[bool, typer.Option("--all", help="All labs.")] = False,
) -> None:
    """End a lab: guests, wires, witness. Its logs and its capture stay in the data folder."""
    from lab.claim import labs
    from lab.session import take_down

    for each in labs() if everything else [name]:
        _run(take_down(each, typer.echo))


@app.command()
def status(
    name: Annotated[str | None, typer.Option("--name", help="Only this lab.")] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table",
) -> None:
    """Show the labs on this machine, their guests and their witness.

    Exit status 1 if the named lab is not up, or its witness is dead.
    """
    from lab.session import show_status

    _one_of("--output", output, "table", "json")
    if not _run(show_status(name, output)):
        raise typer.Exit(1)


@app.command("exec", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def exec_(
    context: typer.Context,
    guest: Annotated[str, typer.Argument(help="node1 … nodeN, or central.")],
    name: Name = "lab",
) -> None:
    """Run a command in a guest; its exit status is the lab's.

    Examples:

      python -m lab exec node1 -- geneveil status

      python -m lab exec node1 -- ip netns exec node1-pod1 ping -c 3 10.128.2.10
    """
    from lab.session import ssh_command

    words = context.args[1:] if context.args[:1] == ["--"] else context.args
    if not words:
        raise typer.BadParameter("say what to run after --", param_hint="COMMAND")
    _become(ssh_command(name, guest, words))


@app.command()
def shell(
    guest: Annotated[str, typer.Argument(help="node1 … nodeN, or central.")], name: Name = "lab"
) -> None:
    """Open a shell in a guest."""
    from lab.session import ssh_command

    _become(ssh_command(name, guest, []))


@app.command()
def logs(
    guest: Annotated[str, typer.Argument(help="node1 … nodeN, or central.")],
    name: Name = "lab",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they grow.")] = False,
    lines: Annotated[int, typer.Option("--lines", help="How many of each file's last lines.")] = 20,
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Show the last lines of every log of a guest, also of a lab that is down."""
    from lab.session import log_files

    files = [str(path) for path in log_files(name, guest, data_dir)]
    _become(["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *files])


@app.command()
def capture(
    name: Name = "lab",
    watch: Annotated[bool, typer.Option("--watch", help="Print frames as they pass.")] = False,
    data_dir: DataDir = _DATA_DIR,
) -> None:
    """Say where the witness's capture is, also of a lab that is down; or watch the wire live."""
    from lab.session import capture_file, watch_command

    if watch:
        _become(watch_command(name))
    typer.echo(capture_file(name, data_dir))


@app.command()
def demo(
    nodes: Annotated[int, typer.Option(help="How many nodes, 2 to 8.")] = 3,
    out: Annotated[Path, typer.Option(help="Where the report and captures go.")] = Path("out/demo"),
    encapsulation: Annotated[str, typer.Option(help="Auto or Always.")] = "Auto",
    name: Name = "demo",
    ipv6: Ipv6 = False,
    control_plane: ControlPlane = "standalone",
) -> None:
    """Two clusters, IPsec off and on, the same traffic, judged from outside the nodes.

    Exit status 0 only if every flow fared as it must and no Geneve frame of the cluster with IPsec
    was in clear.
    """
    from lab.demo import DemoConfig, run_demo
    from lab.lifecycle import LabConfig
    from lab.session import narrator
    from lab.topology import IPV6_SUBNETS, Subnets, plan_topology

    plan_topology(nodes)
    _one_of("--encapsulation", encapsulation, "Auto", "Always")
    is_kubernetes = _is_kubernetes(control_plane)
    subnets = IPV6_SUBNETS if ipv6 else Subnets()
    config = LabConfig(name, nodes, True, encapsulation, subnets, kubernetes=is_kubernetes)
    programs, transport = _prepare(config)
    with narrator() as say:
        verdict = _run(run_demo(DemoConfig(config, programs, transport, out), say))
    raise typer.Exit(verdict)


@app.command()
def scenario(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which to play; none: list them all.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Play all, one after another.")] = False,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where evidence is kept.")] = Path(
        "out/scenarios"
    ),
    results: Annotated[
        Path | None, typer.Option(help="Write a table of what each cost (Markdown).")
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Keep each fault's row here (JSON); a .md beside it gets the table."),
    ] = None,
    fault: Annotated[list[str] | None, typer.Option(help="Of faults, only these.")] = None,
    control_plane: ControlPlane = "standalone",
    minutes: Annotated[float | None, typer.Option(help="Begin nothing new after so long.")] = None,
) -> None:
    """Play situations on real clusters with steady traffic; see lab/scenarios/.

    Exit status 0 only if each went as its README says, and none was left out for lack of time.

    Examples:

      python -m lab scenario

      python -m lab scenario node_certificates_renewed

      python -m lab scenario ca_rolled_over --control-plane kubernetes

      python -m lab scenario --all --results out/soak.md --record out/faults.json
    """
    from lab.lifecycle import LabConfig
    from lab.scenario import load_scenario, only_faults, playable_names
    from lab.session import play_all

    is_kubernetes = _is_kubernetes(control_plane)
    playable, left_out = playable_names(control_plane)
    chosen = [load_scenario(name, control_plane) for name in names or playable]
    chosen = only_faults(chosen, fault) if fault else chosen
    for name, why in [] if names else left_out.items():
        where = "not on Kubernetes" if is_kubernetes else "only with --control-plane kubernetes"
        typer.echo(f"{name:32} {where}: {why}")
    if not names and not everything:
        for each in chosen:
            typer.echo(f"{each.name:32} {each.title}")
            for one in each.faults:
                typer.echo(f"{'':32}   {one.name}: {one.title}")
        return
    programs, transport = _prepare(LabConfig(kubernetes=is_kubernetes))
    failed = _run(play_all(chosen, programs, transport, data_dir, results, record, minutes))
    if failed:
        raise typer.Exit(1)


def _one_of(option: str, value: str, *words: str) -> None:
    if value not in words:
        raise typer.BadParameter(" or ".join(words), param_hint=option)


def _is_kubernetes(control_plane: str) -> bool:
    _one_of("--control-plane", control_plane, "standalone", "kubernetes")
    return control_plane == "kubernetes"


@app.command()
def walk(
    seed: Annotated[int | None, typer.Option(help="Which walk; none: one by chance.")] = None,
    steps: Annotated[int, typer.Option(help="How many combinations of faults.")] = 20,
    minutes: Annotated[float | None, typer.Option(help="Begin nothing new after so long.")] = None,
    brief: Annotated[bool, typer.Option("--brief", help="Without what takes minutes.")] = False,
    data_dir: Annotated[Path, typer.Option("--data-dir", help="Where evidence is kept.")] = Path(
        "out/scenarios"
    ),
) -> None:
    """Walk at random over combined faults; the seed is printed, and shows the same walk again.

    Examples:

      python -m lab walk --steps 5

      python -m lab walk --seed 7 --minutes 30 --steps 1000
    """
    import math
    import secrets
    import time

    from lab.lifecycle import LabConfig
    from lab.session import narrator
    from lab.walk import walk_alone

    programs, transport = _prepare(LabConfig())
    until = time.monotonic() + minutes * 60 if minutes else math.inf
    chosen = secrets.randbelow(1 << 31) if seed is None else seed
    with narrator() as say:
        done = _run(
            walk_alone(
                programs,
                transport,
                data_dir,
                chosen,
                steps,
                say,
                lambda: time.monotonic() < until,
                with_long=not brief,
            )
        )
        say(f"seed {chosen}: {done} steps, as it must be")


def _prepare(config: "LabConfig") -> "tuple[Programs, str]":
    """Refuse early what cannot work; build what is missing; choose how guests reach the wires."""
    from lab.build import artifacts, kubernetes, machine, progress
    from lab.claim import refuse_if_up
    from lab.lifecycle import Programs

    refuse_if_up(config.name)
    found = machine.read_machine()
    for problem in machine.judge_machine(found):
        raise problem
    with progress.shown() as reporter:
        built = artifacts.ensure(reporter)
        kube = kubernetes.ensure(reporter) if config.kubernetes else None
    programs = Programs(built.kernel, built.rootfs, built.site, built.code, kube)
    return programs, "raw" if found.tun_refused else "tap"


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        # Said here, because typer ends without a word. All that was begun has been undone by now.
        sys.stderr.write("lab: interrupted; everything that this command had started is gone\n")
        raise typer.Exit(128 + signal.SIGINT) from None


def _become(command: list[str]) -> None:
    """Let another program take this one's place: its terminal, its signals, its exit status."""
    sys.stdout.flush()
    os.execvp(command[0], command)  # noqa: S606  no shell is meant


def main() -> None:
    """Run the command line; every failure ends in one readable line and a non-zero status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # an encoding without our arrows ends nothing
    try:
        app()
    except GeneveilError as error:
        sys.stderr.write(f"lab: {error.render()}\n")
        sys.exit(error.exit_status)
    except OSError as error:
        # What nobody expected of the machine: a full disk, a folder that may not be written.
        sys.stderr.write(f"lab: {error.filename or 'this machine'}: {error.strerror or error}\n")
        sys.exit(1)
