"""PID 1 of a lab's namespaces: makes the wires, starts the witness, boots the guests, serves.

Started by `lab.lifecycle` under unshare(1). Standard library only, so that it starts at once.
What it owns lives and dies with it: the kernel ends every process of a PID namespace when PID 1
ends, and with the last process go the network namespace, its bridges and taps, and the mounts.
It also inherits the lock on the lab's name (`lab.claim`), never touches it, and so holds it to its
end; the programs that it starts do not inherit it.

Control: one JSON object a line on `run_dir/control`:
    {"do": "status"} | {"do": "kill", "guest": G} | {"do": "start", "guest": G} | {"do": "stop"}
    {"do": "start-service", "guest": S} | {"do": "stop-service", "guest": S} | the same with kill-
It is not a shell and takes nothing else.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from lab.services import Services
from lab.spec import (
    UNDERLAY_BRIDGE,
    Guest,
    LabSpec,
    forward_socket,
    guest_command,
    parse_spec,
    plan_wires,
)

WITNESS_FILE = "witness.json"
_LISTEN_SECONDS = 10.0
# A guest told to power off has this long before its process is ended.
_POWER_OFF_SECONDS = 5.0
_CHUNK_BYTES = 65536
# The kernel keeps a slot of one frame's largest size for each frame that waits for tcpdump: 16,384
# slots of 16 KiB. Frames here are one MTU long, those of a probe over plain TCP three. A frame that
# finds no slot is reported as dropped, and the judge then passes nothing.
_WITNESS_FRAME_BYTES = 16_000
_WITNESS_BUFFER_KIB = 262_144


class Supervisor:
    """The lab's processes. Decides nothing beyond the order: wires, witness, guests."""

    def __init__(self, spec: LabSpec) -> None:
        self.spec = spec
        self.guests: dict[str, Process] = {}
        self.booted_at: dict[str, float] = {}
        self.halted_at: dict[str, float] = {}
        self.watchers: set[asyncio.Task[None]] = set()
        self.witness_started_at = 0.0
        self.witness: Process | None = None
        self.witness_heard: asyncio.Task[float] | None = None
        self.witness_report = ""
        self.services = Services(spec.services)
        self.stopping = asyncio.Event()

    async def run(self, lifeline: int | None) -> None:
        """Run until told to stop or until the lifeline's other end is closed."""
        await self._make_wires()
        await self._start_witness()
        await self.services.start_all()
        servers = [await asyncio.start_unix_server(self._control, self._path("control"))]
        for guest in self.spec.guests:
            for port in guest.ports:
                path = forward_socket(self.spec.run_dir, guest.name, port)
                handler = _forwarder(guest.address, port)
                servers.append(await asyncio.start_unix_server(handler, str(path)))
        for guest in self.spec.guests:
            await self._boot(guest)
        if lifeline is not None:
            asyncio.get_running_loop().add_reader(lifeline, self._lifeline_stirs, lifeline)
        await self.stopping.wait()
        await self._stop_all()
        for server in servers:
            server.close()

    def _path(self, name: str) -> str:
        return str(Path(self.spec.run_dir) / name)

    def _lifeline_stirs(self, lifeline: int) -> None:
        """End of file: the one who started the lab is gone. A byte: the lab stays up by itself."""
        kept = os.read(lifeline, 1)
        asyncio.get_running_loop().remove_reader(lifeline)
        os.close(lifeline)
        if not kept:
            self.stopping.set()

    async def _make_wires(self) -> None:
        batch = "\n".join(plan_wires(self.spec)) + "\n"
        process = await asyncio.create_subprocess_exec(
            "ip", "-batch", "-", stdin=PIPE, stdout=PIPE, stderr=PIPE
        )
        _, errors = await process.communicate(batch.encode())
        if process.returncode:
            raise RuntimeError(f"the lab's wires could not be made: {errors.decode().strip()}")

    async def _start_witness(self) -> None:
        """Start tcpdump and wait until it says that it listens."""
        self.witness = await asyncio.create_subprocess_exec(
            "tcpdump",
            *("-i", UNDERLAY_BRIDGE, "-w", self.spec.capture, "-U", "--immediate-mode"),
            *("-s", str(_WITNESS_FRAME_BYTES), "-B", str(_WITNESS_BUFFER_KIB), "-n", "-Z", "root"),
            stdin=DEVNULL,
            stdout=DEVNULL,
            stderr=PIPE,
        )
        assert self.witness.stderr is not None  # noqa: S101  PIPE was asked for
        seen = b""
        while b"listening on" not in seen:
            try:
                line = await asyncio.wait_for(self.witness.stderr.readline(), _LISTEN_SECONDS)
            except TimeoutError as error:
                raise RuntimeError(
                    f"the witness does not listen after {_LISTEN_SECONDS:g} s"
                ) from error
            if not line:
                raise RuntimeError(f"the witness could not start: {seen.decode().strip()}")
            seen += line
        self.witness_started_at = time.time()
        self.witness_heard = asyncio.create_task(self._hear_witness(self.witness))

    async def _hear_witness(self, witness: Process) -> float:
        """Take down tcpdump's last words, however it ends; return when it ended."""
        assert witness.stderr is not None  # noqa: S101  PIPE was asked for
        self.witness_report = (await witness.stderr.read()).decode(errors="replace")
        await witness.wait()
        return time.time()

    async def _boot(self, guest: Guest) -> None:
        console = Path(guest.disk) / "log" / "console.log"
        console.parent.mkdir(parents=True, exist_ok=True)
        self.booted_at.setdefault(guest.name, time.time())
        with console.open("ab") as log:
            self.guests[guest.name] = await asyncio.create_subprocess_exec(
                *guest_command(self.spec, guest),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        watcher = asyncio.create_task(self._note_halt(guest.name, self.guests[guest.name]))
        self.watchers.add(watcher)
        watcher.add_done_callback(self.watchers.discard)

    async def _note_halt(self, name: str, process: Process) -> None:
        await process.wait()
        self.halted_at[name] = time.time()

    async def _stop_all(self) -> None:
        for process in self.guests.values():
            _cut_power(process)
        for name, process in self.guests.items():
            await process.wait()
            self.halted_at.setdefault(name, time.time())
        await self.services.stop_all()
        await self._stop_witness()

    async def _stop_witness(self) -> None:
        """Stop tcpdump after the last guest; keep its closing words and all times.

        A witness that had ended before it was told to is reported like any other: it stopped when
        it ended, and the judge sees that guests still ran then.
        """
        if self.witness is None or self.witness_heard is None:
            return
        told_at = time.time()
        _end(self.witness, signal.SIGINT)
        ended_at = await self.witness_heard
        testimony = {
            "report": self.witness_report,
            "started_at": self.witness_started_at,
            "stopped_at": min(told_at, ended_at),
            "booted_at": self.booted_at,
            "halted_at": self.halted_at,
        }
        Path(self.spec.data_dir, WITNESS_FILE).write_text(json.dumps(testimony, indent=1))
        self.witness_heard = None

    async def _control(self, reader: StreamReader, writer: StreamWriter) -> None:
        # Cancelled when the supervisor ends with a client still connected: nothing to tell it.
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while line := await reader.readline():
                try:
                    answer = await self._obey(json.loads(line))
                except (ValueError, KeyError, OSError) as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    async def _obey(self, order: dict[str, Any]) -> dict[str, Any]:
        match order["do"]:
            case "status":
                pass
            case "kill":
                process = self.guests[order["guest"]]
                _cut_power(process)
                await process.wait()
            case "start":
                process = self.guests[order["guest"]]
                if process.returncode is None:
                    raise ValueError(f"{order['guest']} is running")
                await self._boot(next(g for g in self.spec.guests if g.name == order["guest"]))
            case "start-service":
                await self.services.start(order["guest"])
            case "stop-service":
                await self.services.stop(order["guest"])
            case "kill-service":
                await self.services.stop(order["guest"], signal.SIGKILL)
            case "await-halt":
                await self._await_halt()
            case "stop":
                await self._stop_all()
                self.stopping.set()
            case other:
                raise ValueError(f"unknown order {other!r}")
        return self._status()

    async def _await_halt(self) -> None:
        """Wait for guests that power themselves off; end those that do not."""
        waits = [asyncio.ensure_future(process.wait()) for process in self.guests.values()]
        _, pending = await asyncio.wait(waits, timeout=_POWER_OFF_SECONDS)
        for task in pending:
            task.cancel()

    def _status(self) -> dict[str, Any]:
        return {
            "name": self.spec.name,
            "guests": {
                name: {
                    "running": process.returncode is None,
                    "pid": process.pid,
                    "booted_at": self.booted_at[name],
                }
                for name, process in self.guests.items()
            },
            "services": self.services.status(),
            "witness": self.witness is not None and self.witness.returncode is None,
            "witness_report": self.witness_report,
        }


def _end(process: Process, number: signal.Signals) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)


def _cut_power(process: Process) -> None:
    """End a guest with all its processes: each guest leads a session and group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _forwarder(address: str, port: int) -> Callable[[StreamReader, StreamWriter], Awaitable[None]]:
    async def handle(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(address, port)
        except OSError:
            writer.close()
            return
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    return handle


async def _pump(reader: StreamReader, writer: StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(ConnectionError, RuntimeError):
        writer.close()


def main() -> None:
    """`python -m lab.supervisor SPEC [LIFELINE_FD]`; errors go to standard error, one line."""
    spec = parse_spec(Path(sys.argv[1]).read_text())
    lifeline = int(sys.argv[2]) if len(sys.argv) > 2 else None
    supervisor = Supervisor(spec)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, supervisor.stopping.set)
        await supervisor.run(lifeline)

    try:
        asyncio.run(serve())
    except (RuntimeError, OSError, TimeoutError) as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
