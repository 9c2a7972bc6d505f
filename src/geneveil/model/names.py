"""Names that stand in certificates: who may be called what.

A chassis name is what Open vSwitch calls `external_ids:system-id`: a UUID or a host name. It
becomes the common name, the SAN dNSName and the IKE identity (FQDN) of a node, so two names that a
certificate check would take for one another must never both exist.

Source: ovn-controller(8) (`system-id`); RFC 5280 §4.2.1.6 and its upper bounds (CN: 64);
RFC 7296 §3.5 (ID_FQDN).
"""

import re

OPERATOR_IDENTITY = "geneveil-operator"
"""The SAN dNSName by which agents know the operator, whatever address they reach it at."""

MAX_CHASSIS_NAME_CHARS = 63

_CHASSIS_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


def is_chassis_name(text: str) -> bool:
    """Say whether this can be a chassis name: 1 to 63 of `A-Z a-z 0-9 . _ -`, ends alphanumeric."""
    return _CHASSIS_NAME.fullmatch(text) is not None


def name_key(text: str) -> str:
    """The form in which two names are compared: DNS names differ in more than letter case."""
    return text.lower().rstrip(".")
