"""A guest's shell, over SSH through the lab's UNIX socket; one connection, many commands."""

import asyncio
import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from lab.deadline import patience
from lab.errors import LabError
from lab.spec import SSH_PORT, forward_socket

_CONNECT_TRY_SECONDS = 0.1


@dataclass(frozen=True)
class Output:
    """What a command in a guest left behind."""

    status: int
    stdout: str
    stderr: str


class Remote:
    """One guest. `connect` first; `close` ends the connection, not the guest."""

    def __init__(self, name: str, connection: asyncssh.SSHClientConnection) -> None:
        self.name = name
        self.connection = connection

    @classmethod
    async def connect(cls, run_dir: Path, guest: str, key: Path, seconds: float) -> "Remote":
        """Connect as soon as the guest's sshd answers.

        The socket is inside the lab's own folder and leads to that guest alone, so the host key
        is not checked: there is nobody who could stand between.
        """
        path = forward_socket(run_dir, guest, SSH_PORT)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds * patience()
        while True:
            try:
                link = socket.socket(socket.AF_UNIX)
                link.connect(str(path))
                link.setblocking(False)
                connection = await asyncssh.connect(
                    guest,
                    sock=link,
                    username="root",
                    client_keys=[str(key)],
                    known_hosts=None,
                    config=None,
                    agent_path=None,
                    compression_algs=None,
                    encryption_algs=["aes128-gcm@openssh.com"],
                )
                return cls(guest, connection)
            except (OSError, asyncssh.Error) as error:
                if loop.time() > deadline:
                    raise LabError(
                        f"{guest} does not answer over SSH", why=f"{type(error).__name__}: {error}"
                    ) from error
                await asyncio.sleep(_CONNECT_TRY_SECONDS)

    async def run(
        self, command: str | Sequence[str], *, stdin: str | None = None, seconds: float = 60
    ) -> Output:
        """Run a command; any exit status is returned, none is an error.

        Raises:
            LabError: the connection broke or the command outlived `seconds`.
        """
        text = command if isinstance(command, str) else shlex.join(command)
        try:
            running = self.connection.run(text, input=stdin)
            done = await asyncio.wait_for(running, seconds * patience())
        except (OSError, asyncssh.Error, TimeoutError) as error:
            raise LabError(f"{self.name}: `{text}` did not finish", why=repr(error)) from error
        status = done.exit_status if done.exit_status is not None else 255
        return Output(status, str(done.stdout or ""), str(done.stderr or ""))

    async def check(
        self, command: str | Sequence[str], *, stdin: str | None = None, seconds: float = 60
    ) -> str:
        """Run a command that must succeed; return its standard output.

        Raises:
            LabError: it failed; with its last words.
        """
        done = await self.run(command, stdin=stdin, seconds=seconds)
        if done.status:
            words = (done.stderr or done.stdout).strip()[-600:]
            raise LabError(f"{self.name}: `{command}` ended with status {done.status}", why=words)
        return done.stdout

    def close(self) -> None:
        self.connection.close()
