"""Carries out deliveries: claims what is due for targets that have room, posts it signed, and keeps, retries or buries it by the outcome.

A delivery leaves the store only when its receiver has said yes, or nobody wants it any more. What a courier holds when it dies is due again
when the hold is over; so a receiver may be told twice, by the same `id`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog
from msgspec.structs import replace

from router import metrics
from router.clock import Clock
from router.domain.addresses import target_of
from router.domain.errors import Unavailable
from router.domain.targets import Targets, Try
from router.domain.webhooks import Webhook, WebhookRules, is_dead, retry_pause, sign
from router.secrets import SealBroken
from router.services.postman import Outcome, Postman
from router.services.signing_keys import SigningKeys
from router.services.webhooks import WebhookDirectory
from router.store.deliveries import Delivery, Due, StoredDelivery
from router.store.redis import Batch
from router.store.store import Store

T = TypeVar("T")

_log = structlog.get_logger()
_HOLD_MARGIN_SECONDS = 10.0
"""Beyond the time-out of a try: for what comes before and after it."""
_IDLE_SECONDS = 0.1
_RETRY_SECONDS = 0.5
_SWEEP = 200
_PAGE = 500
_PAGES = 20
TOO_OLD = "waited too long"


class Courier:
    """One per process. `look` is called again and again; deliveries run as tasks beside it."""

    def __init__(
        self, store: Store, clock: Clock, postman: Postman, keys: SigningKeys, rules: WebhookRules, *, rng: random.Random | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._postman = postman
        self._keys = keys
        self._rules = rules
        self._random = rng or random.Random()
        self._targets = Targets(rules)
        self._directory = WebhookDirectory(store)
        self._held: dict[str, StoredDelivery] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Courier {len(self._tasks)} under way>"

    async def look(self) -> None:
        """Begins what is due and has room; where there is nothing, waits until something ends, or a moment. Raises `Unavailable`."""
        self._ended.clear()
        if await self._begin() or self._ended.is_set():
            return
        waiting = asyncio.ensure_future(self._ended.wait())
        await asyncio.wait({waiting}, timeout=_IDLE_SECONDS)
        waiting.cancel()

    async def _begin(self) -> int:
        now = self._clock.now()
        wanted: dict[str, tuple[Due, list[Try]]] = {}
        try:
            await self._choose(wanted, now)
            claimed = await self._claim([(item, len(places)) for item, places in wanted.values()], now)
            for stored in claimed:
                self._start(stored, wanted[stored.delivery.target][1].pop())
        finally:
            for _, places in wanted.values():
                for unused in places:
                    self._targets.end(unused, now, is_success=None)
        return len(claimed)

    async def _choose(self, wanted: dict[str, tuple[Due, list[Try]]], now: float) -> None:
        """Targets that have room, the longest due first; targets without may stand before them, so further pages are looked at."""
        for page in range(_PAGES):
            due = await self._store.deliveries.due(self._store.batch(), now, _PAGE, page * _PAGE)
            for item in due:
                if item.target not in wanted and (room := self._targets.room(item.target, now)):
                    wanted[item.target] = (item, [self._targets.begin(item.target, now) for _ in range(room)])
            if len(due) < _PAGE or self._targets.in_flight >= self._rules.total:
                return

    async def _claim(self, wanted: Sequence[tuple[Due, int]], now: float) -> list[StoredDelivery]:
        batch = self._store.batch()
        hold_seconds = self._rules.timeout_seconds + _HOLD_MARGIN_SECONDS
        for item, most in wanted:
            self._store.deliveries.claim(batch, item, now, most, hold_seconds)
        return [stored for records in await batch.run() for stored in self._store.deliveries.parse(records)]

    def _start(self, stored: StoredDelivery, trial: Try) -> None:
        self._held[stored.delivery.id] = stored
        task = asyncio.create_task(self._deliver(stored, trial), name=f"delivery {stored.delivery.id}")
        self._tasks.add(task)
        task.add_done_callback(self._has_ended)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._ended.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            # Its hold ends by itself, and it is tried again
            _log.error("delivery.not_handled", exc_info=error)

    async def _deliver(self, stored: StoredDelivery, trial: Try) -> None:
        """One delivery, from the claim until the store knows what came of it."""
        delivery = stored.delivery
        outcome: Outcome | None = None
        paused_until: float | None = None
        try:
            webhook = await self._patiently(lambda: self._directory.find(delivery.account, delivery.webhook))
            is_there = webhook is not None and target_of(webhook.url) == delivery.target
            if webhook is not None and is_there:
                key = await self._patiently(lambda: self._keys.of(delivery.account))
                outcome = await self._post(delivery, webhook.url, key)
        finally:
            paused_until = self._targets.end(trial, self._clock.now(), is_success=None if outcome is None else outcome.is_success)
        if paused_until is not None:
            _log.warning("target.paused", target=delivery.target, seconds=round(paused_until - self._clock.now(), 1))

        async def settle() -> None:
            batch = self._store.batch()
            if paused_until is not None:
                self._store.deliveries.pause(batch, delivery.target, paused_until)
            if webhook is not None and outcome is not None:
                self._settle(batch, stored, webhook, outcome)
            elif webhook is not None:
                moved = replace(delivery, url=webhook.url, target=target_of(webhook.url))
                self._store.deliveries.again(batch, stored, moved, self._clock.now())
            else:
                self._store.deliveries.done(batch, delivery)
            await batch.run()

        await self._patiently(settle)
        self._held.pop(delivery.id, None)
        self._observe(delivery, webhook, outcome)

    async def _post(self, delivery: Delivery, url: str, key: str) -> Outcome:
        try:
            body = self._store.deliveries.body_of(delivery)
        except SealBroken as error:
            # Tried again, since another courier may have the right key; and not lost, since a dead one can be replayed
            _log.error("delivery.unreadable", delivery_id=delivery.id, error=str(error), hint="is it the same seal_key?")
            return Outcome(None, "its body cannot be opened")
        return await self._postman.post(url, body, lambda: self._signature(key, body))

    def _signature(self, key: str, body: bytes) -> dict[str, str]:
        timestamp = str(int(self._clock.now()))
        return {"X-Timestamp": timestamp, "X-Signature": sign(key, body, timestamp)}

    def _settle(self, batch: Batch, stored: StoredDelivery, webhook: Webhook, outcome: Outcome) -> None:
        if outcome.is_success:
            self._store.deliveries.done(batch, stored.delivery)
            return
        now, tries = self._clock.now(), stored.delivery.tries + 1
        changed = replace(stored.delivery, url=webhook.url, tries=tries, status=outcome.status, error=outcome.error)
        if is_dead(tries, self._rules):
            self._store.deliveries.bury(batch, stored, replace(changed, died_at=now), self._rules.max_dead)
        else:
            due = now + retry_pause(tries, self._rules, self._random.random())
            self._store.deliveries.again(batch, stored, changed, due)

    def _observe(self, delivery: Delivery, webhook: Webhook | None, outcome: Outcome | None) -> None:
        about = {"delivery_id": delivery.id, "account": delivery.account, "webhook": delivery.webhook, "delivery_event": delivery.event}
        if outcome is None:
            if webhook is None:
                metrics.DELIVERIES.labels("withdrawn").inc()
                _log.info("delivery.withdrawn", **about)
            return
        if outcome.is_success:
            metrics.DELIVERIES.labels("delivered").inc()
            metrics.DELIVERY_SECONDS.observe(max(0.0, self._clock.now() - delivery.made_at))
            _log.debug("delivery.done", status=outcome.status, **about)
            return
        died = is_dead(delivery.tries + 1, self._rules)
        metrics.DELIVERIES.labels("dead" if died else "failed").inc()
        _log.log(
            logging.WARNING if died else logging.INFO, "delivery.dead" if died else "delivery.failed", tries=delivery.tries + 1,
            status=outcome.status, error=outcome.error, **about,
        )  # fmt: skip

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Again and again while the store is away: what a receiver has said must not be lost. Ends when the courier gives up."""
        while True:
            try:
                return await work()
            except Unavailable as error:
                _log.warning("courier.waits", error=str(error))
                await asyncio.sleep(_RETRY_SECONDS)

    async def tidy(self) -> None:
        """Buries what has waited too long, and forgets the dead of long ago. Raises `Unavailable`."""
        now = self._clock.now()
        deliveries = self._store.deliveries
        while old := await deliveries.too_old(self._store.batch(), self._store.batch(), now - self._rules.max_age_seconds, _SWEEP):
            batch = self._store.batch()
            for stored in old:
                error = stored.delivery.error or TOO_OLD
                deliveries.bury(batch, stored, replace(stored.delivery, error=error, died_at=now), self._rules.max_dead)
            buried = sum(await batch.run())
            metrics.DELIVERIES.labels("dead").inc(buried)
            _log.warning("deliveries.too_old", count=buried)
            if not buried:
                return
        while True:
            batch = self._store.batch()
            deliveries.forget(batch, now - self._rules.dead_seconds, _SWEEP)
            if max(await batch.run()) < _SWEEP:
                return

    async def observe(self) -> None:
        """Sets the gauges. Raises `Unavailable`."""
        waiting, dead = await self._store.deliveries.counts(self._store.batch())
        metrics.DELIVERIES_WAITING.set(waiting)
        metrics.DELIVERIES_DEAD.set(dead)
        metrics.TARGETS_PAUSED.set(self._targets.open_breakers(self._clock.now()))

    async def stop(self, grace_seconds: float) -> None:
        """Waits for what is under way; what is left after that goes back, untried, for another courier."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        batch = self._store.batch()
        for stored in self._held.values():
            self._store.deliveries.again(batch, stored, stored.delivery, self._clock.now())
        if self._held:
            _log.info("deliveries.given_back", count=len(self._held))
        try:
            await batch.run()
        except Unavailable as error:
            # Their holds end by themselves
            _log.warning("deliveries.not_given_back", error=str(error))
