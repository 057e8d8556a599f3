import itertools
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from router.domain.lifecycle import (
    FAILOVER_REASONS,
    SETTLE_LATER_SECONDS,
    CodeRefusal,
    Decision,
    Release,
    ReportState,
    Stale,
    Terms,
    begin_attempt,
    can_settle,
    cancel,
    due,
    hand_over,
    is_refund,
    move,
    next_due,
    park,
    report,
    verify,
)
from router.domain.message import END_STATES, STATES, Attempt, AttemptState, Message, State
from router.domain.phone_news import asked
from router.domain.rules import AmbiguousPolicy, Rules

RULES = Rules(
    lease_seconds=8.0, skew_seconds=2.0, ask_seconds=0.0, ask_again_seconds=0.0, pickup_seconds=4.0, radio_seconds=30.0, max_attempts=3,
    republish_seconds=5.0,
)  # fmt: skip
EXPIRES = 300.0
REPORTS: tuple[ReportState, ...] = get_args(ReportState)
ATTEMPT_STATES: tuple[AttemptState, ...] = get_args(AttemptState)
OPEN = ("assigned", "handed", "radio")
UNFINISHED: tuple[State, ...] = ("pending", "dispatched", "sent")

# spec/gatewire.md, Lifecycle, read aloud.
ALLOWED = {
    ("pending", "dispatched"),
    ("dispatched", "pending"),
    ("dispatched", "sent"),
    *itertools.product(("pending", "dispatched"), ("failed", "cancelled")),
    *itertools.product(("pending", "dispatched", "sent"), ("expired", "verified")),
}


def pending(**changes: Any) -> Message:
    """A code that was accepted and queued at 0, with 300 s to live."""
    message = Message(
        id="m", account="a", dialect="gatewire", kind="otp", lane="otp", to="+213551234567", country="DZ", carrier="60302",
        parts=1, price=5, created_at=0.0, expires_at=EXPIRES, code_length=6, tries_left=5,
    )  # fmt: skip
    return replace(message, **changes)


def assigned(message: Message | None = None, seed: str = "A", now: float = 1.0) -> Message:
    return begin_attempt(message or pending(), seed, "60302", "score 0.80", now).message


def handed(message: Message | None = None, seed: str = "A", now: float = 2.0, rules: Rules = RULES) -> Message:
    message = assigned(message, seed, now)
    return hand_over(message, len(message.attempts), seed, now, rules).message


def radioed(message: Message | None = None, seed: str = "A", now: float = 2.0) -> Message:
    message = handed(message, seed, now)
    return report(message, len(message.attempts), seed, "radio", now + 1, RULES).message


def sent(message: Message | None = None) -> Message:
    return report(handed(message), 1, "A", "sent", 4.0, RULES).message


def silent_then(now: float = 12.0) -> Message:
    """Pending again: seed A took it at 2 and said nothing until its lease and the margin were over, at 12."""
    return due(handed(), now, RULES).message


def ambiguous(policy: AmbiguousPolicy = "wait", now: float = 33.0) -> Message:
    """Seed A gave it to the radio at 3, and nothing was heard of it since."""
    return due(radioed(pending(ambiguous_policy=policy)), now, RULES).message


def in_state(state: State) -> Message:
    match state:
        case "pending":
            return pending()
        case "dispatched":
            return handed()
        case "sent":
            return sent()
        case "verified":
            return verify(sent(), matches=True, now=5.0).decision.message
        case "failed":
            return ambiguous("fail")
        case "expired":
            return due(pending(), EXPIRES, RULES).message
        case "cancelled":
            return cancel(pending(), 5.0, "withdrawn").message


def with_attempt(state: AttemptState, message_state: State = "dispatched") -> Message:
    """A message whose only attempt, seed A's, was handed over at 2 and is in that state."""
    (attempt,) = handed().attempts
    stamps: dict[str, float] = {} if state in OPEN else {"ended_at": 5.0}
    if state in ("radio", "ambiguous"):
        stamps["radio_at"] = 3.0
    if state == "sent":
        stamps["sent_at"] = 5.0
    return pending(state=message_state, attempts=(replace(attempt, state=state, **stamps),))


def last(message: Message) -> Attempt:
    return message.attempts[-1]


# Transitions


@pytest.mark.parametrize(("before", "after"), sorted(itertools.product(STATES, repeat=2)))
def test_transitions(before: State, after: State) -> None:
    """Each of the 49 steps is allowed or refused, as the specification says."""
    message = pending(state=before)
    if (before, after) in ALLOWED:
        assert after == move(message, after, 7.0).state
        return

    with pytest.raises(Stale, match=f"{before} cannot become {after}"):
        move(message, after, 7.0)


def test_move_stamps() -> None:
    """Each state leaves its time: the first dispatch, the verification, the end; a reason stays until there is a new one."""
    dispatched = move(pending(), "dispatched", 1.0)
    again = move(move(dispatched, "pending", 2.0, "no network"), "dispatched", 3.0)
    verified = move(again, "verified", 4.0)

    assert dispatched.dispatched_at == again.dispatched_at == 1.0
    assert again.reason == "no network"
    assert again.ended_at is None
    assert verified.verified_at == verified.ended_at == 4.0


