"""How a message moves: one table of transitions, and one pure function per thing that can happen to it.

Each function takes the message as it is and the time, and gives a `Decision`: the message as it will be, and what has to follow. The
store makes it true with a compare-and-set on the record's version; if that fails, the caller reads again and asks again. So the
rules that keep two seeds from sending the same text all stand here, and can be tested without any server.

The fence has three parts. A seed may send only inside its lease. A seed that asks ("radio") is told no once its attempt is not the
current one or the lease is over. And a next attempt begins only when the last one was never handed over, was reported failed, or its
lease plus the skew margin is over; after "radio" time alone never moves a message. What is left is the seed that dies between the
radio and its report: that attempt is *ambiguous*, and the account's policy decides.

Some seeds do not ask: SMSGate's app goes by its lease alone and tells afterwards (`Attempt.tells_after`). There the lease is told in the
phone's own time, the margin is what is not known of its clock, and "radio" is news, never a question. A lease that ends without a word is
ambiguous too, since the phone may have sent and not said so; what is done then is a rule of its own (`Rules.silence`), for most such
phones have only lost the network. Their late words are the truth all the same: a radio report takes the message back from a seed that
has not fetched it yet.

Prior art: gammu-smsd's `SendingTimeOut` (a row lease), Sidekiq's super_fetch. Rejected: moving a message on a missing report alone,
as SMSBridge did before 0.3.0: that is where duplicates come from.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from router.domain.errors import RouterError
from router.domain.events import happened_at, owed
from router.domain.limits import is_limit_error
from router.domain.message import END_STATES, Attempt, AttemptState, Message, State
from router.domain.rules import Rules

TRANSITIONS: dict[State, frozenset[State]] = {
    "pending": frozenset({"dispatched", "failed", "cancelled", "expired", "verified"}),
    "dispatched": frozenset({"pending", "sent", "failed", "cancelled", "expired", "verified"}),
    "sent": frozenset({"expired", "verified"}),
    "verified": frozenset(),
    "failed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
}
"""From spec/gatewire.md. `dispatched → pending` is failover. A late "sent" passes from pending through dispatched to sent."""

ReportState = Literal["accepted", "radio", "sent", "delivered", "failed", "cancelled"]
Outcome = Literal["sent", "failed", "limited", "silent", "returned"]
"""What an ended attempt says of its seed: `limited` that it sends too fast, `returned` nothing."""
FailoverReason = Literal["failed", "returned", "unfetched", "silent", "ambiguous"]
FAILOVER_REASONS: tuple[FailoverReason, ...] = ("failed", "returned", "unfetched", "silent", "ambiguous")
CodeRefusal = Literal["wrong", "used", "cancelled", "expired", "failed"]


_TOLD_LATE = "told late: until then it was ambiguous"
SETTLE_LATER_SECONDS = 5.0
"""Whoever ends a message settles it at once; the timekeeper does, so much later, if that process died in between."""


_QUEUED_MARGIN_SECONDS = 1.0
"""What the clocks of those who publish may differ by."""


class Stale(RouterError):
    """What was said of an attempt is no longer (or never was) true: it changes nothing."""


class Release(msgspec.Struct, frozen=True):
    """A place at a seed becomes free. `seconds` is hand-over to sent, for `sent` only."""

    seed: str
    attempt: int
    outcome: Outcome
    handed_over: bool
    seconds: float | None = None


class Decision(msgspec.Struct, frozen=True):
    """The message as it will be, and what has to follow once it is so."""

    message: Message
    released: tuple[Release, ...] = ()
    requeue: bool = False
    """It is pending again (or still) and has to be put on the queue."""


class Verdict(msgspec.Struct, frozen=True):
    """The answer to a code. `refused` is None when it was right; the decision has to be kept either way (it counts tries)."""

    decision: Decision
    refused: CodeRefusal | None


def move(message: Message, state: State, now: float, reason: str | None = None) -> Message:
    """The message in its next state, with that state's timestamp. Raises `Stale` for a step that is not in the table."""
    if state not in TRANSITIONS[message.state]:
        raise Stale(f"a message that is {message.state} cannot become {state}")
    stamps: dict[str, float] = {}
    if state == "dispatched" and message.dispatched_at is None:
        stamps["dispatched_at"] = now
    if state == "verified":
        stamps["verified_at"] = now
    if state in END_STATES:
        stamps["ended_at"] = now
    return replace(message, state=state, reason=reason if reason is not None else message.reason, **stamps)


def _with_attempt(message: Message, attempt: Attempt) -> Message:
    position = attempt.number - 1
    return replace(message, attempts=(*message.attempts[:position], attempt, *message.attempts[position + 1 :]))


