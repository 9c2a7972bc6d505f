"""Renewal and watch: documents to values and back. All over mutual TLS.

POST /v1/renew  {"csr": PEM}
                -> {"certificate", "trustBundle", "settings", "crls": [PEM…]}
POST /v1/watch  {"generation", "trusts": [sha256…], "crls": {sha256: number}, "certificate",
                 "inUse": [serial…]}           inUse may be missing
                -> {"generation", "trustBundle", "crls": [PEM…], "revokedChassis": [name…],
                    "renewFrom": sha256, "renewAfter": time or null, "heldSeconds",
                    "expiredChassis": [name…], "settings", "reissue": [serial…]}
                the last three may be missing
"""

import re
from datetime import UTC, datetime
from typing import Any

from geneveil.enroll.port import Renewal, WatchAnswer, WatchState
from geneveil.enroll.settings import parse_settings, settings_document
from geneveil.model.names import is_chassis_name

MAX_AUTHORITIES = 16
"""No node confirms more; a cluster has one authority, two while it rolls over."""

MAX_IN_USE = 16
MAX_REISSUE = 1000
"""So many are told at once; others follow when these have asked."""

_TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SERIAL = re.compile(r"[0-9a-f]{40}")
_MOST_NUMBER = 2**63 - 1


def renew_request_document(csr_pem: bytes) -> dict[str, Any]:
    """The body of POST /v1/renew."""
    return {"csr": csr_pem.decode("ascii")}


def parse_renew_request(document: object) -> str | None:
    """The CSR of such a body, or None if it has another shape."""
    if not isinstance(document, dict) or set(document) != {"csr"}:
        return None
    csr = document["csr"]
    return csr if isinstance(csr, str) and csr.isascii() else None


def renewal_document(renewal: Renewal) -> dict[str, Any]:
    """The answer to POST /v1/renew."""
    return {
        "certificate": renewal.certificate_pem.decode("ascii"),
        "trustBundle": renewal.trust_bundle_pem.decode("ascii"),
        "settings": settings_document(renewal.settings),
        "crls": [crl.decode("ascii") for crl in renewal.crls_pem],
    }


def parse_renewal(document: object) -> Renewal:
    """Read it.

    Raises:
        ValueError: it has another shape.
    """
    return Renewal(
        certificate_pem=_pem(_field(document, "certificate"), "certificate", "CERTIFICATE"),
        trust_bundle_pem=_pem(_field(document, "trustBundle"), "trustBundle", "CERTIFICATE"),
        settings=parse_settings(_field(document, "settings")),
        crls_pem=_crls(document),
    )


def watch_request_document(state: WatchState) -> dict[str, Any]:
    """The body of POST /v1/watch."""
    return {
        "generation": state.generation,
        "trusts": list(state.trusts),
        "crls": dict(state.crls),
        "certificate": state.serial,
        "inUse": list(state.in_use),
    }


def parse_watch_request(document: object) -> WatchState | None:
    """The state in such a body, or None if it has another shape; hostile bytes end here."""
    if not isinstance(document, dict):
        return None
    if set(document) - {"inUse"} != {"generation", "trusts", "crls", "certificate"}:
        return None
    trusts = _words(document["trusts"], _SHA256, MAX_AUTHORITIES)
    in_use = _words(document.get("inUse", []), _SERIAL, MAX_IN_USE)
    crls, generation, serial = document["crls"], document["generation"], document["certificate"]
    if trusts is None or in_use is None or not isinstance(crls, dict):
        return None
    if _words(list(crls), _SHA256, MAX_AUTHORITIES) is None:
        return None
    if not all(_is_number(number) for number in (generation, *crls.values())):
        return None
    if not isinstance(serial, str) or not _SERIAL.fullmatch(serial):
        return None
    return WatchState(generation, trusts, tuple(sorted(crls.items())), serial, in_use)


