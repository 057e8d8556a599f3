"""The verdicts on prefixes, case by case. Whole days of traffic are in tests/unit/test_fraud_traffic.py."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from router.domain.fraud import (
    Figures,
    FraudRules,
    Others,
    Reference,
    Sums,
    Usual,
    are_served,
    figures_of,
    usual_conversion,
    usual_count,
)
from router.domain.verdicts import is_calm, judge

RULES = FraudRules()
PREFIX = "+21366123"
NOW = 1_000_000.0


def sums(**fields: int) -> Sums:
    return Sums(**fields)


def figures(ripe: dict[str, int] | None = None, **now: int) -> Figures:
    """`ripe`: what differs there from the whole window."""
    return Figures(prefix=PREFIX, carrier="60301", now=Sums(**now), ripe=Sums(**now | (ripe or {})), young=Sums())


def an_attack(**fields: int) -> Figures:
    return figures(**{"accepted": 60, "distinct": 60, "near": 55, "sent": 50, "verified": 0} | fields)


KNOWN = Reference(count=1.0, conversion=0.7, others=0.7)


@pytest.mark.parametrize(
    ("found", "reference", "state"),
    [
        (an_attack(), KNOWN, "sequential"),
        (an_attack(near=3), KNOWN, "conversion"),
        (an_attack(near=3, verified=40), KNOWN, "fast"),
        (an_attack(verified=40), KNOWN, "fast"),
        (an_attack(), Reference(count=60.0, conversion=0.7), "normal"),
        (an_attack(accepted=19), KNOWN, "normal"),
        (an_attack(distinct=3, near=0), KNOWN, "fast"),
        (an_attack(near=3), Reference(), "fast"),
        (an_attack(), Reference(), "sequential"),
        (an_attack(near=3), replace(KNOWN, others=0.0), "fast"),
        (an_attack(near=3), replace(KNOWN, latest=0.3), "fast"),
        (an_attack(), replace(KNOWN, latest=0.3), "fast"),
        (an_attack(near=3), replace(KNOWN, latest=0.4), "conversion"),
        (an_attack(near=3, sent=0), KNOWN, "fast"),
        (an_attack(sent=0), KNOWN, "sequential"),
    ],
    ids=[
        "numbers in a row", "no code comes back", "fast and honest", "a company logs in", "usual for it", "below the floor",
        "a few test phones", "nothing known of the carrier", "in a row is enough then", "the carrier was down", "the carrier is down",
        "numbers in a row while it is", "the carrier is well", "nothing was sent yet",
        "in a row, and the fleet is full",
    ],
)  # fmt: skip
def test_verdicts(found: Figures, reference: Reference, state: str) -> None:
    """Speed alone blocks nobody; with numbers in a row, or with codes that do not come back where others' do, it does."""
    assert state == judge(found, reference, RULES).state


def test_codes_that_are_too_young_prove_nothing() -> None:
    """They may still come back."""
    assert "fast" == judge(figures({"sent": 5, "distinct": 5}, accepted=60, distinct=60, sent=50), KNOWN, RULES).state
    assert "fast" == judge(figures({"distinct": 5}, accepted=60, distinct=60, near=55), KNOWN, RULES).state


def test_a_limit_holds_for_everybody() -> None:
    """Also for a prefix that is fast every day and converts well; without a limit there is none."""
    honest = figures(accepted=101, distinct=101, sent=101, verified=90)
    usual = Reference(count=100.0, conversion=0.9)

    assert "velocity" == judge(honest, usual, replace(RULES, limit=100)).reason
    assert "normal" == judge(honest, usual, replace(RULES, limit=101)).state
    assert "normal" == judge(honest, usual, RULES).state


def test_the_figures_are_told() -> None:
    """An operator reads why."""
    why = judge(an_attack(), KNOWN, RULES).why

    assert "60 messages in 10 min, usually 1.0; 55 of 60 numbers next to another one; 0 of 50 codes came back" == why


@given(
    st.builds(dict, accepted=st.integers(0, 500), distinct=st.integers(0, 500), near=st.integers(0, 500), sent=st.integers(5, 500)),
    st.floats(0, 1),
    st.floats(0, 1000),
)
def test_who_converts_as_usual_is_never_blocked(counts: dict[str, int], surplus: float, usual: float) -> None:
    """Whatever the speed and however near the numbers: where the codes come back, nobody is pumping."""
    verified = math.ceil(counts["sent"] * (0.7 + 0.3 * surplus))
    found = figures(**counts | {"verified": verified})

    assert judge(found, Reference(count=usual, conversion=0.7, others=0.7), RULES).reason is None