@pytest.mark.parametrize("state", STATES)
def test_final(state: State) -> None:
    """The four end states are final, and a plain SMS is final when it was sent."""
    assert (state in END_STATES) == pending(state=state).is_final
    assert (state in {*END_STATES, "sent"}) == pending(state=state, kind="sms").is_final
    assert (state in ("pending", "dispatched")) == pending(state=state).needs_text


# begin_attempt


def test_begin_attempt() -> None:
    """The first attempt is the seed's, numbered 1 and waiting to be fetched; what waiting left behind is the attempt's, and reset."""
    waiting = park(pending(republished=3), 0.5, "no seed; passed over: 2 offline").message
    decision = begin_attempt(waiting, "A", "60303", "score 0.80", 1.0)

    first = Attempt(
        number=1, seed="A", carrier="60303", state="assigned", assigned_at=1.0, why="score 0.80", parked_at=0.5,
        parked_why="no seed; passed over: 2 offline",
    )  # fmt: skip
    assert (waiting.parked_at, waiting.parked_why) == (0.5, "no seed; passed over: 2 offline")
    assert decision.message.parked_why == ""
    assert decision.message.attempts == (first,)
    assert decision.message.state == "dispatched"
    assert decision.message.dispatched_at == 1.0
    assert decision.message.parked_at is None
    assert decision.message.republished == 0
    assert decision.message.handed_over == 0
    assert decision.released == ()
    assert not decision.requeue


def test_begin_attempt_again() -> None:
    """The next attempt has the next number, and the first dispatch keeps its time."""
    message = assigned(silent_then(), "B", 13.0)

    assert [(a.seed, a.number, a.state) for a in message.attempts] == [("A", 1, "silent"), ("B", 2, "assigned")]
    assert message.dispatched_at == 2.0


@pytest.mark.parametrize("state", [state for state in STATES if state != "pending"])
def test_begin_attempt_needs_a_pending_message(state: State) -> None:
    """What is not pending is given to nobody."""
    with pytest.raises(Stale):
        begin_attempt(in_state(state), "B", "60302", "", 20.0)


@pytest.mark.parametrize("now", [EXPIRES, EXPIRES + 1])
def test_begin_attempt_expired(now: float) -> None:
    """What is over is given to nobody, even before the timekeeper has said so."""
    with pytest.raises(Stale, match="expired"):
        begin_attempt(pending(), "A", "60302", "", now)

    assert begin_attempt(pending(), "A", "60302", "", EXPIRES - 0.001).message.state == "dispatched"


def test_begin_attempt_one_at_a_time() -> None:
    """While an attempt is open there is no next one, whatever the message's state says."""
    with pytest.raises(Stale, match="still open"):
        begin_attempt(replace(handed(), state="pending"), "B", "60302", "", 20.0)


# park


def test_park() -> None:
    """A pending message is parked; any other is not."""
    assert park(pending(), 3.0).message.parked_at == 3.0
    for state in STATES[1:]:
        with pytest.raises(Stale):
            park(in_state(state), 20.0)


# hand_over


@pytest.mark.parametrize(("now", "until"), [(2.0, 10.0), (291.9, 299.9), (292.0, 300.0), (299.9, 300.0)])
def test_hand_over(now: float, until: float) -> None:
    """The lease starts at hand-over, and ends at the latest with the message."""
    message = hand_over(assigned(now=now - 1), 1, "A", now, RULES).message

    assert last(message).state == "handed"
    assert last(message).handed_at == now
    assert last(message).lease_until == pytest.approx(until)
    assert message.handed_over == 1


@pytest.mark.parametrize(("number", "seed"), [(1, "B"), (2, "A"), (0, "A"), (-1, "A")])
def test_hand_over_to_another(number: int, seed: str) -> None:
    """Neither another seed nor another number gets it."""
    with pytest.raises(Stale):
        hand_over(assigned(), number, seed, 2.0, RULES)


@pytest.mark.parametrize("state", [state for state in ATTEMPT_STATES if state != "assigned"])
def test_hand_over_once(state: AttemptState) -> None:
    """An attempt is handed over once: the second fetch gets nothing."""
    with pytest.raises(Stale):
        hand_over(with_attempt(state), 1, "A", 3.0, RULES)


def test_hand_over_withdrawn() -> None:
    """What ended while it waited in the outbox is not handed over, nor is an earlier attempt's slip."""
    cancelled = cancel(assigned(), 1.5, "").message
    unfetched = due(assigned(), 5.0, RULES).message
    second = assigned(silent_then(), "A", 13.0)

    for message in (cancelled, unfetched, second):
        with pytest.raises(Stale):
            hand_over(message, 1, "A", 14.0, RULES)


def test_hand_over_expired() -> None:
    """Nothing is handed over once the message's time is over (invariant 4)."""
    with pytest.raises(Stale, match="expired"):
        hand_over(assigned(now=EXPIRES - 1), 1, "A", EXPIRES, RULES)


# report

CHANGED_BY: dict[AttemptState, dict[ReportState, AttemptState]] = {
    "assigned": {},
    "handed": {
        "accepted": "handed", "radio": "radio", "sent": "sent", "delivered": "sent", "failed": "failed", "cancelled": "returned",
    },
    "radio": {"radio": "radio", "sent": "sent", "delivered": "sent", "failed": "failed", "cancelled": "returned"},
    "sent": {"delivered": "sent"},
    "failed": {"sent": "sent", "delivered": "sent"},
    "returned": {"sent": "sent", "delivered": "sent"},
    "unfetched": {},
    "silent": {"sent": "sent", "delivered": "sent"},
    "ambiguous": {"sent": "sent", "delivered": "sent", "failed": "failed", "cancelled": "returned"},
    "withdrawn": {},
}  # fmt: skip
"""What each report makes of an attempt; what is not here is stale."""


