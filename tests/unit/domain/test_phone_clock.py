import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.phone_clock import Bounds, estimate, learn
from router.domain.rules import Rules

RULES = Rules(skew_seconds=2.0, unknown_skew_seconds=15.0)


def test_nothing_is_known() -> None:
    """A phone that has not reported is taken to be right within the setting, and the margin covers that."""
    clock = estimate(Bounds(), 1000.0, RULES)

    assert 0.0 == clock.offset
    assert 15.0 == clock.margin_seconds


def test_a_quick_report_says_much() -> None:
    """Handed over at 1000, sent, reported at 1001: the offset is known to a second, and the margin is the least and what a word takes."""
    bounds = learn(Bounds(), 1000.5, 1000.0, 1001.0)

    assert (-0.5, 0.5) == (bounds.low, bounds.high)
    assert (0.0, 3.0) == tuple(getattr(estimate(bounds, 1001.0, RULES), name) for name in ("offset", "margin_seconds"))


@pytest.mark.parametrize("ahead", [300.0, -300.0, 86400.0])
def test_a_clock_that_is_wrong(ahead: float) -> None:
    """The lease is told in the phone's own time, and never so that it may send later than the margin allows."""
    bounds = learn(Bounds(), 1000.5 + ahead, 1000.0, 1001.0)
    clock = estimate(bounds, 1001.0, RULES)

    assert clock.offset == pytest.approx(ahead, abs=0.51)
    assert ahead >= clock.offset - clock.margin_seconds
    assert 3.0 == clock.margin_seconds


@pytest.mark.parametrize(
    ("ahead", "way", "margin"), [(0.0, 0.1, 2.2), (0.3, 0.6, 3.2), (-0.3, 0.6, 3.2), (0.0, 3.0, 4.0), (60.0, 0.6, 3.2)]
)
def test_a_slow_network(ahead: float, way: float, margin: float) -> None:
    """What it began at the end of its lease is heard of in time, where its word takes as long as the quickest so far, there and back; but
    no more than the least margin is added for that.
    """
    bounds = learn(Bounds(), 1000.0 + way + ahead, 1000.0, 1000.0 + 2 * way)
    late = learn(bounds, 1100.0 + way + ahead, 1100.0, 1100.0 + 9 * way)

    assert margin == pytest.approx(estimate(bounds, 1000.0 + 2 * way, RULES).margin_seconds)
    assert margin == pytest.approx(estimate(late, 1100.0 + 9 * way, RULES).margin_seconds, abs=0.1)


def test_a_late_report_says_little_and_nothing_wrong() -> None:
    """An hour late: the phone may be an hour behind, as far as this report goes; what is usual stands."""
    bounds = learn(Bounds(), 1001.0, 1000.0, 4600.0)
    clock = estimate(bounds, 4600.0, RULES)

    assert 0.0 == clock.offset
    assert 15.0 == clock.margin_seconds


def test_a_late_report_takes_nothing_back() -> None:
    """What an earlier one has shown stays known."""
    quick = learn(Bounds(), 1000.5, 1000.0, 1001.0)
    late = learn(quick, 2000.5, 2000.0, 2600.0)

    assert late.low == pytest.approx(quick.low, abs=0.2)
    assert 3.0 == pytest.approx(estimate(late, 2600.0, RULES).margin_seconds, abs=0.4)


def test_the_clock_was_set() -> None:
    """Bounds that exclude each other: the newest report counts alone."""
    bounds = learn(learn(Bounds(), 1000.5, 1000.0, 1001.0), 4600.5, 1100.0, 1101.0)

    assert (3499.5, 3500.5) == (bounds.low, bounds.high)


def test_old_knowledge_fades() -> None:
    """Clocks drift: after a month the margin has grown beyond the least, up to what is taken of an unknown clock."""
    bounds = learn(Bounds(), 1000.5, 1000.0, 1001.0)
    month = 1001.0 + 30 * 86400

    assert 2.0 < estimate(bounds, month, RULES).margin_seconds <= 15.0


def test_a_report_from_before_its_hand_over_teaches_nothing() -> None:
    assert learn(Bounds(), 5.0, 1000.0, 999.0) == Bounds()


@given(
    offset=st.floats(-5000, 5000),
    events=st.lists(st.tuples(st.floats(0, 5), st.floats(0, 900), st.floats(0, 3600)), min_size=1, max_size=8),
)
def test_the_truth_is_never_excluded(offset: float, events: list[tuple[float, float, float]]) -> None:
    """Whatever comes how late: the phone's true offset is within the bounds, and its lease is over when the margin is."""
    bounds, now = Bounds(), 1000.0
    for took, late, pause in events:
        handed_at, did_at = now, now + took
        bounds = learn(bounds, did_at + offset, handed_at, did_at + late)
        now = did_at + late + pause
    clock = estimate(bounds, now, RULES)

    assert bounds.low - 1e-6 <= offset <= bounds.high + 1e-6
    assert not math.isinf(clock.margin_seconds)
    if abs(offset) <= RULES.unknown_skew_seconds or abs(clock.offset) > RULES.unknown_skew_seconds:
        # Told to stop at lease + clock.offset by its own clock, it stops at lease + clock.offset - offset by ours
        assert clock.offset - offset <= clock.margin_seconds + 1e-6
