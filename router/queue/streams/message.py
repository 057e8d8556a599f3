"""Messages as they are handed to consumers, made without the cost of kombu's general constructor where a message is plain."""

from typing import TYPE_CHECKING, Any, NamedTuple

from kombu.message import Message as BaseMessage
from kombu.transport import virtual

from .codec import PLAIN, Meta, decode

if TYPE_CHECKING:
    from .channel import Channel


class Stream:
    """A stream: a queue's messages of one priority step."""

    __slots__ = ("key", "queue", "step", "suffix")

    def __init__(self, queue: str, step: int, key: bytes) -> None:
        self.queue = queue
        self.step = step
        self.key = key
        self.suffix = f"@{step}@{queue}"

    def __repr__(self) -> str:
        return f"<Stream {self.key!r}>"


class Entry(NamedTuple):
    """An entry in hand, not made a message yet. `deliveries`: this one included."""

    stream: Stream
    id: bytes
    fields: list[bytes]
    deliveries: int

    @property
    def tag(self) -> str:
        """The delivery tag: the stream's id, and the stream, since two streams can give out the same id."""
        return self.id.decode() + self.stream.suffix

    @property
    def body(self) -> bytes:
        return self.fields[-1]

    @property
    def written_ms(self) -> int:
        """When it was put on the queue, by Redis' clock, in ms of Unix time."""
        return int(self.id.split(b"-", 1)[0])

    def meta(self) -> Meta:
        """Raises ValueError for an entry that is not ours."""
        fields = self.fields
        if len(fields) == 2:
            return PLAIN._replace(headers={}, properties={})
        return decode(fields[1])


class Message(virtual.Message):
    """kombu's message; it knows its entry, which acknowledging needs."""

    entry: Entry | None = None

    def ack(self, multiple: bool = False) -> None:
        """As kombu's, with less on the way."""
        if self._state != "RECEIVED" or multiple or self.entry is None or self.channel is None or self.channel.no_ack_consumers:
            super().ack(multiple=multiple)  # type: ignore[no-untyped-call]
            return
        self.channel.qos.ack(self.delivery_tag)
        self._state = "ACK"


_new = Message.__new__


def make_message(channel: "Channel", entry: Entry, consumer_tag: str | None = None) -> Message:
    """A message of an entry. Raises ValueError for an entry that is not ours."""
    stream, entry_id, fields, deliveries = entry
    tag = entry_id.decode() + stream.suffix
    plain = len(fields) == 2
    meta = PLAIN if plain else decode(fields[1])
    headers: dict[str, Any] = {} if plain else meta.headers
    info: dict[str, Any] = {
        "exchange": meta.exchange, "routing_key": stream.queue if meta.routing_key is None else meta.routing_key,
        "redelivered": deliveries > 1, "consumer_tag": consumer_tag,
    }  # fmt: skip
    properties: dict[str, Any] = {
        "delivery_mode": 2, "priority": 0, **meta.properties, "delivery_info": info, "delivery_tag": tag, "body_encoding": None,
    }  # fmt: skip
    if deliveries > 1:
        headers["redelivered"] = True
        headers["x-delivery-count"] = deliveries - 1
    message = _new(Message)
    message.entry = entry
    if "compression" in headers:
        BaseMessage.__init__(
            message, body=fields[-1], delivery_tag=tag, content_type=meta.content_type, content_encoding=meta.content_encoding,
            delivery_info=info, properties=properties, headers=headers, channel=channel,
        )  # fmt: skip
        return message
    message.errors = []
    message.channel = channel
    message.delivery_tag = tag
    message.content_type = meta.content_type
    message.content_encoding = meta.content_encoding
    message.delivery_info = info
    message.headers = headers
    message.properties = properties
    message._decoded_cache = None  # noqa: SLF001 - what kombu's constructor sets
    message._state = "RECEIVED"  # noqa: SLF001 - ditto
    message.accept = None
    message.body = fields[-1]
    return message
