"""Puts entries on the queue for an asyncio program, over brokers whose clients are synchronous: in batches, from a thread (`mailbox`)."""

from collections.abc import Sequence

import structlog
from kombu import Connection, Producer

from router.domain.message import LANES, Lane
from router.queue.broker import Broker
from router.queue.entries import Entry, LaneState, QueuePublisher, encode
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.mailbox import BATCH, Mailbox, Parcel, ProducerLink
from router.queue.rabbitmq import Blocked
from router.queue.redis_streams import StreamPublisher

_log = structlog.get_logger()
_LOOK_EVERY_SECONDS = 1.0
_TRIES = 2


def publisher_for(broker: Broker) -> QueuePublisher:
    """The one that is at home on this broker; to be started and stopped."""
    return StreamPublisher(broker.url) if broker.is_streams else BatchingPublisher(broker)


class BatchingPublisher:
    """One per process; `start` and `stop` it. `lanes` is how full the queue was about a second ago."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._link = ProducerLink(self._open)
        self._mailbox: Mailbox[Entry] = Mailbox("publisher", self._send, self._look, self._link.close, _LOOK_EVERY_SECONDS)
        self.lanes: dict[Lane, LaneState] = {lane: LaneState(0) for lane in LANES}
        self.dead_letters = 0

    def start(self) -> None:
        self._mailbox.start()

    async def stop(self) -> None:
        """Sends what is left, and ends the thread."""
        await self._mailbox.stop()

    @property
    def depth(self) -> int:
        return sum(state.depth for state in self.lanes.values())

    async def publish(self, entries: Sequence[Entry]) -> None:
        """See `entries.Publisher`."""
        await self._mailbox.post(entries)

    def _open(self) -> tuple[Connection, Producer]:
        connection = self._broker.connect()
        return connection, Producer(self._broker.open_channel(connection))

    def _send(self, parcels: list[Parcel[Entry]]) -> None:
        entries = [entry for parcel in parcels for entry in parcel.items]
        error: Exception | None = None
        for attempt in range(_TRIES):
            try:
                self._publish(entries)
            except Blocked as blocked:
                # Its connection is kept: it tells when that is over, and another would be blocked as well
                error = blocked
                _log.warning("queue.blocked", entries=len(entries))
                break
            except Exception as failure:  # noqa: BLE001 - every broker library has errors of its own; each caller is told
                error = failure
                self._link.close()
                _log.warning("queue.publish_failed", entries=len(entries), attempt=attempt + 1, error=repr(failure))
            else:
                error = None
                break
        for parcel in parcels:
            parcel.resolve(error)

    def _publish(self, entries: Sequence[Entry]) -> None:
        producer = self._link.producer
        with producer.batch(BATCH):
            for entry in entries:
                producer.publish(
                    encode(entry), routing_key=QUEUES[entry.lane], content_type="application/json", content_encoding="utf-8",
                )  # fmt: skip

    def _look(self) -> None:
        try:
            channel = self._link.producer.channel
            lanes = {lane: self._broker.lane_state(channel, lane) for lane in LANES}
            self.lanes, self.dead_letters = lanes, self._broker.depth(channel, DEAD_QUEUE)
        except Blocked:
            _log.warning("queue.not_seen", error="blocked")
        except Exception as failure:  # noqa: BLE001 - as above; the figures stay as they were
            self._link.close()
            _log.warning("queue.not_seen", error=repr(failure))
