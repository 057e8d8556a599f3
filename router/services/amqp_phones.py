"""Phones that take their work from RabbitMQ (DekuSMS): an adapter over the outbox for phones that say nothing but "done".

A queue with its one consumer is a sign of life. A message goes into it with what is left of its lease as its expiration, one at a time,
and a marker behind it. What comes back tells the rest:

- the message, expired: nobody had taken it, so it moves at once;
- the message, rejected: the app could not read it, so it failed;
- the message, over the delivery limit: the phone gave it back, or its connection was lost with it. It gave it back, and so failed to send
  it, where it is still there and goes on to reject the marker; else nobody knows, and the lease's end makes it ambiguous;
- the marker, rejected: the phone is done with the message. Unless that has come back as well, it was sent.

Delivered, or why it failed, cannot be told over AMQP. Everything here can be done twice, so that a relay that takes over from another one
need not know what that did: what has come back is kept in the store before it is acknowledged.
"""

import time
from collections.abc import Sequence
from functools import partial
from typing import Protocol

import msgspec
import structlog

from router import metrics
from router.clock import Clock
from router.domain import lifecycle
from router.domain.amqp_phones import (
    MARKER_BODY,
    Letter,
    Look,
    QueueOfSeed,
    body,
    expiration,
    fate_of,
    int32_id,
)
from router.domain.lifecycle import Decision, ReportState, Terms
from router.domain.message import Message
from router.domain.rules import Rules
from router.queue.amqp_phones import Entry, Put, Returned
from router.services import observe
from router.services.outbox import Given, Outbox
from router.services.transitions import Step, Transitions
from router.store.seeds import Slip
from router.store.store import Store

_log = structlog.get_logger()
_PLACES_EVERY_SECONDS = 1.0
_PROVE_EVERY_SECONDS = 60.0
_FRESH_SECONDS = 1.0
"""A letter that has waited for longer says nothing of the phone's connection now."""
SETTLE_SECONDS = 0.1
"""How long a marker waits for its message to come back as well: where a phone's old connection dies as its new one takes the marker."""


class Broker(Protocol):
    """RabbitMQ as this module sees it (router.queue.amqp_phones.PhoneBroker). Raises `Unavailable`."""

    is_reading: bool

    def letters(self) -> list[Returned]: ...

    def settle(self, returned: Sequence[Returned]) -> None: ...

    async def declare(self, places: Sequence[QueueOfSeed]) -> None: ...

    async def look(self, queues: Sequence[str]) -> dict[str, Look | None]: ...

    async def publish(self, entries: Sequence[Entry]) -> list[Put]: ...

    async def prove(self, project: str) -> bool: ...


class _Said(msgspec.Struct, frozen=True):
    """What is to be reported of an attempt."""

    seed: str
    message_id: str
    attempt: int
    state: ReportState
    error: str | None = None


