"""Was the API's memory restored from an older snapshot? Pure.

A node learns a generation or a CRL number only after the operator has written it down. A node that
has a higher one than the operator remembers has seen a later time: etcd, or the Secret, was
restored. Going on from the old numbers would give the same number two meanings, and nodes refuse a
list that is older than theirs. So the operator goes on far above (`TrustTables.begin_epoch`) and
says Degraded, because revocations of the lost time are lost with it, until a person has looked.

A certificate that was made in the lost time is not in the ledger, so that nobody could revoke it:
the nodes that say that they use one are told to ask for another (`choose_reissue`).

One node could lie. What it can reach is a jump (and the report that names it), at most one an hour;
a number that no cluster reaches is not believed at all. A serial that is nobody's is one more line
in what all are told, one a node, and only who has a certificate of that serial does anything.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet

from geneveil.enroll.port import WatchState
from geneveil.enroll.watch_wire import MAX_REISSUE
from geneveil.operator.trust_tables import RESTORE_STEP

MOST_BELIEVED = RESTORE_STEP // 2
SECONDS_BETWEEN = 3600.0


def explain_restoration(
    said: Iterable[tuple[str, WatchState]], generation: int, crl_numbers: dict[str, int]
) -> str:
    """Why the memory must be older than what nodes have seen; empty if it need not be.

    Args:
        said: Node name and what it said.
        crl_numbers: SHA-256 of a CA certificate -> number of its newest list.
    """
    for node, state in said:
        if _is_ahead(state.generation, generation):
            return f"Node {node} has seen generation {state.generation}, and this is {generation}"
        for sha256, number in state.crls:
            known = crl_numbers.get(sha256)
            if known is not None and _is_ahead(number, known):
                return f"Node {node} has CRL number {number}, and the newest here is {known}"
    return ""


def find_strangers(said: Mapping[str, WatchState], known: AbstractSet[str]) -> dict[str, str]:
    """Nodes that use a certificate that the ledger does not know.

    Args:
        said: Node name -> what it said.
        known: the serial of every certificate in the ledger.
    Returns:
        Node name -> that certificate's serial, by name.
    """
    return {
        name: state.serial
        for name, state in sorted(said.items())
        if state.serial and state.serial not in known
    }


def choose_reissue(strangers: Mapping[str, str]) -> tuple[str, ...]:
    """The serials that are told, ascending: as many as agents read at once."""
    return tuple(sorted(set(strangers.values()))[:MAX_REISSUE])


def _is_ahead(said: int, known: int) -> bool:
    return known < said <= known + MOST_BELIEVED
