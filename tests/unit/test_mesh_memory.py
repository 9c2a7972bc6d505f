"""What is remembered of pairs, and for how long."""

from dataclasses import fields

from geneveil.mesh.memory import Loaded, Memory, Moves, Repairs, for_instance, for_pairs

KNOWN = Memory(
    instance=1,
    salts={"a": 1, "b": 2},
    since={"a": Loaded("x", 1.0), "b": Loaded("x", 1.0)},
    moves={"b": Moves(7, 3)},
    repairs={"a": Repairs(1, 1.0)},
)


def test_pairs_that_are_gone_are_forgotten_and_the_others_kept() -> None:
    left = for_pairs(KNOWN, frozenset({"a", "c"}))
    assert (left.salts, set(left.since), left.moves, set(left.repairs)) == (
        {"a": 1},
        {"a"},
        {},
        {"a"},
    )
    assert for_pairs(KNOWN, frozenset({"a", "b"})) is KNOWN


def test_nothing_that_has_a_pairs_name_is_left_of_one_that_is_gone() -> None:
    """What is not forgotten here is made anew at every turn, or goes with its connection."""
    elsewhere = {"loaded", "attempts", "stale", "esp"}
    by_name = {f.name for f in fields(Memory) if "Mapping[str" in str(f.type)}
    assert by_name == elsewhere | {"salts", "since", "moves", "repairs"}


def test_another_charon_numbers_its_sas_anew() -> None:
    """Moves to IKE_SA 7 of the one before are no reason not to move to IKE_SA 7 of this one."""
    assert for_instance(KNOWN, 1) is KNOWN
    other = for_instance(KNOWN, 2, 5.0)
    assert (other.moves, other.salts) == ({}, KNOWN.salts)
