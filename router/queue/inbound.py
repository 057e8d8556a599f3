"""Puts SMS that came in on the exchange `inbound`, for programs of others to take (docs/brokers.md).

Other than the lanes, this is a named exchange, to which anybody may bind a queue. One of ours, `seedrouter.inbound`, is bound to it from
the start, so that nothing is lost before somebody consumes. It has a bound, and beyond it nothing more is taken: what is refused is still
with whoever told it, and what is dropped would be nowhere.

A thread publishes (`mailbox`), whatever the broker, since few SMS come in compared with those that go out. It declares anew before each
batch, since a broker may have been emptied; that answers how full the queue is as well.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from kombu import Connection, Exchange, Producer, Queue

from router.domain.errors import Unavailable
from router.queue.broker import LANE_ARGUMENTS, Broker
from router.queue.mailbox import BATCH, Mailbox, Parcel, ProducerLink
from router.queue.rabbitmq import Blocked

_log = structlog.get_logger()
EXCHANGE: Final = "inbound"
INBOUND_QUEUE: Final = "seedrouter.inbound"
INBOUND_DEAD_QUEUE: Final = "seedrouter.inbound.dead"
"""Where a broker moves what a consumer was given too often and never acknowledged."""
_EVERYTHING = "#"
_TRIES = 2
_LOOK_EVERY_SECONDS = 5.0
_FULL_RETRY_SECONDS = 60


class Inbound(msgspec.Struct, frozen=True):
    """A body (JSON) and its routing key."""

    routing_key: str
    body: bytes


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
        self._link = ProducerLink(self._open)
        self._mailbox: Mailbox[Inbound] | None = None
        self.depth = 0
        """How many waited when last looked, a few seconds ago."""

    def start(self) -> None:
        if self._most:
            # It looks at once, so that a consumer finds its queue before the first SMS
            self._mailbox = Mailbox("inbound", self._send, self._look, self._link.close, _LOOK_EVERY_SECONDS)
            self._mailbox.start()

    async def stop(self) -> None:
        """Sends what is left, and ends the thread."""
        if self._mailbox is not None:
            await self._mailbox.stop()

    async def publish(self, messages: Sequence[Inbound]) -> None:
        """Returns when the broker has all of them. Raises `Unavailable` when that is not certain, and where the queue is full."""
        if not messages or not self._most:
            return
        if self._mailbox is None:
            raise Unavailable("this process is stopping")
        await self._mailbox.post(messages)

    def _open(self) -> tuple[Connection, Producer]:
        connection = self._broker.connect()
        if not self._broker.is_redis:
            # At once: whoever waits is to be told soon
            connection.ensure_connection(max_retries=0)
        return connection, Producer(connection.channel())

    def _send(self, parcels: list[Parcel[Inbound]]) -> None:
        error: Unavailable | None = None
        fitting: list[Parcel[Inbound]] = []
        for attempt in range(_TRIES):
            try:
                self.depth = declare(self._link.producer.channel)
                fitting = self._fitting(parcels)
                self._publish([message for parcel in fitting for message in parcel.items])
            except Blocked as blocked:
                error = blocked
                _log.warning("inbound.blocked")
                break
            except Exception as failure:  # noqa: BLE001 - every broker library has errors of its own; each caller is told
                error = Unavailable(f"the inbound queue cannot be reached: {type(failure).__name__}", retry_after_seconds=5)
                self._link.close()
                _log.warning("inbound.publish_failed", attempt=attempt + 1, error=repr(failure))
            else:
                error = None
                break
        for parcel in parcels:
            is_refused = error is None and not any(parcel is other for other in fitting)
            parcel.resolve(Unavailable("the inbound queue is full", _FULL_RETRY_SECONDS) if is_refused else error)

    def _publish(self, messages: Sequence[Inbound]) -> None:
        if not messages:
            return
        producer = self._link.producer
        with producer.batch(BATCH):
            for message in messages:
                producer.publish(
                    message.body, exchange=EXCHANGE, routing_key=message.routing_key, content_type="application/json",
                    content_encoding="utf-8", mandatory=True, delivery_mode=2,
                )  # fmt: skip

    def _fitting(self, parcels: Sequence[Parcel[Inbound]]) -> list[Parcel[Inbound]]:
        """Those for which there is room; each whole or not at all."""
        room = self._most - self.depth
        found: list[Parcel[Inbound]] = []
        for parcel in parcels:
            if len(parcel.items) <= room:
                found.append(parcel)
                room -= len(parcel.items)
        if len(found) < len(parcels):
            _log.warning("inbound.full", depth=self.depth, hint="nobody takes from the queue seedrouter.inbound (docs/brokers.md)")
        return found

    def _look(self) -> None:
        """Also keeps the connection alive: who says nothing for long counts as gone."""
        try:
            self.depth = declare(self._link.producer.channel)
        except Blocked:
            _log.warning("inbound.not_seen", error="blocked")
        except Exception as failure:  # noqa: BLE001 - as above; it is tried again
            self._link.close()
            _log.warning("inbound.not_seen", error=repr(failure))
