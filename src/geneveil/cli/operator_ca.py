"""`geneveil operator ca …`: the authority's roll-over."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geneveil.cli.operator_kube import (
    DEFAULT_NAMESPACE,
    Kubeconfig,
    Kubernetes,
    Namespace,
    is_leader_there,
    opened_ledger,
    wish_rotation,
)
from geneveil.cli.operator_options import (
    DEFAULT_STATE_DIR,
    Output,
    OutputOption,
    StateDir,
    opened,
    print_json,
    print_table,
)
from geneveil.model.clock import SystemClock

if TYPE_CHECKING:
    from geneveil.operator.store import Store

app = typer.Typer(
    help="The certificate authority, and how one follows another.", no_args_is_help=True
)


@app.callback()
def _ca() -> None:
    pass


@app.command(
    short_help="Have a new authority follow the one that signs now.",
    epilog="Example: geneveil operator ca rotate --wave 6h",
)
def rotate(
    wave: Annotated[
        str,
        typer.Option("--wave", help="Over how long the nodes renew: 30s, 10m, 6h, 1d."),
    ] = "",
    state_dir: StateDir = DEFAULT_STATE_DIR,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Have a new authority follow the one that signs now, without a packet lost.

    The running operator does it, step by step, and goes on by itself. If a roll-over is under way
    already, this says where it stands.
    """
    from geneveil.operator.rotation_request import request_rotation

    now = SystemClock().now()
    if kubernetes:
        wish_rotation(kubeconfig, wave, now)
        if output is Output.JSON:
            print_json({"isRequested": True, "wave": wave})
            return
        typer.echo("a new authority was asked for; the leader begins as soon as it looks")
        return
    with opened(state_dir) as store:
        is_new = request_rotation(store, wave, now)
        document = _document(store, state_dir)
    if output is Output.JSON:
        print_json({"isNew": is_new, **document})
        return
    if is_new:
        typer.echo("a new authority was asked for; geneveil operator ca status shows how it goes")
    else:
        typer.echo("a roll-over is under way already")
        _print_status(document)
    if not document["isOperatorRunning"]:
        typer.echo("no operator runs here: it begins when one is started", err=True)


@app.command(
    short_help="Show where the roll-over stands, and who is missing.",
    epilog="Example: geneveil operator ca status -o json",
)
def status(
    state_dir: StateDir = DEFAULT_STATE_DIR,
    kubernetes: Kubernetes = False,
    kubeconfig: Kubeconfig = None,
    namespace: Namespace = DEFAULT_NAMESPACE,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show where the roll-over stands, who is missing and why, and what comes next."""
    from geneveil.operator.ca_view import ca_document

    if kubernetes:
        runs = is_leader_there(kubeconfig, namespace)
        with opened_ledger(kubeconfig, namespace) as ledger:
            document = ca_document(ledger, SystemClock().now(), runs)
    else:
        with opened(state_dir) as store:
            document = _document(store, state_dir)
    if output is Output.JSON:
        print_json(document)
    else:
        _print_status(document)


def _document(store: "Store", state_dir: Path) -> dict[str, Any]:
    from geneveil.operator.ca_view import ca_document
    from geneveil.operator.clock_mark.io import open_clock_mark
    from geneveil.operator.io import is_running, server_path
    from geneveil.operator.run_note.io import read_run_note

    runs, directory = is_running(state_dir), server_path(state_dir).parent
    terms = read_run_note(directory) if runs else None
    believed_at = open_clock_mark(directory).read()
    return ca_document(store, SystemClock().now(), runs, terms, believed_at)


def _print_status(document: dict[str, Any]) -> None:
    since = f" since {document['since']}" if document["since"] else ""
    reason = f" ({document['reason']})" if document["reason"] else ""
    typer.echo(f"phase       {document['phase']}{since}{reason}")
    if document["waitsFor"]:
        typer.echo(f"waits for   {document['waitsFor']}")
    if document["nextRotation"]:
        typer.echo(f"next        {document['next']} at {document['nextRotation']}")
    else:
        typer.echo(f"next        {document['next']}")
    if document["isRequested"]:
        typer.echo("asked for   yes; it begins as soon as the operator looks")
    if not document["isOperatorRunning"]:
        typer.echo("operator    does not run: nothing moves on")
    if not document["isClockBelieved"]:
        typer.echo(
            f"clock       not believed: it was {document['clockBelievedAt']} not long ago. "
            "For a day no authority changes. Set the clock; if it is right: "
            "geneveil operator ca rotate"
        )
    columns = {
        "authority": "authority",
        "isSigning": "signs",
        "isServing": "serves",
        "notBefore": "not before",
        "notAfter": "not after",
        "crlNumber": "CRL",
        "crlEntries": "revoked",
        "crlNextUpdate": "CRL good until",
    }
    print_table(document["authorities"], columns, "there is no authority")
    if document["missing"]:
        print_table(document["missing"], {"chassis": "missing", "why": "why"}, "")
        if document["missingCount"] > len(document["missing"]):
            typer.echo(f"… and more: {document['missingCount']} in all")
