"""Puts SMS that came in on the exchange `inbound`, for programs of others to take (docs/brokers.md).

Other than the lanes, this is a named exchange, to which anybody may bind a queue. One of ours, `seedrouter.inbound`, is bound to it from
the start, so that nothing is lost before somebody consumes. It has a bound, and beyond it nothing more is taken: what is refused is still
with whoever told it, and what is dropped would be nowhere.

A thread publishes, whatever the broker, since kombu is synchronous and few SMS come in compared with those that go out. What comes
together while it is busy goes in one batch. It declares anew before each batch, since a broker may have been emptied; that answers how
full the queue is as well.
"""

import asyncio
import queue
import threading
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from kombu import Connection, Exchange, Producer, Queue

from router.domain.errors import Unavailable
from router.queue.broker import LANE_ARGUMENTS, Broker
from router.queue.rabbitmq import Blocked

_log = structlog.get_logger()
EXCHANGE: Final = "inbound"
INBOUND_QUEUE: Final = "seedrouter.inbound"
INBOUND_DEAD_QUEUE: Final = "seedrouter.inbound.dead"
"""Where a broker moves what a consumer was given too often and never acknowledged."""
_EVERYTHING = "#"
_BATCH = 500
_TRIES = 2
_LOOK_EVERY_SECONDS = 5.0
_FULL_RETRY_SECONDS = 60


class Inbound(msgspec.Struct, frozen=True):
    """A body (JSON) and its routing key."""

    routing_key: str
    body: bytes


class _Parcel(msgspec.Struct, frozen=True):
    messages: Sequence[Inbound]
    loop: asyncio.AbstractEventLoop
    done: "asyncio.Future[None]"

    def resolve(self, error: Unavailable | None) -> None:
        self.loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: Unavailable | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(Unavailable(str(error), error.retry_after_seconds))


def exchange() -> Exchange:
    """A durable topic exchange: a routing key is a platform's name, or `seeds.received`."""
    return Exchange(EXCHANGE, type="topic", durable=True)


def inbound_queue() -> Queue:
    """Ours, bound to everything. Whoever consumes from it declares it like this."""
    arguments = LANE_ARGUMENTS | {"x-dead-letter-routing-key": INBOUND_DEAD_QUEUE}
    return Queue(INBOUND_QUEUE, exchange(), routing_key=_EVERYTHING, durable=True, queue_arguments=arguments)


def declare(channel: Any) -> int:
    """Makes exchange, queues and binding, where they are not; answers how many messages wait. Raises the broker's errors."""
    Queue(INBOUND_DEAD_QUEUE, durable=True, queue_arguments={"x-queue-type": "quorum"})(channel).declare()
    bound = inbound_queue()(channel)
    bound.exchange.declare()
    waiting = bound.queue_declare().message_count
    bound.queue_bind()
    return int(waiting)


class InboundPublisher:
    """One per api process; `start` and `stop` it. `most`: beyond so many waiting messages no more are taken; 0 = nothing is published."""

    def __init__(self, broker: Broker, most: int) -> None:
        self._broker = broker
        self._most = most
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.depth = 0
        """How many waited when last looked, a few seconds ago."""

    def start(self) -> None:
        if self._most:
            self._thread = threading.Thread(target=self._run, name="inbound", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Sends what is left, and ends the thread."""
        self._stopping.set()
        self._parcels.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join, 10.0)

    async def publish(self, messages: Sequence[Inbound]) -> None:
        """Returns when the broker has all of them. Raises `Unavailable` when that is not certain, and where the queue is full."""
        if not messages or not self._most:
            return
        if self._stopping.is_set() or self._thread is None:
            raise Unavailable("this process is stopping")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._parcels.put(_Parcel(messages, loop, done))
        await done

    def _run(self) -> None:
        link = _Link(self._broker)
        # From the start, so that a consumer finds its queue before the first SMS
        self._look(link)
        while not (self._stopping.is_set() and self._parcels.empty()):
            if parcels := self._gather():
                self._send(link, parcels)
            elif not self._stopping.is_set():
                self._look(link)
        link.close()

    def _gather(self) -> list[_Parcel]:
        """What is there, or the first that comes; nothing after some seconds, or when woken to stop."""
        parcels: list[_Parcel] = []
        size = 0
        try:
            parcel = self._parcels.get(timeout=_LOOK_EVERY_SECONDS)
            while parcel is not None:
                parcels.append(parcel)
                size += len(parcel.messages)
                parcel = self._parcels.get_nowait() if size < _BATCH else None
        except queue.Empty:
            return parcels
        return parcels

    def _send(self, link: "_Link", parcels: list[_Parcel]) -> None:
        error: Unavailable | None = None
        fitting: list[_Parcel] = []
        for attempt in range(_TRIES):
            try:
                self.depth = link.declare()
                fitting = self._fitting(parcels)
                link.send([message for parcel in fitting for message in parcel.messages])
            except Blocked as blocked:
                error = blocked
                _log.warning("inbound.blocked")
                break
            except Exception as failure:  # noqa: BLE001 - every broker library has errors of its own; each caller is told
                error = Unavailable(f"the inbound queue cannot be reached: {type(failure).__name__}", retry_after_seconds=5)
                link.close()
                _log.warning("inbound.publish_failed", attempt=attempt + 1, error=repr(failure))
            else:
                error = None
                break
        kept = [id(parcel) for parcel in fitting]
        for parcel in parcels:
            is_refused = error is None and id(parcel) not in kept
            parcel.resolve(Unavailable("the inbound queue is full", _FULL_RETRY_SECONDS) if is_refused else error)

    def _fitting(self, parcels: Sequence[_Parcel]) -> list[_Parcel]:
        """Those for which there is room; each whole or not at all."""
        room = self._most - self.depth
        found: list[_Parcel] = []
        for parcel in parcels:
            if len(parcel.messages) <= room:
                found.append(parcel)
                room -= len(parcel.messages)
        if len(found) < len(parcels):
            _log.warning("inbound.full", depth=self.depth, hint="nobody takes from the queue seedrouter.inbound (docs/brokers.md)")
        return found

    def _look(self, link: "_Link") -> None:
        """Also keeps the connection alive: who says nothing for long counts as gone."""
        try:
            self.depth = link.declare()
        except Blocked:
            _log.warning("inbound.not_seen", error="blocked")
        except Exception as failure:  # noqa: BLE001 - as above; it is tried again
            link.close()
            _log.warning("inbound.not_seen", error=repr(failure))


class _Link:
    """The connection of the publisher's thread, opened when it is needed."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    def _open(self) -> Producer:
        if self._producer is None:
            self._connection = self._broker.connect()
            if not self._broker.is_redis:
                # At once: whoever waits is to be told soon
                self._connection.ensure_connection(max_retries=0)
            self._producer = Producer(self._connection.channel())
        return self._producer

    def declare(self) -> int:
        return declare(self._open().channel)

    def send(self, messages: Sequence[Inbound]) -> None:
        if not messages:
            return
        producer = self._open()
        with producer.batch(_BATCH):
            for message in messages:
                producer.publish(
                    message.body, exchange=EXCHANGE, routing_key=message.routing_key, content_type="application/json",
                    content_encoding="utf-8", mandatory=True, delivery_mode=2,
                )  # fmt: skip

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except OSError as error:
                _log.debug("inbound.close_failed", error=repr(error))
