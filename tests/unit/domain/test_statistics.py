"""Figures from sums: additions, quantiles, conversion, and the fields that they are kept in."""

import bisect
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.statistics import (
    COUNTED,
    SENT_BUCKETS_SECONDS,
    Counts,
    Family,
    Minute,
    flow_field,
    read_flow,
    total,
    within,
)

_counts = st.builds(
    Counts,
    **dict.fromkeys(COUNTED, st.integers(0, 10**6)),
    sent_within=st.lists(st.integers(0, 10**6), min_size=17, max_size=17).map(tuple),
)
_seconds = st.lists(st.floats(0, 1000), min_size=1, max_size=50)


def of_times(seconds: list[float]) -> Counts:
    """As if each of these had been the time to sent of one message."""
    fields: dict[str, int] = {}
    for value in seconds:
        field = flow_field("60301", within(value))
        fields[field] = fields.get(field, 0) + 1
    return read_flow(fields)["60301"]


@given(st.lists(_counts, max_size=6))
def test_sums_are_sums(many: list[Counts]) -> None:
    """Field by field and bucket by bucket, in any order; of nothing, zero."""
    added = total(many)
    random.shuffle(many)

    assert added == total(many)
    assert [sum(getattr(one, name) for one in many) for name in COUNTED] == [getattr(added, name) for name in COUNTED]
    assert [sum(one.sent_within[place] for one in many) for place in range(17)] == list(added.sent_within)


@given(_seconds, st.floats(0, 1))
def test_a_quantile_is_in_the_bucket_of_the_true_one(seconds: list[float], q: float) -> None:
    """As good as the buckets are; what took longer than the last bound is told as that bound."""
    told = of_times(seconds).sent_quantile(q)
    rank = max(1, -(-len(seconds) * q // 1))
    true = sorted(seconds)[min(len(seconds), int(rank)) - 1]
    place = bisect.bisect_left(SENT_BUCKETS_SECONDS, true)
    upper = SENT_BUCKETS_SECONDS[min(place, len(SENT_BUCKETS_SECONDS) - 1)]
    lower = 0.0 if not place else SENT_BUCKETS_SECONDS[place - 1]

    assert told is not None
    assert lower <= told <= upper * (1 + 1e-9)


@given(_seconds, st.floats(0, 1), st.floats(0, 1))
def test_quantiles_do_not_cross(seconds: list[float], q: float, r: float) -> None:
    counts = of_times(seconds)
    low, high = counts.sent_quantile(min(q, r)), counts.sent_quantile(max(q, r))

    assert low is not None
    assert high is not None
    assert low <= high <= SENT_BUCKETS_SECONDS[-1]


def test_quantile_by_hand() -> None:
    """Four messages between 2 and 3 s: spread evenly; four more in the next bucket move the median to its border."""
    four = of_times([2.1, 2.2, 2.9, 3.0])

    assert 2.5 == four.sent_quantile(0.5)
    assert 3.0 == four.sent_quantile(1.0)
    assert 3.0 == (four + of_times([3.5] * 4)).sent_quantile(0.5)
    assert 300.0 == of_times([5000.0]).sent_quantile(0.5)
    assert Counts().sent_quantile(0.5) is None


def test_bounds_are_upper_bounds() -> None:
    """A time that is exactly a bound is within it; every time has a bucket."""
    assert [within(bound) for bound in SENT_BUCKETS_SECONDS] == [f"<{place}" for place in range(16)]
    assert "<0" == within(0.0)
    assert "<16" == within(300.1)


def test_conversion() -> None:
    """A share of the codes, not of all that was sent; never more than all of them; nothing where there was none."""
    assert 0.75 == Counts(sent=10, codes_sent=4, verified=3).conversion
    assert 1.0 == Counts(codes_sent=1, verified=2).conversion
    assert Counts(sent=5).conversion is None


def test_fields_by_carrier() -> None:
    """What is read is what was counted; the unknown carrier has no digits; a field of a later version hurts nothing."""
    fields = {"60301:accepted": 3, "60301:<6": 2, ":accepted": 1, "60302:failovers": 4, "60302:later": 9}

    found = read_flow(fields)

    assert ["", "60301", "60302"] == list(found)
    assert (3, 2) == (found["60301"].accepted, found["60301"].sent_within[6])
    assert Counts(accepted=1) == found[""]
    assert Counts(failovers=4) == found["60302"]
    assert 4 == Minute(at=0.0, carriers=found).total().accepted


def test_families_have_buckets_of_whole_minutes() -> None:
    family = Family(name="prefix", width_seconds=600, keep_seconds=3600)

    assert [0, 0, 600] == [family.start(at) for at in (0.0, 599.9, 600.0)]
    with pytest.raises(ValueError, match="whole minutes"):
        Family(name="prefix", width_seconds=90, keep_seconds=3600)
