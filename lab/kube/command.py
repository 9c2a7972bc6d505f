"""`python -m lab apiserver`.

Module level imports little: `--help` must not wait for what only the command needs.
"""

import signal
from pathlib import Path
from typing import Annotated

import typer

_FOLDER = Path("out/apiserver")


def register(app: typer.Typer) -> None:
    """Add the command to the lab's."""
    app.command()(apiserver)


def apiserver(
    folder: Annotated[
        Path, typer.Option(help="Keeps the objects; the next start goes on with them.")
    ] = _FOLDER,
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP port; 0 takes a free one.")] = 0,
) -> None:
    """Run a real Kubernetes API server on this machine's loopback until Ctrl-C.

    With geneveil's namespace and service accounts in it, and no nodes. Builds it if need be.

    Examples:

      python -m lab apiserver

      python -m lab apiserver --folder /tmp/kube --port 6443
    """
    from lab.build import kubernetes, progress
    from lab.kube.cluster import make_namespace
    from lab.kube.server import ApiServer

    is_over = False

    def end(_number: int, _frame: object) -> None:
        nonlocal is_over
        # Raised while something is tidied up it would be dropped, so it is remembered too.
        is_over = True
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with progress.shown() as reporter:
        programs = kubernetes.ensure(reporter)
    with ApiServer.start(folder, programs, port=port) as server:
        make_namespace(server)
        typer.echo(f"ready at {server.url}; use it in another terminal:")
        typer.echo(f"  export KUBECONFIG={server.kubeconfig()}")
        typer.echo(f"  {programs.kubectl} get namespaces")
        typer.echo(f"logs, audit log and objects are in {server.layout.folder}; Ctrl-C ends it")
        server.watch(lambda: is_over)
    raise KeyboardInterrupt
