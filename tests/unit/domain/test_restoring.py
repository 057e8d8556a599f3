"""What comes back from a backup."""

from typing import Any

import pytest

from router.domain.lifecycle import can_settle, is_refund, next_due
from router.domain.message import Message
from router.domain.restoring import REASON, end_restored
from tests.unit.domain.test_lifecycle import RULES, ambiguous, assigned, handed, pending, radioed, sent

NOW = 40.0


@pytest.mark.parametrize("made", [pending, assigned, handed, radioed, ambiguous], ids=lambda made: made.__name__)
def test_what_was_not_sent_has_failed(made: Any) -> None:
    """It may have been sent since, so it is not sent again; its place at the seed is free, and the charge given back."""
    before: Message = made()
    decision = end_restored(before, NOW)
    after = decision.message

    assert ("failed", REASON, NOW) == (after.state, after.reason, after.ended_at)
    assert [] == after.open_attempts
    assert len(before.open_attempts) == len(decision.released)
    assert not decision.requeue
    assert not after.needs_text
    assert can_settle(after)
    assert is_refund(after)


@pytest.mark.parametrize(("made", "state"), [(assigned, "withdrawn"), (handed, "ambiguous"), (radioed, "ambiguous")])
def test_attempts_say_what_is_known(made: Any, state: str) -> None:
    """What a seed had in its hands may be out; what it had not fetched was taken back."""
    after = end_restored(made(), NOW).message

    assert [state] == [attempt.state for attempt in after.attempts]


def test_a_code_that_waited_has_expired() -> None:
    """It may have been used since, and is used once; it was sent, so it is paid."""
    after = end_restored(sent(), NOW).message

    assert ("expired", REASON) == (after.state, after.reason)
    assert not is_refund(after)


def test_what_had_ended_stays() -> None:
    """A plain SMS that was sent, too."""
    over = [sent(pending(kind="sms")), end_restored(pending(), NOW).message]

    assert over == [end_restored(message, NOW + 1).message for message in over]


def test_what_has_its_time_ahead_goes_on() -> None:
    """Nobody can have sent it: no seed was to have it before."""
    message = pending(not_before=NOW + 1)

    assert message is end_restored(message, NOW).message
    assert "failed" == end_restored(message, NOW + 2).message.state


def test_nothing_is_left_to_time() -> None:
    """But the settling, which whoever restores does at once."""
    after = end_restored(handed(), NOW).message

    assert NOW + 5 == next_due(after, RULES)
