"""One daemon as a child process: its log in a file, and no way to outlive whoever started it."""

import signal
import subprocess
from pathlib import Path

_SHOWN_LINES = 8


class Daemon:
    """A program that can be started, stopped, killed, frozen and started again.

    The kernel kills it when the thread that started it ends, however that comes about. It has a
    session of its own, so that Ctrl-C reaches us alone and we end things in order.
    """

    def __init__(self, command: list[str], folder: Path, log: Path) -> None:
        self._command = command
        self._folder = folder
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def name(self) -> str:
        return Path(self._command[0]).name

    @property
    def pid(self) -> int:
        """Raises AssertionError if it was not started."""
        assert self._process is not None  # noqa: S101  a caller's mistake
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.running:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *self._command],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, grace_seconds: float = 20) -> None:
        """Ask it to end, and make it if it doesn't within the grace."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGCONT)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """It keeps its connections and answers nobody, like a machine without CPU time."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Undo `freeze`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def last_lines(self) -> str:
        """The end of its log, for messages."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        shown = "".join(f"\n    {line[:300]}" for line in lines[-_SHOWN_LINES:])
        return f"{self.name} {'runs' if self.running else 'has ended'}; log {self.log}:{shown}"
