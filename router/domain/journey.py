"""A message's journey in words and lengths of time, for whoever looks at it: made of its record alone."""

from typing import Final, Literal

import msgspec

from router.domain import lifecycle
from router.domain.events import owed
from router.domain.message import ONE_SEED, Attempt, AttemptState, Event, Message
from router.domain.rules import Rules

StepKind = Literal["accepted", "waits", "seed", "radio", "good", "bad", "moves", "end"]
"""What a step is the like of: `seed` = at a seed, `good` and `bad` are outcomes, `moves` = a failover, `end` = nothing more comes."""
SpanKind = Literal["assigned", "handed", "radio"]
Charge = Literal["none", "taken", "kept", "given back"]

_SHORTEST_SECONDS: Final = 0.05
_ENDED: Final[dict[AttemptState, str]] = {
    "failed": "failed",
    "returned": "given back unsent",
    "unfetched": "not fetched in time",
    "silent": "went silent",
    "ambiguous": "ambiguous",
    "withdrawn": "withdrawn",
}
"""Attempts that ended without being sent."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened. `at`: Unix seconds; `since`: seconds since acceptance; `after`: seconds since the step before; `says`: why.
    Why an attempt began is told in the words of `selection.Choice.why`.
    """

    at: float
    since: float
    after: float
    what: str
    kind: StepKind
    attempt: int | None = None
    seed: str = ""
    says: str = ""


