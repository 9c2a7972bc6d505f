"""The two subscriptions: to changes of our nftables tables, and of the IPsec database."""

from collections.abc import Callable

from geneveil.kernel_events import wire
from geneveil.netlink.io import Subscription

TABLE_PAUSE_SECONDS = 0.1
"""Whoever fights over the guard is answered ten times a second at most."""

IPSEC_PAUSE_SECONDS = 0.5


class TableEvents:
    """Calls `changed` with who changed a table of that name; with None when it must be looked at
    although nobody knows of a change: at the start, and after notifications were lost."""

    def __init__(self, table: str, changed: Callable[[wire.TableChange | None], None]) -> None:
        self._table = table
        self._changed = changed
        self._is_open = False
        self._subscription = Subscription(
            "nftables-events",
            wire.NETLINK_NETFILTER,
            (wire.NFNLGRP_NFTABLES,),
            self._receive,
            TABLE_PAUSE_SECONDS,
        )

    def start(self) -> None:
        """Start listening; goes on until the process ends."""
        self._subscription.start()

    def _receive(self, datagrams: list[bytes] | None) -> None:
        if datagrams is None:
            self._is_open = False
            self._changed(None)
            return
        reading = wire.read_tables(datagrams, self._table, self._is_open)
        self._is_open = reading.is_open
        if reading.change is not None:
            self._changed(reading.change)


class IpsecEvents:
    """Calls `changed` when states or policies were taken away, and when that may have been."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        groups = (wire.XFRMNLGRP_SA, wire.XFRMNLGRP_POLICY)
        self._subscription = Subscription(
            "xfrm-events", wire.NETLINK_XFRM, groups, self._receive, IPSEC_PAUSE_SECONDS
        )

    def start(self) -> None:
        """Start listening; goes on until the process ends."""
        self._subscription.start()

    def _receive(self, datagrams: list[bytes] | None) -> None:
        if datagrams is None or wire.takes_away(datagrams):
            self._changed()
