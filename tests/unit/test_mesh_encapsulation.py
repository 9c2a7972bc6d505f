"""Whether ESP gets through: from counters and echoes to the pair's phase."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geneveil.mesh.encapsulation import (
    CONVICTION_SECONDS,
    ECHO_SECONDS,
    HOLD_FIRST_SECONDS,
    PATIENCE_SECONDS,
    SUSPICION_SECONDS,
    TRIAL_SECONDS,
    EspPhase,
    EspWatch,
    explain_esp,
    must_ask,
    watch_esp,
)
from geneveil.mesh.initiation import is_initiator
from geneveil.model.connection import ChildSa, Connection, IkeSa
from geneveil.model.health import Severity

ME = "node1"
PEER = next(n for n in ("node2", "node3", "node4", "node5") if is_initiator(ME, n))
LATER = next(n for n in ("node2", "node3", "node4", "node5") if not is_initiator(ME, n))
PAIR = Connection(ME, PEER, "192.0.2.1", "192.0.2.2")


def sa(
    incoming: int,
    outgoing: int,
    *,
    in_udp: bool = False,
    faked: bool | None = None,
    tasks: tuple[str, ...] = (),
    unique_id: int = 1,
    pair: Connection = PAIR,
    age: int = 100,
) -> IkeSa:
    children = tuple(
        ChildSa(
            name, unique_id * 10 + n, "INSTALLED", "TRANSPORT", 1, 2, "AES_GCM_16", 256, True,
            in_udp, 0, 0, incoming if name == "in" else 0, outgoing if name == "out" else 0,
            age, 3000,
        )
        for n, name in enumerate(("in", "out"))
    )  # fmt: skip
    return IkeSa(
        pair.name, unique_id, "ESTABLISHED", True, pair.local_ip, pair.remote_ip,
        pair.remote_chassis, age, 9000, children, tasks, in_udp if faked is None else faked,
    )  # fmt: skip


def look(
    watch: EspWatch | None, now: float, *sas: IkeSa, echo: bool = False, pair: Connection = PAIR
) -> EspWatch:
    return watch_esp(pair, sas, watch, now, is_echoed=echo)


def sending(until: float, *, pair: Connection = PAIR, tasks: tuple[str, ...] = ()) -> EspWatch:
    """Sends from 1 s on and hears nothing."""
    watch = look(None, 0, sa(5, 5, pair=pair), pair=pair)
    for second in range(1, int(until) + 1):
        watch = look(watch, second, sa(5, 5 + second, pair=pair, tasks=tasks), pair=pair)
    return watch


def test_what_has_no_answer_while_ike_works_is_doubted_after_some_seconds() -> None:
    assert sending(SUSPICION_SECONDS).phase is EspPhase.PLAIN
    doubted = sending(SUSPICION_SECONDS + 1)
    assert doubted.phase is EspPhase.TRIAL
    assert doubted.is_forced


def test_a_peer_that_comes_back_from_a_power_cut_is_given_the_time_to_say_something() -> None:
    """What was sent for half a minute into the SA that was dead is no suspicion of the new one."""
    watch = look(None, 0, sa(5, 5))
    for second in range(1, 37):
        watch = look(watch, second, sa(5, 5 + second, tasks=("IKE_DPD",)))
    ages = []
    for second in range(37, 60):
        age = second - 37
        new = sa(0, age, unique_id=2, age=age)
        watch = look(watch, second, sa(5, 41, tasks=("IKE_DPD",)), new)
        if watch.phase is EspPhase.TRIAL:
            ages.append(age)
            break
    assert ages == [int(SUSPICION_SECONDS)]


def test_the_other_of_the_two_waits_so_that_one_alone_falls_back() -> None:
    later = Connection(ME, LATER, "192.0.2.1", "192.0.2.2")
    assert sending(SUSPICION_SECONDS + PATIENCE_SECONDS, pair=later).phase is EspPhase.PLAIN
    assert sending(SUSPICION_SECONDS + PATIENCE_SECONDS + 1, pair=later).phase is EspPhase.TRIAL


def test_a_peer_that_does_not_answer_ike_either_is_not_doubted_it_is_dead() -> None:
    assert sending(60, tasks=("IKE_DPD",)).phase is EspPhase.PLAIN


def test_what_answers_idles_or_sent_only_once_is_not_doubted() -> None:
    answered = idle = burst = look(None, 0, sa(5, 5))
    for second in range(1, 60):
        answered = look(answered, second, sa(5 + second // 5, 5 + 10 * second))
        idle = look(idle, second, sa(5, 5))
        burst = look(burst, second, sa(5, 100))
        assert not (answered.is_forced or idle.is_forced or burst.is_forced)


def test_one_long_silence_before_the_first_packet_is_no_reason() -> None:
    watch = look(None, 0, sa(5, 5))
    watch = look(watch, 3600, sa(5, 100))
    assert watch.phase is EspPhase.PLAIN
    assert look(watch, 3600.3, sa(50, 100)).phase is EspPhase.PLAIN


def test_what_rides_in_udp_already_is_never_doubted() -> None:
    watch = look(None, 0, sa(5, 5, in_udp=True, faked=False))
    for second in range(1, 60):
        watch = look(watch, second, sa(5, 5 + second, in_udp=True, faked=False))
    assert watch.phase is EspPhase.PLAIN


def trial() -> EspWatch:
    return sending(SUSPICION_SECONDS + 1)


def test_traffic_that_arrives_in_udp_and_no_echo_convict() -> None:
    doubted = trial()
    new = sa(40, 40, in_udp=True, unique_id=2, age=1)
    assert look(doubted, doubted.since + 2, sa(5, 60), new).phase is EspPhase.TRIAL
    convicted = look(doubted, doubted.since + CONVICTION_SECONDS, sa(5, 60), new)
    assert convicted.phase is EspPhase.FALLEN_BACK
    assert convicted.since == doubted.since
    finding = explain_esp(PAIR, convicted)
    assert finding is not None
    assert (finding.code, finding.severity) == ("esp-blocked", Severity.WARNING)
    assert "protocol 50" in finding.remedy


def test_an_echo_in_the_trial_clears_esp_and_the_next_doubt_waits() -> None:
    doubted = trial()
    new = sa(40, 40, in_udp=True, unique_id=2, age=3)
    back = look(doubted, doubted.since + 4, sa(5, 60), new, echo=True)
    assert back.phase is EspPhase.RETURNING
    plain = look(back, back.since + 1, sa(5, 60, unique_id=3, age=0), new)
    assert plain.phase is EspPhase.PLAIN
    for second in range(2, 590, 2):
        plain = look(plain, back.since + second, sa(5, 60 + second, unique_id=3))
        assert plain.phase is EspPhase.PLAIN
    for second in range(590, 630, 2):
        plain = look(plain, back.since + second, sa(5, 60 + second, unique_id=3))
    assert plain.phase is EspPhase.TRIAL


@pytest.mark.parametrize(
    ("sas", "phase"),
    [
        ((sa(5, 60),), EspPhase.PLAIN),
        ((sa(5, 60), sa(0, 9, in_udp=True, unique_id=2, age=5)), EspPhase.RETURNING),
    ],
)
def test_a_trial_that_brings_nothing_ends(sas: tuple[IkeSa, ...], phase: EspPhase) -> None:
    doubted = trial()
    ended = look(doubted, doubted.since + TRIAL_SECONDS, *sas)
    assert (ended.phase, ended.tries) == (phase, 1)


def fallen() -> EspWatch:
    doubted = trial()
    new = sa(40, 40, in_udp=True, unique_id=2, age=9)
    return look(doubted, doubted.since + CONVICTION_SECONDS, new)


def test_a_fallback_asks_now_and_then_and_ends_with_an_echo() -> None:
    watch = fallen()
    new = sa(40, 40, in_udp=True, unique_id=2)
    free = watch.not_before
    assert not must_ask(watch, free - 1)
    assert look(watch, free - 1, new, echo=True).phase is EspPhase.FALLEN_BACK
    assert must_ask(watch, free)
    asked = replace(watch, asked_at=free)
    assert not must_ask(asked, free + ECHO_SECONDS - 1)
    assert must_ask(asked, free + ECHO_SECONDS)
    assert look(asked, free + 2, new).phase is EspPhase.FALLEN_BACK
    assert look(asked, free + 2, new, echo=True).phase is EspPhase.RETURNING


def test_falling_back_again_soon_doubles_the_wait_to_its_limit() -> None:
    holds = []
    for tries in range(12):
        doubted = replace(trial(), tries=tries)
        new = sa(40, 40, in_udp=True, unique_id=2, age=9)
        watch = look(doubted, doubted.since + CONVICTION_SECONDS, new)
        holds.append(watch.not_before - doubted.since - CONVICTION_SECONDS)
    assert holds[:3] == [HOLD_FIRST_SECONDS * n for n in (1, 2, 4)]
    assert holds[-1] == 6 * 3600


def test_an_agent_that_starts_anew_knows_its_own_fallback_and_a_nat_from_it() -> None:
    adopted = look(None, 1000, sa(5, 5, in_udp=True, age=300))
    assert (adopted.phase, adopted.since) == (EspPhase.FALLEN_BACK, 700)
    assert must_ask(adopted, 1000)
    assert look(None, 1000, sa(5, 5, in_udp=True, faked=False)).phase is EspPhase.PLAIN


def test_a_pair_that_is_down_forgets_its_doubt_and_keeps_its_fallback() -> None:
    assert look(sending(6), 7).heard.unanswered_since is None
    assert look(fallen(), 100).is_forced


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.3, 2.0, 20.0, 400.0]), st.integers(0, 9), st.integers(0, 9),
            st.booleans(), st.booleans(), st.booleans(),
        ),
        max_size=60,
    )
)  # fmt: skip
def test_whatever_happens_trying_and_returning_come_to_an_end(
    steps: list[tuple[float, int, int, bool, bool, bool]],
) -> None:
    watch: EspWatch | None = None
    now, incoming, outgoing = 0.0, 0, 0
    for seconds, more_in, more_out, in_udp, up, echo in steps:
        now, incoming, outgoing = now + seconds, incoming + more_in, outgoing + more_out
        before = watch
        sas = (sa(incoming, outgoing, in_udp=in_udp),) if up else ()
        watch = look(watch, now, *sas, echo=echo)
        if watch.phase in (EspPhase.TRIAL, EspPhase.RETURNING):
            assert now - watch.since < 61
        if before is not None and before.tries > watch.tries:
            assert watch.tries == 0
