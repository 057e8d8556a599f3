"""A submission: one request with many recipients, each a message of its own; and its state in SMSGate's words.

Source: spec of SMSGate's third-party API, POST /messages. What a client is told of a submission is computed from its messages each time:
nothing about it is stored twice.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Literal, get_args

import msgspec

from router.domain.device import device_of_seed
from router.domain.message import Attempt, Message

ProcessState = Literal["Pending", "Cancelling", "Cancelled", "Processed", "Sent", "Delivered", "Failed"]
PROCESS_STATES: tuple[ProcessState, ...] = get_args(ProcessState)

UNRECORDED_SECONDS: Final = 60.0
"""A recipient without a record is still being accepted for so long; after that the timekeeper has undone it."""
_NEVER_ACCEPTED: Final = "it was never accepted: the router stopped meanwhile, nothing was sent or charged"


class Submission(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What is kept of a submission beside its messages. Fields are kept by their order: add new ones last, with a default."""

    id: str
    """The client's own, up to 36 characters, or 21 of ours."""
    account: str
    created_at: float
    messages: tuple[str, ...]
    """Their ids, in the order of the recipients."""
    recipients: tuple[str, ...]
    """Whom each of them is for: E.164, or as it was given."""
    device: str = ""
    """The device that was asked for."""
    encrypted: bool = False


class Recipient(msgspec.Struct, frozen=True):
    """One recipient as the client is told. `error` is why it failed."""

    phone: str
    state: ProcessState
    error: str | None = None


class View(msgspec.Struct, frozen=True):
    """A submission as the client is told. `states`: when the sum came into each state for the first time, Unix seconds."""

    submission: Submission
    state: ProcessState
    recipients: tuple[Recipient, ...]
    states: dict[ProcessState, float]
    device: str
    """Of the first recipient's current attempt, else the one that was asked for; empty where there is none."""


def view(submission: Submission, messages: Sequence[Message | None], now: float) -> View:
    """What the client is told; `messages` are the records in the order of the recipients, None where there is none (yet)."""
    recipients: list[Recipient] = []
    histories: list[list[_Moment]] = []
    for phone, message in zip(submission.recipients, messages, strict=True):
        if message is not None:
            state = state_of(message)
            recipients.append(Recipient(phone, state, (message.reason or "failed") if state == "Failed" else None))
            histories.append(_history(message))
        elif now - submission.created_at < UNRECORDED_SECONDS:
            recipients.append(Recipient(phone, "Pending"))
            histories.append([(submission.created_at, "Pending")])
        else:
            recipients.append(Recipient(phone, "Failed", _NEVER_ACCEPTED))
            histories.append([(submission.created_at, "Pending"), (submission.created_at, "Failed")])
    first = messages[0].current if messages and messages[0] is not None else None
    device = (device_of_seed(first.seed) if first is not None else "") or submission.device
    return View(submission, sum_of(recipient.state for recipient in recipients), tuple(recipients), _first_times(histories), device)


def state_of(message: Message) -> ProcessState:
    """One recipient's state. What went out is told as sent, however the message ended."""
    return _history(message)[-1][1]


def sum_of(states: Iterable[ProcessState]) -> ProcessState:
    """The state of all recipients together. As upstream, whatever is mixed and over counts as sent."""
    return _sum(Counter(states))


def _sum(count: Counter[ProcessState]) -> ProcessState:
    for state in _LEADING:
        if count[state]:
            return state
    total = count.total()
    for state in _UNANIMOUS:
        if count[state] == total:
            return state
    return "Sent"


_LEADING: Final[tuple[ProcessState, ...]] = ("Pending", "Cancelling", "Processed")
_UNANIMOUS: Final[tuple[ProcessState, ...]] = ("Failed", "Delivered", "Cancelled")
_Moment = tuple[float, ProcessState]


def _history(message: Message) -> list[_Moment]:
    """When the recipient came into which state, up to its present one; only what still holds, so a failover takes `Processed` back."""
    moments: list[_Moment] = [(message.created_at, "Pending")]
    told = _told_attempt(message)
    if told is not None and told.radio_at is not None:
        moments.append((told.radio_at, "Processed"))
    if message.sent_at is not None:
        moments.append((message.sent_at, "Sent"))
    delivered_at = message.delivered_at or message.verified_at
    if delivered_at is not None:
        moments.append((delivered_at, "Delivered"))
    elif message.sent_at is None and message.state in ("failed", "expired", "cancelled"):
        moments += _unsent_end(message)
    # A phone's word may come after the end that it could not change any more
    return list(zip(accumulate((at for at, _ in moments), max), (state for _, state in moments), strict=True))


def _told_attempt(message: Message) -> Attempt | None:
    """The attempt that the recipient's state is read from: the one that was sent, else the current one of a message under way."""
    if message.sent_at is not None:
        return next((attempt for attempt in message.attempts if attempt.sent_at is not None), None)
    return message.current if message.state != "pending" else None


def _unsent_end(message: Message) -> list[_Moment]:
    ended_at = message.ended_at or message.created_at
    if message.state != "cancelled":
        return [(ended_at, "Failed")]
    held = [attempt for attempt in message.attempts if attempt.was_handed_over]
    if any(attempt.is_open for attempt in held):
        return [(ended_at, "Cancelling")]
    released_at = max((attempt.ended_at or 0.0 for attempt in held), default=0.0)
    return [(ended_at, "Cancelling"), (released_at, "Cancelled")] if released_at > ended_at else [(ended_at, "Cancelled")]


def _first_times(histories: Sequence[Sequence[_Moment]]) -> dict[ProcessState, float]:
    """Plays the recipients' histories in the order of time, and notes when their sum was first in each state."""
    moments = [(at, order, place, state) for place, history in enumerate(histories) for order, (at, state) in enumerate(history)]
    present: list[ProcessState] = ["Pending"] * len(histories)
    count = Counter(present)
    found: dict[ProcessState, float] = {}
    for at, _, place, state in sorted(moments):
        count[present[place]] -= 1
        count[state] += 1
        present[place] = state
        found.setdefault(_sum(count), at)
    return found
