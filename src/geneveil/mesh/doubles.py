"""IKE_SAs whose children all stand in another one too, and how they are closed. Pure.

Two nodes that both initiate make two IKE_SAs crosswise. Each node sends through what it installed
last, which need not be the same one: if A sends through u and B through v, neither can be closed
yet. For whoever closes an IKE_SA goes on sending through it until the peer's answer is there, and
the peer has deleted its end by then: what is sent in between is lost there, as XfrmInNoStates
(strongSwan 6.0.1, ike_delete.c and task_manager_v2.c: the responder destroys its children as soon
as it has answered). So an IKE_SA is closed only when neither node sends through it any more, which
the kernel tells (`geneveil.agent.in_use`):

    A sends through u, B through v      A rekeys its `out` on v: whoever asks installs last
    A and B send through v              u has been still for a while, and A closes it
"""

from geneveil.mesh.actions import Action, RekeyChildSa, TerminateIkeSa
from geneveil.mesh.initiation import is_initiator
from geneveil.mesh.memory import Memory
from geneveil.mesh.reauthentication import MOST_MOVES, again_at, moves_to
from geneveil.model.connection import ChildSa, Connection, Direction, IkeSa

SETTLED_SECONDS = 5
"""An SA this old has all its children; only then is its double closed."""

ORPHANED_SECONDS = 60
"""By then the one that closes doubles should have: if it has not, the other does."""

Used = frozenset[tuple[str, int]]
"""Destination and SPI of SAs that Geneve travels through."""


def doubles(connection: Connection, established: list[IkeSa], in_use: Used) -> list[Action]:
    """Close every IKE_SA whose children all stand, settled, in one that is kept, unless a node
    sends through it.

    Kept is what the peer sends through, then what is newest. Of the two nodes the initiator does
    it, so that one hand decides; the other only when nothing has happened for a long time.
    """
    patience = _patience(connection)
    actions: list[Action] = []
    kept: dict[str, tuple[int, bool]] = {}  # child name to its age in a settled IKE_SA, and use
    keeper = 0
    for sa in _in_order(connection, established, in_use):
        if sa.is_ending:
            continue  # it has been told, and waits for its turn or for the peer
        is_settled = (sa.established_seconds or 0) >= patience
        children = [child for child in sa.children if child.is_installed]
        uses = {child: _is_used(connection, child, in_use) for child in children}
        covered = [_covers(kept.get(c.name), c, patience) for c in children]
        if is_settled and kept and all(covered) and not any(uses.values()):
            why = f"it doubles IKE_SA {keeper}"
            actions.append(TerminateIkeSa(sa.unique_id, sa.connection, why))
        elif is_settled:
            keeper = keeper or sa.unique_id
            kept = {c.name: (c.installed_seconds, uses[c]) for c in children} | kept
    return actions


def meets(
    connection: Connection, own: list[IkeSa], memory: Memory, now_seconds: float, in_use: Used
) -> list[Action]:
    """Send through the IKE_SA through which the peer does, if the two are whole doubles."""
    patience = _patience(connection)
    whole = {str(child) for child in connection.children}
    if len(own) < 2 or any(sa.is_starting or sa.is_busy or not sa.is_established for sa in own):
        return []
    order = [
        sa
        for sa in _in_order(connection, own, in_use)
        if (sa.established_seconds or 0) >= patience
        and {child.name for child in sa.children if child.is_installed} == whole
    ]
    if len(order) < 2 or any(_hears(connection, sa, in_use) for sa in order[1:]):
        return []  # the peer is on its way from one to the other, or its ports are on several
    keeper = order[0]
    before = moves_to(memory, connection, keeper.unique_id)
    if before.count >= MOST_MOVES or now_seconds < again_at(connection, before):
        return []
    sent = {c.name for sa in order[1:] for c in _outgoing(connection, sa, in_use)}
    return [
        RekeyChildSa(child.unique_id, connection.name, keeper.unique_id)
        for child in keeper.children
        if child.name in sent and child.state == "INSTALLED"
    ]


def _patience(connection: Connection) -> int:
    is_ours = is_initiator(connection.local_chassis, connection.remote_chassis)
    return SETTLED_SECONDS if is_ours else ORPHANED_SECONDS


def _in_order(connection: Connection, sas: list[IkeSa], in_use: Used) -> list[IkeSa]:
    """What the peer sends through first, then by age, the newest first."""
    return sorted(
        sas,
        key=lambda sa: (
            not _hears(connection, sa, in_use),
            sa.established_seconds or 0,
            -sa.unique_id,
        ),
    )


def _hears(connection: Connection, sa: IkeSa, in_use: Used) -> bool:
    names = _names(connection, Direction.IN)
    return any(
        child.name in names and (connection.local_ip, child.spi_in) in in_use
        for child in sa.children
    )


def _outgoing(connection: Connection, sa: IkeSa, in_use: Used) -> list[ChildSa]:
    """The children of an IKE_SA through which this node sends."""
    names = _names(connection, Direction.OUT)
    return [
        child
        for child in sa.children
        if child.name in names and (connection.remote_ip, child.spi_out) in in_use
    ]


def _names(connection: Connection, direction: Direction) -> set[str]:
    return {str(child) for child in connection.children if child.direction is direction}


def _is_used(connection: Connection, child: ChildSa, in_use: Used) -> bool:
    if child.name in _names(connection, Direction.OUT):
        return (connection.remote_ip, child.spi_out) in in_use
    return (connection.local_ip, child.spi_in) in in_use


def _covers(kept: tuple[int, bool] | None, child: ChildSa, patience: int) -> bool:
    """Whether a child that is kept makes another one superfluous: it is settled, and it is used or
    at least not older."""
    if kept is None:
        return False
    age, is_used = kept
    return age >= patience and (is_used or age <= child.installed_seconds)
