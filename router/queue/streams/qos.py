"""Which messages a channel holds, and what becomes of them."""

from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from kombu.transport import virtual

from .message import Message

if TYPE_CHECKING:
    from .channel import Channel

_log = get_logger("kombu.transport.redisstreams")


class QoS(virtual.QoS):
    """The prefetch limit and the messages in hand. Acknowledging is safe from any thread: each step is one operation on a dict or deque."""

    restore_at_shutdown = False

    def __init__(self, channel: "Channel", prefetch_count: int = 0) -> None:
        # kombu's own constructor is left out: its registry of dirty tags and its finalizer have no work here
        self.channel = channel
        self.prefetch_count = prefetch_count or 0
        self._delivered: Any = {}
        self._dirty: set[str] = set()
        self._transport = channel.connection

    def can_consume(self) -> bool:
        return not self.prefetch_count or len(self._delivered) < self.prefetch_count

    def can_consume_max_estimate(self) -> int | None:
        """How many more may be taken; None is no limit."""
        return max(self.prefetch_count - len(self._delivered), 0) if self.prefetch_count else None

    def append(self, message: Any, delivery_tag: str) -> None:
        self._delivered[delivery_tag] = message

    def get(self, delivery_tag: str) -> Any:
        return self._delivered[delivery_tag]

    def in_hand(self) -> list[Any]:
        return list(self._delivered.values())

    def forget(self) -> None:
        self._delivered.clear()

    def ack(self, delivery_tag: str) -> None:
        message = self._delivered.pop(delivery_tag, None)
        if message is None:
            _log.warning("acknowledged the unknown delivery tag %r: settled before, or given back by closing the channel", delivery_tag)
            return
        if message.entry is not None:
            self._transport.settled(message.entry)

    def ack_up_to(self, delivery_tag: str) -> None:
        """AMQP's `multiple`: this one and all that were delivered before it."""
        if delivery_tag not in self._delivered:
            self.ack(delivery_tag)
            return
        for tag in list(self._delivered):
            self.ack(tag)
            if tag == delivery_tag:
                return

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._delivered.pop(delivery_tag, None)
        if message is None:
            _log.warning("rejected the unknown delivery tag %r", delivery_tag)
            return
        if self.channel.connection is None:
            _log.warning("rejected %r on a closed channel: it is delivered again when its lease is over", delivery_tag)
            return
        try:
            if requeue:
                self.channel.give_back([message.entry])
            else:
                self.channel.dead_letters.reject(message.entry)
        except BaseException:
            # Not settled: it stays in hand, or comes back when the lease is over
            self._delivered[delivery_tag] = message
            raise
        self._transport.has_room()

    def restore_unacked(self) -> list[Any]:
        """Gives back all that is in hand, in order. AMQP's `basic.recover`."""
        entries = [message.entry for message in self.in_hand() if isinstance(message, Message) and message.entry]
        self._delivered.clear()
        if entries:
            self.channel.give_back(entries)
        return []

    def restore_unacked_once(self, stderr: Any = None) -> None:
        self.restore_unacked()
