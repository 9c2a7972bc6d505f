"""What an agent asks of an operator, whatever carries it."""

from dataclasses import dataclass
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


class EnrolmentPort(Protocol):
    """An operator, as seen from a node. Both calls block, and may be tried again at any time."""

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