@pytest.mark.parametrize(("state", "said"), list(itertools.product(ATTEMPT_STATES, REPORTS)))
def test_report_in_each_attempt_state(state: AttemptState, said: ReportState) -> None:
    """Each report of the current attempt changes it as the table says, or is stale; only an open attempt frees its place."""
    message = with_attempt(state)
    if state in ("assigned", "unfetched", "withdrawn"):
        message = replace(message, attempts=(replace(last(message), handed_at=None, lease_until=None),))
    if (after := CHANGED_BY[state].get(said)) is None:
        with pytest.raises(Stale):
            report(message, 1, "A", said, 6.0, RULES)
        return

    decision = report(message, 1, "A", said, 6.0, RULES)

    assert after == last(decision.message).state
    assert (state in OPEN and after not in OPEN) == (len(decision.released) == 1)
    assert (after in ("failed", "returned")) == decision.requeue


@pytest.mark.parametrize(("message_state", "said"), list(itertools.product(sorted(END_STATES), REPORTS)))
def test_report_after_the_end(message_state: State, said: ReportState) -> None:
    """After an end state a seed that asks is told no; its other reports free its place, and leave times only."""
    message = with_attempt("handed", message_state)
    if said == "radio":
        with pytest.raises(Stale):
            report(message, 1, "A", said, 6.0, RULES)
        return

    decision = report(message, 1, "A", said, 6.0, RULES)

    assert message_state == decision.message.state
    assert message.reason == decision.message.reason
    assert not decision.requeue
    assert (said != "accepted") == (len(decision.released) == 1)
    assert (6.0 if said in ("sent", "delivered") else None) == decision.message.sent_at


@pytest.mark.parametrize("said", REPORTS)
@pytest.mark.parametrize(("number", "seed"), [(1, "B"), (2, "A"), (0, "A"), (-1, "A")])
def test_report_of_nothing(number: int, seed: str, said: ReportState) -> None:
    """A report of another seed's attempt, or of one that never was, is stale."""
    with pytest.raises(Stale, match="no such attempt"):
        report(handed(), number, seed, said, 3.0, RULES)


def test_accepted_changes_nothing() -> None:
    """An acceptance is a sign of life and no more: the very same message comes back."""
    message = handed()

    assert message is report(message, 1, "A", "accepted", 3.0, RULES).message


def test_sent() -> None:
    """A sent report moves the message, stamps both, and tells how long the seed took."""
    decision = report(handed(), 1, "A", "sent", 4.5, RULES)

    assert decision.message.state == "sent"
    assert decision.message.sent_at == last(decision.message).sent_at == 4.5
    assert decision.message.ended_at is None
    assert decision.released == (Release("A", 1, "sent", handed_over=True, seconds=2.5),)


def test_sent_plain_sms_is_over() -> None:
    """A plain SMS ends when it was sent."""
    message = report(handed(pending(kind="sms")), 1, "A", "sent", 4.5, RULES).message

    assert message.ended_at == 4.5
    assert message.is_final
    assert can_settle(message)


def test_delivered() -> None:
    """A delivery report means sent as well, and after a sent report it adds its time."""
    at_once = report(handed(), 1, "A", "delivered", 6.0, RULES).message
    later = report(sent(), 1, "A", "delivered", 6.0, RULES).message

    assert (at_once.state, at_once.sent_at, at_once.delivered_at) == ("sent", 6.0, 6.0)
    assert (later.state, later.sent_at, later.delivered_at) == ("sent", 4.0, 6.0)
    with pytest.raises(Stale):
        report(later, 1, "A", "delivered", 7.0, RULES)
    with pytest.raises(Stale):
        report(later, 1, "A", "sent", 7.0, RULES)


def test_failed_moves_at_once() -> None:
    """A failure gives the message back to the queue with its reason, and is the seed's."""
    decision = report(radioed(), 1, "A", "failed", 4.0, RULES, "RESULT_ERROR_NO_SERVICE")

    assert decision.message.state == "pending"
    assert decision.message.reason == last(decision.message).error == "RESULT_ERROR_NO_SERVICE"
    assert decision.message.queued_at == last(decision.message).ended_at == 4.0
    assert decision.requeue
    assert decision.released == (Release("A", 1, "failed", handed_over=True),)


def test_given_back_is_nobodys_fault() -> None:
    """A message given back unsent moves as well, and says nothing of the seed."""
    decision = report(handed(), 1, "A", "cancelled", 4.0, RULES)

    assert decision.message.state == "pending"
    assert decision.message.reason == "the seed gave it back unsent"
    assert decision.released == (Release("A", 1, "returned", handed_over=True),)


def test_failed_after_expiry() -> None:
    """A failure when the time is over ends the message; there is nothing to try again."""
    decision = report(handed(now=295.0), 1, "A", "failed", EXPIRES, RULES, "no signal")

    assert decision.message.state == "expired"
    assert decision.message.reason == "its time ended; last: no signal"
    assert not decision.requeue


