"""Programs beside the guests, as the supervisor runs them. Standard library only.

They end with the supervisor's PID namespace, however that ends.
"""

import asyncio
import contextlib
import signal
from asyncio.subprocess import DEVNULL, Process
from pathlib import Path

from lab.spec import Service

_GRACE_SECONDS = 10.0


class Services:
    """The programs of one lab, by name."""

    def __init__(self, services: tuple[Service, ...]) -> None:
        self._services = {service.name: service for service in services}
        self._processes: dict[str, Process] = {}

    async def start_all(self) -> None:
        """Start what does not run, in the order of the specification."""
        for name in self._services:
            await self.start(name)

    async def start(self, name: str) -> None:
        """Start one, unless it runs; KeyError for a name that is none."""
        service = self._services[name]
        if self.is_running(name):
            return
        with Path(service.log).open("ab") as log:
            self._processes[name] = await asyncio.create_subprocess_exec(
                *service.command,
                cwd=service.folder,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def stop(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        """End one and wait; one that does not end in time is killed."""
        process = self._processes.get(self._services[name].name)
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def stop_all(self) -> None:
        """End all, the last one first."""
        for name in reversed(self._services):
            await self.stop(name, signal.SIGKILL)

    def is_running(self, name: str) -> bool:
        """Whether it was started and has not ended."""
        process = self._processes.get(name)
        return process is not None and process.returncode is None

    def status(self) -> dict[str, bool]:
        """Name to whether it runs."""
        return {name: self.is_running(name) for name in self._services}
