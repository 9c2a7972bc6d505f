"""The guard's table in the kernel. Imports little: the boot waits for it."""

from collections.abc import Mapping

from geneveil.guard.nft.io import Nft
from geneveil.guard.wire import (
    ABSENT,
    FAMILY,
    TABLE,
    encode_removal,
    encode_replace,
    parse_table,
)
from geneveil.model.errors import KernelError
from geneveil.model.guard import GuardCounter, GuardSpec, ObservedGuard, Tally


class NftGuard:
    """The guard in the network namespace of this process."""

    def __init__(self, nft: str = "nft") -> None:
        self._nft = Nft(nft, "guard", "nf_tables and its rt, meta and counter parts")

    def read(self) -> ObservedGuard:
        """What stands in the kernel; a table that is not there is a finding, not an error.

        Raises:
            DaemonError: nft is missing or hangs.
            KernelError: nft could not read the ruleset.
        """
        listing = self._nft.list_table(FAMILY, TABLE)
        return ABSENT if listing is None else parse_table(listing)

    def is_there(self) -> bool:
        """Whether there is such a table, whatever is in it; one that cannot be read is."""
        try:
            return self._nft.list_table(FAMILY, TABLE) is not None
        except KernelError:
            return True

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

    def restore(self, spec: GuardSpec, tallies: Mapping[GuardCounter, Tally]) -> ObservedGuard:
        """As `apply`, in as few steps as can be: for a guard that somebody touched just now.

        Args:
            tallies: the last readings, in case the counters went with the table.
        Returns:
            What was found.
        Raises:
            DaemonError, KernelError: as `apply`.
        """
        try:
            listing = self._nft.try_list_table(FAMILY, TABLE)
            observed = ABSENT if listing is None else parse_table(listing)
        except KernelError:
            observed = ABSENT  # an unreadable table is replaced like an altered one
        if not observed.stands_for(spec):
            self._nft.commit(encode_replace(spec, {**tallies, **observed.counters}))
        return observed

    def remove(self) -> None:
        """Take the guard away: only for a node that leaves the cluster for good."""
        self._nft.commit(encode_removal())

    def _observed(self) -> ObservedGuard:
        try:
            return self.read()
        except KernelError:
            return ABSENT

    def _put(self, spec: GuardSpec, observed: ObservedGuard) -> bool:
        if observed.stands_for(spec):
            return False
        self._nft.commit(encode_replace(spec, observed.counters))
        return True
