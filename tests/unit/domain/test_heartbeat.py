"""When a heartbeat is due, and what became of it."""

import pytest

from router.domain.carriers import country_of_carrier
from router.domain.heartbeat import CARRIER, Beat, heartbeat_message, judge, life_seconds
from router.domain.message import HEARTBEAT
from router.domain.numbering import mask
from router.services.seeds import is_name

OPEN = Beat(message="hb_1", begun_at=100.0, is_open=True, arrived_at=40.0, seconds=0.1)


def test_one_at_a_time() -> None:
    """The next one waits for its time, and for the end of the last one."""
    assert Beat().is_due(100.0, 60.0)
    assert not Beat(begun_at=50.0).is_due(100.0, 60.0)
    assert Beat(begun_at=40.0).is_due(100.0, 60.0)
    assert not OPEN.is_due(1000.0, 60.0)


@pytest.mark.parametrize(("sent_at", "result"), [(100.2, "arrived"), (130.0, "arrived"), (130.1, "late")])
def test_arrived(sent_at: float, result: str) -> None:
    """In time or not, it is remembered how long it took."""
    beat, found = judge(OPEN, sent_at, is_over=True, late_seconds=30.0)

    assert result == found
    assert (False, sent_at, pytest.approx(sent_at - 100.0)) == (beat.is_open, beat.arrived_at, beat.seconds)


def test_failed_and_under_way() -> None:
    """One that never arrives leaves the time of the last arrival as it was; each is judged once."""
    assert (OPEN, None) == judge(OPEN, None, is_over=False, late_seconds=30.0)
    beat, found = judge(OPEN, None, is_over=True, late_seconds=30.0)

    assert "failed" == found
    assert (False, 40.0, 0.1) == (beat.is_open, beat.arrived_at, beat.seconds)
    assert (beat, None) == judge(beat, None, is_over=True, late_seconds=30.0)


def test_it_has_the_time_to_be_late() -> None:
    """Else late ones would count as lost."""
    assert 60.0 == life_seconds(60.0, 30.0)
    assert 60.0 == life_seconds(5.0, 30.0)


def test_nobody_can_take_it_for_something_else() -> None:
    """No API can name its account and seed, and its network and number are nobody's."""
    message = heartbeat_message("hb_1", 100.0, 60.0)

    assert message.is_heartbeat
    assert message.is_for_one_seed
    assert not is_name(HEARTBEAT)
    assert country_of_carrier(CARRIER) is None
    assert "+9990*****01" == mask(message.to)
