"""A node that leaves takes what is its own out of charon, and nothing of anybody else."""

from geneveil.agent.decommission.plan import find_own
from geneveil.model.connection import ObservedConnection, ObservedIke

KEY = "aa" * 20


def test_credentials_are_cleared_only_where_nobody_else_has_any() -> None:
    ours, others = (
        ObservedConnection(name, ("192.0.2.1",), ("192.0.2.2",), "", ())
        for name in ("geneveil-1", "office")
    )
    # Connections, keys in charon, our keys, whether all credentials may be cleared.
    table = [
        ((ours,), {KEY}, {KEY}, True),
        ((ours,), {KEY, "bb" * 20}, {KEY}, False),
        ((ours,), set(), {KEY}, False),
        ((ours, others), {KEY}, {KEY}, False),  # it may stand on a shared secret
        ((others,), {KEY}, {KEY}, False),
    ]
    for connections, keys, own_keys, may_clear in table:
        observed = ObservedIke("6.0.1", 1, connections, (), frozenset(keys), frozenset())
        own = find_own(observed, frozenset(own_keys))
        assert own.may_clear is may_clear
        assert "office" not in own.connections
