"""The `geneveil` program: puts the commands together and turns errors into messages."""

import codecs
import io
import json
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

_TYPED = {"→": "->", "…": "...", "’": "'", "“": "'", "”": "'"}


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


def _spell_out(error: UnicodeError) -> tuple[str, int]:
    """What the terminal's encoding lacks: arrows as people type them, the rest as JSON escapes it,
    because JSON may be what is printed."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_TYPED.get(c) or json.dumps(c)[1:-1] for c in lacking), error.end


def main() -> None:
    """Run the command line; every failure ends in one readable line and a non-zero status."""
    codecs.register_error("geneveil", _spell_out)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="geneveil")
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