class Span(msgspec.Struct, frozen=True):
    """A part of an attempt, in seconds since acceptance."""

    kind: SpanKind
    start: float
    end: float


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt along time. What is open ends now. `lease_until`, `sent` and `ended`: seconds since acceptance."""

    attempt: Attempt
    spans: tuple[Span, ...]
    lease_until: float | None
    sent: float | None
    ended: float | None


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """All that there is to say. `seconds`: how long the tracks are together, since acceptance. `is_open`: something can still change."""

    steps: tuple[Step, ...]
    tracks: tuple[Track, ...]
    seconds: float
    is_open: bool
    can_cancel: bool
    charge: Charge
    told: tuple[Event, ...]
    owed: tuple[Event, ...]
    only_seed: str
    only_group: str


def journey_of(message: Message, now: float, rules: Rules) -> Journey:
    """The journey as it stands now."""
    tracks = tuple(_track(attempt, message.created_at, now) for attempt in message.attempts)
    lengths = [span.end for track in tracks for span in track.spans]
    lengths += [track.lease_until for track in tracks if track.lease_until is not None and track.attempt.is_open]
    if message.state in ("pending", "dispatched"):
        lengths.append(now - message.created_at)
    is_bound = message.only.startswith(ONE_SEED)
    return Journey(
        steps=_steps(message, rules),
        tracks=tracks,
        seconds=max(_SHORTEST_SECONDS, *lengths) if lengths else _SHORTEST_SECONDS,
        is_open=lifecycle.next_due(message, rules) is not None,
        can_cancel=message.state in ("pending", "dispatched") or (message.state == "sent" and message.kind == "otp"),
        charge=_charge(message),
        told=message.told,
        owed=owed(message),
        only_seed=message.only.removeprefix(ONE_SEED) if is_bound else "",
        only_group="" if is_bound else message.only,
    )


def _charge(message: Message) -> Charge:
    if not message.price:
        return "none"
    if not message.settled:
        return "taken"
    return "given back" if lifecycle.is_refund(message) else "kept"


def _track(attempt: Attempt, start: float, now: float) -> Track:
    ended_at = attempt.ended_at or attempt.sent_at
    until = now if attempt.is_open else ended_at or attempt.assigned_at
    moments: list[tuple[SpanKind, float | None]] = [
        ("assigned", attempt.assigned_at), ("handed", attempt.handed_at), ("radio", attempt.radio_at),
    ]  # fmt: skip
    begun = [(kind, at) for kind, at in moments if at is not None]
    ends = [at for _, at in begun[1:]] + [until]
    # A late word may stand before the end of what it came after
    spans = tuple(Span(kind, at - start, max(at, end) - start) for (kind, at), end in zip(begun, ends, strict=True))
    return Track(
        attempt=attempt,
        spans=spans,
        lease_until=None if attempt.lease_until is None else attempt.lease_until - start,
        sent=None if attempt.sent_at is None else attempt.sent_at - start,
        ended=None if ended_at is None else ended_at - start,
    )


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    what: str
    kind: StepKind
    attempt: int | None = None
    seed: str = ""
    says: str = ""


def _steps(message: Message, rules: Rules) -> tuple[Step, ...]:
    says = f"by {message.dialect}; on the queue, lane {message.lane}"
    events = [_Event(at=message.created_at, what="accepted", kind="accepted", says=says)]
    if message.not_before > message.created_at:
        events.append(_Event(at=message.created_at, what="held back", kind="waits", says="until the time that its sender asked for"))
    for attempt in message.attempts:
        events += _of_attempt(message, attempt, rules)
    events += _after_the_attempts(message)
    events.sort(key=lambda event: event.at)
    steps: list[Step] = []
    before = message.created_at
    for event in events:
        steps.append(
            Step(
                at=event.at, since=event.at - message.created_at, after=event.at - before, what=event.what, kind=event.kind,
                attempt=event.attempt, seed=event.seed, says=event.says,
            )
        )  # fmt: skip
        before = event.at
    return tuple(steps)


def _of_attempt(message: Message, attempt: Attempt, rules: Rules) -> list[_Event]:
    number, seed = attempt.number, attempt.seed
    events = [_parked(attempt.parked_at, attempt.parked_why)] if attempt.parked_at is not None else []
    events.append(_Event(at=attempt.assigned_at, what="assigned", kind="seed", attempt=number, seed=seed, says=attempt.why))
    if attempt.handed_at is not None:
        lease = f"it may send for {attempt.lease_until - attempt.handed_at:.1f} s" if attempt.lease_until is not None else ""
        events.append(_Event(at=attempt.handed_at, what="handed over", kind="seed", attempt=number, seed=seed, says=lease))
    if attempt.asked_at is not None:
        says = "it had said nothing, and its lease was about to end"
        events.append(_Event(at=attempt.asked_at, what="asked", kind="seed", attempt=number, seed=seed, says=says))
    if attempt.radio_at is not None:
        says = "from here time alone does not move it" if not attempt.tells_after else "told by the phone"
        events.append(_Event(at=attempt.radio_at, what="given to the radio", kind="radio", attempt=number, seed=seed, says=says))
    if attempt.sent_at is not None:
        events.append(_Event(at=attempt.sent_at, what="sent", kind="good", attempt=number, seed=seed, says=attempt.error or ""))
    if attempt.delivered_at is not None:
        events.append(_Event(at=attempt.delivered_at, what="delivered", kind="good", attempt=number, seed=seed))
    if attempt.ended_at is not None and attempt.state != "sent":
        moves = _moves_on(message, attempt)
        events.append(
            _Event(
                at=attempt.ended_at, what=_ENDED.get(attempt.state, attempt.state), kind="moves" if moves else "bad", attempt=number,
                seed=seed, says="; ".join(filter(None, (_reason(attempt, rules), moves))),
            )
        )  # fmt: skip
    return events


def _parked(at: float, why: str) -> _Event:
    return _Event(at=at, what="parked", kind="waits", says=f"{why or 'no seed'}; it goes out when one comes online or has room")


def _reason(attempt: Attempt, rules: Rules) -> str:
    """Why it ended, with the figures that decided."""
    if attempt.state == "unfetched":
        return f"the seed did not come for it within {rules.pickup_seconds:g} s, and never had it"
    if attempt.state == "silent":
        margin = rules.skew_seconds if attempt.margin_seconds is None else attempt.margin_seconds
        return f"the seed took it and said nothing until its lease and {margin:g} s more were over"
    return attempt.error or ""


def _moves_on(message: Message, attempt: Attempt) -> str:
    """What became of the message after this attempt; empty where it did not move."""
    if attempt.state not in lifecycle.FAILOVER_REASONS:
        return ""
    after = next((other for other in message.attempts if other.number > attempt.number), None)
    if after is not None:
        return f"attempt {after.number} goes to {after.seed}" if after.seed != attempt.seed else f"attempt {after.number}, same seed"
    if message.state == "pending" and attempt is message.attempts[-1]:
        return "waits for another seed"
    return ""


def _after_the_attempts(message: Message) -> list[_Event]:
    events: list[_Event] = []
    if message.republished and message.state == "pending":
        says = f"nobody had taken it yet; {message.republished} looks so far"
        events.append(_Event(at=message.queued_at, what="last put on the queue", kind="waits", says=says))
    elif message.state == "pending" and message.attempts and message.queued_at:
        events.append(_Event(at=message.queued_at, what="on the queue again", kind="waits"))
    if message.parked_at is not None:
        events.append(_parked(message.parked_at, message.parked_why))
    if message.verified_at is not None:
        events.append(_Event(at=message.verified_at, what="verified", kind="end", says="the right code came back"))
    elif message.ended_at is not None and message.state in ("failed", "expired", "cancelled"):
        events.append(_Event(at=message.ended_at, what=message.state, kind="end", says=message.reason or ""))
    return events
