"""What an agent asks of an operator, whatever carries it."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from geneveil.model.cluster import ClusterSettings


@dataclass(frozen=True)
class JoinToken:
    """A one-time join token, taken apart. `repr` does not show the secret.

    Attributes:
        chassis: the one name that the token is for.
        identifier: 8 bytes by which the operator finds it.
        secret: 32 bytes; sent to the pinned operator only.
        ca_pin: SHA-256 of the authority's SubjectPublicKeyInfo.
        url: where the operator is, `https://host:port`; empty if the token does not say.
    """

    chassis: str
    identifier: bytes
    secret: bytes
    ca_pin: bytes
    url: str = ""

    def __repr__(self) -> str:
        return f"JoinToken(chassis={self.chassis!r}, identifier={self.identifier.hex()!r})"


@dataclass(frozen=True)
class Bootstrap:
    """What an operator says to everyone.

    Attributes:
        trust_bundle_pem: the cluster's authorities.
        settings: the sealed configuration.
    """

    trust_bundle_pem: bytes
    settings: ClusterSettings


@dataclass(frozen=True)
class Enrolment:
    """What a node gets for its token and its request."""

    certificate_pem: bytes
    trust_bundle_pem: bytes
    settings: ClusterSettings


@dataclass(frozen=True)
class NodeCredential:
    """The key and certificate by which a node proves who it is. `repr` shows no key.

    Attributes:
        key_pem: PKCS #8 PEM without a passphrase.
        certificate_pem: the certificate for that key, issued by the operator.
    """

    key_pem: bytes
    certificate_pem: bytes

    def __repr__(self) -> str:
        return "NodeCredential(…)"


@dataclass(frozen=True)
class Renewal:
    """What a node gets for its old certificate and a request with a new key.

    Attributes:
        crls_pem: the newest CRL of each authority that has one.
    """

    certificate_pem: bytes
    trust_bundle_pem: bytes
    settings: ClusterSettings
    crls_pem: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class WatchState:
    """What a node has now; the operator takes it as the node's confirmation.

    Attributes:
        generation: of the last answer; 0 before the first.
        trusts: SHA-256 (64 hexadecimal digits) of each CA certificate (DER) that charon has loaded.
        crls: (SHA-256 of the CA certificate, CRL number) of each CRL that charon has loaded.
        serial: of the certificate that the node uses now, 40 hexadecimal digits.
        in_use: further serials of this node's own certificates that an IKE SA still stands on; an
            authority is not dropped while a node says that it uses a certificate of it.
    """

    generation: int
    trusts: tuple[str, ...]
    crls: tuple[tuple[str, int], ...]
    serial: str
    in_use: tuple[str, ...] = ()


@dataclass(frozen=True)
class WatchAnswer:
    """What a node shall trust now.

    Attributes:
        generation: grows with every change of bundle, CRLs, revoked chassis or phase.
        trust_bundle_pem: every authority to trust, oldest first.
        crls_pem: the newest CRL of each of them that has one.
        revoked_chassis: chassis whose certificates were revoked and that have no valid one;
            ascending. Connections with them are to be ended at once.
        renew_from: SHA-256 of the CA certificate that signs now, 64 hexadecimal digits.
        renew_after: when this node shall renew because of a roll-over; None if it need not.
        held_seconds: how long the operator held the question.
        expired_chassis: chassis whose latest certificate ended long ago; ascending. Connections
            with them are to be ended.
        settings: of the cluster, so that a node that lost them has them again; None from an
            operator that does not say.
        reissue: serials of certificates in use that the operator does not know any more, because
            its memory was restored from an older copy. Nobody could revoke them: whoever has one
            asks for another at once.
    """

    generation: int
    trust_bundle_pem: bytes
    crls_pem: tuple[bytes, ...]
    revoked_chassis: tuple[str, ...]
    renew_from: str
    renew_after: datetime | None
    held_seconds: float
    expired_chassis: tuple[str, ...] = ()
    settings: ClusterSettings | None = None
    reissue: tuple[str, ...] = ()


class EnrolmentPort(Protocol):
    """An operator, as seen from a node. All calls block, and may be tried again at any time."""

    def fetch_bootstrap(self, ca_pin: bytes) -> Bootstrap:
        """The trust bundle and settings, from the operator that the pin proves.

        Raises:
            OperatorUnreachableError: no answer, or none that makes sense; try again.
            TrustError: whoever answered is not the operator that the token names.
        """

    def enrol(self, token: JoinToken, csr_pem: bytes, trust_bundle_pem: bytes) -> Enrolment:
        """Spend the token. The same token with the same request gets the same answer again.

        Raises:
            OperatorUnreachableError: no answer; try again with the same bytes.
            RefusedError: the operator says no; `reason` is a word of `geneveil.pki.reasons`.
            TrustError: whoever answered is not this cluster's operator.
        """

    def renew(self, csr_pem: bytes, identity: NodeCredential, trust_bundle_pem: bytes) -> Renewal:
        """Ask for a new certificate with the old one as proof (mutual TLS); the key must be new.

        The same request with the same old certificate gets the same answer again.

        Raises:
            OperatorUnreachableError: no answer, or the operator is busy (`retry_after_seconds`);
                try again with the same bytes.
            RefusedError: the operator says no: `renewal-too-early`, `certificate-expired`,
                `certificate-revoked`, `node-revoked`, `client-certificate-unknown`,
                `certificate-superseded`, `csr-…`.
            TrustError: whoever answered is not this cluster's operator, or key and certificate
                of `identity` can't be used.
        """

    def watch(
        self, state: WatchState, identity: NodeCredential, trust_bundle_pem: bytes
    ) -> WatchAnswer:
        """Wait for something to differ from `state.generation`; at most about a minute.

        Answers with the operator's state, the same one if nothing changed. The connection is kept
        for the next call with the same identity and bundle. `close` from another thread ends a
        call that waits, with OperatorUnreachableError.

        Raises:
            The same as `renew`.
        """

    def close(self) -> None:
        """End a watch that waits, and the connection that is kept. May be called at any time."""
