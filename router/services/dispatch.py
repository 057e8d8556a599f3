"""Queue to seed: choose a seed for each message of a batch, take a place there, and begin the attempt.

A round trip per step, whatever the size of the batch: read the messages; (choose, in memory;) reserve; begin. The place is reserved first
and the attempt begun after it: a crash in between leaves a slip for an attempt that never came to be, which the seed's fetch finds out.
"""

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
import structlog

from router import metrics
from router.clock import Clock
from router.domain.choosing import Chooser
from router.domain.lifecycle import Decision, Release, Stale, begin_attempt, park
from router.domain.message import Message
from router.domain.seed import Seed
from router.domain.selection import REASONS, Choice
from router.services import observe
from router.services.transitions import Step, Transitions
from router.store.messages import Stored
from router.store.seeds import Slip
from router.store.store import OUTBOX_CHANNEL, Store

_log = structlog.get_logger()
_CHOICES = metrics.children(metrics.CHOICES, metrics.OUTCOMES)
_ON_NET, _CROSS, _REFUSED = (_CHOICES[outcome,] for outcome in ("on_net", "cross_carrier", "reserve_refused"))
_PASSED_OVER = metrics.children(metrics.PASSED_OVER, REASONS)
_ROUNDS = 4
"""How often another seed is looked for when the store says that a copy was out of date."""
_TAKEN_MEANWHILE = f"no seed; {_ROUNDS} were chosen, and others took their room meanwhile"
_Homeless = tuple[Stored, str]
"""A message that no seed can take now, and why."""


class _Assignment(msgspec.Struct, frozen=True):
    stored: Stored
    seed: Seed
    choice: Choice
    slip: Slip


