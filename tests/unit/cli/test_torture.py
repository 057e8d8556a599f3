"""The judge of `torture` on made-up runs, one for each promise, and its plan."""

import random
from collections.abc import Sequence

import pytest

from router.cli.torture_check import Money, Record, Submission, Verdict, check
from router.cli.torture_plan import plan
from router.domain.rules import AmbiguousPolicy
from workers.simulator.air import Sms

ENDS_AT = 1060.0


def submission(number: int, *ids: str, answered: bool = True) -> Submission:
    return Submission(to=f"+21366100000{number}", ids=ids, answered=answered)


def record(message_id: str, state: str = "sent", **more: float | bool) -> Record:
    fields: dict[str, float | bool] = {"sent_at": 1001.0} if state == "sent" else {"ended_at": ENDS_AT}
    return Record(id=message_id, state=state, expires_at=ENDS_AT, **(fields | more))  # type: ignore[arg-type]


def sms(message_id: str, number: int, at: float = 1000.5, attempt: int = 1) -> Sms:
    to = f"+21366100000{number}"
    return Sms(at=at, seed="603010000000001", carrier="60301", id=message_id, attempt=attempt, to=to, text="Your code is 123456.")


def judge(
    submissions: Sequence[Submission], records: Sequence[Record], air: Sequence[Sms], end: int = 95, policy: AmbiguousPolicy = "wait"
) -> Verdict:
    """A wallet of 100, and 5 for each message."""
    return check(submissions, {known.id: known for known in records}, air, Money(start=100, end=end, price=5), policy)


def test_nothing_broken() -> None:
    """Sent once, within its time, paid once; a repeated answer with the same id is no second message."""
    verdict = judge([submission(1, "a", "a")], [record("a")], [sms("a", 1)])

    assert [] == verdict.problems
    assert verdict.as_document()["ok"] is True
    assert {"sent": 1} == verdict.states
    assert (1, 1, 1) == (verdict.attempted, verdict.acknowledged, verdict.on_air)


def test_lost_without_a_record() -> None:
    """Acknowledged, and the router knows nothing of it."""
    verdict = judge([submission(1, "a")], [], [], end=100)

    assert ["a"] == verdict.lost
    assert {"unknown": 1} == verdict.states
    assert not verdict.ok


@pytest.mark.parametrize("state", ["pending", "dispatched"])
def test_lost_without_an_end(state: str) -> None:
    """Acknowledged, and still on its way when all time is over."""
    assert ["a"] == judge([submission(1, "a")], [record(state=state, message_id="a", ended_at=False)], []).lost


@pytest.mark.parametrize("state", ["verified", "failed", "expired", "cancelled", "sent"])
def test_every_end_is_an_end(state: str) -> None:
    """An acknowledged message may fail or expire: it is told, so it is not lost."""
    assert [] == judge([submission(1, "a")], [record("a", state)], [sms("a", 1)]).lost


def test_unexpected() -> None:
    """On the air although the caller was refused, or was told another id."""
    records = [record("a"), record("b"), record("c")]
    verdict = judge([submission(1), submission(2, "b")], records, [sms("a", 1), sms("b", 2), sms("c", 2)], 85)

    assert ["a", "c"] == verdict.unexpected


def test_on_the_air_after_a_lost_answer() -> None:
    """Nobody knows whether it was accepted: one message may be on the air for it, a second may not."""
    asked = [submission(1, answered=False)]

    assert judge(asked, [record("a")], [sms("a", 1)], 95).unexpected == []
    assert judge(asked, [record("a"), record("b")], [sms("b", 1, 1003.0), sms("a", 1)], 90).unexpected == ["b"]


def test_a_repeated_answer_is_no_excuse_for_another_message() -> None:
    """Acknowledged once, and unanswered when it was asked for again: its id is known."""
    verdict = judge([submission(1, "a", answered=False)], [record("a"), record("b")], [sms("a", 1), sms("b", 1)], 90)

    assert ["b"] == verdict.unexpected


def test_accepted_twice() -> None:
    """The same Idempotency-Key, two ids."""
    assert ["+213661000001"] == judge([submission(1, "a", "b")], [record("a"), record("b")], [sms("a", 1), sms("b", 1)], 90).forked


@pytest.mark.parametrize(
    ("policy", "ambiguous", "expected"),
    [("wait", False, ["a"]), ("wait", True, ["a"]), ("resend", False, ["a"]), ("resend", True, [])],
)
def test_on_the_air_twice(policy: AmbiguousPolicy, ambiguous: bool, expected: list[str]) -> None:
    """Allowed only where the account asked for it, and nobody knew of an attempt whether it went out."""
    on_air = [sms("a", 1), sms("a", 1, 1010.0, attempt=2)]

    assert expected == judge([submission(1, "a")], [record("a", ambiguous=ambiguous)], on_air, policy=policy).twice


@pytest.mark.parametrize(("at", "expected"), [(ENDS_AT + 1.9, []), (ENDS_AT + 2.1, ["a"])])
def test_late(at: float, expected: list[str]) -> None:
    """Clocks may differ by two seconds."""
    assert expected == judge([submission(1, "a")], [record("a")], [sms("a", 1, at)]).late


def test_said_to_be_sent_and_never_on_the_air() -> None:
    assert ["a"] == judge([submission(1, "a")], [record("a")], []).unseen


def test_a_code_that_was_sent_and_not_used_is_told_apart() -> None:
    asked = [submission(1, "a"), submission(2, "b")]
    verdict = judge(asked, [record("a", "expired", sent_at=1001.0), record("b", "expired")], [sms("a", 1)])

    assert [] == verdict.problems
    assert {"expired after sent": 1, "expired": 1} == verdict.states


def test_ambiguous_is_told_and_no_fault() -> None:
    """Nobody reported it: it expires, and is given back although it was on the air."""
    verdict = judge([submission(1, "a")], [record("a", "expired", ambiguous=True)], [sms("a", 1)], 100)

    assert [] == verdict.problems
    assert ["a"] == verdict.ambiguous
    assert 1 == verdict.refunded


@pytest.mark.parametrize(("end", "is_right"), [(95, True), (90, False), (100, False)])
def test_money(end: int, is_right: bool) -> None:
    """One sent is paid, one that failed is given back: neither less nor more, acknowledged or not."""
    verdict = judge([submission(1, "a"), submission(2)], [record("a"), record("b", "cancelled")], [sms("a", 1)], end)

    assert is_right == verdict.ok


@pytest.mark.parametrize(("end", "is_right"), [(95, True), (100, True), (90, False)])
def test_money_where_a_word_came_after_the_end(end: int, is_right: bool) -> None:
    """A message that expired and was then reported as sent may have been given back in between."""
    verdict = judge([submission(1, "a")], [record("a", "expired", sent_at=ENDS_AT + 1, ambiguous=True)], [sms("a", 1)], end)

    assert is_right == verdict.ok


def test_nothing_accepted_shows_nothing() -> None:
    assert not judge([submission(1)], [], [], 100).ok


def test_the_plan_is_its_seeds_alone() -> None:
    """The same seed breaks the same things at the same times; each comes before any comes again."""
    first = plan(random.Random(7), 30.0, 30)

    assert first == plan(random.Random(7), 30.0, 30)
    assert first != plan(random.Random(8), 30.0, 30)
    assert len({(nemesis.kind, nemesis.target) for nemesis in first[:8]}) == 8
    assert all(0 < nemesis.at < 30 for nemesis in first)
    assert all(1 <= nemesis.seconds <= 3 for nemesis in first if nemesis.kind == "pause")
