"""Where one artifact is built: a folder, a log, and programs that die with whoever started them.

Every program runs in a session and namespaces of its own (`contain`) and is killed as a whole when
the build is told to stop; when the builder itself is killed, the kernel ends them.
"""

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab.build.contain import Contain, contained, search_path
from lab.build.errors import BuildError, StepFailedError, StoppedError
from lab.build.meter import Meter

_KEPT_LINES = 40
# `make demo` starts us: its job server and flags are not for the programs that we run.
_NOT_INHERITED = frozenset(
    {
        *("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR"),
        *("KBUILD_OUTPUT", "CROSS_COMPILE", "LLVM", "KCFLAGS"),
    }
)


class Stop:
    """Stops all programs of all builds at once; what is started afterwards is refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self.stopped = False

    def now(self) -> None:
        """Kill what runs, with its children."""
        with self._lock:
            self.stopped = True
            for process in self._running:
                _kill_session(process)

    def start(
        self, argv: Sequence[str], cwd: Path, env: Mapping[str, str]
    ) -> "subprocess.Popen[str]":
        """Start a program whose output comes as one stream of lines."""
        with self._lock:
            if self.stopped:
                raise StoppedError("stopped")
            process = subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
            )
            self._running.add(process)
            return process

    def ended(self, process: "subprocess.Popen[str]") -> None:
        """A program's output has ended, or nobody reads it any more."""
        with self._lock:
            self._running.discard(process)
        # Nothing of a program outlives it, in whatever way it ended.
        _kill_session(process)


class Workbench:
    """What a builder works with; made by the cache, one for each artifact.

    Args:
        title: what is built, in words.
        folder: empty; becomes the artifact once the builder returns.
        scratch: empty; thrown away in any case.
        log: all output of all programs.
        meter: told which step is under way.
        stop: ends the programs from outside.
    """

    def __init__(
        self, title: str, folder: Path, scratch: Path, log: Path, meter: Meter, stop: Stop
    ) -> None:
        self.title = title
        self.folder = folder
        self.scratch = scratch
        self.log = log
        self.meter = meter
        self.stop = stop
        self.changed: Callable[[], None] = lambda: None

    def step(self, name: str) -> None:
        """Begin a step of the recipe."""
        if self.stop.stopped:
            raise StoppedError("stopped")
        self.meter.begin(name, time.monotonic())
        self._write_log(f"== {name}\n")
        self.changed()

    def count(self, fraction: float) -> None:
        """The step under way has done this share of its work (0 to 1)."""
        self.meter.count(fraction)
        self.changed()

    def run(
        self,
        argv: Sequence[str],
        *,
        need: Contain = Contain.PLAIN,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> str:
        """Run a program to its end and return its last lines.

        Args:
            argv: the program and its arguments; no shell is in between.
            need: what the program is given; see `contain`.
            cwd: where; the scratch folder if not given.
            env: added to the inherited environment.
            on_line: is told each line of output as it comes.
        Raises:
            StepFailedError: it ended with an error; shows its last lines and names the log.
            StoppedError: the build was told to stop.
        """
        self._write_log("$ " + " ".join(argv) + "\n")
        inherited = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
        merged = {**inherited, "PATH": search_path(), "LC_ALL": "C.UTF-8"}
        # Temporary files too: a disk that runs full is then the one that we name.
        merged["TMPDIR"] = str(self.scratch)
        merged.update(env or {})
        try:
            held = contained(argv, need, is_root=os.geteuid() == 0)
            process = self.stop.start(held, cwd or self.scratch, merged)
        except FileNotFoundError as error:
            raise BuildError(f"{self._task()} failed", why=f"no program {error.filename}") from None
        last: deque[str] = deque(maxlen=_KEPT_LINES)
        try:
            assert process.stdout is not None  # noqa: S101 - asked for by PIPE above
            with self.log.open("a") as log:
                for line in process.stdout:
                    log.write(line)
                    last.append(line.rstrip("\n"))
                    if on_line:
                        on_line(line.rstrip("\n"))
            status = process.wait()
        finally:
            self.stop.ended(process)
        if self.stop.stopped:
            raise StoppedError("stopped")
        if status != 0:
            ended = f"status {status}" if status > 0 else f"signal {-status}"
            raise StepFailedError(self._task(), _program(argv), ended, self.log, list(last))
        return "\n".join(last)

    def _task(self) -> str:
        return f"building the {self.title}: {self.meter.step}"

    def _write_log(self, text: str) -> None:
        with self.log.open("a") as log:
            log.write(text)


def _program(argv: Sequence[str]) -> str:
    return Path(argv[0]).name


def _kill_session(process: "subprocess.Popen[str]") -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        # Already gone; or a zombie group, which some kernels answer with EPERM.
        return