class AmqpPhones:
    """One per relay. `turn` is called again and again, by one task."""

    def __init__(
        self, store: Store, broker: Broker, outbox: Outbox, transitions: Transitions, clock: Clock, rules: Rules, *, margin_seconds: float,
        markers: bool = True, settle_seconds: float = SETTLE_SECONDS,
    ) -> None:  # fmt: skip
        self._store = store
        self._broker = broker
        self._outbox = outbox
        self._transitions = transitions
        self._clock = clock
        self._rules = rules
        self._terms = Terms(tells_after=True, margin_seconds=margin_seconds)
        self._markers = markers
        self._settle_seconds = settle_seconds
        self._places: dict[str, QueueOfSeed] = {}
        """By seed."""
        self._declared: set[QueueOfSeed] = set()
        self._proofs: dict[str, tuple[float, bool]] = {}
        """By project: when it was looked at, and whether the broker's policy holds."""
        self._back: list[Returned] = []
        """Messages that came back; more than none between turns only where one was cut short."""
        self._marked: list[Returned] = []
        """Markers that came back, and wait a moment."""
        self._given_back: set[tuple[str, int]] = set()
        """Message and attempt: came back from a phone that was still there."""
        self._busy_since: dict[str, float] = {}
        """By seed: since when its queue has not been empty."""
        self._looked_at = float("-inf")

    @property
    def places(self) -> dict[str, QueueOfSeed]:
        """By seed, as they were a moment ago."""
        return self._places

    def next_seconds(self) -> float:
        """How long the next turn may wait, if nothing wakes it."""
        wait = self._looked_at + _PLACES_EVERY_SECONDS - time.monotonic()
        if self._marked:
            wait = min(wait, self._marked[0].at + self._settle_seconds - time.monotonic())
        return max(0.0, wait)

    async def turn(self, woken: Sequence[str] = ()) -> None:
        """Deals with what came back; hands messages to these seeds, and, once a second, looks after all. Raises `Unavailable`."""
        seeds = set(woken) | await self._settle(self._broker.letters())
        if time.monotonic() - self._looked_at >= _PLACES_EVERY_SECONDS:
            self._looked_at = time.monotonic()
            await self._read_places()
            seeds = set(self._places)
        await self._serve([self._places[seed] for seed in sorted(seeds & self._places.keys())])

    # Which seeds

    async def _read_places(self) -> None:
        batch = self._store.batch()
        self._store.amqp_phones.every(batch)
        found = sorted(self._store.amqp_phones.parse((await batch.run())[0]), key=lambda place: place.since)
        self._places = {place.seed: place for place in found}
        self._declared &= set(self._places.values())
        await self._declare([place for place in self._places.values() if place not in self._declared])
        for project in {place.project for place in self._places.values()}:
            looked_at, _ = self._proofs.get(project, (float("-inf"), False))
            if self._broker.is_reading and time.monotonic() - looked_at >= _PROVE_EVERY_SECONDS:
                proven = await self._broker.prove(project)
                self._proofs[project] = (time.monotonic(), proven)
                if not proven:
                    hint = "without quorum queues and the policy of docs/amqp-phones.md a phone may send a message twice"
                    _log.warning("phones_amqp.no_policy", project=project, hint=hint)

    async def _declare(self, places: Sequence[QueueOfSeed]) -> None:
        if places:
            await self._broker.declare(places)
            self._declared.update(places)

    def _is_proven(self, letter: Letter) -> bool:
        place = self._places.get(letter.seed)
        return place is not None and self._proofs.get(place.project, (0.0, False))[1]

    # What came back

    async def _settle(self, letters: Sequence[Returned]) -> set[str]:
        """Answers the seeds whose queue may have become free."""
        self._back += [item for item in letters if item.letter.kind == "message"]
        self._marked += [item for item in letters if item.letter.kind == "marker"]
        said = await self._messages_back(self._back) if self._back else []
        due_before = time.monotonic() - self._settle_seconds
        due = [item for item in self._marked if item.at <= due_before]
        said += await self._markers_back(due) if due else []
        await self._report(said)
        self._broker.settle([*self._back, *due])
        freed = {item.letter.seed for item in (*self._back, *due)}
        self._back, self._marked = [], self._marked[len(due) :]
        return freed

    async def _messages_back(self, items: Sequence[Returned]) -> list[_Said]:
        looks = await self._broker.look(sorted({item.letter.queue for item in items if item.letter.reason == "delivery_limit"}))
        now = self._clock.now()
        batch = self._store.batch()
        said: list[_Said] = []
        for item in items:
            letter = item.letter
            self._store.amqp_phones.came_back(batch, letter.seed, _slip(letter), now)
            match fate_of(letter, proven=self._is_proven(letter)):
                case "unsent":
                    said.append(_said(letter, "cancelled", "the phone did not take it in time"))
                    metrics.AMQP_MESSAGES.labels("expired").inc()
                case "dropped":
                    said.append(_said(letter, "failed", "the phone could not read it"))
                    metrics.AMQP_MESSAGES.labels("dropped").inc()
                case "back":
                    look = looks.get(letter.queue)
                    is_fresh = not item.is_old and time.monotonic() - item.at <= _FRESH_SECONDS
                    if is_fresh and look is not None and look.has_phone:
                        self._given_back.add((letter.message_id, letter.attempt))
                    else:
                        metrics.AMQP_MESSAGES.labels("unclear").inc()
                case _:
                    metrics.AMQP_MESSAGES.labels("unclear").inc()
        await batch.run()
        return said

    async def _markers_back(self, items: Sequence[Returned]) -> list[_Said]:
        """The phone was done with what was before them: sent, or given back."""
        batch = self._store.batch()
        for item in items:
            self._store.amqp_phones.has_come_back(batch, item.letter.seed, _slip(item.letter))
        came_back = await batch.run()
        looks = await self._broker.look(sorted({item.letter.queue for item in items}))
        said: list[_Said] = []
        for item, back in zip(items, came_back, strict=True):
            letter = item.letter
            attempt = (letter.message_id, letter.attempt)
            look = looks.get(letter.queue)
            # Taken by a connection that was lost with it, or there are two: then the first may still hold the message
            is_clear = letter.reason == "rejected" and look is not None and look.consumers <= 1
            if back is None and is_clear:
                said.append(_said(letter, "sent"))
                metrics.AMQP_MESSAGES.labels("acknowledged").inc()
            elif attempt in self._given_back:
                self._given_back.discard(attempt)
                if is_clear:
                    said.append(_said(letter, "failed", "the phone could not send it"))
                metrics.AMQP_MESSAGES.labels("failed" if is_clear else "unclear").inc()
            elif back is None:
                metrics.AMQP_MESSAGES.labels("unclear").inc()
        return said

    async def _report(self, said: Sequence[_Said]) -> None:
        steps = [Step(item.message_id, partial(_report, said=item, rules=self._rules)) for item in said]
        for item, result in zip(said, await self._transitions.apply(steps) if steps else (), strict=True):
            observe.reported(item.state, result.error)

    # What is to be sent

    async def _serve(self, places: Sequence[QueueOfSeed]) -> None:
        """Signs of life, and the next message for each phone that has none."""
        if not places:
            return
        looks = await self._broker.look([place.queue for place in places])
        if missing := [place for place in places if looks[place.queue] is None]:
            await self._declare(missing)
        present = self._present(places, looks)
        free = [place for place in present if looks[place.queue] == Look(0, 1)]
        batch = self._store.batch()
        for place in present:
            self._store.seeds.credentials(batch, place.seed)
        for place in free:
            self._store.phones.held(batch, place.seed)
        answers = await batch.run()
        now = self._clock.now()
        batch = self._store.batch()
        for place, answer in zip(present, answers, strict=False):
            known = self._store.seeds.parse_credentials(answer)
            if known.enrolled:
                self._store.seeds.touch(batch, place.seed, known.pool, now)
        held = {place.seed: members for place, members in zip(free, answers[len(present) :], strict=True)}
        waiting = await self._without_message(held) if self._broker.is_reading else []
        taken = [(seed, self._store.seeds.take(batch, seed, 1, "")) for seed in waiting]
        answers = await batch.run()
        slips = [(seed, Slip.parse(member)) for seed, spot in taken for member in answers[spot]]
        if slips:
            await self._publish(await self._outbox.hand_over(slips, self._terms))

    async def _without_message(self, held: dict[str, list[bytes]]) -> list[str]:
        """Those of these seeds whose phone has none: what it was given has ended, or is back with us."""
        batch = self._store.batch()
        spots = {
            seed: [self._store.amqp_phones.has_come_back(batch, seed, Slip.parse(member)) for member in members]
            for seed, members in held.items()
        }
        answers = await batch.run()
        return [seed for seed, places in spots.items() if all(answers[spot] is not None for spot in places)]

    def _present(self, places: Sequence[QueueOfSeed], looks: dict[str, Look | None]) -> list[QueueOfSeed]:
        """Those with a phone that does its work. One that leaves an entry lying for longer than any lease is as good as gone."""
        now, longest = time.monotonic(), self._rules.lease_seconds + (self._terms.margin_seconds or 0.0)
        present: list[QueueOfSeed] = []
        for place in places:
            look = looks[place.queue]
            if look is None or look.ready == 0:
                self._busy_since.pop(place.seed, None)
            busy = now - self._busy_since.setdefault(place.seed, now) if look is not None and look.ready else 0.0
            if look is not None and look.consumers > 1:
                _log.warning("phones_amqp.shared_queue", seed=place.seed, queue=place.queue, hint="a queue is for one SIM")
            if look is not None and look.has_phone and busy <= longest:
                present.append(place)
        if len(places) == len(self._places):
            metrics.AMQP_PHONES.set(len(present))
        return present

    async def _publish(self, given: Sequence[Given]) -> None:
        now = self._clock.now()
        entries: list[Entry] = []
        at: list[tuple[Given, int | None]] = []
        for item in given:
            place, left = self._places.get(item.seed), expiration(item.attempt.lease_until or now, now)
            if place is None or left is None:
                at.append((item, None))
                continue
            at.append((item, len(entries)))
            text = body(item.text, item.message.to, place.subscription_id, int32_id(item.message.id, item.attempt.number))
            entries.append(Entry(letter=_letter(item, place, "message"), body=text, expiration=left))
            if self._markers:
                entries.append(Entry(letter=_letter(item, place, "marker"), body=MARKER_BODY))
        put = await self._broker.publish(entries) if entries else []
        not_put: list[_Said] = []
        batch = self._store.batch()
        for item, spot in at:
            result: Put = "refused" if spot is None else put[spot]
            metrics.AMQP_MESSAGES.labels({"published": "published", "refused": "refused"}.get(result, "unclear")).inc()
            if result == "refused":
                slip = Slip(item.message.id, item.attempt.number, item.message.parts)
                self._store.amqp_phones.came_back(batch, item.seed, slip, now)
                not_put.append(_Said(item.seed, item.message.id, item.attempt.number, "cancelled", "RabbitMQ did not take it"))
        await batch.run()
        await self._report(not_put)


def _letter(given: Given, place: QueueOfSeed, kind: str) -> Letter:
    return Letter(
        kind="message" if kind == "message" else "marker", seed=given.seed, queue=place.queue, message_id=given.message.id,
        attempt=given.attempt.number, parts=given.message.parts, reason="",
    )  # fmt: skip


def _slip(letter: Letter) -> Slip:
    return Slip(letter.message_id, letter.attempt, letter.parts)


def _said(letter: Letter, state: ReportState, error: str | None = None) -> _Said:
    return _Said(letter.seed, letter.message_id, letter.attempt, state, error)


def _report(message: Message, now: float, *, said: _Said, rules: Rules) -> Decision:
    return lifecycle.report(message, said.attempt, said.seed, said.state, now, rules, said.error)
