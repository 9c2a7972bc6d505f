"""`python -m lab setup` and `python -m lab clean`.

Module level imports little: `--help` must not wait for what only a build needs.
"""

import signal
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the commands to the lab's."""
    app.command()(setup)
    app.command()(clean)


def setup(
    status: Annotated[
        bool, typer.Option("--status", help="Only show what is built and what is missing.")
    ] = False,
    rebuild: Annotated[
        list[str] | None,
        typer.Option(
            help="Build anew: kernel, rootfs, site, code, kubernetes or helm; again for another."
        ),
    ] = None,
    api_server: Annotated[
        bool,
        typer.Option(
            "--api-server/--no-api-server",
            help="Also build Kubernetes' API server and helm, which the tests need.",
        ),
    ] = True,
    output: Annotated[
        str, typer.Option("--output", "-o", help="For --status: table or json.")
    ] = "table",
) -> None:
    """Build what the lab and the tests are made of, once, into the cache folder.

    Installs what the machine lacks if run as root. An interrupted build leaves nothing half-made.

    Examples:

      python -m lab setup

      python -m lab setup --status

      python -m lab setup --no-api-server    (enough for a cluster without Kubernetes)

      KUBEBUILDER_ASSETS=/opt/kubebuilder/bin python -m lab setup

      python -m lab setup --rebuild rootfs   (takes newer packages from Debian's archive)

      GENEVEIL_CACHE=/mnt/big/geneveil python -m lab setup
    """
    from lab.build import artifacts, kubernetes, machine, prerequisites, progress
    from lab.build.status import show_json, show_table

    if output not in ("table", "json"):
        raise typer.BadParameter("table or json", param_hint="--output")
    if status:
        (show_json if output == "json" else show_table)(artifacts.status())
        return
    _check_kinds(rebuild or [])
    _end_like_ctrl_c(signal.SIGTERM, signal.SIGHUP)
    with progress.shown() as reporter:
        for problem in machine.judge_machine(machine.read_machine()):
            raise problem
        prerequisites.provide(reporter.say)
        artifacts.ensure(reporter, anew=rebuild or ())
        reporter.say("the lab's kernel, root file system, packages and programs are built")
        if api_server:
            kubernetes.provide_go(reporter.say)
            kubernetes.ensure(reporter, anew=rebuild or ())
            reporter.say("etcd, kube-apiserver, kubectl and helm are built")


def clean(
    everything: Annotated[
        bool, typer.Option("--all", help="Remove the whole cache folder, also what is in use.")
    ] = False,
) -> None:
    """Remove from the cache folder what no longer belongs to this version of the project.

    Labs of another version lose what they run on: take them down first.

    Examples:

      python -m lab clean

      python -m lab clean --all
    """
    from lab.build import artifacts

    removed = artifacts.clean(everything=everything)
    for path in removed:
        typer.echo(f"removed {path}")
    if not removed:
        typer.echo("nothing to remove")


def _end_like_ctrl_c(*signals: signal.Signals) -> None:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in signals:
        signal.signal(number, interrupt)


def _check_kinds(kinds: list[str]) -> None:
    from lab.build.artifacts import KINDS

    for kind in kinds:
        if kind not in KINDS:
            raise typer.BadParameter(
                f"{kind}: not one of {', '.join(KINDS)}", param_hint="--rebuild"
            )
