"""What the agent asks of Open vSwitch."""

from typing import Protocol

from geneveil.model.tunnel import OvsSnapshot


class TunnelSource(Protocol):
    """The local OVSDB."""

    def read(self) -> OvsSnapshot:
        """The latest complete picture.

        Raises:
            DaemonError: there was none yet, or the connection is down: never an empty picture.
        """
