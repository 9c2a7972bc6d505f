"""The checks on a certificate signing request: one question, one function, one reason word.

All findings are reported; the first decides the answer. The order of `REQUEST_CHECKS` is part of
the interface: what can be trusted about a request (its key and its signature) comes before what
it asks for.

Each function takes the facts and the terms and returns a finding, or None if all is well.
"""

from collections.abc import Callable
from dataclasses import dataclass

from geneveil.model.cluster import KeyType
from geneveil.pki.reasons import Finding, Reason, shown
from geneveil.pki.request import RequestFacts

MAX_RSA_BITS = 8192
"""Larger keys prove nothing more and make every check of a signature slow."""

_FLOORS: dict[KeyType, tuple[str, int]] = {
    KeyType.ECDSA_P256: ("ECDSA", 256),
    KeyType.ECDSA_P384: ("ECDSA", 384),
    KeyType.RSA_3072: ("RSA", 3072),
}


@dataclass(frozen=True)
class RequestTerms:
    """What a request is measured against.

    Attributes:
        chassis: the one name that the token is for.
        key_type: the cluster's key type; the same kind with a larger key is welcome.
        key_holder: the other chassis that already has a certificate for this very key, or empty.
    """

    chassis: str
    key_type: KeyType
    key_holder: str = ""


RequestCheck = Callable[[RequestFacts, RequestTerms], Finding | None]


def check_key_type(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is the key of the cluster's kind? An RSA key is refused where ECDSA is asked for."""
    family, _ = _FLOORS[terms.key_type]
    if facts.key_family == family and facts.is_curve_known:
        return None
    if facts.key_family == "ECDSA" == family:
        return Finding(Reason.CSR_KEY_TYPE, "the key is on a curve that is not accepted")
    return Finding(
        Reason.CSR_KEY_TYPE,
        f"the key is of kind {facts.key_family}; this cluster uses {terms.key_type.value}",
    )


def check_key_strength(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is the key as large as the cluster asks for, and not absurdly large?"""
    family, floor_bits = _FLOORS[terms.key_type]
    if facts.key_family != family:
        return None  # check_key_type says so
    if facts.key_bits < floor_bits:
        return Finding(
            Reason.CSR_KEY_WEAK,
            f"the key has {facts.key_bits} bits; this cluster asks for {terms.key_type.value} "
            "or stronger",
        )
    if family == "RSA" and facts.key_bits > MAX_RSA_BITS:
        return Finding(
            Reason.CSR_KEY_TYPE,
            f"the key has {facts.key_bits} bits; at most {MAX_RSA_BITS} are accepted",
        )
    return None


def check_signature(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Does the requester hold the private key?"""
    if facts.is_signed_by_its_key:
        return None
    return Finding(
        Reason.CSR_SIGNATURE,
        "the request is not signed by its own key with SHA-256, SHA-384 or SHA-512",
    )


def check_common_name(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is the common name exactly the chassis name?"""
    if facts.common_names == (terms.chassis,):
        return None
    asked = ", ".join(shown(name) for name in facts.common_names) or "none"
    return Finding(
        Reason.CSR_COMMON_NAME,
        f"the common name is {asked}; the token is for {shown(terms.chassis)}",
    )


def check_subject(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is there nothing in the subject but the common name?"""
    if not facts.subject_extras:
        return None
    extras = ", ".join(shown(extra) for extra in facts.subject_extras)
    return Finding(Reason.CSR_SUBJECT, f"the subject holds more than a common name: {extras}")


def check_alternative_name(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is the SAN exactly one dNSName, the chassis name? A wildcard is another name."""
    if facts.alternative_names == (("DNS", terms.chassis),):
        return None
    asked = ", ".join(f"{kind}:{shown(value)}" for kind, value in facts.alternative_names[:8])
    return Finding(
        Reason.CSR_ALTERNATIVE_NAME,
        f"the alternative names are {asked or 'none'}; "
        f"exactly DNS:{shown(terms.chassis)} is accepted",
    )


def check_extensions(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Does it ask for nothing else? Usage and CA-ness are not the requester's to choose."""
    if not facts.extensions:
        return None
    return Finding(
        Reason.CSR_EXTENSION,
        f"the request asks for more than a name: {', '.join(facts.extensions[:8])}",
    )


def check_attributes(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Does it carry no other attribute, such as a challenge password?"""
    if not facts.attributes:
        return None
    return Finding(
        Reason.CSR_ATTRIBUTE,
        f"the request carries other attributes: {', '.join(facts.attributes[:8])}",
    )


def check_key_holder(facts: RequestFacts, terms: RequestTerms) -> Finding | None:
    """Is the key this node's alone? A cloned disk must not make two nodes one."""
    if not terms.key_holder:
        return None
    return Finding(
        Reason.CSR_KEY_IN_USE,
        f"the key already belongs to chassis {shown(terms.key_holder)}; make a new one",
    )


REQUEST_CHECKS: tuple[RequestCheck, ...] = (
    check_key_type,
    check_key_strength,
    check_signature,
    check_common_name,
    check_subject,
    check_alternative_name,
    check_extensions,
    check_attributes,
    check_key_holder,
)


def judge_request(facts: RequestFacts, terms: RequestTerms) -> tuple[Finding, ...]:
    """Ask every question of `REQUEST_CHECKS`; no finding means that the request may be signed."""
    answers = (check(facts, terms) for check in REQUEST_CHECKS)
    return tuple(answer for answer in answers if answer is not None)
