"""The sentinel's table in the kernel."""

from geneveil.guard.nft.io import Nft
from geneveil.guard.sentinel import wire
from geneveil.model.errors import KernelError
from geneveil.model.sentinel import ObservedSentinel, SentinelSpec


class NftSentinel:
    """The sentinel in the network namespace of this process."""

    def __init__(self, nft: str = "nft") -> None:
        needs = "the netdev family and its egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS)"
        self._nft = Nft(nft, "leak sentinel", needs)
        self._unlisted: SentinelSpec | None = None

    def read(self) -> ObservedSentinel:
        """What stands in the kernel; a table that is not there is a finding, not an error.

        Raises:
            DaemonError, KernelError: nft is missing, hangs or cannot read.
        """
        listing = self._nft.list_table(wire.FAMILY, wire.TABLE)
        return wire.ABSENT if listing is None else wire.parse_table(listing)

    def apply(self, spec: SentinelSpec) -> bool:
        """Replace it if it is not as `spec` says; the counters go on.

        Raises:
            DaemonError, KernelError: what stood before still stands. Or it was put, and nft does
                not list it as it is: then it is not put again and again, and nobody can say that
                it stands.
        """
        observed = self.read()
        if observed.spec == spec:
            return False
        if self._unlisted != spec or not observed.counters:
            self._nft.commit(wire.encode_replace(spec, observed.counters))
            self._unlisted = None if self.read().spec == spec else spec
        if self._unlisted is None:
            return True
        raise KernelError(
            "the leak sentinel cannot be told from an altered one",
            why="this nft does not list it as it was put",
            remedy="install nftables 1.1 or later",
        )

    def remove(self) -> None:
        """Take it away."""
        self._nft.commit(wire.encode_removal())
