"""`geneveil verify`: judge captured evidence."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from geneveil import __version__
from geneveil.model.errors import ConfigError

if TYPE_CHECKING:
    from geneveil.verify.evidence import Evidence
    from geneveil.verify.report import Report
    from geneveil.verify.verdict import Verdict

EVIDENCE_FILE = "evidence.json"
REPORT_FILES = ("report.json", "report.html", "diagram.svg")
_OUR_WORDS = (b"geneveil", b"as observed on the wire")  # in a report; in the diagram alone
PASSED, FAILED = 0, 1


class Output(StrEnum):
    """How to print."""

    TABLE = "table"
    JSON = "json"


_SHORT_HELP = "Judge captured evidence: is all encrypted that must be?"
_HELP = """Judge an evidence folder: was every flow encrypted, or not, as the rule says?

The folder holds evidence.json and two captures that a witness took outside the nodes: \
disabled.pcap, of a cluster installed with IPsec off, the control; and enabled.pcap, of one \
installed with IPsec on. Captured ESP is decrypted with the nodes' own keys. Nothing is sent and \
nobody else is asked, so that anybody can judge the same folder again.

Writes report.json, report.html and diagram.svg, and removes those of an earlier judgement \
before it begins, so that none is left of other evidence. Exit status 0: all is as it must be, \
and not one Geneve frame was in clear. 1: it is not. 2: the evidence can't be judged.

Examples:

  geneveil verify out/demo

  geneveil verify out/demo --details

  geneveil verify out/demo -o json | jq .verdict.passed

  geneveil verify /mnt/evidence --report-dir ~/audit
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify", help=_HELP, short_help=_SHORT_HELP)(verify)


_FOLDER = typer.Argument(..., metavar="DIR", readable=False, help="The evidence folder.")
_OUTPUT = typer.Option(Output.TABLE, "--output", "-o", help="For people or for machines.")
_REPORT_DIR = typer.Option(
    None, "--report-dir", readable=False, help="Where to write; DIR itself unless given."
)
_DETAILS = typer.Option(False, "--details", help="Show every pair of nodes and every reason.")


def verify(
    folder: Path = _FOLDER,
    output: Output = _OUTPUT,
    report_dir: Path | None = _REPORT_DIR,
    details: bool = _DETAILS,
) -> None:
    from datetime import UTC, datetime

    from geneveil.cli.verify_view import print_verdict
    from geneveil.verify.report import REPORT_VERSION, Report

    _remove_old_reports(folder, report_dir or folder)
    evidence = _read_evidence(folder)
    verdict = _judge(folder, evidence, quiet=output is Output.JSON)
    report = Report(
        schema_version=REPORT_VERSION,
        judged_at=datetime.now(UTC).replace(microsecond=0),
        judged_by=f"geneveil {__version__}",
        verdict=verdict,
    )
    written = _write_reports(report, report_dir or folder)
    if output is Output.JSON:
        typer.echo(report.to_json(), nl=False)
    else:
        print_verdict(verdict, written, details=details)
    raise typer.Exit(PASSED if verdict.passed else FAILED)


def _remove_old_reports(folder: Path, report_dir: Path) -> None:
    """Leave no verdict of an earlier judgement beside evidence that may turn out to be broken.

    Where there is no evidence, `folder` may be a slip of the finger, and a report.html there
    somebody else's: then only what we wrote ourselves is removed.

    Raises:
        ConfigError: a report is there and can't be removed; nothing was judged.
    """
    if not folder.is_dir():
        return  # said by who reads the evidence
    is_evidence = (folder / EVIDENCE_FILE).is_file()
    for path in (report_dir / name for name in REPORT_FILES):
        try:
            if is_evidence or any(word in path.read_bytes() for word in _OUR_WORDS):
                path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise ConfigError(
                f"cannot remove {path}, a report of an earlier judgement",
                why=error.strerror or str(error),
                remedy="name another folder with --report-dir",
            ) from error


def _read_evidence(folder: Path) -> "Evidence":
    from geneveil.verify.errors import EvidenceError
    from geneveil.verify.evidence import Evidence

    path = folder / EVIDENCE_FILE
    if not folder.is_dir():
        raise EvidenceError(f"{folder} is not a folder", remedy="name one with evidence.json")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise EvidenceError(f"cannot read {path}", why=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise EvidenceError(f"{path} is not UTF-8 text", why=str(error)) from error
    return Evidence.from_json(text, EVIDENCE_FILE)


def _judge(folder: Path, evidence: "Evidence", *, quiet: bool) -> "Verdict":
    from geneveil.capture.io import open_capture
    from geneveil.verify.errors import EvidenceError
    from geneveil.verify.flows import Phase
    from geneveil.verify.judge import judge

    captures = {}
    with ExitStack() as stack:
        progress = stack.enter_context(_progress(quiet))
        for phase in Phase:
            name = evidence.phase(phase).capture_file
            if Path(name).name != name:
                raise EvidenceError(
                    f"{EVIDENCE_FILE}: capture_file {name!r}", why="it must lie in the folder"
                )
            report_bytes = progress(folder / name)
            captures[phase] = stack.enter_context(open_capture(folder / name, report_bytes))
        return judge(evidence, captures)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[Path], Callable[[int], None]]]:
    """Gives what makes a bar for a capture, and returns what moves it. On a terminal only."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("reading {task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as bars:

        def add_bar(path: Path) -> Callable[[int], None]:
            size = path.stat().st_size if path.exists() else 0
            bar = bars.add_task(path.name, total=size)
            return lambda read_bytes: bars.update(bar, completed=read_bytes)

        yield add_bar


def _write_reports(report: "Report", folder: Path) -> list[Path]:
    """Write every report whole or not at all; each replaces its predecessor at once."""
    from geneveil.verify.diagram import draw_standalone
    from geneveil.verify.html import render_html

    texts = {
        "report.json": report.to_json(),
        "report.html": render_html(report),
        "diagram.svg": draw_standalone(report.verdict),
    }
    written = []
    for name, text in texts.items():
        path = folder / name
        unfinished = folder / f".{name}.new"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(text, encoding="utf-8")
            unfinished.replace(path)
        except OSError as error:
            with suppress(OSError):
                unfinished.unlink()
            raise ConfigError(
                f"cannot write {path}",
                why=error.strerror or str(error),
                remedy="name another folder with --report-dir",
            ) from error
        written.append(path)
    return written
