"""Cluster settings as a JSON document: what an operator sends and an agent keeps on its disk.

    {"name": "prod", "mode": "Full", "encapsulation": "Auto", "genevePorts": [6081],
     "certificates": {"keyType": "ECDSA-P256", "caLifetime": "10y", "nodeLifetime": "5y",
                      "renewAfter": "4y6mo"}}

Fields that are not known are ignored, so that a newer operator can say more; a missing or
mistyped one is an error, never a default: a node must not guess that IPsec is off.
"""

from enum import Enum
from typing import Any, TypeVar

from geneveil.model.cluster import (
    CertificatePolicy,
    ClusterSettings,
    Encapsulation,
    KeyType,
    Mode,
    parse_span,
)

_Word = TypeVar("_Word", bound=Enum)


def settings_document(settings: ClusterSettings) -> dict[str, Any]:
    """Write the settings; the same settings give the same document."""
    policy = settings.certificates
    return {
        "name": settings.name,
        "mode": settings.mode.value,
        "encapsulation": settings.encapsulation.value,
        "genevePorts": list(settings.geneve_ports),
        "certificates": {
            "keyType": policy.key_type.value,
            "caLifetime": policy.ca_lifetime.years_text,
            "nodeLifetime": policy.node_lifetime.years_text,
            "renewAfter": policy.renew_after.years_text,
        },
    }


def parse_settings(document: object) -> ClusterSettings:
    """Read the settings.

    Raises:
        ValueError: names the field that is missing or wrong.
    """
    policy = _member(document, "certificates")
    return ClusterSettings(
        name=_text(document, "name"),
        mode=_word(Mode, document, "mode"),
        encapsulation=_word(Encapsulation, document, "encapsulation"),
        geneve_ports=_ports(_member(document, "genevePorts")),
        certificates=CertificatePolicy(
            key_type=_word(KeyType, policy, "keyType"),
            ca_lifetime=parse_span(_text(policy, "caLifetime")),
            node_lifetime=parse_span(_text(policy, "nodeLifetime")),
            renew_after=parse_span(_text(policy, "renewAfter")),
        ),
    )


def _member(document: object, name: str) -> object:
    if not isinstance(document, dict) or name not in document:
        raise ValueError(f"{name} is missing")
    return document[name]


def _text(document: object, name: str) -> str:
    value = _member(document, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value


def _word(kind: type[_Word], document: object, name: str) -> _Word:
    value = _text(document, name)
    try:
        return kind(value)
    except ValueError:
        raise ValueError(f"{name} is {value[:40]!r}, which this version does not know") from None


def _ports(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("genevePorts is not a list of ports")
    for port in value:
        if type(port) is not int or not 0 < port < 65536:
            raise ValueError("genevePorts is not a list of ports")
    return tuple(sorted(set(value)))
