"""A message's journey in words, of records that the lifecycle itself has made."""

from typing import Any

import pytest

from router.domain import lifecycle
from router.domain.journey import Journey, journey_of
from router.domain.message import Message
from router.domain.rules import Rules

RULES = Rules(lease_seconds=8.0, skew_seconds=2.0, pickup_seconds=4.0, radio_seconds=30.0)


def accepted(**changes: Any) -> Message:
    fields = {
        "id": "m", "account": "a", "dialect": "gatewire", "kind": "otp", "lane": "otp", "to": "+213551234567", "country": "DZ",
        "carrier": "60302", "parts": 1, "price": 5, "created_at": 100.0, "expires_at": 400.0, "queued_at": 100.0,
    }  # fmt: skip
    return Message(**fields | changes)


def begun(message: Message, seed: str, now: float) -> Message:
    return lifecycle.begin_attempt(message, seed, "60302", "score 0.80; better than C 0.90; passed over: 2 offline", now).message


def told(journey: Journey) -> list[tuple[float, str, int | None]]:
    return [(round(step.since, 3), step.what, step.attempt) for step in journey.steps]


def test_a_failover_with_its_reason() -> None:
    """A seed that says nothing, then another one: why each was chosen, how long each step took, and what moved the message."""
    message = begun(accepted(), "A", 101.0)
    message = lifecycle.hand_over(message, 1, "A", 102.0, RULES).message
    message = lifecycle.due(message, 112.0, RULES).message
    message = begun(message, "B", 113.0)
    message = lifecycle.hand_over(message, 2, "B", 114.0, RULES).message
    message = lifecycle.report(message, 2, "B", "radio", 115.0, RULES).message
    message = lifecycle.report(message, 2, "B", "sent", 117.0, RULES).message
    journey = journey_of(message, 500.0, RULES)

    assert [
        (0.0, "accepted", None), (1.0, "assigned", 1), (2.0, "handed over", 1), (12.0, "went silent", 1), (13.0, "assigned", 2),
        (14.0, "handed over", 2), (15.0, "given to the radio", 2), (17.0, "sent", 2),
    ] == told(journey)  # fmt: skip
    silent = journey.steps[3]
    assert (10.0, "moves") == (silent.after, silent.kind)
    assert "the seed took it and said nothing until its lease and 2 s more were over; attempt 2 goes to B" == silent.says
    assert "score 0.80; better than C 0.90; passed over: 2 offline" == journey.steps[1].says
    assert [[(s.kind, s.start, s.end) for s in track.spans] for track in journey.tracks] == [
        [("assigned", 1.0, 2.0), ("handed", 2.0, 12.0)],
        [("assigned", 13.0, 14.0), ("handed", 14.0, 15.0), ("radio", 15.0, 17.0)],
    ]
    assert [(10.0, None, 12.0), (22.0, 17.0, 17.0)] == [(track.lease_until, track.sent, track.ended) for track in journey.tracks]
    assert 17.0 == journey.seconds


def test_not_fetched_and_waiting() -> None:
    """A seed that does not come for it never had it; the message waits for another one, and can be cancelled."""
    message = lifecycle.due(begun(accepted(), "A", 101.0), 105.0, RULES).message
    waiting = journey_of(message, 106.0, RULES)
    parked = journey_of(lifecycle.park(message, 107.0).message, 108.0, RULES)

    assert "the seed did not come for it within 4 s, and never had it; waits for another seed" == waiting.steps[2].says
    assert (True, True, "taken") == (waiting.is_open, waiting.can_cancel, waiting.charge)
    assert [(5.0, "on the queue again", None), (7.0, "parked", None)] == told(parked)[-2:]
    assert "no seed; it goes out when one comes online or has room" == parked.steps[-1].says


