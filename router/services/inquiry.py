"""What operators ask about a message: its whole journey. Numbers are masked, texts and codes are never there."""

from functools import partial

import msgspec

from router.clock import Clock
from router.domain import lifecycle
from router.domain.carriers import carrier_name
from router.domain.errors import NotFound
from router.domain.journey import Journey, journey_of
from router.domain.journey import Step as JourneyStep
from router.domain.message import Attempt, Message
from router.domain.numbering import mask
from router.domain.rules import Rules
from router.services.transitions import Step, Transitions
from router.store.store import Store


class MessageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a listing."""

    id: str
    account: str
    dialect: str
    kind: str
    to: str
    carrier: str
    carrier_name: str
    state: str
    reason: str | None
    attempts: int
    seed: str | None
    created_at: float
    ended_at: float | None
    seconds_to_sent: float | None


class AttemptTrace(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt with all its times, and why this seed."""

    number: int
    seed: str
    carrier: str
    state: str
    why: str
    assigned_at: float
    handed_at: float | None
    lease_until: float | None
    radio_at: float | None
    sent_at: float | None
    delivered_at: float | None
    ended_at: float | None
    error: str | None


class MessageTrace(msgspec.Struct, frozen=True, kw_only=True):
    """A message's whole journey."""

    message: MessageSummary
    lane: str
    parts: int
    expires_at: float
    queued_at: float
    parked_at: float | None
    dispatched_at: float | None
    sent_at: float | None
    delivered_at: float | None
    verified_at: float | None
    settled: bool
    price: int
    tries_left: int
    republished: int
    attempts: list[AttemptTrace]
    journey: tuple[JourneyStep, ...]
    """All that happened, in order and in words."""


class Inquiry:
    """One per api process."""

    def __init__(self, store: Store, transitions: Transitions, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._transitions = transitions
        self._clock = clock
        self._rules = rules

    async def _read(self, message_id: str) -> Message:
        (stored,) = await self._store.messages.load(self._store.batch(), [message_id])
        if stored is None:
            raise NotFound("no such message")
        return stored.message

    async def journey(self, message_id: str) -> tuple[Message, Journey]:
        """The record, and its journey in words. Whoever shows the record masks the recipient. Raises `NotFound`."""
        message = await self._read(message_id)
        return message, journey_of(message, self._clock.now(), self._rules)

    async def trace(self, message_id: str) -> MessageTrace:
        """Raises `NotFound`."""
        message, journey = await self.journey(message_id)
        return MessageTrace(
            message=summary(message),
            lane=message.lane,
            parts=message.parts,
            expires_at=message.expires_at,
            queued_at=message.queued_at,
            parked_at=message.parked_at,
            dispatched_at=message.dispatched_at,
            sent_at=message.sent_at,
            delivered_at=message.delivered_at,
            verified_at=message.verified_at,
            settled=message.settled,
            price=message.price,
            tries_left=message.tries_left,
            republished=message.republished,
            attempts=[_trace(attempt) for attempt in message.attempts],
            journey=journey.steps,
        )

    async def cancel(self, message_id: str) -> MessageTrace:
        """Withdraws a message that was not sent yet. Raises `NotFound`, `Stale`."""
        (done,) = await self._transitions.apply([Step(message_id, partial(lifecycle.cancel, reason="cancelled by an operator"))])
        if done.error is not None:
            raise done.error
        return await self.trace(message_id)


def summary(message: Message) -> MessageSummary:
    """A message as it may be shown: masked."""
    return MessageSummary(
        id=message.id,
        account=message.account,
        dialect=message.dialect,
        kind=message.kind,
        to=mask(message.to),
        carrier=message.carrier,
        carrier_name=carrier_name(message.carrier) if message.carrier else "",
        state=message.state,
        reason=message.reason,
        attempts=len(message.attempts),
        seed=message.current.seed if message.current else None,
        created_at=message.created_at,
        ended_at=message.ended_at,
        seconds_to_sent=None if message.sent_at is None else round(message.sent_at - message.created_at, 3),
    )


def _trace(attempt: Attempt) -> AttemptTrace:
    names = AttemptTrace.__struct_fields__
    return AttemptTrace(**{name: getattr(attempt, name) for name in names})
