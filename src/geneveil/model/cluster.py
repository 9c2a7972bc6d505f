"""What a cluster's sealed configuration says, as plain values.

The YAML schema that people write is in `geneveil.operator`; agents receive these settings from
the operator when they enrol and keep them beside their certificate.
"""

import re
from dataclasses import dataclass
from enum import Enum


class Mode(Enum):
    """The install-time switch. There is no third state and no way back from FULL."""

    DISABLED = "Disabled"
    FULL = "Full"


class Encapsulation(Enum):
    """When ESP rides in UDP 4500 (NAT-T, RFC 3948)."""

    AUTO = "Auto"
    ALWAYS = "Always"


class KeyType(Enum):
    """Keys of the CA and of the nodes."""

    ECDSA_P256 = "ECDSA-P256"
    ECDSA_P384 = "ECDSA-P384"
    RSA_3072 = "RSA-3072"


_SPAN = re.compile(r"(?:([0-9]{1,4})y)?(?:([0-9]{1,5})mo)?(?:([0-9]{1,6})d)?")


@dataclass(frozen=True)
class CalendarSpan:
    """A span in calendar years and months: 4 1/2 years are 54 months, not a number of seconds.

    Attributes:
        months: whole calendar months.
        days: days of 24 hours, added after the months; for short lifetimes.
    """

    months: int
    days: int = 0

    @property
    def years_text(self) -> str:
        """As people write it: `10y`, `4y6mo`, `30d`."""
        years, months = divmod(self.months, 12)
        parts = [f"{years}y"] if years else []
        if months or not (years or self.days):
            parts.append(f"{months}mo")
        if self.days:
            parts.append(f"{self.days}d")
        return "".join(parts)


def parse_span(text: str) -> CalendarSpan:
    """Read `10y`, `54mo`, `4y6mo`, `30d` and their combinations, in that order.

    Raises:
        ValueError: anything else, and a span of nothing.
    """
    match = _SPAN.fullmatch(text)
    years, months, days = (int(part or 0) for part in match.groups()) if match else (0, 0, 0)
    if not (years or months or days):
        raise ValueError(f"{text!r} is not a span such as 10y, 54mo, 4y6mo or 30d")
    return CalendarSpan(years * 12 + months, days)


@dataclass(frozen=True)
class CertificatePolicy:
    """Lifetimes and key type; the defaults are the seed's figures."""

    key_type: KeyType = KeyType.ECDSA_P256
    ca_lifetime: CalendarSpan = CalendarSpan(120)
    node_lifetime: CalendarSpan = CalendarSpan(60)
    renew_after: CalendarSpan = CalendarSpan(54)


@dataclass(frozen=True)
class ClusterSettings:
    """The sealed configuration of one cluster.

    Attributes:
        name: the cluster's name, as it stands in the CA's subject.
        mode: off by default; sealed at init.
        encapsulation: AUTO uses UDP 4500 where IKE detects a NAT, or the agent that ESP is blocked;
            ALWAYS forces it.
        geneve_ports: UDP destination ports of the overlay, ascending, at least one.
        certificates: lifetimes and key type.
    """

    name: str = "cluster"
    mode: Mode = Mode.DISABLED
    encapsulation: Encapsulation = Encapsulation.AUTO
    geneve_ports: tuple[int, ...] = (6081,)
    certificates: CertificatePolicy = CertificatePolicy()
