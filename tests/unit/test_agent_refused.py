"""ESP that the kernel refused is said: played back as information, forged as a warning."""

from dataclasses import replace

from geneveil.agent.decide import AgentMemory, decide
from geneveil.agent.refused import FEW_PACKETS, QUIET_SECONDS, Refused, judge_refused
from geneveil.model.health import Severity
from tests.unit.test_agent_decide import CONNECTION, SEEN, UP, state

SA_IN = replace(state("192.0.2.1", 0x11), source="192.0.2.2")


def judge(
    replayed: int, failed: int, now_seconds: float, before: Refused | None = None
) -> tuple[Refused, list[str]]:
    seen = replace(SA_IN, replayed_packets=replayed, failed_packets=failed)
    refused, findings = judge_refused(
        (seen,), (CONNECTION,), before or Refused(read={}), now_seconds
    )
    return refused, [finding.code for finding in findings]


def test_a_packet_played_back_now_and_then_is_not_said_but_several_are() -> None:
    refused, said = judge(FEW_PACKETS - 1, 0, 100.0)
    assert said == []
    refused, said = judge(FEW_PACKETS, 0, 101.0, refused)
    assert said == ["esp-replayed"]
    refused, said = judge(FEW_PACKETS, 0, 101.0 + QUIET_SECONDS - 1, refused)
    assert said == ["esp-replayed"]
    _, said = judge(FEW_PACKETS, 0, 101.0 + QUIET_SECONDS, refused)
    assert said == []


def test_one_forged_packet_is_said_and_is_over_when_no_more_come() -> None:
    refused, said = judge(0, 1, 100.0)
    assert said == ["esp-forged"]
    _, said = judge(0, 1, 100.0 + QUIET_SECONDS, refused)
    assert said == []


def test_an_agent_that_starts_does_not_say_what_was_counted_before() -> None:
    refused, said = judge(900, 3, 100.0, Refused())
    assert said == []
    _, said = judge(900, 4, 101.0, refused)
    assert said == ["esp-forged"]


def test_a_new_sa_counts_from_nothing_and_one_that_is_gone_takes_nothing_back() -> None:
    refused, _ = judge(0, 2, 100.0)
    newer = replace(SA_IN, spi=0x99, failed_packets=1)
    refused, findings = judge_refused((newer,), (CONNECTION,), refused, 101.0)
    assert refused.failed_packets == 3
    assert [finding.severity for finding in findings] == [Severity.WARNING]


def test_sas_of_others_do_not_count_and_what_cannot_be_read_changes_nothing() -> None:
    for other in (
        replace(SA_IN, source="198.51.100.9", failed_packets=9),
        replace(SA_IN, protocol=51, failed_packets=9),
        replace(SA_IN, source="192.0.2.1", destination="192.0.2.2", failed_packets=9),
    ):
        assert judge_refused((other,), (CONNECTION,), Refused(read={}), 1.0)[1] == []
    refused, _ = judge(0, 1, 100.0)
    assert judge_refused(None, (CONNECTION,), refused, 101.0)[0] == refused


def test_the_agent_says_it() -> None:
    before = decide(UP, AgentMemory(), ()).memory
    states = tuple(replace(s, failed_packets=1) for s in (*(UP.states or ()), SA_IN))  # type: ignore[misc]
    decision = decide(replace(UP, states=states, now_seconds=SEEN.now_seconds + 1), before, ())
    assert "esp-forged" in [finding.code for finding in decision.findings]