def test_attempts_used_up() -> None:
    """After `max_attempts` failures the message has failed, with the last reason."""
    message = pending()
    for number, seed in enumerate("ABC", start=1):
        now = number * 10.0
        decision = report(handed(message, seed, now), number, seed, "failed", now + 1, RULES, f"error {number}")
        message = decision.message

    assert message.state == "failed"
    assert message.reason == "error 3"
    assert message.ended_at == 31.0
    assert not decision.requeue
    assert is_refund(message)


def test_unfetched_attempts_do_not_count() -> None:
    """An attempt that no seed fetched is no attempt of the message: it moves on, however often."""
    message = pending()
    for turn in range(20):
        message = due(assigned(message, f"S{turn}", turn * 10.0), turn * 10.0 + 4, RULES).message

        assert message.state == "pending"

    assert message.handed_over == 0
    assert report(handed(message, "A", 250.0), 21, "A", "failed", 251.0, RULES).message.state == "pending"


# radio


def test_radio_in_the_lease() -> None:
    """Inside its lease, to its very end, a seed may give it to the radio."""
    for now in (2.0, 10.0):
        message = report(handed(), 1, "A", "radio", now, RULES).message

        assert last(message).state == "radio"
        assert last(message).radio_at == now


def test_radio_repeated() -> None:
    """A seed that did not hear the answer may ask again, and nothing changes."""
    message = radioed()

    assert message is report(message, 1, "A", "radio", 10.0, RULES).message


@pytest.mark.parametrize("message", [handed(), radioed()], ids=["first", "again"])
@pytest.mark.parametrize("now", [10.001, 12.0, 31.0])
def test_radio_after_the_lease(message: Message, now: float) -> None:
    """After its lease a seed is told no, the first time and when it asks again, even if the timekeeper is late."""
    with pytest.raises(Stale, match="lease is over"):
        report(message, 1, "A", "radio", now, RULES)


@pytest.mark.parametrize("message", [handed(now=298.0), radioed(now=298.0)], ids=["first", "again"])
def test_radio_after_expiry(message: Message) -> None:
    """No seed is told yes after the message expired, even if the timekeeper is late (invariant 4)."""
    with pytest.raises(Stale):
        report(message, 1, "A", "radio", EXPIRES + 0.001, RULES)


def test_radio_of_an_old_attempt() -> None:
    """A seed that fell silent is told no once the message moved on, whether the next attempt has begun or not."""
    for next_step in (
        lambda m: m,
        lambda m: assigned(m, "B", 13.0),
        lambda m: handed(m, "B", 13.0),
        lambda m: handed(m, "A", 13.0),
    ):
        message = next_step(silent_then())
        with pytest.raises(Stale):
            report(message, 1, "A", "radio", 14.0, RULES)


# Late reports


def test_late_sent_while_pending() -> None:
    """The silent seed's late report: the message was sent, and is not sent again."""
    decision = report(replace(silent_then(), parked_at=12.5), 1, "A", "sent", 13.0, RULES)

    assert decision.message.state == "sent"
    assert decision.message.sent_at == 13.0
    assert decision.message.parked_at is None
    assert last(decision.message).state == "sent"
    assert last(decision.message).ended_at == 12.0
    assert decision.released == ()
    assert not decision.requeue


def test_late_sent_while_another_has_not_fetched_it() -> None:
    """A late report takes the next attempt out of its outbox, at nobody's cost."""
    decision = report(assigned(silent_then(), "B", 13.0), 1, "A", "sent", 14.0, RULES)

    assert decision.message.state == "sent"
    assert [a.state for a in decision.message.attempts] == ["sent", "withdrawn"]
    assert decision.released == (Release("B", 2, "returned", handed_over=False),)
    with pytest.raises(Stale):
        hand_over(decision.message, 2, "B", 15.0, RULES)


def test_late_sent_while_another_holds_it() -> None:
    """A late report tells the next seed no when it asks, and leaves its place until it reports or its time is over."""
    decision = report(handed(silent_then(), "B", 13.0), 1, "A", "sent", 14.0, RULES)

    assert decision.message.state == "sent"
    assert [a.state for a in decision.message.attempts] == ["sent", "handed"]
    assert decision.released == ()
    with pytest.raises(Stale):
        report(decision.message, 2, "B", "radio", 15.0, RULES)

    given_back = report(decision.message, 2, "B", "cancelled", 15.0, RULES)
    forgotten = due(decision.message, 23.0, RULES)

    assert given_back.message.state == forgotten.message.state == "sent"
    assert given_back.released == (Release("B", 2, "returned", handed_over=True),)
    assert [a.state for a in forgotten.message.attempts] == ["sent", "silent"]
    assert len(forgotten.released) == 1


def test_sent_twice_is_counted() -> None:
    """If another seed held it already and sends it, both times on the air are on record, and the first time stands."""
    message = radioed(silent_then(), "B", 13.0)
    message = report(message, 1, "A", "sent", 15.0, RULES).message
    message = report(message, 2, "B", "sent", 16.0, RULES).message

    assert message.state == "sent"
    assert message.sent_at == 15.0
    assert message.times_on_air == 2


@pytest.mark.parametrize("state", sorted(END_STATES))
def test_late_sent_after_the_end(state: State) -> None:
    """A late report of an ended attempt leaves its time on a message in an end state, and nothing else."""
    message = replace(silent_then(), state=state, ended_at=12.5)
    decision = report(message, 1, "A", "sent", 13.0, RULES)

    assert replace(message, sent_at=13.0, attempts=decision.message.attempts) == decision.message
    assert decision.message.times_on_air == 1
    assert decision == Decision(decision.message)


