"""A node that leaves takes what is its own out of charon, and nothing of anybody else."""

from geneveil.agent.decommission.plan import find_own
from geneveil.model.connection import ObservedConnection, ObservedIke

KEY = "aa" * 20


def test_credentials_are_cleared_only_where_nobody_else_has_any() -> None:
    ours, others = (
        ObservedConnection(name, ("192.0.2.1",), ("192.0.2.2",), "", ())
        for name in ("geneveil-1", "office")
    )
    # Connections, keys and shared secrets in charon, whether all credentials may be cleared.
    table: list[tuple[tuple[ObservedConnection, ...], set[str], set[str], bool]] = [
        ((ours,), {KEY}, set(), True),
        ((ours,), {KEY, "bb" * 20}, set(), False),
        ((ours,), set(), set(), False),
        ((ours,), {KEY}, {"office"}, False),
        ((ours, others), {KEY}, set(), False),  # it may stand on a shared secret
        ((others,), {KEY}, set(), False),
    ]
    for connections, keys, secrets, may_clear in table:
        observed = ObservedIke(
            "6.0.1", 1, connections, (), frozenset(keys), frozenset(), frozenset(secrets)
        )
        own_keys = {KEY}
        own = find_own(observed, frozenset(own_keys))
        assert own.may_clear is may_clear
        assert "office" not in own.connections
