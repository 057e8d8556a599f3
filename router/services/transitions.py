"""Makes decisions true: read, ask the domain, compare-and-set, then carry out what follows. In batches, whatever the number of messages.

The order is the same for everyone who changes a message, and a crash between two steps hurts nothing:
1. the record (compare-and-set), and its timer with it: from here the decision stands, and the timekeeper would finish the rest;
2. the seed's place, the parking lot, the wallet: each can be repeated, each happens once;
3. the queue, for what is pending again: publishing twice is harmless, publishing never is found by the timer.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from router.clock import Clock
from router.domain.errors import NotFound, RouterError, Unavailable
from router.domain.events import Announcement, happened_at, owed
from router.domain.lifecycle import Decision, can_settle, is_refund, next_due
from router.domain.message import Message
from router.domain.phone_news import asked, recalled
from router.domain.rules import Rules
from router.queue.entries import Entry, Publisher
from router.services import observe
from router.store.messages import Stored
from router.store.seeds import Slip
from router.store.store import Store

_log = structlog.get_logger()
_ROUNDS = 8
"""How often a decision is asked for again after somebody else was first."""

Decide = Callable[[Message, float], Decision]


class Announcer(Protocol):
    """Gives events to the courier (services/webhooks.py). Announcing one twice is harmless. Raises `Unavailable`."""

    async def announce(self, announcements: Sequence[Announcement]) -> None: ...


class Step(msgspec.Struct, frozen=True):
    """What should happen to one message. `stored` saves the first read where the caller has it."""

    message_id: str
    decide: Decide
    stored: Stored | None = None


class Done(msgspec.Struct, frozen=True):
    """What came of a step. `error`: the domain refused (then nothing changed), or there is no such message."""

    before: Message | None
    after: Message | None
    stored: Stored | None = None
    error: RouterError | None = None


class _Landed(msgspec.Struct, frozen=True):
    """A decision that is true, and the record as it stands since."""

    decision: Decision
    stored: Stored
    before: Message


class Transitions:
    """One per process."""

    def __init__(self, store: Store, publisher: Publisher, clock: Clock, rules: Rules, announcer: Announcer) -> None:
        self._store = store
        self._announcer = announcer
        self._publisher = publisher
        self._clock = clock
        self._rules = rules

    async def apply(self, steps: Sequence[Step]) -> list[Done]:
        """Carries out all steps, those of one message in their order, and answers in the order of the steps."""
        done: list[Done | None] = [None] * len(steps)
        waiting = list(range(len(steps)))
        known: dict[str, Stored] = {step.message_id: step.stored for step in steps if step.stored is not None}
        all_landed: list[_Landed] = []
        lost = dict.fromkeys(waiting, 0)
        while waiting:
            turn = _first_of_each(steps, waiting)
            await self._read_missing(steps, turn, known)
            landed = await self._commit(steps, turn, known, done, lost)
            for place in turn:
                if place in landed:
                    all_landed.append(landed[place])
                elif done[place] is None:
                    lost[place] += 1
                    known.pop(steps[place].message_id, None)
                    if lost[place] >= _ROUNDS:
                        done[place] = Done(None, None, error=Unavailable("too many changes at once"))
            waiting = [place for place in waiting if done[place] is None]
        await self._follow(all_landed)
        return [item for item in done if item is not None]

    async def _read_missing(self, steps: Sequence[Step], turn: list[int], known: dict[str, Stored]) -> None:
        ids = [steps[place].message_id for place in turn if steps[place].message_id not in known]
        if not ids:
            return
        found = await self._store.messages.load(self._store.batch(), ids)
        known.update({stored.message.id: stored for stored in found if stored is not None})

    async def _commit(
        self, steps: Sequence[Step], turn: list[int], known: dict[str, Stored], done: list[Done | None], lost: dict[int, int]
    ) -> dict[int, _Landed]:
        now = self._clock.now()
        batch = self._store.batch()
        asked: dict[int, tuple[int, Stored, Decision]] = {}
        landed: dict[int, _Landed] = {}
        for place in turn:
            step = steps[place]
            stored = known.get(step.message_id)
            if stored is None:
                done[place] = Done(None, None, error=NotFound("no such message"))
                continue
            try:
                decision = step.decide(stored.message, now)
            except RouterError as error:
                if lost[place]:
                    # The round that was lost has set the timer of what did not come true
                    self._store.timers.set(batch, step.message_id, next_due(stored.message, self._rules))
                done[place] = Done(stored.message, stored.message, stored, error)
                continue
            if decision.message is stored.message:
                self._store.timers.set(batch, step.message_id, next_due(stored.message, self._rules))
                done[place] = Done(stored.message, stored.message, stored)
                landed[place] = _Landed(decision, stored, stored.message)
                continue
            asked[place] = (self._store.messages.commit(batch, stored, decision.message), stored, decision)
            self._store.timers.set(batch, step.message_id, next_due(decision.message, self._rules))
        answers = await batch.run()
        for place, (answer, stored, decision) in asked.items():
            if answers[answer] == 1:
                after = Stored(stored.version + 1, decision.message)
                known[steps[place].message_id] = after
                done[place] = Done(stored.message, decision.message, after)
                landed[place] = _Landed(decision, after, stored.message)
                observe.transition(stored.message, decision.message, now)
        return landed

    async def _follow(self, all_landed: Sequence[_Landed]) -> None:
        now = self._clock.now()
        batch = self._store.batch()
        settled: dict[str, tuple[int, Stored]] = {}
        for landed in all_landed:
            message = landed.stored.message
            for release in landed.decision.released:
                self._store.seeds.finish(batch, Slip(message.id, release.attempt, message.parts), release, now)
                self._store.seeds.mark_changed(batch, release.seed, now)
            for attempt in asked(landed.before, message):
                self._store.phones.ask(batch, attempt)
            for attempt in recalled(landed.before, message):
                self._store.phones.recall(batch, message, attempt, now)
            if message.is_final:
                self._store.parking.leave(batch, message)
            if can_settle(message):
                settled[message.id] = (self._store.accounts.settle(batch, message, refund=is_refund(message)), landed.stored)
        answers = await batch.run()
        for place, stored in settled.values():
            observe.refund(stored.message, answers[place])
        told = {landed.stored.message.id: landed.stored for landed in all_landed if owed(landed.stored.message)}
        await self._announce(list(told.values()))
        await self._mark([stored for _, stored in settled.values()], list(told.values()))
        requeued = [landed.stored.message for landed in all_landed if landed.decision.requeue]
        if requeued:
            await self._publisher.publish([Entry.of(message, now) for message in requeued])

    async def _announce(self, told: Sequence[Stored]) -> None:
        events = [
            Announcement(stored.message, event, happened_at(stored.message, event)) for stored in told for event in owed(stored.message)
        ]
        if events:
            await self._announcer.announce(events)

    async def _mark(self, settled: Sequence[Stored], told: Sequence[Stored]) -> None:
        """The wallet and the courier know. Where the record changed meanwhile the mark is lost, and nothing else: they are told again, and
        know that.
        """
        marked = {stored.message.id: replace(stored.message, settled=True) for stored in settled}
        versions = {stored.message.id: stored for stored in (*settled, *told)}
        for stored in told:
            message = marked.get(stored.message.id, stored.message)
            marked[message.id] = replace(message, told=message.told + owed(message))
        batch = self._store.batch()
        for message in marked.values():
            self._store.messages.commit(batch, versions[message.id], message)
            self._store.timers.set(batch, message.id, next_due(message, self._rules))
        await batch.run()


def _first_of_each(steps: Sequence[Step], waiting: list[int]) -> list[int]:
    """The places whose message is not asked for at an earlier place still waiting."""
    seen: set[str] = set()
    turn: list[int] = []
    for place in waiting:
        if steps[place].message_id not in seen:
            seen.add(steps[place].message_id)
            turn.append(place)
    return turn
