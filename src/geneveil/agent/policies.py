"""Whether the kernel sends a pair's Geneve through IPsec at all. Pure.

An SA in the kernel carries nothing unless a policy leads to it, and without the policy that admits
it what arrives is of no use either.
"""

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, IPv6Address

from geneveil.model.connection import ChildName, Connection, Direction
from geneveil.model.xfrm import XfrmDirection, XfrmMode, XfrmPolicy, XfrmTemplate

UDP = 17
ESP = 50
WHOLE_PORT = 0xFFFF
HOST_BITS = {False: 32, True: 128}
UNSPECIFIED = (str(IPv4Address(0)), str(IPv6Address(0)))


def missing_policies(
    connection: Connection, policies: tuple[XfrmPolicy, ...]
) -> tuple[ChildName, ...]:
    """The children whose policy for Geneve the kernel does not have.

    Of an `out` child it is the outgoing one to the peer's Geneve port, of an `in` child the
    incoming one to ours; each asks for ESP in transport mode, without an alternative.
    """
    return tuple(
        child
        for child in connection.children
        if not any(_leads_to(policy, connection, child) for policy in policies)
    )


def policies_by_ends(
    policies: Iterable[XfrmPolicy],
) -> Mapping[tuple[str, str], tuple[XfrmPolicy, ...]]:
    """The policies from each address to each other, in their order."""
    found: dict[tuple[str, str], list[XfrmPolicy]] = {}
    for policy in policies:
        ends = (policy.selector.source, policy.selector.destination)
        found.setdefault(ends, []).append(policy)
    return {ends: tuple(between) for ends, between in found.items()}


def policies_for(
    connection: Connection, policies: tuple[XfrmPolicy, ...], child: ChildName
) -> tuple[XfrmPolicy, ...]:
    """The policies that lead Geneve to one child."""
    return tuple(policy for policy in policies if _leads_to(policy, connection, child))


def _leads_to(policy: XfrmPolicy, connection: Connection, child: ChildName) -> bool:
    source, destination, direction = connection.local_ip, connection.remote_ip, XfrmDirection.OUT
    if child.direction is Direction.IN:
        source, destination, direction = destination, source, XfrmDirection.IN
    bits = HOST_BITS[":" in destination]
    wanted = (source, bits, destination, bits, UDP, 0, child.port, WHOLE_PORT)
    which = policy.selector
    found = (
        which.source, which.source_prefix_bits, which.destination, which.destination_prefix_bits,
        which.protocol, which.source_port_mask, which.destination_port,
        which.destination_port_mask,
    )  # fmt: skip
    if (policy.direction, found) != (direction, wanted) or not policy.allows:
        return False
    return len(policy.templates) == 1 and _protects(policy.templates[0], source, destination)


def _protects(template: XfrmTemplate, source: str, destination: str) -> bool:
    return (
        (template.protocol, template.mode, template.optional) == (ESP, XfrmMode.TRANSPORT, False)
        and template.source in (source, *UNSPECIFIED)
        and template.destination in (destination, *UNSPECIFIED)
    )
