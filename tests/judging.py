"""Judges synthetic recordings that a test has spoilt, and reads the verdict."""

from collections.abc import Callable

from geneveil.verify.flows import Phase
from geneveil.verify.verdict import Observation, ReasonCode, Verdict
from tests.synthetic_lab import Recipe, Recording, judge_recordings, record

POD_TO_POD = "pod_to_pod/node1>node2/udp/small/request"
ALL_WELL = Recipe()


def judged(
    spoil: Callable[[Recording], None] | None = None,
    recipe: Recipe = ALL_WELL,
    spoil_control: Callable[[Recording], None] | None = None,
) -> Verdict:
    """The verdict after `spoil` had the cluster with IPsec on, `spoil_control` the other."""
    disabled, enabled = record(Phase.DISABLED, recipe), record(Phase.ENABLED, recipe)
    if spoil:
        spoil(enabled)
    if spoil_control:
        spoil_control(disabled)
    return judge_recordings(disabled, enabled)


def observation_of(verdict: Verdict, probe_id: str, phase: Phase = Phase.ENABLED) -> Observation:
    return next(
        o for row in verdict.phase(phase).flows for o in row.observations if o.probe == probe_id
    )


def codes(verdict: Verdict) -> set[ReasonCode]:
    return {reason.code for reason in verdict.reasons}


def texts(verdict: Verdict) -> str:
    return "\n".join(reason.text for reason in verdict.reasons)
