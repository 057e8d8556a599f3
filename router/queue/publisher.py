"""Puts entries on the queue for an asyncio program: kombu is synchronous, so one thread holds the connection.

The thread takes whatever has come together while it was busy and sends it in one go: concurrent callers share a round trip, a caller
alone waits for nobody. A caller hears of its own entries only when they are on the queue.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Sequence

import msgspec
import structlog
from kombu import Connection, Producer

from router.domain.errors import Unavailable
from router.domain.message import LANES, Lane
from router.queue.broker import Broker
from router.queue.entries import Entry, LaneState, QueuePublisher, encode
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.rabbitmq import Blocked
from router.queue.redis_streams import StreamPublisher

_log = structlog.get_logger()
_BATCH = 500
_LOOK_EVERY_SECONDS = 1.0
_TRIES = 2


class _Parcel(msgspec.Struct, frozen=True):
    entries: Sequence[Entry]
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[None]

    def resolve(self, error: Exception | None) -> None:
        self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        elif isinstance(error, Unavailable):
            self.done.set_exception(Unavailable(str(error), error.retry_after_seconds))
        else:
            self.done.set_exception(Unavailable(f"the queue cannot be reached: {type(error).__name__}"))


def publisher_for(broker: Broker) -> QueuePublisher:
    """The one that is at home on this broker; to be started and stopped."""
    return StreamPublisher(broker.url) if broker.is_streams else BatchingPublisher(broker)


class BatchingPublisher:
    """One per process; `start` and `stop` it. `lanes` is how full the queue was about a second ago."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self.lanes: dict[Lane, LaneState] = {lane: LaneState(0) for lane in LANES}
        self.dead_letters = 0

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Sends what is left, and ends the thread."""
        self._stopping.set()
        self._parcels.put(None)
        await asyncio.to_thread(self._thread.join, 10.0)

    @property
    def depth(self) -> int:
        return sum(state.depth for state in self.lanes.values())

    async def publish(self, entries: Sequence[Entry]) -> None:
        """See `entries.Publisher`."""
        if not entries:
            return
        if self._stopping.is_set():
            raise Unavailable("this process is stopping")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._parcels.put(_Parcel(entries, loop, done))
        await done

    def _run(self) -> None:
        link = _Link(self._broker)
        looked_at = float("-inf")
        while not (self._stopping.is_set() and self._parcels.empty()):
            if time.monotonic() - looked_at >= _LOOK_EVERY_SECONDS:
                looked_at = time.monotonic()
                self._look(link)
            if parcels := self._gather():
                self._send(link, parcels)
        link.close()

    def _gather(self) -> list[_Parcel]:
        """What is there, or the first that comes; nothing after a second, or when woken to stop."""
        parcels: list[_Parcel] = []
        size = 0
        try:
            parcel = self._parcels.get(timeout=_LOOK_EVERY_SECONDS)
            while parcel is not None:
                parcels.append(parcel)
                size += len(parcel.entries)
                parcel = self._parcels.get_nowait() if size < _BATCH else None
        except queue.Empty:
            return parcels
        return parcels

    @staticmethod
    def _send(link: "_Link", parcels: list[_Parcel]) -> None:
        entries = [entry for parcel in parcels for entry in parcel.entries]
        error: Exception | None = None
        for attempt in range(_TRIES):
            try:
                link.send(entries)
            except Blocked as blocked:
                # Its connection is kept: it tells when that is over, and another would be blocked as well
                error = blocked
                _log.warning("queue.blocked", entries=len(entries))
                break
            except Exception as failure:  # noqa: BLE001 - every broker library has errors of its own; each caller is told
                error = failure
                link.close()
                _log.warning("queue.publish_failed", entries=len(entries), attempt=attempt + 1, error=repr(failure))
            else:
                error = None
                break
        for parcel in parcels:
            parcel.resolve(error)

    def _look(self, link: "_Link") -> None:
        try:
            self.lanes, self.dead_letters = link.look()
        except Blocked:
            _log.warning("queue.not_seen", error="blocked")
        except Exception as failure:  # noqa: BLE001 - as above; the figures stay as they were
            link.close()
            _log.warning("queue.not_seen", error=repr(failure))


class _Link:
    """The connection of the publisher's thread, opened when it is needed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = self._broker.connect()
            self._producer = Producer(self._broker.open_channel(self._connection))
        return self._producer

    def send(self, entries: Sequence[Entry]) -> None:
        producer = self._open()
        with producer.batch(_BATCH):
            for entry in entries:
                producer.publish(
                    encode(entry), routing_key=QUEUES[entry.lane], content_type="application/json", content_encoding="utf-8",
                )  # fmt: skip

    def look(self) -> tuple[dict[Lane, LaneState], int]:
        channel = self._open().channel
        return {lane: self._broker.lane_state(channel, lane) for lane in LANES}, self._broker.depth(channel, DEAD_QUEUE)

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except OSError as error:
                _log.debug("queue.close_failed", error=repr(error))
