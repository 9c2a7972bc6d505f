"""What a node says about its trust: authorities, CRLs, renewal, operator. A part of its status."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any


class RenewalState(Enum):
    """Where the node's certificate stands."""

    CURRENT = "current"
    ASKING = "asking"
    """It is time for a new one; the operator is being asked."""
    SWITCHING = "switching"
    """A new one has come and is being taken into use."""
    RETIRING = "retiring"
    """The new one is in use; peers are re-authenticated, then the old key is destroyed."""


@dataclass(frozen=True)
class AuthorityStatus:
    """One authority of the trust bundle.

    Attributes:
        fingerprint: SHA-256 of its certificate.
        in_charon: whether charon really has it.
    """

    name: str
    fingerprint: str
    not_after: datetime
    in_charon: bool


@dataclass(frozen=True)
class CrlStatus:
    """The CRL of one authority; `authority` is the fingerprint of its certificate."""

    authority: str
    number: int
    revoked: int
    this_update: datetime
    next_update: datetime | None
    in_charon: bool


@dataclass(frozen=True)
class TrustStatus:
    """What the node trusts, and how current that is.

    Attributes:
        heard_at: when the operator was heard last; None: never.
        generation: of what it said.
    """

    renewal: RenewalState
    authorities: tuple[AuthorityStatus, ...]
    crls: tuple[CrlStatus, ...]
    heard_at: datetime | None
    generation: int


def trust_document(trust: TrustStatus) -> dict[str, Any]:
    """The part of the status document."""
    return {
        "renewal": trust.renewal.value,
        "authorities": [
            {
                "name": one.name,
                "fingerprint": one.fingerprint,
                "notAfter": _time(one.not_after),
                "inCharon": one.in_charon,
            }
            for one in trust.authorities
        ],
        "crls": [
            {
                "authority": one.authority,
                "number": one.number,
                "revoked": one.revoked,
                "thisUpdate": _time(one.this_update),
                "nextUpdate": _time(one.next_update),
                "inCharon": one.in_charon,
            }
            for one in trust.crls
        ],
        "heardAt": _time(trust.heard_at),
        "generation": trust.generation,
    }


def parse_trust(document: Mapping[str, Any]) -> TrustStatus:
    """What `trust_document` made; KeyError, TypeError or ValueError for anything else."""
    return TrustStatus(
        renewal=RenewalState(document["renewal"]),
        authorities=tuple(
            AuthorityStatus(
                one["name"], one["fingerprint"], _read(one["notAfter"]), bool(one["inCharon"])
            )
            for one in document["authorities"]
        ),
        crls=tuple(
            CrlStatus(
                authority=one["authority"],
                number=int(one["number"]),
                revoked=int(one["revoked"]),
                this_update=_read(one["thisUpdate"]),
                next_update=_read(one["nextUpdate"]) if one["nextUpdate"] else None,
                in_charon=bool(one["inCharon"]),
            )
            for one in document["crls"]
        ),
        heard_at=_read(document["heardAt"]) if document["heardAt"] else None,
        generation=int(document["generation"]),
    )


def _time(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text)
