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

    def load_crl(self, crl_der: bytes) -> None:
        """Add a CRL; from now on no peer whose certificate stands on it is authenticated."""

    def unload_key(self, key_id: str) -> None:
        """Forget a private key. One that is not there is no error."""

    def clear_credentials(self) -> None:
        """Forget every certificate, CRL, key and shared secret, whoever loaded it; SAs and
        connections stay as they are.

        There is no other way in VICI to take out an authority that a connection named
        (vici_authority.c of strongSwan: `unload-authority` leaves those).
        """

    def load_connection(self, connection: Connection, identity: Identity, salt: int = 0) -> None:
        """Add or replace one connection; its SAs stay as they are, and go on with the
        configuration that they were made with.

        Args:
            salt: a child is put into an IKE_SA that was made with the same salt, or a new one.
        """

    def unload_connection(self, name: str) -> None:
        """Forget a connection; its SAs stay as they are. One that is not there is no error."""

    def terminate(self, ike_unique_id: int, at_once: bool = False) -> None:
        """Close one IKE_SA and its children, telling the peer, without waiting for it.

        Args:
            at_once: it is gone even if the peer does not answer.
        """

    def terminate_child(self, child_unique_id: int) -> None:
        """Close one CHILD_SA, telling the peer, without waiting for it."""

    def rekey_child(self, child_unique_id: int) -> None:
        """Replace one CHILD_SA, without waiting for the outcome; one that is gone is no error."""

    def initiate(self, connection: str, child: ChildName) -> None:
        """Ask for a child, and its IKE_SA where there is none; does not wait for the outcome."""