def watch_document(answer: WatchAnswer) -> dict[str, Any]:
    """The answer to POST /v1/watch."""
    due = answer.renew_after
    return {
        "generation": answer.generation,
        "trustBundle": answer.trust_bundle_pem.decode("ascii"),
        "crls": [crl.decode("ascii") for crl in answer.crls_pem],
        "revokedChassis": list(answer.revoked_chassis),
        "renewFrom": answer.renew_from,
        "renewAfter": None if due is None else due.strftime(_TIME_FORMAT),
        "heldSeconds": answer.held_seconds,
        "expiredChassis": list(answer.expired_chassis),
        **({"settings": settings_document(answer.settings)} if answer.settings else {}),
        **({"reissue": list(answer.reissue)} if answer.reissue else {}),
    }


def parse_watch_answer(document: object) -> WatchAnswer:
    """Read it.

    Raises:
        ValueError: it has another shape; nothing is guessed.
    """
    generation, held = _field(document, "generation"), _field(document, "heldSeconds")
    renew_from = _field(document, "renewFrom")
    if not isinstance(generation, int) or not _is_number(generation):
        raise ValueError("generation is not a number")
    if isinstance(held, bool) or not isinstance(held, int | float):
        raise ValueError("heldSeconds is not a number")
    if not isinstance(renew_from, str) or not _SHA256.fullmatch(renew_from):
        raise ValueError("renewFrom is no SHA-256")
    has_settings = isinstance(document, dict) and "settings" in document
    return WatchAnswer(
        generation=generation,
        trust_bundle_pem=_pem(_field(document, "trustBundle"), "trustBundle", "CERTIFICATE"),
        crls_pem=_crls(document),
        revoked_chassis=_chassis(document, "revokedChassis"),
        renew_from=renew_from,
        renew_after=_time(_field(document, "renewAfter"), "renewAfter"),
        held_seconds=float(held),
        expired_chassis=_chassis(document, "expiredChassis", may_be_missing=True),
        settings=parse_settings(_field(document, "settings")) if has_settings else None,
        reissue=_reissue(document),
    )


def _field(document: object, name: str) -> object:
    if not isinstance(document, dict) or name not in document:
        raise ValueError(f"{name} is missing")
    return document[name]


def _chassis(document: object, name: str, *, may_be_missing: bool = False) -> tuple[str, ...]:
    if may_be_missing and isinstance(document, dict) and name not in document:
        return ()
    chassis = _field(document, name)
    if not isinstance(chassis, list) or not all(
        isinstance(one, str) and is_chassis_name(one) for one in chassis
    ):
        raise ValueError(f"{name} is not a list of chassis names")
    return tuple(sorted(chassis))


def _reissue(document: object) -> tuple[str, ...]:
    said = document.get("reissue", []) if isinstance(document, dict) else []
    serials = _words(said, _SERIAL, MAX_REISSUE)
    if serials is None:
        raise ValueError("reissue is not a list of serials")
    return serials


def _crls(document: object) -> tuple[bytes, ...]:
    crls = _field(document, "crls")
    if not isinstance(crls, list):
        raise ValueError("crls is not a list")
    return tuple(_pem(crl, "crls", "X509 CRL") for crl in crls)


def _pem(value: object, name: str, label: str) -> bytes:
    if not isinstance(value, str) or not value.isascii() or f"-----BEGIN {label}-" not in value:
        raise ValueError(f"{name} holds no PEM of a {label}")
    return value.encode("ascii")


def _time(value: object, name: str) -> datetime | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is no time")
    try:
        return datetime.strptime(value, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(f"{name} is no time") from None


def _words(value: object, pattern: re.Pattern[str], most: int) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > most:
        return None
    if not all(isinstance(word, str) and pattern.fullmatch(word) for word in value):
        return None
    return tuple(sorted(set(value)))


def _is_number(value: object) -> bool:
    return type(value) is int and 0 <= value <= _MOST_NUMBER