def _release(attempt: Attempt, outcome: Outcome, at: float | None = None) -> Release:
    started = attempt.handed_at
    seconds = max(0.0, at - started) if at is not None and started is not None else None
    return Release(attempt.seed, attempt.number, outcome, attempt.was_handed_over, seconds)


def _end(message: Message, attempt: Attempt, state: AttemptState, now: float, error: str | None = None) -> Message:
    return _with_attempt(message, replace(attempt, state=state, ended_at=now, error=error or attempt.error))


def _withdraw_unfetched(message: Message, now: float) -> tuple[Message, tuple[Release, ...]]:
    """Takes back what no seed has fetched yet; what a seed holds stays open until it reports or its time is over."""
    released: list[Release] = []
    for attempt in message.open_attempts:
        if attempt.state == "assigned":
            message = _end(message, attempt, "withdrawn", now)
            released.append(_release(attempt, "returned"))
    return message, tuple(released)


def begin_attempt(message: Message, seed: str, carrier: str, why: str, now: float) -> Decision:
    """pending → dispatched: the next attempt goes to the seed's outbox. Raises `Stale` when it is not pending, or over."""
    if now >= message.expires_at:
        raise Stale("expired")
    if now < message.not_before:
        raise Stale("not yet")
    if message.open_attempts:
        raise Stale("an attempt is still open")
    moved = move(message, "dispatched", now)
    attempt = Attempt(
        number=len(message.attempts) + 1, seed=seed, carrier=carrier, state="assigned", assigned_at=now, why=why,
        parked_at=message.parked_at, parked_why=message.parked_why,
    )  # fmt: skip
    return Decision(replace(moved, attempts=(*message.attempts, attempt), parked_at=None, parked_why="", republished=0))


class Terms(msgspec.Struct, frozen=True):
    """How a seed keeps its leases: see `Attempt`."""

    tells_after: bool = False
    margin_seconds: float | None = None


ASKS_FIRST = Terms()


def hand_over(message: Message, number: int, seed: str, now: float, rules: Rules, terms: Terms = ASKS_FIRST) -> Decision:
    """The seed fetches its attempt: the lease starts, and ends at the latest with the message (invariant 4).

    Raises `Stale` when it is not that seed's to send (any more).
    """
    attempt = message.attempt(number, seed)
    if attempt is None or message.state != "dispatched" or attempt is not message.current or attempt.state != "assigned":
        raise Stale("not this seed's to send")
    if now >= message.expires_at:
        raise Stale("expired")
    lease_until = min(now + rules.lease_seconds, message.expires_at)
    handed = replace(
        attempt, state="handed", handed_at=now, lease_until=lease_until, tells_after=terms.tells_after, margin_seconds=terms.margin_seconds
    )
    return Decision(_with_attempt(message, handed))


def park(message: Message, now: float, why: str = "") -> Decision:
    """No seed can take it now, in the words of `Choice.why`: it waits in its carrier's parking lot."""
    if message.state != "pending":
        raise Stale("not pending")
    return Decision(replace(message, parked_at=now, parked_why=why))


def cancel(message: Message, now: float, reason: str) -> Decision:
    """Withdrawn before delivery. A code that was sent already cannot be cancelled, but it can be ended: it expires. Raises `Stale`."""
    state: State = "expired" if message.state == "sent" and message.kind == "otp" else "cancelled"
    moved, released = _withdraw_unfetched(move(message, state, now, reason), now)
    return Decision(moved, released)


def verify(message: Message, matches: bool, now: float) -> Verdict:
    """Was the code right? `matches` is the comparison of the hashes. spec/gatewire.md, Errors."""
    if message.kind != "otp":
        return Verdict(Decision(message), "wrong")
    over: dict[State, CodeRefusal] = {"verified": "used", "cancelled": "cancelled", "failed": "failed", "expired": "expired"}
    if refused := over.get(message.state):
        return Verdict(Decision(message), refused)
    if now >= message.expires_at:
        return Verdict(Decision(message), "expired")
    if message.tries_left <= 0:
        return Verdict(Decision(message), "wrong")
    if not matches:
        return Verdict(Decision(replace(message, tries_left=message.tries_left - 1)), "wrong")
    moved, released = _withdraw_unfetched(move(message, "verified", now, "the right code came back"), now)
    return Verdict(Decision(moved, released), None)