@given(st.integers(0, 2000), st.floats(0, 400))
def test_as_fast_as_usual_is_never_blocked(accepted: int, surplus: float) -> None:
    """Up to the factor, whatever else there is."""
    found = an_attack(accepted=accepted, distinct=accepted, near=accepted)
    usual = accepted / RULES.velocity_factor * 1.001 + surplus

    assert "normal" == judge(found, Reference(count=usual, conversion=0.7), RULES).state


def test_what_is_blocked_is_not_calm() -> None:
    """There is room between what blocks and what frees, so that a block does not come and go."""
    assert not is_calm(figures(accepted=20), KNOWN, RULES)
    assert not is_calm(figures(refused=10), KNOWN, RULES)
    assert is_calm(figures(refused=9), KNOWN, RULES)
    assert is_calm(figures(refused=100), Reference(count=40.0), RULES)


# What they are compared with


def test_a_loud_prefix_does_not_outvote_the_many() -> None:
    """Three prefixes are pumped with far more codes than all honest ones have: the honest ones tell what the carrier's conversion is."""
    honest = [figures(sent=10, verified=7) for _ in range(40)]
    loud = [figures(sent=5000, verified=0) for _ in range(3)]
    share, _ = Others.of([*honest, *loud]).without(loud[0], RULES.floor)

    assert share is not None
    assert 0.65 < share < 0.7


def test_too_few_others_tell_nothing() -> None:
    """A router with one prefix goes by what is usual."""
    one = figures(sent=50, verified=0)

    assert (None, None) == Others.of([one]).without(one, RULES.floor)
    assert (None, None) == Others().without(one, RULES.floor)
    assert 0.7 == Reference(conversion=0.7).expected
    assert Reference(others=0.7).expected is None


def test_what_is_usual_fades() -> None:
    """A day ago counts for a third; a steady rate comes out as that rate, after an hour as after a week."""
    usual = Usual()
    for minute in range(60 * 24 * 7):
        usual = usual.plus(sums(accepted=3, sent=2, verified=1), minute * 60.0, RULES)
        if minute in (60, 60 * 24 * 7 - 1):
            assert 30.0 == pytest.approx(usual_count(usual, minute * 60.0, minute * 60.0, RULES), rel=0.05)
    week = 7 * 86400.0

    assert 0.5 == pytest.approx(usual_conversion(usual, week, RULES))
    assert usual.accepted / 2.718 == pytest.approx(usual.aged(week + 86400, RULES).accepted, rel=0.01)
    assert usual_conversion(usual.aged(week + 86400 * 9, RULES), week + 86400 * 9, RULES) is None


def test_a_clock_that_steps_back_makes_nothing_grow() -> None:
    """What is usual never counts for more than it was."""
    usual = Usual(10.0, 10.0, 5.0, NOW)

    assert 10.0 == usual.aged(NOW - 3600, RULES).accepted
    assert NOW == usual.aged(NOW - 3600, RULES).at


def test_figures_of_a_window() -> None:
    """Sums over minutes and carriers; the young minute is not ripe; ported numbers do not change whose prefix it is."""
    minutes = {
        0: {PREFIX: {"60301": sums(accepted=5, sent=4), "60302": sums(accepted=1, verified=1)}},
        60: {PREFIX: {"60301": sums(accepted=2, sent=2, refused=3)}, "+21377123": {"60302": sums(accepted=1)}},
    }
    found = figures_of(minutes, 125.0, RULES)

    assert {PREFIX, "+21377123"} == found.keys()
    assert "60301" == found[PREFIX].carrier
    assert 11 == found[PREFIX].demand
    assert (6, 4) == (found[PREFIX].now.sent, found[PREFIX].ripe.sent)
    assert 0.25 == found[PREFIX].conversion
    assert found["+21377123"].conversion is None
    assert 5 == minutes[0][PREFIX]["60301"].accepted, "what was handed in is as it was"


def test_countries() -> None:
    """An empty list serves all of them."""
    some = frozenset({"DZ", "TN"})

    assert are_served(["FR"], RULES.countries)
    assert are_served(["DZ", "TN"], some)
    assert are_served([], some)
    assert not are_served(["DZ", "FR"], some)
