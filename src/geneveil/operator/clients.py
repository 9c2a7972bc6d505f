"""Is a client certificate one that a node may ask with now? Pure.

TLS has proved that the client holds the key, and that an authority of ours signed the certificate.
The rest is asked here, of the operator's own records: TLS would answer with an alert that says
nothing to a person, and it knows neither revocations nor who was removed.
"""

import hmac
from dataclasses import dataclass
from datetime import datetime

from geneveil.operator.records import CertificateRecord, Kind, NodeRecord
from geneveil.pki.reasons import Finding, Reason


@dataclass(frozen=True)
class ClientView:
    """All that the decision rests on.

    Attributes:
        certificate_pem: what the client showed, as PEM; empty if it showed none.
        record: the certificate of that serial number, if there is one.
        node: what was said about its chassis, if anything.
        is_authority_retired: its authority has left the trust bundle.
    """

    certificate_pem: bytes
    record: CertificateRecord | None
    node: NodeRecord | None
    is_authority_retired: bool
    now: datetime


def judge_client(view: ClientView) -> Finding | None:
    """Say why a client is refused, or None.

    Fails closed: yes; what is not in the records, byte for byte, is unknown.
    """
    if not view.certificate_pem:
        return Finding(
            Reason.CLIENT_CERTIFICATE_MISSING, "this needs the node's certificate as proof (TLS)"
        )
    record = view.record
    if (
        record is None
        or record.kind is not Kind.NODE
        or not hmac.compare_digest(record.certificate_pem, view.certificate_pem)
    ):
        return Finding(
            Reason.CLIENT_CERTIFICATE_UNKNOWN,
            "this operator did not issue the certificate, or was restored from a backup that is "
            "older; the node needs a new token",
        )
    if view.node is not None and view.node.is_shut_out:
        return Finding(
            Reason.NODE_REVOKED,
            f"chassis {record.chassis} was {view.node.standing.value} at "
            f"{view.node.changed_at:%Y-%m-%dT%H:%M:%SZ}",
        )
    if record.revoked_at is not None:
        return Finding(
            Reason.CERTIFICATE_REVOKED,
            f"the certificate was revoked at {record.revoked_at:%Y-%m-%dT%H:%M:%SZ}",
        )
    if view.now > record.not_after:
        return Finding(
            Reason.CERTIFICATE_EXPIRED,
            f"the certificate ended at {record.not_after:%Y-%m-%dT%H:%M:%SZ}; "
            "the node needs a new token",
        )
    if view.is_authority_retired:
        return Finding(
            Reason.CERTIFICATE_SUPERSEDED,
            "the certificate was replaced, and its authority is no longer trusted",
        )
    return None