def test_failed_after_ambiguous() -> None:
    """A failure heard at last moves an ambiguous message that waited; its place was freed before."""
    decision = report(ambiguous("wait"), 1, "A", "failed", 40.0, RULES, "no service")

    assert decision.message.state == "pending"
    assert last(decision.message).state == "failed"
    assert decision.requeue
    assert decision.released == ()


@pytest.mark.parametrize("policy", ["resend", "fail"])
def test_failed_after_ambiguous_and_decided(policy: AmbiguousPolicy) -> None:
    """Where the policy has decided already, the failure is only noted."""
    message = ambiguous(policy)
    decision = report(message, 1, "A", "failed", 40.0, RULES)

    assert message.state == decision.message.state
    assert last(decision.message).state == "failed"
    assert not decision.requeue
    assert decision.released == ()


# due


def changes_at(message: Message, now: float, lane_head_at: float | None = None) -> Decision:
    """The decision at `now`; an instant earlier nothing was due."""
    assert message is due(message, now - 0.001, RULES, lane_head_at).message
    assert now == next_due(message, RULES)
    return due(message, now, RULES, lane_head_at)


def test_pickup() -> None:
    """What its seed does not fetch moves after `pickup_seconds`, and the seed is blamed."""
    decision = changes_at(assigned(), 5.0)

    assert decision.message.state == "pending"
    assert last(decision.message).state == "unfetched"
    assert decision.requeue
    assert decision.released == (Release("A", 1, "silent", handed_over=False),)


def test_lease_and_margin() -> None:
    """A silent seed that asks first loses the message when its lease and a margin are over, not before."""
    decision = changes_at(handed(), 2.0 + 8.0 + 2.0)

    assert decision.message.state == "pending"
    assert decision.message.queued_at == 12.0
    assert last(decision.message).state == "silent"
    assert decision.requeue
    assert decision.released == (Release("A", 1, "silent", handed_over=True),)


def test_silent_the_last_time() -> None:
    """Silence uses up attempts like a failure."""
    message = pending()
    for turn in range(3):
        message = due(handed(message, f"S{turn}", turn * 20.0), turn * 20.0 + 10, RULES).message

    assert message.state == "failed"
    assert message.reason == "the seed took it and went silent"


def test_ambiguous_waits() -> None:
    """By default an ambiguous message stays dispatched and says why, and may still be verified, reported, or expire."""
    decision = changes_at(radioed(), 33.0)

    assert decision.message.state == "dispatched"
    assert decision.message.reason == last(decision.message).error
    assert "nobody knows" in (decision.message.reason or "")
    assert last(decision.message).state == "ambiguous"
    assert not decision.requeue
    assert decision.released == (Release("A", 1, "silent", handed_over=True),)
    assert next_due(decision.message, RULES) == EXPIRES
    assert report(decision.message, 1, "A", "sent", 100.0, RULES).message.state == "sent"
    assert verify(decision.message, matches=True, now=100.0).decision.message.state == "verified"
    assert due(decision.message, EXPIRES, RULES).message.state == "expired"


def test_ambiguous_resends() -> None:
    """With the policy `resend` an ambiguous message goes to the next seed."""
    decision = changes_at(radioed(pending(ambiguous_policy="resend")), 33.0)

    assert decision.message.state == "pending"
    assert last(decision.message).state == "ambiguous"
    assert decision.requeue
    assert len(decision.released) == 1


def test_ambiguous_fails() -> None:
    """With the policy `fail` an ambiguous message has failed, though it may have gone out."""
    decision = changes_at(radioed(pending(ambiguous_policy="fail")), 33.0)

    assert decision.message.state == "failed"
    assert decision.message.ended_at == 33.0
    assert not decision.requeue
    assert can_settle(decision.message)


@pytest.mark.parametrize("policy", get_args(AmbiguousPolicy))
def test_ambiguous_after_expiry(policy: AmbiguousPolicy) -> None:
    """When its time ends while a seed has it at the radio, it expires at once; the place is freed later, at nobody's cost."""
    message = radioed(pending(ambiguous_policy=policy), now=295.0)
    expired = changes_at(message, EXPIRES)
    later = changes_at(expired.message, 296.0 + 30.0)

    assert expired.message.state == later.message.state == "expired"
    assert expired.released == ()
    assert not can_settle(expired.message)
    assert later.released == (Release("A", 1, "returned", handed_over=True),)
    assert not later.requeue
    assert can_settle(later.message)


@pytest.mark.parametrize("state", UNFINISHED)
def test_expiry(state: State) -> None:
    """Each state that is not final expires with the message's time, and says what was missing."""
    message = in_state(state)
    if state == "dispatched":
        message = handed(now=297.0)
    decision = due(message, EXPIRES, RULES)
    reason = "the code was not used in time" if state == "sent" else "its time ended before a seed sent it"

    assert decision.message.state == "expired"
    assert decision.message.ended_at == EXPIRES
    assert reason == decision.message.reason
    assert not decision.requeue


def test_expiry_tells_the_last_failure() -> None:
    """An expired message says why its last attempt did not help."""
    message = due(replace(silent_then(), parked_at=13.0), EXPIRES, RULES).message

    assert message.reason == "its time ended before a seed sent it; last: the seed took it and went silent"


