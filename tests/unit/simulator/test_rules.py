"""What a simulated phone decides without the network: its fates, its clock, its patience, and how it reads answers."""

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.simulator.backoff import Backoff
from workers.simulator.behaviour import Behaviour, draw_fate
from workers.simulator.client import AttemptRef, HandedMessage, Report, ReportAnswer
from workers.simulator.clock import PhoneClock
from workers.simulator.life import Memory

ALL = Behaviour(
    fail_rate=1,
    die_after_send_rate=1,
    silent_rate=1,
    doze_rate=1,
    late_report_rate=1,
    late_report_seconds=7,
    repeat_report_rate=1,
    delivered_rate=1,
)


def test_a_good_phone_does_nothing_odd() -> None:
    """All rates are 0 by default."""
    fate = draw_fate(random.Random(1), Behaviour())

    assert (
        fate.fails,
        fate.dies,
        fate.is_silent,
        fate.doze_seconds,
        fate.late_seconds,
        fate.repeats_after_seconds,
        fate.delivered_after_seconds,
    ) == (False, False, False, None, 0.0, None, None)


def test_rates_of_one_always_happen() -> None:
    """And the delays are what they should be."""
    fate = draw_fate(random.Random(1), ALL)

    assert fate.fails
    assert fate.dies
    assert fate.is_silent
    assert fate.doze_seconds is not None
    assert fate.doze_seconds >= 0
    assert fate.late_seconds == 7
    assert fate.repeats_after_seconds is not None
    assert fate.delivered_after_seconds is not None


def test_fates_repeat_with_their_seed() -> None:
    """The n-th fate does not depend on what the other rates made of the fates before."""
    some = msgspec.structs.replace(ALL, fail_rate=0.3)
    other = Behaviour(fail_rate=0.3)
    first, second = random.Random("7/603010000000000"), random.Random("7/603010000000000")

    assert [draw_fate(first, some).fails for _ in range(200)] == [draw_fate(second, other).fails for _ in range(200)]


def test_dozes_have_the_mean_they_should() -> None:
    """Over many of them."""
    rng = random.Random(3)
    dozes = [draw_fate(rng, Behaviour(doze_rate=1, doze_seconds=10)).doze_seconds or 0.0 for _ in range(5000)]

    assert pytest.approx(10, rel=0.1) == sum(dozes) / len(dozes)


@given(
    ahead=st.floats(-1e6, 1e6),
    trips=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=10),
)
def test_the_routers_time_is_never_thought_earlier_than_it_is(ahead: float, trips: list[tuple[float, float]]) -> None:
    """However long a ping took there and back, and however wrong the phone's own clock is."""
    wall = [1_800_000_000.0]
    clock = PhoneClock(ahead, wall=lambda: wall[0])

    assert not clock.is_set
    for there, back in trips:
        asked_at = clock.now()
        wall[0] += there
        lps = wall[0]
        wall[0] += back
        clock.learn(lps, asked_at, clock.now())

        assert clock.is_set
        assert clock.router_now() >= wall[0] - 1e-3
    assert clock.router_now() <= wall[0] + min(there + back for there, back in trips) + 1e-3


def test_backoff_doubles_to_its_cap() -> None:
    """Never less than half of what it could be, so that the rate of tries is bounded."""
    backoff = Backoff(random.Random(1), first_seconds=0.1, cap_seconds=1.0)
    ceilings = [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]

    assert all(ceiling / 2 <= backoff.next_seconds() <= ceiling for ceiling in ceilings)
    backoff.reset()

    assert backoff.next_seconds() <= 0.1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ReportAnswer(1, 0), True),
        (ReportAnswer(2, 0), True),
        (ReportAnswer(0, 1), False),
        (ReportAnswer(1, 1, [AttemptRef("other", 1)]), True),
        (ReportAnswer(1, 1, [AttemptRef("m", 2)]), True),
        (ReportAnswer(1, 1, [AttemptRef("m", 1)]), False),
        (ReportAnswer(1, 1), None),
        (ReportAnswer(1, 1, []), None),
        (ReportAnswer(0, 0), None),
    ],
)
def test_only_a_clear_yes_is_a_permission(answer: ReportAnswer, expected: bool | None) -> None:
    """An answer that does not tell which report was stale grants nothing."""
    assert expected is answer.is_granted(Report(id="m", attempt=1, state="radio"))


def test_memory_knows_attempts() -> None:
    """Another attempt of the same message is new."""
    memory = Memory()

    assert memory.is_new(HandedMessage("m", 1, "", "", 0))
    assert not memory.is_new(HandedMessage("m", 1, "", "", 9))
    assert memory.is_new(HandedMessage("m", 2, "", "", 0))


def test_a_message_does_not_show_its_text() -> None:
    """Its repr may end up in a log."""
    message = HandedMessage("m", 1, "+213661234567", "Your code is 123456", 0)

    assert repr(message) == "<HandedMessage m/1>"