def report(message: Message, number: int, seed: str, state: ReportState, now: float, rules: Rules, error: str | None = None) -> Decision:
    """What a seed says of its attempt. Raises `Stale` for what is unknown, repeated or too late to matter."""
    attempt = message.attempt(number, seed)
    if attempt is None or not attempt.was_handed_over:
        raise Stale("no such attempt of this seed")
    match state:
        case "accepted":
            if attempt.state != "handed":
                raise Stale("not waiting for it")
            return Decision(message)
        case "radio":
            return _on_told_radio(message, attempt, now) if attempt.tells_after else _on_radio(message, attempt, now)
        case "sent" | "delivered":
            return _on_sent(message, attempt, now, delivered=state == "delivered")
        case "failed":
            return _on_failed(message, attempt, now, rules, "failed", error or "the seed reported a failure")
        case "cancelled":
            return _on_failed(message, attempt, now, rules, "returned", error or "the seed gave it back unsent")


def _on_radio(message: Message, attempt: Attempt, now: float) -> Decision:
    if message.state != "dispatched" or attempt is not message.current or attempt.state not in ("handed", "radio"):
        raise Stale("not this seed's to send any more")
    if attempt.lease_until is None or now > attempt.lease_until:
        raise Stale("the lease is over")
    if attempt.state == "radio":
        return Decision(message)
    return Decision(_with_attempt(message, replace(attempt, state="radio", radio_at=now)))


def _on_told_radio(message: Message, attempt: Attempt, now: float) -> Decision:
    """It has been given to the radio, and nothing can be said about that any more: only that nobody else begins."""
    if attempt.state not in ("handed", "ambiguous") or attempt.radio_at is not None:
        raise Stale("reported before, or the attempt has ended")
    if attempt.state == "handed":
        return Decision(_with_attempt(message, replace(attempt, state="radio", radio_at=now)))
    # Its lease ended without a word. It is the current one again, unless another seed has the message in its hands
    if message.state not in ("pending", "dispatched") or any(other.was_handed_over for other in message.open_attempts):
        return Decision(_with_attempt(message, replace(attempt, radio_at=now)))
    message, released = _withdraw_unfetched(message, now)
    if message.state == "pending":
        message = replace(move(message, "dispatched", now), parked_at=None, parked_why="")
    on_radio = replace(attempt, state="radio", radio_at=now, ended_at=None, error=_TOLD_LATE)
    return Decision(_with_attempt(message, on_radio), released)


def _on_sent(message: Message, attempt: Attempt, now: float, *, delivered: bool) -> Decision:
    if attempt.delivered_at is not None or (attempt.sent_at is not None and not delivered):
        raise Stale("reported before")
    released: tuple[Release, ...] = (_release(attempt, "sent", now),) if attempt.is_open else ()
    first = attempt.sent_at is None
    late = _TOLD_LATE if attempt.state == "ambiguous" else None
    told = replace(attempt, state="sent", sent_at=attempt.sent_at or now, ended_at=attempt.ended_at or now, error=late or attempt.error)
    if delivered:
        told = replace(told, delivered_at=now)
        message = replace(message, delivered_at=message.delivered_at or now)
    message = replace(_with_attempt(message, told), sent_at=message.sent_at or told.sent_at)
    if first and message.state in ("pending", "dispatched"):
        if message.state == "pending":
            message = move(message, "dispatched", now)
        message = move(message, "sent", now, "sent")
        if message.kind == "sms":
            message = replace(message, ended_at=now)
        message = replace(message, parked_at=None, parked_why="")
        message, withdrawn = _withdraw_unfetched(message, now)
        released += withdrawn
    return Decision(message, released)


def _on_failed(message: Message, attempt: Attempt, now: float, rules: Rules, state: AttemptState, error: str) -> Decision:
    if not attempt.is_open and attempt.state != "ambiguous":
        raise Stale("the attempt has ended")
    outcome: Outcome = "returned" if state != "failed" else "limited" if is_limit_error(error) else "failed"
    released = (_release(attempt, outcome),) if attempt.is_open else ()
    was_current = attempt is message.current
    ended = _end(message, attempt, state, now, error)
    if ended.state != "dispatched" or not was_current:
        return Decision(ended, released)
    return _fail_over(ended, released, now, rules, error)


def _fail_over(message: Message, released: tuple[Release, ...], now: float, rules: Rules, reason: str) -> Decision:
    """dispatched → pending for the next attempt, or → failed when they are used up, or → expired."""
    if now >= message.expires_at:
        return Decision(move(message, "expired", now, f"its time ended; last: {reason}"), released)
    if message.handed_over >= (1 if message.is_for_one_seed else rules.max_attempts):
        return Decision(move(message, "failed", now, reason), released)
    pending = replace(move(message, "pending", now, reason), queued_at=now, republished=0)
    return Decision(pending, released, requeue=True)


def _deadline(attempt: Attempt, rules: Rules) -> float:
    """When time alone ends an open attempt."""
    if attempt.state == "assigned":
        return attempt.assigned_at + rules.pickup_seconds
    if attempt.state == "handed":
        margin = rules.skew_seconds if attempt.margin_seconds is None else attempt.margin_seconds
        return (attempt.lease_until or attempt.assigned_at) + margin
    return (attempt.radio_at or attempt.assigned_at) + rules.radio_seconds