def test_expiry_takes_back_what_was_not_fetched() -> None:
    """What waits in an outbox leaves it with the message's time."""
    decision = changes_at(assigned(now=297.0), EXPIRES)

    assert last(decision.message).state == "withdrawn"
    assert decision.released == (Release("A", 1, "returned", handed_over=False),)


def test_expiry_and_lease_at_once() -> None:
    """A timekeeper that was away finds both over: the message expires, and is not tried again."""
    decision = due(handed(), EXPIRES + 50, RULES)

    assert decision.message.state == "expired"
    assert last(decision.message).state == "silent"
    assert len(decision.released) == 1
    assert not decision.requeue


@pytest.mark.parametrize("state", sorted(END_STATES))
def test_final_is_final(state: State) -> None:
    """Time changes nothing in an end state."""
    message = in_state(state)

    assert message is due(message, EXPIRES * 10, RULES).message


def test_sent_sms_does_not_expire() -> None:
    """A plain SMS that was sent stays sent."""
    message = sent(pending(kind="sms"))

    assert message is due(message, EXPIRES, RULES).message


def test_republish_doubles() -> None:
    """A pending message that nobody takes is published again after 5 s, then 10, 20, 40…: a queue that lost it is no end."""
    message, published = pending(expires_at=1e6), []
    while len(published) < 6:
        now = next_due(message, RULES)
        assert now is not None
        decision = changes_at(message, now)
        message = decision.message
        published.append(now)

        assert decision.requeue
        assert message.queued_at == now

    assert published == [5.0, 15.0, 35.0, 75.0, 155.0, 315.0]


def test_republish_starts_anew() -> None:
    """The pause starts short again with each turn on the queue."""
    message = due(handed(pending(republished=4)), 12.0, RULES).message

    assert next_due(message, RULES) == 12.0 + 5.0


@pytest.mark.parametrize(
    ("lane_head_at", "requeue"), [(None, True), (-50.0, False), (0.0, False), (1.0, False), (1.001, True), (4.0, True)]
)
def test_republish_not_while_its_lane_waits(lane_head_at: float | None, requeue: bool) -> None:
    """While its lane's oldest entry is as old as its own, its own is still there: it is not published twice."""
    decision = changes_at(pending(), 5.0, lane_head_at)

    assert requeue == decision.requeue
    assert decision.message.republished == 1
    assert (5.0 if requeue else 0.0) == decision.message.queued_at
    assert (15.0 if requeue else 10.0) == next_due(decision.message, RULES)


@pytest.mark.parametrize("lane_head_at", [None, 0.0])
def test_republish_never_spins(lane_head_at: float | None) -> None:
    """However long it waits, a look is followed by a pause: never is the next one due at once."""
    message, looks = pending(expires_at=1e6), 0
    while (now := next_due(message, RULES)) is not None and now < 200_000:
        message = due(message, now, RULES, lane_head_at).message
        looks += 1

        assert (next_due(message, RULES) or 0.0) > now

    assert looks < 60


def test_parked_is_not_republished() -> None:
    """What is parked is found in its lot, and only expires by itself."""
    message = park(pending(), 1.0).message

    assert message is due(message, 200.0, RULES).message
    assert next_due(message, RULES) == EXPIRES


# verify


@pytest.mark.parametrize("state", UNFINISHED)
def test_right_code(state: State) -> None:
    """The right code verifies what is pending, dispatched or sent: an SMS may arrive before its report."""
    verdict = verify(in_state(state), matches=True, now=20.0)

    assert verdict.refused is None
    assert verdict.decision.message.state == "verified"
    assert verdict.decision.message.verified_at == verdict.decision.message.ended_at == 20.0


@pytest.mark.parametrize("state", UNFINISHED)
def test_wrong_code(state: State) -> None:
    """A wrong code costs one try and moves nothing."""
    message = in_state(state)
    verdict = verify(message, matches=False, now=20.0)

    assert verdict.refused == "wrong"
    assert replace(message, tries_left=4) == verdict.decision.message
    assert verdict.decision.released == ()


@pytest.mark.parametrize("matches", [True, False])
@pytest.mark.parametrize(
    ("state", "refusal"), [("verified", "used"), ("cancelled", "cancelled"), ("failed", "failed"), ("expired", "expired")]
)
def test_code_of_an_ended_message(state: State, refusal: CodeRefusal, matches: bool) -> None:
    """After the end any code is refused with the end's own reason, and costs nothing."""
    message = in_state(state)
    verdict = verify(message, matches, 20.0)

    assert refusal == verdict.refused
    assert message is verdict.decision.message


def test_tries_used_up() -> None:
    """After five wrong tries the right code does not help any more."""
    message = sent()
    for _ in range(5):
        message = verify(message, matches=False, now=20.0).decision.message
    verdict = verify(message, matches=True, now=21.0)

    assert message.tries_left == 0
    assert verdict.refused == "wrong"
    assert message is verdict.decision.message
    assert verify(message, matches=False, now=21.0).decision.message.tries_left == 0


def test_code_too_late() -> None:
    """The right code is refused from the moment its time is over, even before the timekeeper has said so."""
    assert verify(sent(), matches=True, now=EXPIRES).refused == "expired"
    assert verify(sent(), matches=True, now=EXPIRES - 0.001).refused is None


