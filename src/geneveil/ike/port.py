"""What the agent asks of the IKE daemon."""

from typing import Protocol

from geneveil.model.connection import ChildName, Connection, Identity, ObservedIke


class IkeDaemon(Protocol):
    """charon. Every method raises DaemonError when charon is away, silent or refuses."""

    def read(self) -> ObservedIke:
        """Everything that charon has: never a part of it."""

    def load_identity(self, identity: Identity) -> str:
        """Trust bundle, certificate and key into charon's memory; repeating it is harmless.

        Returns:
            The id under which charon lists the key.
        """

    def load_connection(self, connection: Connection, identity: Identity) -> None:
        """Add or replace one connection; its SAs stay as they are."""

    def unload_connection(self, name: str) -> None:
        """Forget a connection; its SAs stay as they are. One that is not there is no error."""

    def terminate(self, ike_unique_id: int) -> None:
        """Close one IKE_SA and its children, telling the peer, without waiting for it."""

    def terminate_child(self, child_unique_id: int) -> None:
        """Close one CHILD_SA, telling the peer, without waiting for it."""

    def initiate(self, connection: str, child: ChildName) -> None:
        """Ask for a child, and its IKE_SA where there is none; does not wait for the outcome."""
