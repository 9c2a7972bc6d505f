"""How one certificate authority follows another without a node being cut off. Pure.

    phase       authorities in the bundle   who signs   left when
    STEADY      A                           A           asked for, or A's time has come
    INTRODUCE   A, B                        A           every live node trusts both
    SWITCH      A, B                        B           every live node uses a certificate of B
    RETIRE      A, B                        B           no certificate of A is valid or in use
    STEADY      B                           B

                    rotate            all trust B        all live use B
        STEADY ─────────────> INTRODUCE ───────> SWITCH ───────────────> RETIRE ──┐
           ^                      └──────────────> A has ended: nothing to lose   │
           └──────────────────────────── nothing of A is left ────────────────────┘

A live node is one that the operator hears. A node that is away does not hold up INTRODUCE or
SWITCH: its certificate of A stays good, the operator's own certificate comes from A, and so it is
told of B before it meets a certificate of B. It does hold up RETIRE, until its certificate ends,
is revoked, or it comes back and renews.

When A has ended nothing of it is worth waiting for: every phase is left at once.

A's time has come when a certificate made now could outlive A: a node's lifetime and a margin
before A's end. The margin leaves time for INTRODUCE. With the default figures (10 and 5 years)
that is a quarter of a year before the middle of A's life.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from geneveil.model.cluster import CalendarSpan
from geneveil.pki.spans import add_span, subtract_span

MAX_MARGIN = timedelta(days=90)


class Phase(Enum):
    """Where a roll-over stands; the words are kept on disks and shown to people."""

    STEADY = "steady"
    INTRODUCE = "introduce"
    SWITCH = "switch"
    RETIRE = "retire"


@dataclass(frozen=True)
class AuthorityView:
    """An authority of the bundle."""

    authority_id: int
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True)
class HolderView:
    """A chassis that has a certificate that is neither expired nor revoked, or uses one.

    Attributes:
        is_live: the operator hears it, or cannot know yet because it was just started.
        trusts: authorities that it says it trusts.
        uses: authority of the certificate that it says it uses; 0 if it never said.
        holds: authorities of its certificates that are valid and were not replaced by the one
            that it uses, and of those that it says are still in use.
    """

    chassis: str
    is_live: bool
    trusts: frozenset[int]
    uses: int
    holds: frozenset[int]


@dataclass(frozen=True)
class RollOverView:
    """All that the decision rests on.

    Attributes:
        authorities: of the bundle, oldest first; one in STEADY, else two.
        unspent_tokens: join tokens that name the old authority and can still be spent. Not those
            that were made after RETIRE had gone on for as long as a token lives: whoever makes
            one each day would hold it up for ever.
        rotate_at: when the signing authority is to be followed by another.
        is_requested: a person asked for a roll-over.
    """

    phase: Phase
    authorities: tuple[AuthorityView, ...]
    holders: tuple[HolderView, ...]
    unspent_tokens: int
    rotate_at: datetime
    is_requested: bool
    now: datetime


@dataclass(frozen=True)
class Missing:
    """Who or what a phase waits for, and why; `chassis` is empty if it is no node."""

    chassis: str
    why: str


@dataclass(frozen=True)
class Verdict:
    """The next phase, or the same one and who is missing.

    Attributes:
        reason: why the next phase begins; empty if it does not.
    """

    phase: Phase
    reason: str
    missing: tuple[Missing, ...]


@dataclass(frozen=True)
class Rule:
    """One row of the table: who is missing in a phase, and what comes after it."""

    following: Phase
    find_missing: Callable[[RollOverView], tuple[Missing, ...]]
    reason: str
    waits_for: str


def decide_phase(view: RollOverView) -> Verdict:
    """Decide whether the next phase begins now. One step at a time; the caller makes it durable.

    Fails closed: yes; a node that has not confirmed holds the roll-over up, it is never cut off.
    """
    rule = RULES[view.phase]
    old = view.authorities[0]
    if view.phase is not Phase.STEADY and view.now >= old.not_after:
        return Verdict(rule.following, "the old authority has ended", ())
    missing = rule.find_missing(view)
    if missing:
        return Verdict(view.phase, "", missing)
    if view.phase is Phase.STEADY:
        return Verdict(rule.following, explain_rotation(view), ())
    return Verdict(rule.following, rule.reason, ())


def explain_rotation(view: RollOverView) -> str:
    """Why a roll-over begins; empty if it does not."""
    if view.is_requested:
        return "it was asked for"
    if view.now >= view.rotate_at:
        return f"the authority's time came at {view.rotate_at:%Y-%m-%dT%H:%M:%SZ}"
    return ""


def plan_rotation(
    not_before: datetime,
    not_after: datetime,
    node_lifetime: CalendarSpan,
    rotate_after: CalendarSpan | None,
) -> datetime:
    """When an authority is to be followed by another.

    Args:
        rotate_after: as configured, counted from the authority's beginning; None for the rule in
            this file's head. Never later than the rule without its margin.
    """
    latest = max(subtract_span(not_after, node_lifetime), not_before)
    if rotate_after is not None:
        return min(add_span(not_before, rotate_after), latest)
    return latest - min(MAX_MARGIN, (latest - not_before) / 4)


def plan_wave(switched_at: datetime, wave: timedelta, fraction: float) -> datetime:
    """When a node renews because of a roll-over.

    Args:
        fraction: 0 to 1, the same for a node every time.
    """
    return (switched_at + wave * fraction).replace(microsecond=0)


def _missing_in_steady(view: RollOverView) -> tuple[Missing, ...]:
    if explain_rotation(view):
        return ()
    return (Missing("", f"the authority's time comes at {view.rotate_at:%Y-%m-%dT%H:%M:%SZ}"),)


def _missing_in_introduce(view: RollOverView) -> tuple[Missing, ...]:
    both = frozenset(authority.authority_id for authority in view.authorities)
    return tuple(
        Missing(holder.chassis, _trust_text(both - holder.trusts, both))
        for holder in view.holders
        if holder.is_live and not both <= holder.trusts
    )


def _trust_text(lacking: frozenset[int], both: frozenset[int]) -> str:
    if lacking == both:
        return "has not said yet whom it trusts"
    numbers = ", ".join(str(number) for number in sorted(lacking))
    return f"does not trust authority {numbers} yet"


def _missing_in_switch(view: RollOverView) -> tuple[Missing, ...]:
    new = view.authorities[-1].authority_id
    return tuple(
        Missing(
            holder.chassis,
            f"uses a certificate of authority {holder.uses}"
            if holder.uses
            else "has not said yet which certificate it uses",
        )
        for holder in view.holders
        if holder.is_live and holder.uses != new
    )


def _missing_in_retire(view: RollOverView) -> tuple[Missing, ...]:
    old = view.authorities[0].authority_id
    missing = [
        Missing(
            holder.chassis,
            f"has a valid certificate of authority {old}"
            if holder.is_live
            else f"is away and has a valid certificate of authority {old}",
        )
        for holder in view.holders
        if old in holder.holds
    ]
    if view.unspent_tokens:
        count = view.unspent_tokens
        missing.append(Missing("", f"join tokens that name authority {old} are unspent: {count}"))
    return tuple(missing)


RULES: dict[Phase, Rule] = {
    Phase.STEADY: Rule(Phase.INTRODUCE, _missing_in_steady, "", "a reason to rotate"),
    Phase.INTRODUCE: Rule(
        Phase.SWITCH,
        _missing_in_introduce,
        "every live node trusts both authorities",
        "every live node to trust both authorities",
    ),
    Phase.SWITCH: Rule(
        Phase.RETIRE,
        _missing_in_switch,
        "every live node uses a certificate of the new authority",
        "every live node to use a certificate of the new authority",
    ),
    Phase.RETIRE: Rule(
        Phase.STEADY,
        _missing_in_retire,
        "no certificate of the old authority is valid or in use",
        "the last certificate of the old authority to be replaced, to end or to be revoked",
    ),
}
