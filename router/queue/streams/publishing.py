"""The channel's verbs for publishing."""

from collections.abc import Iterable, Mapping
from typing import Any

from kombu.exceptions import ChannelError
from kombu.log import get_logger

from .codec import Raw, body_bytes, encode, encode_parts
from .message import Stream
from .publish import PublishBatch, Puts, chunks, delayed_member
from .topology import TopologyChannel

_log = get_logger("kombu.transport.redisstreams")
_NO_ROUTE = (60, 40)


class PublishingChannel(TopologyChannel):
    """Each message is one XADD; batches go in one command."""

    supports_batch_publish = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)
        self._default_keys: dict[str, bytes] = {}
        self.events: dict[str, set[Any]] = {"basic_return": set()}

    def basic_publish(self, message: Raw, exchange: str = "", routing_key: str = "", mandatory: bool = False, **kwargs: Any) -> None:
        """Returns when Redis has it."""
        properties = message["properties"]
        if not exchange and not message["headers"] and not properties.get("priority"):
            self._add(self.default_stream_key(routing_key), encode(message, "", routing_key, routing_key), body_bytes(message["body"]))
            return
        puts = Puts()
        for queue in self.targets(message, exchange, routing_key, mandatory):
            self.add_put(puts, queue, message, exchange, routing_key)
        if puts.messages:
            self.send(puts)

    def targets(self, message: Raw, exchange: str, routing_key: str, mandatory: bool) -> list[str]:
        """The queues for a message. Where one must be and none is, the handlers of `basic_return` are told; without any, it raises."""
        try:
            return self.route(exchange, routing_key, mandatory)
        except ChannelError as error:
            if not mandatory or not self.events["basic_return"]:
                raise
            for handler in list(self.events["basic_return"]):
                handler(error, exchange, routing_key, message)
            return []

    def send(self, puts: Puts) -> None:
        """Returns when Redis has all of it."""
        for queue in puts.send(self.link):
            _log.info("the temporary queue %r is gone; its bindings are removed, and a message for it was dropped", queue)
            self.exchanges.unbind_queue(queue)

    def create_publish_batch(self, max_size: int) -> PublishBatch:
        return PublishBatch(self, max_size)

    def publish_many(
        self,
        queue: str,
        bodies: Iterable[bytes],
        content_type: str | None = "application/json",
        content_encoding: str | None = "utf-8",
        headers: Mapping[str, Any] | None = None,
    ) -> int:
        """Puts many ready bodies on one queue, in order, a thousand a round trip. Returns how many, when Redis has all of them.

        Raises redis-py's errors; then some may be on the queue.
        """
        key = self.default_stream_key(queue)
        meta = encode_parts(content_type, content_encoding, headers)
        total = 0
        for piece in chunks(bodies):
            puts = Puts()
            for body in piece:
                puts.add(key, meta, body)
            self.send(puts)
            total += len(piece)
        return total

    def add_put(self, puts: Puts, queue: str, message: Raw, exchange: str, routing_key: str) -> None:
        """One message for one queue, to be sent with others."""
        stream = self.stream_for(queue, int(message["properties"].get("priority") or 0))
        meta, body = encode(message, exchange, routing_key, queue), body_bytes(message["body"])
        delay = delay_of(message)
        if exchange and queue in self.exchanges.temporary_queues:
            puts.must_exist(stream.key, queue)
        if delay > 0:
            puts.add_delayed(self.connection.keys.delayed(queue), delay, delayed_member(stream.step, meta, body))
        else:
            puts.add(stream.key, meta, body)

    def _put(self, queue: str, message: Raw, **kwargs: Any) -> None:
        info = message["properties"].get("delivery_info") or {}
        puts = Puts()
        self.add_put(puts, queue, message, info.get("exchange", ""), info.get("routing_key", queue))
        self.send(puts)

    def _add(self, key: bytes, meta: bytes, body: bytes) -> None:
        self.link.call("XADD", key, "*", *(("m", meta) if meta else ()), "b", body)

    def default_stream_key(self, queue: str) -> bytes:
        """The stream of a queue for messages without priority."""
        key = self._default_keys.get(queue)
        if key is None:
            if len(self._default_keys) > 10_000:
                self._default_keys.clear()
            key = self._default_keys[queue] = self.stream_for(queue, 0).key
        return key

    def stream_for(self, queue: str, priority: int) -> Stream:
        stream: Stream = self.connection.queues.stream_for(queue, priority)
        return stream

    def route(self, exchange: str, routing_key: str, mandatory: bool = False) -> list[str]:
        """The queues that a message goes to. Raises ChannelError where the exchange is not there, or none is and one must be."""
        if not exchange:
            return [routing_key]
        found = self._lookup(exchange, routing_key)
        if not found:
            if mandatory:
                raise ChannelError(f"NO_ROUTE - {exchange!r} with {routing_key!r}", _NO_ROUTE, "Channel.basic_publish", "312")
            if self.exchanges.type_of(exchange) != "fanout":  # there it is usual that nobody listens
                self.connection.unroutable(exchange, routing_key)
        return found


def delay_of(message: Raw) -> int:
    """The header `x-delay`, in ms; 0 where it is none."""
    headers = message["headers"]
    if not headers:
        return 0
    delay = headers.get("x-delay")
    try:
        return max(int(delay), 0) if delay is not None else 0
    except (TypeError, ValueError):
        wrong = f"PRECONDITION_FAILED - the header x-delay is {delay!r}, no number of ms"
        raise ChannelError(wrong, _NO_ROUTE, "Channel.basic_publish", "406") from None