def _ask_at(attempt: Attempt, rules: Rules) -> float | None:
    """When a seed that tells afterwards is to be asked (again): its word may be late or lost, and so may its answer, and another seed must
    not begin for that alone. None where it is too late for that.
    """
    if attempt.state != "handed" or not attempt.tells_after or attempt.lease_until is None:
        return None
    if attempt.asked_at is None:
        at = max(attempt.handed_at or 0.0, attempt.lease_until - rules.ask_seconds)
    elif rules.ask_again_seconds:
        at = attempt.asked_at + rules.ask_again_seconds
    else:
        return None
    return at if at < _deadline(attempt, rules) else None


def _timed_out(attempt: Attempt) -> tuple[AttemptState, str]:
    if attempt.state == "assigned":
        return "unfetched", "the seed did not fetch it"
    if attempt.state == "radio":
        return "ambiguous", "given to the radio, then silence: nobody knows whether it went out"
    if attempt.tells_after:
        return "ambiguous", "the phone took it and its lease ended without a word: nobody knows whether it went out"
    return "silent", "the seed took it and went silent"


def due(message: Message, now: float, rules: Rules, lane_head_at: float | None = None) -> Decision:
    """What time alone does to a message; the same message when nothing is due. Settling is left to the service, which has the wallet.

    `lane_head_at` is when the oldest entry of its lane was queued (None: the lane is empty, or nobody knows): while that one still
    waits, so does this one, and it is not published again.
    """
    released: tuple[Release, ...] = ()
    for attempt in message.open_attempts:
        if now < _deadline(attempt, rules):
            if (ask_at := _ask_at(attempt, rules)) is not None and now >= ask_at:
                message = _with_attempt(message, replace(attempt, asked_at=now))
            continue
        state, reason = _timed_out(attempt)
        blame: Outcome = "returned" if message.is_final else "silent"
        released += (_release(attempt, blame),)
        is_current = attempt is message.current
        message = _end(message, attempt, state, now, reason)
        if message.state != "dispatched" or not is_current:
            continue
        policy = "resend" if attempt.state == "handed" and rules.silence == "resend" else message.ambiguous_policy
        if state == "ambiguous" and policy == "wait":
            message = replace(message, reason=reason)
        elif state == "ambiguous" and policy == "fail":
            message = move(message, "failed", now, reason)
        else:
            return _fail_over(message, released, now, rules, reason)
    if now >= message.expires_at and not message.is_final:
        unsent = f"its time ended before a seed sent it{f'; last: {message.reason}' if message.reason else ''}"
        moved = move(message, "expired", now, "the code was not used in time" if message.state == "sent" else unsent)
        message, withdrawn = _withdraw_unfetched(moved, now)
        return Decision(message, released + withdrawn)
    if message.state == "pending" and message.parked_at is None and now >= _republish_at(message, rules):
        if message.queued_at < message.not_before:
            return Decision(replace(message, queued_at=now), released, requeue=True)
        looked = replace(message, republished=message.republished + 1)
        if lane_head_at is not None and lane_head_at - _QUEUED_MARGIN_SECONDS <= message.queued_at:
            return Decision(looked, released)
        return Decision(replace(looked, queued_at=now), released, requeue=True)
    return Decision(message, released)


def _republish_at(message: Message, rules: Rules) -> float:
    if message.queued_at < message.not_before:
        return message.not_before
    doublings = min(message.republished, 10)
    return message.queued_at + rules.republish_seconds * 2.0**doublings * (1 + message.republished - doublings)


def can_settle(message: Message) -> bool:
    """Is it time to keep or give back the charge? Not while a seed could still report that it was sent."""
    return message.is_final and not message.settled and not message.open_attempts


def is_refund(message: Message) -> bool:
    """A final message that was never sent is given back (spec/gatewire.md, Wallet); a verified code was received, whoever reported."""
    return message.state in ("failed", "cancelled", "expired") and message.sent_at is None


def next_due(message: Message, rules: Rules) -> float | None:
    """When `due` (or settling) has something to do at the earliest; None when never again."""
    times = [_ask_at(attempt, rules) or _deadline(attempt, rules) for attempt in message.open_attempts]
    if not message.is_final:
        times.append(message.expires_at)
        if message.state == "pending" and message.parked_at is None:
            times.append(_republish_at(message, rules))
    elif can_settle(message):
        times.append((message.ended_at or message.created_at) + SETTLE_LATER_SECONDS)
    if untold := owed(message):
        times.append(max(happened_at(message, event) for event in untold) + SETTLE_LATER_SECONDS)
    return min(times, default=None)
