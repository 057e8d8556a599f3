"""The open event streams of phones: what each is to be told, and when."""

import asyncio
import contextlib
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping

import structlog

from router import metrics
from router.services.listening import listen
from router.services.waiters import Waiters
from router.store.phones import HANG_UP, News, parse_news
from router.store.store import Store

_log = structlog.get_logger()
_AGAIN_SECONDS = 1.0
_PATIENCE_SECONDS = 2.0
_MOST_PATIENCE_SECONDS = 16.0
_KEPT = 100
_ENQUEUED = "MessageEnqueued"


class EventStream:
    """One phone's stream. `wake` is set when there is something to say, and `take` says what.

    A phone hears that it has messages once a second at the most, since each time it begins its pull anew; and that what it has heard of is
    still there more and more seldom, or a pull over a slow network would never end.
    """

    def __init__(self, device_id: str) -> None:
        self.wake = asyncio.Event()
        self._device_id = device_id
        self._news: deque[News] = deque(maxlen=_KEPT)
        self.is_over = False
        self._has_messages = False
        self._said_at = float("-inf")
        self._patience_seconds = _PATIENCE_SECONDS

    def set(self) -> None:
        """One of its SIMs has something new to fetch."""
        self._patience_seconds = _PATIENCE_SECONDS
        self._has_messages = True
        self.wake.set()

    def remind(self) -> None:
        """One of its SIMs has something to fetch."""
        if time.monotonic() - self._said_at >= self._patience_seconds:
            self._patience_seconds = min(2 * self._patience_seconds, _MOST_PATIENCE_SECONDS)
            self._has_messages = True
            self.wake.set()

    def add(self, news: News) -> None:
        if news.event == _ENQUEUED:
            self.set()
            return
        if news.event == HANG_UP:
            self.is_over = True
        else:
            self._news.append(news)
        self.wake.set()

    def take(self) -> list[News]:
        """What is to be said now."""
        self.wake.clear()
        found = list(self._news)
        self._news.clear()
        if self._has_messages and self.rest_seconds() <= 0:
            self._has_messages = False
            self._said_at = time.monotonic()
            found.append(News(self._device_id, _ENQUEUED))
        return found

    def rest_seconds(self) -> float:
        """How long it may not hear of messages again."""
        return self._said_at + _AGAIN_SECONDS - time.monotonic()

    @property
    def is_holding_back(self) -> bool:
        """Is it to hear of messages once `rest_seconds` are over?"""
        return self._has_messages


class PhoneStreams:
    """All open streams of this process, and the news for them over Redis pub/sub."""

    def __init__(self, store: Store, waiters: Waiters) -> None:
        self._store = store
        self._waiters = waiters
        self._streams: defaultdict[str, set[EventStream]] = defaultdict(set)

    def __len__(self) -> int:
        return sum(map(len, self._streams.values()))

    @contextlib.asynccontextmanager
    async def open(self, device_id: str, pools: Mapping[str, str]) -> AsyncIterator[EventStream]:
        """A stream for a phone with these seeds (id → pool); it counts as a sign of life of each while it is open."""
        async with self._waiters.waiting(pools, EventStream(device_id)) as stream:
            self._streams[device_id].add(stream)
            metrics.STREAMS_OPEN.inc()
            try:
                yield stream
            finally:
                metrics.STREAMS_OPEN.dec()
                self._streams[device_id].discard(stream)
                if not self._streams[device_id]:
                    del self._streams[device_id]

    def tell(self, news: News) -> None:
        """To all streams of that device in this process."""
        for stream in self._streams.get(news.device, ()):
            stream.add(news)

    async def listen(self) -> None:
        """Takes the news of other processes, for ever."""
        await listen(self._store.news, lambda raw: self.tell(parse_news(raw)), "streams.no_news")
