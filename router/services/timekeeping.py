"""What time does: leases end, messages expire, orphans are published again, charges are settled, dead admissions are undone."""

from collections.abc import Callable
from functools import partial

import structlog

from router import metrics
from router.clock import Clock
from router.domain import lifecycle
from router.domain.errors import NotFound
from router.domain.lifecycle import Decision
from router.domain.lots import carrier_of_lot, parse_lot
from router.domain.message import HEARTBEAT, LANES, Lane, Message
from router.domain.rules import Rules
from router.queue.entries import LaneState
from router.services.admissions import check_admissions
from router.services.reliability import TestResults
from router.services.transitions import Step, Transitions
from router.store.listings import BUCKETS, bucket, by_account, by_submission
from router.store.store import Store

_log = structlog.get_logger()
_BATCH = 500
_HOLD_SECONDS = 10.0
_UNCONFIRMED_SECONDS = 30.0
_TRIM_TURNS = 32


class Timekeeping:
    """One per timekeeper. `lanes` tells how old the head of each lane is, so that what waits its turn is not published twice."""

    def __init__(
        self, store: Store, transitions: Transitions, clock: Clock, rules: Rules, lanes: Callable[[], dict[Lane, LaneState]]
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._clock = clock
        self._rules = rules
        self._lanes = lanes
        self._trimmed = 0
        self._tests = TestResults(store, clock, rules)

    async def run_due(self) -> int:
        """Handles the timers that are due; answers how many there were."""
        now = self._clock.now()
        ids = await self._store.timers.claim(self._store.batch(), now, _BATCH, _HOLD_SECONDS)
        if not ids:
            return 0
        heads = {lane: _head_at(self._lanes()[lane]) for lane in LANES}
        done = await self._transitions.apply([Step(message_id, partial(self._decide, heads=heads)) for message_id in ids])
        await self._forget([message_id for message_id, result in zip(ids, done, strict=True) if isinstance(result.error, NotFound)])
        for message_id, result in zip(ids, done, strict=True):
            if isinstance(result.error, NotFound):
                continue
            if result.error is not None:
                _log.warning("timer.not_handled", message_id=message_id, error=str(result.error))
            elif result.before is not None and result.after is not None and _was_republished(result.before, result.after):
                metrics.REPUBLISHED.inc()
        return len(ids)

    async def run_tests(self) -> int:
        """Looks at the reliability tests whose time has come; answers of how many seeds."""
        return await self._tests.run_due()

    async def _forget(self, ids: list[str]) -> None:
        """Clears the timers of messages that are gone. One whose record is there and cannot be read keeps it: a newer version may."""
        batch = self._store.batch()
        for message_id in ids:
            self._store.messages.is_recorded(batch, message_id)
        recorded = await batch.run()
        batch = self._store.batch()
        for message_id, length in zip(ids, recorded, strict=True):
            if not self._store.messages.parse_recorded(length):
                self._store.timers.set(batch, message_id, None)
        await batch.run()

    def _decide(self, message: Message, now: float, *, heads: dict[Lane, float | None]) -> Decision:
        return lifecycle.due(message, now, self._rules, heads[message.lane])

    async def confirm_admissions(self) -> int:
        """Undoes admissions that were never recorded (`admissions`). Answers how many it looked at."""
        return (await check_admissions(self._store, self._clock.now() - _UNCONFIRMED_SECONDS)).looked_at

    async def tidy(self, guest_seconds: float) -> None:
        """Forgets what has no time of its own to go: marks of old changes, and seeds that pinged once and were never enrolled."""
        now = self._clock.now()
        batch = self._store.batch()
        self._store.seeds.trim_changes(batch, now)
        await batch.run()
        await self._trim_listings(now)
        carriers = await self._store.seeds.carriers(self._store.batch())
        before = now - guest_seconds
        while await self._store.seeds.forget_guests(self._store.batch(), self._store.batch(), carriers, before, _BATCH) == _BATCH:
            pass

    async def _trim_listings(self, now: float) -> None:
        """Some of them each time, all of them in turn."""
        accounts = await self._store.accounts.all_ids(self._store.batch())
        keys = [*map(bucket, range(BUCKETS)), *map(by_account, accounts), *map(by_submission, accounts)]
        batch = self._store.batch()
        for key in keys[self._trimmed :: _TRIM_TURNS]:
            self._store.listings.trim(batch, key, now)
        await batch.run()
        self._trimmed = (self._trimmed + 1) % _TRIM_TURNS

    async def observe(self, apart: int = 0) -> None:
        """Sets the gauges that only the store can tell. `apart`: open messages that are nobody's traffic."""
        lots = await self._store.parking.lots(self._store.batch())
        parked = dict.fromkeys(metrics.CARRIERS, 0)
        for lot, count in (await self._store.parking.counts(self._store.batch(), lots)).items():
            if parse_lot(lot).seed != HEARTBEAT:
                parked[metrics.carrier_label(carrier_of_lot(lot))] += count
        for carrier, count in parked.items():
            metrics.PARKED.labels(carrier).set(count)
        metrics.MESSAGES_OPEN.set(max(0, await self._store.timers.count(self._store.batch()) - apart))
        now = self._clock.now()
        for lane, state in self._lanes().items():
            metrics.QUEUE_DEPTH.labels(lane).set(state.depth)
            metrics.QUEUE_UNACKNOWLEDGED.labels(lane).set(state.in_hands)
            metrics.QUEUE_OLDEST_SECONDS.labels(lane).set(max(0.0, now - state.oldest_at) if state.oldest_at is not None else 0.0)


def _head_at(state: LaneState) -> float | None:
    """When the oldest entry of a lane was queued. Where the broker cannot tell, all wait their turn while there is any."""
    return 0.0 if state.depth and state.oldest_at is None else state.oldest_at


def _was_republished(before: Message, after: Message) -> bool:
    return after.state == "pending" and before.state == "pending" and after.queued_at > before.queued_at
