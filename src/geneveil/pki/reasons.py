"""Every reason word for which an enrolment can be refused, each defined once.

The words stand in answers, in the audit log and in people's scripts: they never change meaning.
"""

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why a request was refused."""

    # the message itself
    REQUEST_TOO_LARGE = "request-too-large"
    REQUEST_CONTENT_TYPE = "request-content-type"
    REQUEST_NOT_JSON = "request-not-json"
    REQUEST_SHAPE = "request-shape"

    # the join token
    TOKEN_MALFORMED = "token-malformed"  # noqa: S105
    TOKEN_UNKNOWN = "token-unknown"  # noqa: S105
    TOKEN_USED = "token-used"  # noqa: S105
    TOKEN_EXPIRED = "token-expired"  # noqa: S105
    TOKEN_OTHER_NODE = "token-other-node"  # noqa: S105
    TOKEN_VOID = "token-void"  # noqa: S105

    # the client certificate
    CLIENT_CERTIFICATE_MISSING = "client-certificate-missing"
    CLIENT_CERTIFICATE_UNKNOWN = "client-certificate-unknown"
    CERTIFICATE_REVOKED = "certificate-revoked"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_SUPERSEDED = "certificate-superseded"
    NODE_REVOKED = "node-revoked"

    # the renewal
    RENEWAL_TOO_EARLY = "renewal-too-early"
    CSR_KEY_REUSED = "csr-key-reused"
    TOO_MANY_CERTIFICATES = "too-many-certificates"

    # the certificate signing request
    CSR_MALFORMED = "csr-malformed"
    CSR_SIGNATURE = "csr-signature"
    CSR_KEY_TYPE = "csr-key-type"
    CSR_KEY_WEAK = "csr-key-weak"
    CSR_COMMON_NAME = "csr-common-name"
    CSR_SUBJECT = "csr-subject"
    CSR_ALTERNATIVE_NAME = "csr-alternative-name"
    CSR_EXTENSION = "csr-extension"
    CSR_ATTRIBUTE = "csr-attribute"
    CSR_KEY_IN_USE = "csr-key-in-use"

    # who asks through Kubernetes
    REQUESTER_NOT_AGENT = "requester-not-agent"
    REQUESTER_NOT_BOUND = "requester-not-bound"
    NODE_UNKNOWN = "node-unknown"
    NODE_REPLACED = "node-replaced"
    CHASSIS_CLAIMED_TWICE = "chassis-claimed-twice"
    CSR_NAME = "csr-name"
    CSR_USAGES = "csr-usages"
    CSR_DURATION = "csr-duration"
    CSR_TOO_OLD = "csr-too-old"
    CSR_TOO_LARGE = "csr-too-large"
    TOO_MANY_WAITING = "too-many-waiting"

    # the name
    NAME_INVALID = "name-invalid"
    NAME_RESERVED = "name-reserved"
    NAME_AMBIGUOUS = "name-ambiguous"

    # the cluster
    IPSEC_DISABLED = "ipsec-disabled"
    AUTHORITY_NOT_VALID = "authority-not-valid"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a request.

    Attributes:
        reason: the stable word.
        message: one sentence for a person; text from the request stands in it only escaped.
    """

    reason: Reason
    message: str


def shown(text: str) -> str:
    """Text from outside, fit for a message or a terminal: ASCII, escaped, quoted, cut."""
    return ascii(text if len(text) <= 80 else text[:77] + "...")
