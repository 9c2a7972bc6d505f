"""The cluster's settings as the node keeps them between starts. Pure: bytes in, value out."""

import json

from geneveil.model.cluster import (
    CalendarSpan,
    CertificatePolicy,
    ClusterSettings,
    Encapsulation,
    KeyType,
    Mode,
)
from geneveil.model.errors import TrustError


def encode_settings(settings: ClusterSettings) -> bytes:
    """The settings as JSON, for the state directory."""
    certificates = settings.certificates
    document = {
        "name": settings.name,
        "mode": settings.mode.value,
        "encapsulation": settings.encapsulation.value,
        "genevePorts": list(settings.geneve_ports),
        "keyType": certificates.key_type.value,
        "caLifetimeMonths": certificates.ca_lifetime.months,
        "nodeLifetimeMonths": certificates.node_lifetime.months,
        "renewAfterMonths": certificates.renew_after.months,
    }
    return (json.dumps(document, indent=2) + "\n").encode()


def parse_settings(data: bytes, file: str) -> ClusterSettings:
    """What `encode_settings` wrote.

    Raises:
        TrustError: it is something else.
    """
    try:
        document = json.loads(data)
        ports = tuple(sorted({int(port) for port in document["genevePorts"]}))
        if not ports:
            raise ValueError("no ports")
        return ClusterSettings(
            name=str(document["name"]),
            mode=Mode(document["mode"]),
            encapsulation=Encapsulation(document["encapsulation"]),
            geneve_ports=ports,
            certificates=CertificatePolicy(
                key_type=KeyType(document["keyType"]),
                ca_lifetime=CalendarSpan(int(document["caLifetimeMonths"])),
                node_lifetime=CalendarSpan(int(document["nodeLifetimeMonths"])),
                renew_after=CalendarSpan(int(document["renewAfterMonths"])),
            ),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TrustError(
            f"{file} is damaged",
            why=f"{type(error).__name__}: {error}",
            remedy="remove it; the agent asks the operator for the settings again",
        ) from None
