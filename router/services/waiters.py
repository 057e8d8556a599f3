"""Who waits for something to fetch, and what wakes them."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from typing import Protocol, TypeVar

import structlog

from router.clock import Clock
from router.domain.errors import Unavailable
from router.services.listening import listen
from router.store.store import Store

_log = structlog.get_logger()
_LOOK_EVERY_SECONDS = 1.0


class Wakes(Protocol):
    """What an open line has waiting."""

    def set(self) -> None:
        """There is something new to fetch."""
        ...

    def remind(self) -> None:
        """There is something to fetch, maybe what it has heard of."""
        ...


class Waiting(asyncio.Event):
    """For a line that fetches when it is woken, whatever for."""

    def remind(self) -> None:
        self.set()


W = TypeVar("W", bound=Wakes)


class Waiters:
    """The open long-polls and event streams of this process, and what wakes them: the dispatchers' hints, and a look at all once a second.

    The hints are Redis pub/sub and may be lost; the look finds what they missed, and counts each open line as a sign of life.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._events: dict[str, set[Wakes]] = defaultdict(set)
        self._pools: dict[str, str] = {}

    def __len__(self) -> int:
        return sum(map(len, self._events.values()))

    @contextlib.asynccontextmanager
    async def waiting(self, seeds: Mapping[str, str], event: W) -> AsyncIterator[W]:
        """The event is set whenever one of these seeds (id → pool) may have something to fetch."""
        for seed_id in seeds:
            self._events[seed_id].add(event)
        self._pools.update(seeds)
        try:
            yield event
        finally:
            for seed_id in seeds:
                self._events[seed_id].discard(event)
                if not self._events[seed_id]:
                    del self._events[seed_id]
                    self._pools.pop(seed_id, None)

    def wake(self, seed_id: str) -> None:
        for event in self._events.get(seed_id, ()):
            event.set()

    def wake_all(self) -> None:
        for seed_id in list(self._events):
            self.wake(seed_id)

    async def listen(self) -> None:
        """Takes the dispatchers' hints, for ever."""
        await listen(self._store.hints, self._wake_each, "outbox.no_hints")

    def _wake_each(self, hint: bytes) -> None:
        for seed_id in hint.decode().split():
            self.wake(seed_id)

    async def look(self) -> None:
        """Looks after all open long-polls, for ever."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
            try:
                await self._look_once()
            except Unavailable as error:
                _log.warning("outbox.not_seen", error=str(error))

    async def _look_once(self) -> None:
        seeds = list(self._events)
        now = self._clock.now()
        batch = self._store.batch()
        for seed_id in seeds:
            self._store.seeds.touch(batch, seed_id, self._pools.get(seed_id, ""), now)
        counts = self._store.batch()
        for seed_id in seeds:
            self._store.seeds.waiting(counts, seed_id)
        await batch.run()
        for seed_id, count in zip(seeds, await counts.run(), strict=True):
            if count:
                for event in self._events.get(seed_id, ()):
                    event.remind()
