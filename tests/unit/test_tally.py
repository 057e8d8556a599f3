"""What a process counts until it tells Redis."""

from hypothesis import given
from hypothesis import strategies as st

from router.tally import Tally


def test_what_is_taken_is_forgotten() -> None:
    tally = Tally()
    tally.add("flow", "a", at=59.9)
    tally.add("flow", "a", 2, at=0.0)
    tally.add("flow", "a", at=60.0)
    tally.add("flow", "a")
    tally.note("failovers", b"1")

    taken = tally.take()

    assert {("flow", 0, "a"): 3, ("flow", 1, "a"): 1, ("flow", None, "a"): 1} == taken.sums
    assert {"failovers": [b"1"]} == taken.notes
    assert not tally.take()


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 200), st.booleans()), max_size=60))
def test_put_back_loses_nothing(events: list[tuple[int, int, bool]]) -> None:
    """Whenever a flush fails, the sums of all takes are the sums of all that was counted."""
    tally, expected = Tally(), dict.fromkeys(range(4), 0)
    for field, at, fails in events:
        expected[field] += 1
        tally.add("flow", str(field), at=float(at))
        if fails:
            taken = tally.take()
            tally.add("flow", "0", 0, at=float(at))
            tally.put_back(taken.sums, taken.notes)
    found = dict.fromkeys(range(4), 0)
    for (_, _, field), n in tally.take().sums.items():
        found[int(field)] += n

    assert expected == found


def test_an_hour_without_redis_is_bounded() -> None:
    """Sums of a minute are one cell however often they are put back; beyond the bound new cells are dropped, and told of once."""
    tally = Tally(max_cells=100)
    for second in range(3600):
        tally.add("flow", "a", at=float(second))
        tally.put_back(tally.take().sums)
    for field in range(200):
        tally.add("prefix", str(field), at=0.0)
    tally.add("flow", "a", at=0.0)

    assert "<Tally 100 sums, 0 notes>" == repr(tally)
    taken = tally.take()
    assert 160 == taken.dropped
    assert 61 == taken.sums["flow", 0, "a"]
    assert 0 == tally.take().dropped


def test_the_latest_notes_stay() -> None:
    """Beyond the bound the oldest go; what was put back is older than what came since."""
    tally = Tally(max_notes=3)
    tally.note("failovers", b"1")
    tally.note("failovers", b"2")
    taken = tally.take()
    tally.note("failovers", b"3")
    tally.note("failovers", b"4")
    tally.put_back({}, taken.notes)

    assert {"failovers": [b"2", b"3", b"4"]} == tally.take().notes
