"""What a watch brought, and what is kept of it. Pure: answers and bytes to bytes."""

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256

from cryptography.hazmat.primitives import serialization

from geneveil.agent.rotation.crls import merge_crls, parse_crls, salvage_crls
from geneveil.enroll.port import WatchAnswer
from geneveil.model.errors import TrustError
from geneveil.pki.authority import serial_text
from geneveil.pki.keyfiles import NamedBytes, TrustBundle, find_issuer, parse_bundle
from geneveil.pki.keyfiles import parse_certificate as parse_leaf


@dataclass(frozen=True)
class WatchRecord:
    """What the operator said last, beside bundle and CRLs.

    Attributes:
        generation: 0 before it was ever heard.
        renew_from: SHA-256 of the certificate of the authority that signs now; may be empty.
        renew_after: when this node shall renew because of a roll-over.
        heard_at: when, by this node's clock.
        reissue: the serial of this node's certificate, if the operator does not know it any more.
    """

    generation: int = 0
    revoked_chassis: frozenset[str] = frozenset()
    renew_from: str = ""
    renew_after: datetime | None = None
    heard_at: datetime | None = None
    expired_chassis: frozenset[str] = frozenset()
    reissue: str = ""


@dataclass(frozen=True)
class Update:
    """Files to write, in this order; None for one that stays as it is."""

    dropped: bytes | None
    bundle: bytes | None
    crls: bytes | None
    record: bytes


def judge_answer(
    answer: WatchAnswer,
    certificate: bytes,
    bundle: bytes,
    crls: bytes | None,
    dropped: bytes | None,
    now: datetime,
) -> Update:
    """Decide what to keep of an answer.

    Args:
        certificate, bundle, crls, dropped: what the node has now.
    Raises:
        TrustError: the answer cannot be right; nothing of it is kept.
    Fails closed: yes: a bundle without the authority of this node's own certificate would end
        its traffic and is refused; a CRL that can be read never gives way to an older one.
    """
    before = parse_bundle(NamedBytes("trust-bundle.pem", bundle))
    after = parse_bundle(NamedBytes("the operator's trust bundle", answer.trust_bundle_pem))
    leaf = parse_leaf(NamedBytes("node.crt", certificate))
    if find_issuer(leaf, after) is None:
        raise TrustError(
            "the operator's trust bundle lacks the authority of this node's certificate",
            remedy="the node keeps the bundle that it has; look at: geneveil operator ca status",
        )
    held = salvage_crls(crls or b"", after)  # what else was there, the operator sends
    news = parse_crls(b"".join(answer.crls_pem), after, "the operator's CRLs")
    new_crls = b"".join(crl.pem for crl in merge_crls(held, news))
    new_bundle = answer.trust_bundle_pem
    gone = sorted(
        (set(parse_dropped(dropped)) | set(fingerprints(before))) - set(fingerprints(after))
    )
    new_dropped = "".join(f"{line}\n" for line in gone).encode()
    serial = serial_text(leaf.serial_number)
    record = WatchRecord(
        generation=answer.generation,
        revoked_chassis=frozenset(answer.revoked_chassis),
        renew_from=answer.renew_from,
        renew_after=answer.renew_after,
        heard_at=now,
        expired_chassis=frozenset(answer.expired_chassis),
        reissue=serial if serial in answer.reissue else "",
    )
    return Update(
        dropped=None if new_dropped == (dropped or b"") else new_dropped,
        bundle=None if new_bundle == bundle else new_bundle,
        crls=None if new_crls == (crls or b"") else new_crls,
        record=encode_record(record),
    )


def fingerprints(bundle: TrustBundle) -> tuple[str, ...]:
    """SHA-256 of each authority's certificate, hexadecimal."""
    der = serialization.Encoding.DER
    return tuple(sha256(a.public_bytes(der)).hexdigest() for a in bundle.authorities)


def parse_dropped(data: bytes | None) -> frozenset[str]:
    """Fingerprints of authorities that were in the bundle once."""
    return frozenset((data or b"").decode("ascii", "replace").split())


def encode_record(record: WatchRecord) -> bytes:
    """The record as a file."""
    document = {
        "generation": record.generation,
        "revokedChassis": sorted(record.revoked_chassis),
        "renewFrom": record.renew_from,
        "renewAfter": record.renew_after.isoformat() if record.renew_after else None,
        "expiredChassis": sorted(record.expired_chassis),
        "heardAt": record.heard_at.isoformat() if record.heard_at else None,
        "reissue": record.reissue,
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def parse_record(data: bytes | None) -> WatchRecord:
    """What `encode_record` wrote; a record of nothing for no file.

    Raises:
        TrustError: it is something else.
    """
    if data is None:
        return WatchRecord()
    try:
        document = json.loads(data)
        return WatchRecord(
            generation=int(document["generation"]),
            revoked_chassis=frozenset(map(str, document["revokedChassis"])),
            renew_from=str(document["renewFrom"]),
            renew_after=_time(document["renewAfter"]),
            heard_at=_time(document["heardAt"]),
            expired_chassis=frozenset(map(str, document.get("expiredChassis", []))),
            reissue=str(document.get("reissue", "")),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TrustError(
            "watch.json is damaged",
            why=f"{error!r}; what this agent heard before stays in force",
            remedy="nothing while the operator answers: it is asked anew",
        ) from None


def try_parse_record(data: bytes | None) -> WatchRecord | None:
    """As `parse_record`; None for one that is damaged."""
    try:
        return parse_record(data)
    except TrustError:
        return None


def forget(record: WatchRecord) -> WatchRecord:
    """A record that makes the operator answer at once."""
    return replace(record, generation=0)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
