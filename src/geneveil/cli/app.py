"""The `geneveil` program: puts the commands together and turns errors into messages."""

import sys

import typer

from geneveil import __version__
from geneveil.cli import install, node, node_decommission, operator, verify
from geneveil.model.errors import GeneveilError

app = typer.Typer(
    name="geneveil",
    help="IPsec for the OVN-Kubernetes cluster network that fails closed and proves what it does.",
    epilog="Examples: geneveil status; geneveil operator list; geneveil verify out/demo. "
    "Every command tells more with --help.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,  # plain help: importing rich would take half of its time
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"geneveil {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


node.register(app)
app.add_typer(node_decommission.node_app, name="node")
app.add_typer(operator.app, name="operator")
verify.register(app)
install.register(app)


def main() -> None:
    """Run the command line; every failure ends in one readable line and a non-zero status."""
    try:
        app()
    except GeneveilError as error:
        sys.stderr.write(f"geneveil: {error.render()}\n")
        sys.exit(error.exit_status)
    except OSError as error:
        # What nobody expected of the machine: a full disk, a folder that may not be searched. Not
        # 1, which is what `status` and `verify` found.
        what = error.filename or "the output cannot be written"
        sys.stderr.write(f"geneveil: {what}: {error.strerror or error}\n")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.stderr.write("geneveil: interrupted\n")
        sys.exit(130)