class Dispatch:
    """One per dispatcher. Calls may overlap: choosing has no wait in it, and who comes second at a seed finds what the first left."""

    def __init__(self, store: Store, transitions: Transitions, chooser: Chooser, clock: Clock) -> None:
        self._store = store
        self._transitions = transitions
        self._chooser = chooser
        self._directory = chooser.directory
        self._clock = clock

    async def run(self, ids: Sequence[str]) -> list[str]:
        """Dispatches or parks all of these messages; what is not pending any more is passed over. Answers the ids that have no record."""
        records = await self._store.messages.load(self._store.batch(), ids)
        await self._dispatch([stored for stored in records if stored is not None and stored.message.state == "pending"])
        return [message_id for message_id, stored in zip(ids, records, strict=True) if stored is None]

    async def run_parked(self, lot: str, limit: int) -> tuple[int, int]:
        """Dispatches the first messages of a parking lot. Answers how many were looked at, and how many of them still have to wait."""
        batch = self._store.batch()
        self._store.parking.claim(batch, lot, self._clock.now(), limit)
        ids = [message_id.decode() for message_id in (await batch.run())[0]]
        records = await self._store.messages.load(self._store.batch(), ids)
        batch = self._store.batch()
        waiting: list[Stored] = []
        for message_id, stored in zip(ids, records, strict=True):
            if stored is not None and stored.message.state == "pending":
                waiting.append(stored)
            else:
                self._store.parking.forget(batch, lot, message_id)
        await batch.run()
        return len(waiting), await self._dispatch(waiting)

    async def _dispatch(self, waiting: list[Stored]) -> int:
        """Answers how many were parked."""
        parked = 0
        for _ in range(_ROUNDS):
            if not waiting:
                break
            assigned, homeless = self._choose(waiting)
            await self._park(homeless)
            parked += len(homeless)
            taken, waiting = await self._reserve(assigned)
            await self._begin(taken)
        await self._park([(stored, _TAKEN_MEANWHILE) for stored in waiting])
        return parked + len(waiting)

    def _choose(self, waiting: Iterable[Stored]) -> tuple[list[_Assignment], list[_Homeless]]:
        now = self._clock.now()
        assigned: list[_Assignment] = []
        homeless: list[_Homeless] = []
        for stored in waiting:
            message = stored.message
            choice = self._chooser.choose(message, now)
            if choice.passed_over and message.parked_at is None:
                # One that waits is looked at again and again
                _count_passed_over(choice)
            if choice.seed is None:
                homeless.append((stored, choice.why if message.parked_at is None else ""))
            else:
                slip = Slip(message.id, len(message.attempts) + 1, message.parts)
                assigned.append(_Assignment(stored, choice.seed, choice, slip))
        return assigned, homeless

    async def _reserve(self, assigned: Sequence[_Assignment]) -> tuple[list[_Assignment], list[Stored]]:
        """Those whose seed still had room, and the messages of those whose seed had not."""
        now = self._clock.now()
        batch = self._store.batch()
        places = [
            self._store.seeds.reserve(batch, item.seed, item.slip, now, account=_on_whose_behalf(message, item.seed), to=message.to)
            for item, message in ((item, item.stored.message) for item in assigned)
        ]
        answers = await batch.run()
        taken: list[_Assignment] = []
        refused: list[_Assignment] = []
        for place, item in zip(places, assigned, strict=True):
            (taken if answers[place] == b"ok" else refused).append(item)
        _count_choices(taken, len(refused))
        if refused:
            await self.refresh({item.seed.id for item in refused})
        return taken, [item.stored for item in refused]

    async def _begin(self, taken: Sequence[_Assignment]) -> None:
        if not taken:
            return
        steps = [
            Step(
                item.stored.message.id,
                partial(_begin, number=item.slip.number, seed=item.seed.id, carrier=item.seed.carrier, why=item.choice.why),
                item.stored,
            )
            for item in taken
        ]
        done = await self._transitions.apply(steps)
        now = self._clock.now()
        batch = self._store.batch()
        woken: set[str] = set()
        for item, result in zip(taken, done, strict=True):
            if result.error is None:
                woken.add(item.seed.id)
                if item.stored.message.parked_at is not None:
                    self._store.parking.leave(batch, item.stored.message)
            else:
                # Where another dispatcher has begun this very attempt at this very seed, the place is that attempt's
                if result.before is None or result.before.attempt(item.slip.number, item.seed.id) is None:
                    release = Release(item.seed.id, item.slip.number, "returned", handed_over=False)
                    self._store.seeds.finish(batch, item.slip, release, now)
                self._store.parking.leave(batch, item.stored.message)
        if woken:
            batch.add("PUBLISH", OUTBOX_CHANNEL, " ".join(woken))
        await batch.run()

    async def _park(self, homeless: Sequence[_Homeless]) -> None:
        """Into the lot first, then the record: a message that says it is parked must be found there."""
        if not homeless:
            return
        batch = self._store.batch()
        now = self._clock.now()
        for stored, _ in homeless:
            self._store.parking.park(batch, stored.message, now, own=self._directory.owns(stored.message.account))
        await batch.run()
        steps = [Step(stored.message.id, partial(park, why=why), stored) for stored, why in homeless if stored.message.parked_at is None]
        done = await self._transitions.apply(steps)
        batch = self._store.batch()
        for result in done:
            if result.error is None and result.after is not None:
                observe.parked(result.after)
            elif result.before is not None:
                self._store.parking.leave(batch, result.before)
        await batch.run()

    async def refresh(self, seed_ids: Iterable[str]) -> None:
        """Reads these seeds again."""
        ids = list(seed_ids)
        now = self._clock.now()
        for seed in await self._store.seeds.load(self._store.batch(), ids, now):
            if seed is not None:
                self._directory.update(seed, now)


def _count_passed_over(choice: Choice) -> None:
    for reason, count in choice.passed_over.items():
        _PASSED_OVER[reason,].inc(count)


def _count_choices(taken: Sequence[_Assignment], refused: int) -> None:
    """Of a batch at once; those that are parked are counted where that is known to be so."""
    own = abroad = 0
    for item in taken:
        if item.stored.message.is_heartbeat:
            continue
        if item.choice.on_net:
            own += 1
        else:
            abroad += 1
    if own:
        _ON_NET.inc(own)
    if abroad:
        _CROSS.inc(abroad)
    if refused:
        _REFUSED.inc(refused)


def _on_whose_behalf(message: Message, seed: Seed) -> str:
    """A probe may go through any seed, also through one that serves its own account only."""
    return seed.account if message.is_for_one_seed else message.account


def _begin(message: Message, now: float, *, number: int, seed: str, carrier: str, why: str) -> Decision:
    if len(message.attempts) + 1 != number:
        raise Stale("another attempt was begun")
    return begin_attempt(message, seed, carrier, why, now)