def test_why_it_waited() -> None:
    """What was parked says why nobody could take it; also when a seed has it at last, and once for each time that it waited."""
    message = lifecycle.park(accepted(), 101.0, "no seed; passed over: 2 offline").message
    waiting = journey_of(message, 103.0, RULES)
    message = lifecycle.due(begun(message, "A", 141.0), 145.0, RULES).message
    message = lifecycle.park(message, 145.0, "no seed; passed over: 1 tried, 1 offline").message
    journey = journey_of(begun(message, "B", 150.0), 151.0, RULES)
    says = "it goes out when one comes online or has room"

    assert [(0.0, "accepted", None), (1.0, "parked", None)] == told(waiting)
    assert f"no seed; passed over: 2 offline; {says}" == waiting.steps[1].says
    assert [
        (0.0, "accepted", None), (1.0, "parked", None), (41.0, "assigned", 1), (45.0, "not fetched in time", 1), (45.0, "parked", None),
        (50.0, "assigned", 2),
    ] == told(journey)  # fmt: skip
    assert f"no seed; passed over: 1 tried, 1 offline; {says}" == journey.steps[4].says
    assert 40.0 == journey.steps[2].after


def test_a_phone_that_is_asked() -> None:
    """One that tells afterwards and says nothing until its lease ends: the last question, and the answer."""
    terms = lifecycle.Terms(tells_after=True, margin_seconds=3.0)
    message = lifecycle.hand_over(begun(accepted(), "A.1", 101.0), 1, "A.1", 102.0, RULES, terms).message
    for at in (109.0, 110.0):
        message = lifecycle.due(message, at, RULES).message
    message = lifecycle.report(message, 1, "A.1", "radio", 110.5, RULES).message
    journey = journey_of(message, 111.0, RULES)

    assert [(2.0, "handed over", 1), (10.0, "asked", 1), (10.5, "given to the radio", 1)] == told(journey)[2:]
    assert "it had said nothing, and its lease was about to end" == journey.steps[3].says


def test_an_open_attempt_grows() -> None:
    """What a seed has in its hands lasts until now, and its lease is shown whole."""
    message = lifecycle.hand_over(begun(accepted(), "A", 101.0), 1, "A", 102.0, RULES).message
    journey = journey_of(message, 104.5, RULES)

    assert [("assigned", 1.0, 2.0), ("handed", 2.0, 4.5)] == [(s.kind, s.start, s.end) for s in journey.tracks[0].spans]
    assert 10.0 == journey.seconds


@pytest.mark.parametrize(("sent", "charge"), [(True, "kept"), (False, "given back")])
def test_charge(sent: bool, charge: str) -> None:
    """What was sent is paid; what was not is given back; what is free is neither."""
    message = begun(accepted(kind="sms"), "A", 101.0)
    message = lifecycle.hand_over(message, 1, "A", 102.0, RULES).message
    state = "sent" if sent else "failed"
    message = lifecycle.report(message, 1, "A", state, 103.0, Rules(max_attempts=1), "no credit").message  # type: ignore[arg-type]
    settled = Message(**{name: getattr(message, name) for name in Message.__struct_fields__} | {"settled": True})
    free = Message(**{name: getattr(settled, name) for name in Message.__struct_fields__} | {"price": 0})

    assert ("taken", charge, "none") == tuple(journey_of(each, 104.0, RULES).charge for each in (message, settled, free))
    assert (True, False) == tuple(journey_of(each, 104.0, RULES).is_open for each in (message, settled))
    assert journey_of(settled, 104.0, RULES).can_cancel is False


def test_webhooks_and_a_bound_one() -> None:
    """What webhooks have been told, and what they are owed; and the one seed that a reliability test goes through."""
    message = begun(accepted(dialect="smsgate", kind="sms", only="=A", told=("sms:sent",)), "A", 101.0)
    message = lifecycle.hand_over(message, 1, "A", 102.0, RULES).message
    message = lifecycle.report(message, 1, "A", "delivered", 103.0, RULES).message
    journey = journey_of(message, 104.0, RULES)

    assert (("sms:sent",), ("sms:delivered",)) == (journey.told, journey.owed)
    assert ("A", "") == (journey.only_seed, journey.only_group)
    group = journey_of(accepted(only="ac_1"), 104.0, RULES)
    assert ("", "ac_1") == (group.only_seed, group.only_group)