def test_plain_sms_has_no_code() -> None:
    """A plain SMS is not verified by anything."""
    message = sent(pending(kind="sms", tries_left=5))
    verdict = verify(message, matches=True, now=20.0)

    assert verdict.refused == "wrong"
    assert message is verdict.decision.message


def test_verify_before_it_was_fetched() -> None:
    """A code verified while the next attempt waits in an outbox is taken out of it."""
    verdict = verify(assigned(silent_then(), "B", 13.0), matches=True, now=14.0)

    assert [a.state for a in verdict.decision.message.attempts] == ["silent", "withdrawn"]
    assert verdict.decision.released == (Release("B", 2, "returned", handed_over=False),)


def test_report_after_verified() -> None:
    """A late report on a verified message updates its timestamps, not its status."""
    message = verify(radioed(), matches=True, now=5.0).decision.message
    decision = report(message, 1, "A", "sent", 6.0, RULES)

    assert not can_settle(message)
    assert decision.message.state == "verified"
    assert decision.message.sent_at == 6.0
    assert decision.message.ended_at == 5.0
    assert decision.released == (Release("A", 1, "sent", handed_over=True, seconds=4.0),)
    assert can_settle(decision.message)


# cancel


@pytest.mark.parametrize(("state", "after"), [("pending", "cancelled"), ("dispatched", "cancelled"), ("sent", "expired")])
def test_cancel(state: State, after: State) -> None:
    """What was not sent is cancelled; a code that was sent is ended."""
    message = cancel(in_state(state), 20.0, "replaced by a newer code").message

    assert after == message.state
    assert message.reason == "replaced by a newer code"
    assert message.ended_at == 20.0


@pytest.mark.parametrize("message", [*(in_state(state) for state in sorted(END_STATES)), sent(pending(kind="sms"))])
def test_cancel_too_late(message: Message) -> None:
    """What has ended, or is a plain SMS on its way, is not cancelled."""
    with pytest.raises(Stale):
        cancel(message, 20.0, "withdrawn")


def test_cancel_in_the_outbox() -> None:
    """A cancelled message leaves its outbox at once."""
    decision = cancel(assigned(), 2.0, "withdrawn")

    assert last(decision.message).state == "withdrawn"
    assert decision.released == (Release("A", 1, "returned", handed_over=False),)
    assert can_settle(decision.message)


@pytest.mark.parametrize("message", [handed(), radioed()], ids=["handed", "radio"])
def test_cancel_at_the_seed(message: Message) -> None:
    """What a seed holds is settled only when it has reported, for it may have been sent."""
    cancelled = cancel(message, 4.0, "withdrawn").message
    too_late = report(cancelled, 1, "A", "sent", 5.0, RULES).message

    assert not can_settle(cancelled)
    assert can_settle(too_late)
    assert too_late.state == "cancelled"
    assert not is_refund(too_late)


# Settling, and what is due next


@pytest.mark.parametrize("state", STATES)
def test_refund(state: State) -> None:
    """What ended without ever having been sent is given back."""
    assert (state in ("failed", "cancelled", "expired")) == is_refund(pending(state=state))
    assert not is_refund(pending(state=state, sent_at=3.0))


@pytest.mark.parametrize("state", STATES)
def test_can_settle(state: State) -> None:
    """The charge is settled once, when the message is final and no seed holds it."""
    final = state in END_STATES

    assert final == can_settle(pending(state=state))
    assert not can_settle(pending(state=state, settled=True))
    assert not can_settle(with_attempt("handed", state))
    assert final == can_settle(with_attempt("silent", state))


def test_next_due() -> None:
    """What is due next, in each state."""
    assert next_due(pending(), RULES) == 5.0
    assert next_due(pending(queued_at=298.0), RULES) == EXPIRES
    assert next_due(assigned(), RULES) == 5.0
    assert next_due(handed(), RULES) == 12.0
    assert next_due(handed(now=298.0), RULES) == EXPIRES
    assert next_due(radioed(), RULES) == 33.0
    assert next_due(sent(), RULES) == EXPIRES
    assert next_due(cancel(handed(), 3.0, "").message, RULES) == 12.0


# Phones that tell afterwards are asked when their lease ends


def told_after(message: Message | None = None, now: float = 2.0, margin_seconds: float | None = 3.0) -> Message:
    """With seed A, which goes by its lease, 8 s, and tells afterwards; another may begin so long after it."""
    message = assigned(message, "A", now)
    return hand_over(message, len(message.attempts), "A", now, RULES, Terms(tells_after=True, margin_seconds=margin_seconds)).message


def test_asked_at_the_end_of_the_lease() -> None:
    """Once, when the lease is over without a word; nothing else changes then, and another seed begins after the margin only."""
    message = told_after()
    decision = changes_at(message, 10.0)
    kept = decision.message

    assert (10.0,) == tuple(attempt.asked_at for attempt in asked(message, kept))
    assert replace(message, attempts=(replace(last(message), asked_at=10.0),)) == kept
    assert Decision(kept) == decision
    later = changes_at(kept, 13.0)
    assert ("pending", "ambiguous") == (later.message.state, last(later.message).state)
    assert [] == asked(kept, later.message) == asked(message, message)


