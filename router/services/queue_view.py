"""How full the queue is, what waits for a seed, what is dead, and whether Redis keeps all that: for whoever looks after the router."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec
import structlog
from redis.exceptions import RedisError

from router.domain.message import Lane
from router.queue.entries import LaneState, QueuePublisher
from router.queue.inbound import InboundPublisher
from router.services.redis_health import NodeHealth, RedisHealth
from router.store.store import Store

_log = structlog.get_logger()
_KEPT_SECONDS = 1.0
"""Whoever looks meanwhile shares an answer."""
_REDIS_KEPT_SECONDS = 15.0


class QueueFigures(msgspec.Struct, frozen=True, kw_only=True):
    """`lanes` as they were about a second ago. `parked`: messages that wait for a seed, by lot, none of them zero. `open`: messages that
    are not settled. `inbound`: SMS that came in and wait on the queue seedrouter.inbound. `parked_since`: when the message that stands
    first in any of the lots came, in Unix seconds; of other lanes than codes a little later than that. None where nothing waits.
    """

    lanes: Mapping[Lane, LaneState]
    dead_letters: int
    parked: Mapping[str, int]
    parked_since: float | None
    open: int
    inbound: int
    webhooks_waiting: int
    webhooks_dead: int

    @property
    def depth(self) -> int:
        """Entries on all lanes."""
        return sum(lane.depth for lane in self.lanes.values())

    @property
    def oldest_at(self) -> float | None:
        """When the oldest entry of any lane was queued; None where they are empty, or the broker cannot tell."""
        return min((lane.oldest_at for lane in self.lanes.values() if lane.oldest_at is not None), default=None)


class QueueView:
    """One per api process."""

    def __init__(self, store: Store, publisher: QueuePublisher, inbound: InboundPublisher, redis_url: str) -> None:
        self._store = store
        self._publisher = publisher
        self._inbound = inbound
        self._redis = RedisHealth(redis_url)
        self._looking = asyncio.Lock()
        self._figures: tuple[float, QueueFigures | None] = (float("-inf"), None)
        self._asking = asyncio.Lock()
        self._nodes: tuple[float, Sequence[NodeHealth]] = (float("-inf"), ())

    async def look(self) -> QueueFigures:
        """As it was a second ago at the most: for what is asked for every second or two. Raises `Unavailable`."""
        async with self._looking:
            looked_at, found = self._figures
            if found is None or time.monotonic() - looked_at >= _KEPT_SECONDS:
                looked_at = time.monotonic()
                found = await self.now()
                self._figures = (looked_at, found)
        return found

    async def now(self) -> QueueFigures:
        """As it is. Raises `Unavailable`."""
        store = self._store
        lots = await store.parking.lots(store.batch())
        counts = await store.parking.counts(store.batch(), lots)
        parked = {lot: count for lot, count in counts.items() if count}
        waiting, dead = await store.deliveries.counts(store.batch())
        return QueueFigures(
            lanes=dict(self._publisher.lanes),
            dead_letters=self._publisher.dead_letters,
            parked=parked,
            parked_since=await store.parking.oldest(store.batch(), sorted(parked)),
            open=await store.timers.count(store.batch()),
            inbound=self._inbound.depth,
            webhooks_waiting=waiting,
            webhooks_dead=dead,
        )

    async def redis(self) -> Sequence[NodeHealth]:
        """The servers that write, as they were some seconds ago; nobody where they do not say."""
        async with self._asking:
            asked_at, found = self._nodes
            if time.monotonic() - asked_at >= _REDIS_KEPT_SECONDS:
                asked_at = time.monotonic()
                try:
                    found = await self._redis.nodes()
                except (RedisError, OSError, TimeoutError) as error:
                    _log.warning("redis.not_asked", error=type(error).__name__)
                    found = ()
                self._nodes = (asked_at, found)
        return found
