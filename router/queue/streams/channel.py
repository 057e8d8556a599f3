"""The channel: kombu's verbs, in terms of streams."""

from collections.abc import Callable, Sequence
from queue import Empty
from typing import Any

from kombu.log import get_logger

from .deadletters import DeadLetters
from .intake import Intake
from .message import Entry, make_message
from .message import Message as StreamMessage
from .options import BLOCK_SECONDS
from .publishing import PublishingChannel
from .qos import QoS

_log = get_logger("kombu.transport.redisstreams")
_GOT_WITHOUT_ACK = "basic.get"
"""The consumer's tag of a message that was got without acknowledgement, so that acknowledging it does nothing."""

class Consuming:
    """A consumer on a queue."""

    __slots__ = ("callback", "no_ack", "tag")

    def __init__(self, tag: str, callback: Callable[[Any], Any], no_ack: bool) -> None:
        self.tag = tag
        self.callback = callback
        self.no_ack = no_ack


class Channel(PublishingChannel):
    """See the package's docstring. Beside kombu's verbs: `publish_many`, `flush_acks`, `queue_state`."""

    Message = StreamMessage
    QoS = QoS
    do_restore = False
    body_encoding: Any = None
    from_transport_options: Any = ()

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self.intake = Intake(connection)
        self.dead_letters = DeadLetters(self, connection.options.group, connection.options.dead_letter_suffix)
        self._consuming: dict[str, Consuming] = {}
        self._callbacks: dict[str, Any] = connection.callbacks
        self._getters: dict[str, Intake] = {}
        self.no_ack_consumers: Any = set()

    def basic_consume(self, queue: str, no_ack: bool, callback: Callable[[Any], Any], consumer_tag: str, **kwargs: Any) -> str:
        self._tag_to_queue[consumer_tag] = queue
        self._active_queues.append(queue)
        self._consumers.add(consumer_tag)
        self._consuming[queue] = Consuming(consumer_tag, callback, bool(no_ack))
        if no_ack:
            self.no_ack_consumers.add(consumer_tag)
        self._callbacks[queue] = callback
        self.intake.consume_from(self._active_queues)
        self.connection.begin_consuming(queue)
        return consumer_tag

    def basic_cancel(self, consumer_tag: str) -> None:
        if consumer_tag not in self._consumers:
            return
        self._consumers.remove(consumer_tag)
        self.no_ack_consumers.discard(consumer_tag)
        queue = self._tag_to_queue.pop(consumer_tag)
        self._active_queues.remove(queue)
        if queue not in self._active_queues:
            self._consuming.pop(queue, None)
            self._callbacks.pop(queue, None)
            self._give_back_undelivered(queue)
        self.intake.consume_from(self._active_queues)
        if queue not in self._active_queues:
            self.connection.end_consuming(queue)

    def basic_get(self, queue: str, no_ack: bool = False, **kwargs: Any) -> StreamMessage | None:
        """The next message, or None. What may not be delivered any more is buried on the way."""
        message: StreamMessage | None = None
        while message is None:
            try:
                entry = self._get_entry(queue)
            except Empty:
                return None
            message = self._message_of(entry, _GOT_WITHOUT_ACK if no_ack else None)
        if no_ack:
            self.no_ack_consumers.add(_GOT_WITHOUT_ACK)
            self.connection.settled(entry)
        else:
            self.qos.append(message, message.delivery_tag)
        return message

    def _get_entry(self, queue: str) -> Entry:
        getter = self._getters.get(queue)
        if getter is None:
            getter = self._getters[queue] = Intake(self.connection)
            getter.consume_from([queue])
            self.connection.begin_consuming(queue)
            self.connection.move_due([queue])
        if not getter.buffer:
            getter.fill(1)
        if not getter.buffer:
            raise Empty
        return getter.buffer.popleft()

    @property
    def active_queues(self) -> list[str]:
        """Consumed from, or got from."""
        return [*self._active_queues, *self._getters]

    def room(self) -> int:
        """How many more may be read now: 0 where nobody consumes, or all hands are full."""
        if not self._consumers:
            return 0
        free: int | None = self.qos.can_consume_max_estimate()
        most: int = self.connection.options.read_count if free is None else 10_000
        return most if free is None else min(free, most)

    def held(self) -> list[Entry]:
        """What is in hand: delivered and not settled, or read and waiting to be delivered."""
        delivered = [message.entry for message in self._qos.in_hand() if message.entry] if self._qos is not None else []
        return [*delivered, *tuple(self.intake.buffer)]

    def forget(self) -> None:
        """After a fork: all of it is the parent's."""
        if self._qos is not None:
            self._qos.forget()
        self.intake.buffer.clear()

    def drain_events(self, timeout: float | None = None, callback: Any = None) -> Any:
        if not self._consumers:
            raise Empty
        return self._get_many(self._active_queues, timeout=timeout)

    def _get_many(self, queues: Sequence[str], timeout: float | None = None) -> None:
        """Delivers what is there; where nothing is, waits for something. Raises Empty."""
        if self.deliver_ready():
            return
        if timeout == 0 or not self.qos.can_consume():
            raise Empty
        self.connection.wait([self], BLOCK_SECONDS if timeout is None else min(timeout, BLOCK_SECONDS))
        if not self.deliver_ready():
            raise Empty

    def deliver_ready(self) -> bool:
        """Delivers what can be had without waiting, within the prefetch limit. Returns whether there was anything."""
        room = self.room()
        if room == 0:
            return False
        if not self.intake.buffer:
            self.intake.fill(room)
        return self._deliver(room)

    def _deliver(self, room: int) -> bool:
        buffer, hold = self.intake.buffer, self.qos.append
        consuming = self._consuming
        settled = False
        for _ in range(min(len(buffer), room)):
            if not buffer:
                break
            entry = buffer.popleft()
            consumer = consuming.get(entry[0].queue)
            if consumer is None:
                self.give_back([entry])
                continue
            message = self._message_of(entry, consumer.tag)
            if message is None:
                settled = True
                continue
            if consumer.no_ack:
                self.connection.settled(entry)
            else:
                hold(message, message.delivery_tag)
            settled = True
            consumer.callback(message)
        return settled

    def _message_of(self, entry: Entry, consumer_tag: str | None) -> StreamMessage | None:
        """The message, or None where it is one for the dead letters: delivered too often, expired, not to be read."""
        limits = self.connection.limits_of(entry[0].queue)
        if entry[3] > 1 and entry[3] - 1 > limits.deliveries >= 0:
            self.dead_letters.bury(entry, "delivery_limit")
            return None
        try:
            message = make_message(self, entry, consumer_tag)
        except ValueError:
            self.dead_letters.bury(entry, "undecodable")
            return None
        if (limits.ttl_ms is not None or len(entry[2]) > 2) and self._is_over(entry, message, limits.ttl_ms):
            self.dead_letters.bury(entry, "expired")
            return None
        return message

    def _is_over(self, entry: Entry, message: StreamMessage, ttl_ms: int | None) -> bool:
        expiration = message.properties.get("expiration")
        lives = [int(one) for one in (expiration, ttl_ms) if one is not None]
        return bool(lives) and entry.written_ms + min(lives) <= self.connection.server_ms()

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        if multiple:
            self.qos.ack_up_to(delivery_tag)
        else:
            self.qos.ack(delivery_tag)

    def basic_recover(self, requeue: bool = False) -> Any:
        """Raises NotImplementedError without `requeue`, as kombu's others do."""
        if not requeue:
            raise NotImplementedError("basic_recover without requeue")
        return self.qos.restore_unacked()

    def flush_acks(self) -> None:
        """Sends the gathered acknowledgements now. Raises redis-py's errors; then they are kept."""
        self.connection.acks.flush(self.link)

    def give_back(self, entries: Sequence[Entry]) -> None:
        """Puts entries back in their old place in the queue, to be delivered again."""
        self.connection.give_back(entries)

    def _restore(self, message: Any) -> None:
        self.give_back([message.entry])

    def _give_back_undelivered(self, queue: str | None = None) -> None:
        buffer = self.intake.buffer
        back = [entry for entry in buffer if queue is None or entry.stream.queue == queue]
        if back:
            kept = [entry for entry in buffer if entry not in back]
            buffer.clear()
            buffer.extend(kept)
            self.give_back(back)

    def close(self) -> None:
        """Cancels its consumers, gives back what is in hand, sends the acknowledgements. Never fails for a lost connection."""
        if self.closed:
            return
        self.closed = True
        transport = self.connection
        if transport is None:
            return
        try:
            if transport.gone:
                return
            for tag in list(self._consumers):
                self.basic_cancel(tag)
            self._give_back_undelivered()
            if self._qos is not None:
                self._qos.restore_unacked_once()
            self.flush_acks()
        except transport.connection_errors as error:
            transport.gone = True
            _log.info("the channel was closed without its server (%r): what it held is delivered again when the lease is over", error)
        finally:
            self._consumers.clear()
            transport.close_channel(self)
            self.exchange_types = {}
