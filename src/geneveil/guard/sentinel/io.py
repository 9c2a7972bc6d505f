"""The sentinel's table in the kernel."""

from geneveil.guard.nft.io import Nft
from geneveil.guard.sentinel import wire
from geneveil.model.sentinel import ObservedSentinel, SentinelSpec


class NftSentinel:
    """The sentinel in the network namespace of this process."""

    def __init__(self, nft: str = "nft") -> None:
        needs = "the netdev family and its egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS)"
        self._nft = Nft(nft, "leak sentinel", needs)

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
            DaemonError, KernelError: what stood before still stands.
        """
        observed = self.read()
        if observed.spec == spec:
            return False
        self._nft.commit(wire.encode_replace(spec, observed.counters))
        return True

    def remove(self) -> None:
        """Take it away."""
        self._nft.commit(wire.encode_removal())
