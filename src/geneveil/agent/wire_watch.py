"""Where the leak sentinel has to stand, and what its counters mean. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from geneveil.mesh.actions import ApplySentinel
from geneveil.mesh.plan import MeshPlan
from geneveil.model.errors import GeneveilError
from geneveil.model.guard import GuardSpec, Tally
from geneveil.model.health import Finding, Severity
from geneveil.model.sentinel import ObservedSentinel, SentinelCounter, SentinelSpec
from geneveil.model.tunnel import OvsSnapshot

SEEN_FOR_SECONDS = 600.0
"""A leak is said until the wire was clean for this long; the counter stays in the status."""


LOOPBACK = "lo"
"""Where it holds the tunnels' address, as in fabrics that route to each host, frames leave by
another interface: here the sentinel would see none, whatever leaks."""


@dataclass(frozen=True)
class Leak:
    """The outward counter's latest reading, and when it last grew; None: never yet.

    An agent that starts counts from zero: what leaked while there was none is said too.
    """

    packets: int = 0
    grown_at_seconds: float | None = None


def choose_devices(
    addresses: Mapping[str, str] | GeneveilError,
    snapshot: OvsSnapshot | None,
    plan: MeshPlan | None,
) -> tuple[str, ...]:
    """The interfaces that hold an address of this node's end of a tunnel, ascending, as far as what
    is sent from there leaves by them."""
    return tuple(sorted({*locate_ends(addresses, snapshot, plan).values()} - {LOOPBACK}))


def judge_place(
    addresses: Mapping[str, str] | GeneveilError,
    snapshot: OvsSnapshot | None,
    plan: MeshPlan | None,
) -> list[Finding]:
    """A word where the sentinel cannot stand at a tunnel's end."""
    ends = locate_ends(addresses, snapshot, plan)
    hidden = sorted(end for end, interface in ends.items() if interface == LOOPBACK)
    if not hidden:
        return []
    what = (
        f"{' and '.join(hidden)} is on {LOOPBACK}, and nobody knows by which interface its frames "
        "leave: no leak sentinel stands there; the guard does"
    )
    return [Finding("sentinel-unavailable", Severity.INFO, "underlay", what)]


def locate_ends(
    addresses: Mapping[str, str] | GeneveilError,
    snapshot: OvsSnapshot | None,
    plan: MeshPlan | None,
) -> dict[str, str]:
    """Each address of this node's end of a tunnel, in its shortest form, to its interface.

    Those that are not here, or not known, are left out.
    """
    if isinstance(addresses, GeneveilError):
        return {}
    ends = {connection.local_ip for connection in plan.connections} if plan else set()
    if snapshot is not None:
        ends |= {*snapshot.encap_ips, *(tunnel.local_ip for tunnel in snapshot.tunnels)}
    return {end: addresses[end] for end in map(_shortest, ends) if end in addresses}


def plan_sentinel(
    observed: ObservedSentinel | GeneveilError, devices: tuple[str, ...], guard: GuardSpec
) -> list[ApplySentinel]:
    """Put it where the tunnels end, for what the guard covers; unknown ends change nothing."""
    if not devices:
        return []
    spec = SentinelSpec(devices, guard.ports, guard.protocols)
    stands = not isinstance(observed, GeneveilError) and observed.spec == spec
    return [] if stands else [ApplySentinel(spec)]


def judge_leak(
    observed: ObservedSentinel | GeneveilError, before: Leak, now_seconds: float
) -> tuple[Leak, list[Finding]]:
    """An error if Geneve left this node in clear in the last ten minutes."""
    if isinstance(observed, GeneveilError):
        return before, [sentinel_unavailable(observed)]
    packets = observed.counters.get(SentinelCounter.WIRE_OUT, Tally()).packets
    grown_at = now_seconds if packets > before.packets else before.grown_at_seconds
    leak = Leak(packets, grown_at)
    if grown_at is None or now_seconds - grown_at >= SEEN_FOR_SECONDS:
        return leak, []
    return leak, [
        Finding(
            "cleartext-on-wire",
            Severity.ERROR,
            "underlay",
            "Geneve left this node in clear: the leak sentinel counts it behind the guard",
            "see `geneveil guard show` and who alters it; look for programs that write to the "
            "interface itself (packet sockets); then say so to whoever answers for the data",
        )
    ]


def sentinel_unavailable(error: GeneveilError) -> Finding:
    """The second witness is missing; the guard is not, so this takes nothing from anybody."""
    why = f"{error.what}: {error.why}" if error.why else error.what
    return Finding("sentinel-unavailable", Severity.INFO, "underlay", why, error.remedy)


def bolt_unavailable(error: GeneveilError) -> Finding:
    """The guard stands alone: whoever flushes nftables and XFRM at once opens a gap until it is
    back."""
    why = f"{error.what}: {error.why}" if error.why else error.what
    return Finding("bolt-unavailable", Severity.INFO, "guard", why, error.remedy)


def _shortest(address: str) -> str:
    try:
        return str(ip_address(address))
    except ValueError:
        return address
