"""A program of `lab/guest/` on a node, spoken to in JSON, one object a line."""

import asyncio
import json
import shlex
from collections.abc import Sequence
from typing import Any

import asyncssh

from lab.deadline import patience
from lab.errors import LabError
from lab.remote import Remote

_START_SECONDS = 60.0
_ANSWER_SECONDS = 180.0


class Conversation:
    """One program; `ask` gives an order and returns the answer to it."""

    def __init__(self, node: str, program: str, process: asyncssh.SSHClientProcess[str]) -> None:
        self.node = node
        self.program = program
        self._process = process

    @classmethod
    async def start(cls, remote: Remote, program: str, words: Sequence[str]) -> "Conversation":
        """Start `/lab/PROGRAM` and wait until it says that it is ready."""
        command = shlex.join(["python3", "-I", f"/lab/{program}", *words])
        process = await remote.connection.create_process(command)
        conversation = cls(remote.name, program, process)
        await conversation._read(_START_SECONDS * patience())
        return conversation

    async def ask(self, order: dict[str, Any], seconds: float = _ANSWER_SECONDS) -> dict[str, Any]:
        """One order, one answer.

        Raises:
            LabError: the program ended or did not answer in time; with its last words.
        """
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
        except OSError as error:
            raise LabError(f"{self.node}: {self.program} is gone", why=str(error)) from error
        return await self._read(seconds)

    async def _read(self, seconds: float) -> dict[str, Any]:
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), seconds)
        except TimeoutError as error:
            raise LabError(f"{self.node}: {self.program} did not answer") from error
        if not line:
            words = (await self._process.stderr.read()).strip()[-600:]
            raise LabError(f"{self.node}: {self.program} ended", why=words)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        self._process.close()
