"""Runs `nft` with JSON. Imports little: `geneveil guard apply` stands in the way of the boot."""

import json
import subprocess
from typing import Any, TypeAlias

from geneveil.model.errors import DaemonError, KernelError
from geneveil.model.shortage import remedy_for

Json: TypeAlias = dict[str, Any]

NFT_TIMEOUT_SECONDS = 10
"""A transaction takes milliseconds; longer means that something holds the nftables lock."""


class Nft:
    """nftables of the network namespace of this process.

    Args:
        program: what to run.
        subject: the table, in words, for messages.
        lacks: what a kernel that refuses may lack.
    """

    def __init__(self, program: str, subject: str, lacks: str) -> None:
        self._program = program
        self._subject = subject
        self._lacks = lacks

    def try_list_table(self, family: str, table: str) -> Json | None:
        """As `list_table` with one run instead of two, for who writes next whatever it is: None
        also if it cannot be read."""
        done = self._run(["-j", "-p", "list", "table", family, table], "")
        return self._decode(done.stdout) if done.returncode == 0 else None

    def list_table(self, family: str, table: str) -> Json | None:
        """A table as nft prints it; None if there is none.

        Raises:
            DaemonError: nft is missing or hangs.
            KernelError: nft could not read; never taken for "there is none".
        """
        # Numeric protocols: their names depend on the files of the machine.
        done = self._run(["-j", "-p", "list", "table", family, table], "")
        if done.returncode == 0:
            return self._decode(done.stdout)
        # nft says the same for an absent table and for one it may not read: ask for all names.
        tables = self._run(["-j", "list", "tables", family], "")
        if tables.returncode == 0 and not _names(self._decode(tables.stdout), table):
            return None
        why = _first_line(done.stderr or tables.stderr)
        raise KernelError(f"cannot read the {self._subject}", why=why)

    def commit(self, transaction: Json) -> None:
        """Do all of it, or nothing.

        Raises:
            DaemonError, KernelError: what stood before still stands.
        """
        done = self._run(["-j", "-f", "-"], json.dumps(transaction))
        if done.returncode != 0:
            raise KernelError(
                f"the kernel refused the {self._subject}",
                why=_first_line(done.stderr),
                remedy=f"run as root on a kernel with {self._lacks}",
            )

    def _run(self, arguments: list[str], stdin: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [self._program, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=NFT_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise DaemonError(
                f"{self._program} is not on this machine: "
                f"the {self._subject} cannot be set or read",
                remedy="install nftables",
            ) from None
        except subprocess.TimeoutExpired:
            raise DaemonError(f"nft did not end within {NFT_TIMEOUT_SECONDS} s") from None
        except OSError as error:
            remedy = remedy_for(error, "look at the machine's log, and at nftables' package")
            raise DaemonError("cannot start nft", why=str(error), remedy=remedy) from None

    def _decode(self, text: str) -> Json:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise KernelError(f"cannot read the {self._subject}", why="nft did not print JSON")
        return value


def _names(listing: Json, table: str) -> bool:
    return any(item.get("table", {}).get("name") == table for item in listing.get("nftables", ()))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
