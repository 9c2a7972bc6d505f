"""Runs `nft` with JSON. Imports little: `geneveil guard apply` stands in the way of the boot."""

import json
import subprocess

from geneveil.guard.wire import (
    ABSENT,
    FAMILY,
    TABLE,
    Json,
    encode_removal,
    encode_replace,
    parse_table,
)
from geneveil.model.errors import DaemonError, KernelError
from geneveil.model.guard import GuardSpec, ObservedGuard

NFT_TIMEOUT_SECONDS = 10
"""A transaction takes milliseconds; longer means that something holds the nftables lock."""


class NftGuard:
    """The guard in the network namespace of this process."""

    def __init__(self, nft: str = "nft") -> None:
        self._nft = nft

    def read(self) -> ObservedGuard:
        """What stands in the kernel; a table that is not there is a finding, not an error.

        Raises:
            DaemonError: nft is missing or hangs.
            KernelError: nft could not read the ruleset.
        """
        # Numeric protocols: their names depend on the files of the machine.
        done = self._run(["-j", "-p", "list", "table", FAMILY, TABLE], "")
        if done.returncode == 0:
            return parse_table(_decode(done.stdout))
        # nft says the same for an absent table and for one it may not read: ask for all names.
        tables = self._run(["-j", "list", "tables", FAMILY], "")
        if tables.returncode == 0 and not _names_ours(_decode(tables.stdout)):
            return ABSENT
        raise KernelError("cannot read the guard", why=_first_line(done.stderr or tables.stderr))

    def apply(self, spec: GuardSpec) -> bool:
        """Compare first, so that a guard that stands keeps its counters; replace in one commit.

        Returns:
            True if the table was absent or altered and was replaced.
        Raises:
            DaemonError, KernelError: as `read`; what stood before still stands.
        Fails closed: an unreadable table is replaced like an altered one.
        """
        return self._put(spec, self._observed())

    def cover(self, spec: GuardSpec) -> tuple[GuardSpec, bool]:
        """As `apply`, but never less than the guard covers already, altered or not.

        For the start, when the tunnels that the guard was widened for are not known yet.

        Returns:
            What stands now, and whether something had to be changed.
        """
        observed = self._observed()
        wide = spec.widened_by(observed)
        return wide, self._put(wide, observed)

    def remove(self) -> None:
        """Take the guard away: only for a node that leaves the cluster for good."""
        self._commit(encode_removal())

    def _observed(self) -> ObservedGuard:
        try:
            return self.read()
        except KernelError:
            return ABSENT

    def _put(self, spec: GuardSpec, observed: ObservedGuard) -> bool:
        if observed.stands_for(spec):
            return False
        self._commit(encode_replace(spec, observed.counters))
        return True

    def _commit(self, transaction: Json) -> None:
        done = self._run(["-j", "-f", "-"], json.dumps(transaction))
        if done.returncode != 0:
            raise KernelError(
                "the kernel refused the guard",
                why=_first_line(done.stderr),
                remedy="run as root on a kernel with nf_tables and its rt, meta and counter parts",
            )

    def _run(self, arguments: list[str], stdin: str) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [self._nft, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                timeout=NFT_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise DaemonError(
                f"{self._nft} is not on this machine: the guard cannot be set or read",
                remedy="install nftables",
            ) from None
        except subprocess.TimeoutExpired:
            raise DaemonError(f"nft did not end within {NFT_TIMEOUT_SECONDS} s") from None
        except OSError as error:
            raise DaemonError("cannot start nft", why=str(error)) from None


def _decode(text: str) -> Json:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise KernelError("cannot read the guard", why="nft did not print JSON")
    return value


def _names_ours(listing: Json) -> bool:
    return any(item.get("table", {}).get("name") == TABLE for item in listing.get("nftables", ()))


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else "no reason given"