@pytest.mark.parametrize(
    ("message", "at", "is_asked"),
    [
        (told_after(), 9.999, False),
        (told_after(), 10.0, True),
        (told_after(), 12.999, True),
        (told_after(), 13.0, False),
        (told_after(now=297.0), 300.0, True),
        (told_after(margin_seconds=0.0), 10.0, False),
        (handed(), 10.5, False),
        (assigned(), 4.9, False),
        (cancel(told_after(), 5.0, "withdrawn").message, 10.0, True),
        (report(told_after(), 1, "A", "radio", 5.0, RULES).message, 10.0, False),
        (report(told_after(), 1, "A", "sent", 5.0, RULES).message, 10.0, False),
        (report(told_after(), 1, "A", "failed", 5.0, RULES).message, 10.0, False),
        (report(told_after(), 1, "A", "accepted", 5.0, RULES).message, 10.0, True),
    ],
)
def test_who_is_asked(message: Message, at: float, is_asked: bool) -> None:
    """Only who tells afterwards and holds it without a word; where the margin is over too, it is too late to ask."""
    after = due(message, at, RULES).message

    assert is_asked == bool(asked(message, after)) == (after.attempts[0].asked_at == at)


def test_asked_and_answered() -> None:
    """The word that had been lost comes within the margin: it is sent, and nobody else ever had it."""
    message = due(told_after(), 10.0, RULES).message
    decision = report(message, 1, "A", "sent", 10.4, RULES)

    assert ("sent", 1) == (decision.message.state, len(decision.message.attempts))
    assert last(decision.message).error is None
    assert EXPIRES == next_due(decision.message, RULES)
    radio = report(message, 1, "A", "radio", 10.4, RULES).message
    assert ("dispatched", "radio", 10.4 + 30) == (radio.state, last(radio).state, next_due(radio, RULES))


def test_next_due_of_who_is_asked() -> None:
    """First the question, then the end of the margin."""
    message = told_after()

    assert 10.0 == next_due(message, RULES)
    assert 13.0 == next_due(due(message, 10.0, RULES).message, RULES)
    assert 10.0 == next_due(cancel(message, 5.0, "withdrawn").message, RULES)


@pytest.mark.parametrize(("handed_at", "asked_at"), [(2.0, 8.5), (297.0, 298.5), (299.0, 299.0)])
def test_asked_some_time_before(handed_at: float, asked_at: float) -> None:
    """`ask_seconds` before the lease ends, and at the hand-over where the lease is shorter; the margin is as ever."""
    rules = replace(RULES, ask_seconds=1.5)
    message = told_after(now=handed_at)

    assert asked_at == next_due(message, rules)
    assert message is due(message, asked_at - 0.001, rules).message
    after = due(message, asked_at, rules).message
    assert [asked_at] == [attempt.asked_at for attempt in asked(message, after)]
    assert min(handed_at + 8.0 + 3.0, EXPIRES) == next_due(after, rules)


@pytest.mark.parametrize(
    ("ask_again_seconds", "margin_seconds", "times"),
    [(0.0, 3.0, [9.0]), (1.0, 3.0, [9.0, 10.0, 11.0, 12.0]), (1.5, 3.0, [9.0, 10.5, 12.0]), (2.0, 1.0, [9.0]), (60.0, 3.0, [9.0])],
)
def test_asked_again(ask_again_seconds: float, margin_seconds: float, times: list[float]) -> None:
    """Every so often until another seed may begin, and never at that time or later; each question is one, and each is a timer."""
    rules = replace(RULES, ask_seconds=1.0, ask_again_seconds=ask_again_seconds)
    message = told_after(margin_seconds=margin_seconds)
    found: list[float] = []
    while (at := next_due(message, rules) or 0.0) < 10.0 + margin_seconds:
        assert message is due(message, at - 0.001, rules).message
        after = due(message, at, rules).message
        found += [attempt.asked_at or 0.0 for attempt in asked(message, after)]
        assert "handed" == last(after).state
        message = after

    assert times == found
    assert 10.0 + margin_seconds == next_due(message, rules)
    assert "ambiguous" == last(due(message, 10.0 + margin_seconds, rules).message).state


def test_a_late_timekeeper_asks_once() -> None:
    """Questions that were missed are not made up for."""
    rules = replace(RULES, ask_seconds=1.0, ask_again_seconds=1.0)
    message = due(told_after(), 11.7, rules).message

    assert 11.7 == last(message).asked_at
    assert message is due(message, 12.0, rules).message
    assert 12.7 == next_due(message, rules)


def test_each_attempt_is_asked_for_itself() -> None:
    """A later attempt of the same seed is asked about in its turn."""
    message = due(due(told_after(), 10.0, RULES).message, 13.0, RULES).message
    again = told_after(message, now=20.0)
    after = due(again, 28.0, RULES).message

    assert [2] == [attempt.number for attempt in asked(again, after)]
    assert [10.0, 28.0] == [attempt.asked_at for attempt in after.attempts]


@pytest.mark.parametrize("state", sorted(END_STATES))
def test_next_due_after_the_end(state: State) -> None:
    """An ended message is settled a little later, if that has not been done; after it nothing is due ever again."""
    message = in_state(state)

    assert next_due(message, RULES) == (message.ended_at or 0.0) + SETTLE_LATER_SECONDS
    assert next_due(replace(message, settled=True), RULES) is None


def test_failover_reasons_are_attempt_states() -> None:
    """The words of failover are those of attempts, and only of such as can be followed by another."""
    assert set(FAILOVER_REASONS) == set(ATTEMPT_STATES) - {"assigned", "handed", "radio", "sent", "withdrawn"}
