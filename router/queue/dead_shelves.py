"""Where each broker keeps the dead letters, and what can be done with them there.

- **Streams**: read in place. Putting one back is one script: it is on its lane in the step in which it is off the dead letters.
- **kombu's own Redis transport**: a list, read in place. Putting back is two steps, the lane first.
- **RabbitMQ**, and what else kombu knows: a queue is not read in place. Messages are taken as a consumer takes them, and given back at the
  end; meanwhile others see the queue without them. One look takes `MOST_TAKEN` at most, and a quorum queue puts what is given back behind
  those: where there are more, the next look sees others. What is put back on its lane is acknowledged when the broker has confirmed it.

From RabbitMQ 4.0 on a quorum queue has a limit of deliveries by itself, and a dead letter must not be dropped for having been looked at. So
what goes back goes by basic.nack, which newer ones do not count (rabbitmq.com, "Negative Acknowledgements"), and one that was counted
`_WORN` times is published anew.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

import msgspec
from amqp import spec  # type: ignore[import-untyped]  # not marked as typed
from kombu import Producer

from router.domain.message import Lane
from router.queue.broker import KEY_PREFIX, Broker
from router.queue.burial import DeadLetter, body_of, headers_of, letter_of, publish
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.streams.codec import encode_parts
from router.queue.streams.message import Entry as StreamEntry
from router.queue.streams.scripts import ACK, MOVE

MOST_TAKEN: Final = 1000
_PAGE = 500
_WORN = 10
_BACK_SECONDS = 1.0
_LOOK_SECONDS = 0.01
_JSON, _UTF8 = "application/json", "utf-8"


class Held(NamedTuple):
    """A dead letter with all that is needed to put it back. `place` is how its broker names it."""

    letter: DeadLetter
    body: bytes
    place: Any


class Back(NamedTuple):
    """One that goes back on a lane, with that body and those headers."""

    held: Held
    lane: Lane
    body: bytes
    headers: dict[str, Any]


class Shelf(Protocol):
    """The dead letters of one broker, over one connection. Every method raises the broker's errors."""

    def count(self) -> int:
        """How many there are; not those in the hands of others."""
        ...

    def look(self, limit: int, *, latest: bool) -> list[Held]:
        """The first or the last of them, in that order."""
        ...

    def find(self, letter_id: str) -> Held | None: ...

    def pages(self) -> Iterator[list[Held]]:
        """All that are there at the beginning, the oldest first. Of a page some may be put back before the next is asked for."""
        ...

    def put_back(self, letters: Sequence[Back]) -> int:
        """Answers how many were still there."""
        ...

    def drop(self, held: Held) -> bool:
        """False where somebody else took it."""
        ...

    def close(self) -> None:
        """Nothing is in hand any more."""
        ...


def shelf_of(broker: Broker, channel: Any) -> Shelf:
    """The shelf of an open channel."""
    if broker.is_streams:
        return StreamShelf(channel)
    return ListShelf(channel) if broker.is_redis else TakingShelf(broker, channel)


class StreamShelf:
    """On our own transport. The id is the stream's."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._link = channel.link
        self._group: str = channel.connection.options.group
        self._stream = channel.stream_for(DEAD_QUEUE, 0)

    def count(self) -> int:
        return int(self._link.call("XLEN", self._stream.key))

    def look(self, limit: int, *, latest: bool) -> list[Held]:
        return self._read("XREVRANGE", "+", "-", limit) if latest else self._read("XRANGE", "-", "+", limit)

    def find(self, letter_id: str) -> Held | None:
        millis, _, number = letter_id.partition("-")
        if not (letter_id.isascii() and millis.isdigit() and number.isdigit()) or len(letter_id) > 41:
            return None
        return next(iter(self._read("XRANGE", letter_id, letter_id, 1)), None)

    def pages(self) -> Iterator[list[Held]]:
        last = self._read("XREVRANGE", "+", "-", 1)
        start = "-"
        while last and (page := self._read("XRANGE", start, last[0].letter.id, _PAGE)):
            yield page
            start = f"({page[-1].letter.id}"

    def _read(self, command: str, start: str, end: str, count: int) -> list[Held]:
        return [self._held(entry_id, fields) for entry_id, fields in self._link.call(command, self._stream.key, start, end, "COUNT", count)]

    def _held(self, entry_id: bytes, fields: list[bytes]) -> Held:
        entry = StreamEntry(self._stream, entry_id, fields, 1)
        try:
            headers = entry.meta().headers
        except ValueError:
            headers = {}
        return Held(letter_of(entry.body, headers, id=entry_id.decode(), died_at=entry.written_ms / 1000), entry.body, entry_id)

    def put_back(self, letters: Sequence[Back]) -> int:
        moved = 0
        for one in letters:
            keys = [self._stream.key, self._channel.stream_for(QUEUES[one.lane], 0).key]
            moved += int(self._link.run(MOVE, keys, self._group, one.held.place, encode_parts(_JSON, _UTF8, one.headers), one.body))
        return moved

    def drop(self, held: Held) -> bool:
        return bool(self._link.run(ACK, [self._stream.key], self._group, 1, held.place)[0])

    def close(self) -> None:
        """Nothing was taken."""


class ListShelf:
    """On kombu's own Redis transport: a list that is filled from the left. The id is the message's delivery tag."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        # kombu does not put its prefix before the key of a command that it does not use itself
        self._key = f"{KEY_PREFIX}{DEAD_QUEUE}"
        self._dropped = 0

    def count(self) -> int:
        return int(self._channel.client.llen(DEAD_QUEUE))

    def look(self, limit: int, *, latest: bool) -> list[Held]:
        return self._read(0, limit - 1) if latest else self._read(-limit, -1)[::-1]

    def find(self, letter_id: str) -> Held | None:
        return next((held for page in self.pages() for held in page if held.letter.id == letter_id), None)

    def pages(self) -> Iterator[list[Held]]:
        left, kept = self.count(), 0
        while left > 0:
            number = min(left, _PAGE)
            self._dropped = 0
            yield self._read(-(kept + number), -(kept + 1))[::-1]
            # What comes meanwhile is at the other end
            kept += number - self._dropped
            left -= number

    def _read(self, first: int, last: int) -> list[Held]:
        return [self._held(raw) for raw in self._channel.client.lrange(self._key, first, last)]

    def _held(self, raw: bytes) -> Held:
        body, headers, tag = raw, {}, None
        try:
            message = msgspec.json.decode(raw)
            properties = message["properties"]
            body = self._channel.decode_body(message["body"], properties.get("body_encoding"))
            body = body if isinstance(body, bytes) else str(body).encode("utf-8", "replace")
            headers, tag = message["headers"], str(properties["delivery_tag"])
        except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, ValueError):
            headers = {}  # somebody else's: told by its length and hash
        return Held(letter_of(body, headers, id=tag), body, raw)

    def put_back(self, letters: Sequence[Back]) -> int:
        _publish(self._channel, letters)
        return sum(self.drop(one.held) for one in letters)

    def drop(self, held: Held) -> bool:
        dropped = int(self._channel.client.lrem(self._key, -1, held.place))
        self._dropped += dropped
        return dropped > 0

    def close(self) -> None:
        """Nothing was taken."""


class TakingShelf:
    """On any other broker. The id is made of what the letter says of itself: where two say the same, either will do."""

    def __init__(self, broker: Broker, channel: Any) -> None:
        self._broker = broker
        self._channel = channel
        self._queue = Broker.dead_queue()(channel)
        self._in_hand: list[Any] = []

    def count(self) -> int:
        return self._broker.depth(self._channel, DEAD_QUEUE) + len(self._in_hand)

    def look(self, limit: int, *, latest: bool) -> list[Held]:
        taken = sorted(self._take(MOST_TAKEN), key=lambda held: held.letter.died_at or 0.0)
        return taken[-limit:][::-1] if latest else taken[:limit]

    def find(self, letter_id: str) -> Held | None:
        return next((held for held in self._take(MOST_TAKEN) if held.letter.id == letter_id), None)

    def pages(self) -> Iterator[list[Held]]:
        left = self.count()
        while left > 0 and (page := self._take(min(left, _PAGE))):
            left -= len(page)
            yield page

    def _take(self, most: int) -> list[Held]:
        taken: list[Held] = []
        while len(taken) < most and (message := self._queue.get()) is not None:
            self._in_hand.append(message)
            body = body_of(message)
            taken.append(Held(letter_of(body, message.headers or {}), body, message))
        return taken

    def put_back(self, letters: Sequence[Back]) -> int:
        _publish(self._channel, letters)
        return sum(self.drop(one.held) for one in letters)

    def drop(self, held: Held) -> bool:
        held.place.ack()
        self._in_hand.remove(held.place)
        return True

    def close(self) -> None:
        try:
            self._renew()
        finally:
            in_hand, self._in_hand = self._in_hand, []
            if in_hand and self._broker.is_amqp:
                everything = (0, True, True)  # no tag, multiple, requeue
                self._channel.send_method(spec.Basic.Nack, "Lbb", everything)
                self._wait_for_return(len(in_hand))
            elif in_hand:
                for message in in_hand:
                    message.requeue()

    def _wait_for_return(self, number: int) -> None:
        """A nack is not answered. Whoever looks next should see all of them, but it is no fault where somebody else is quicker."""
        deadline = time.monotonic() + _BACK_SECONDS
        while self._broker.depth(self._channel, DEAD_QUEUE) < number and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)

    def _renew(self) -> None:
        """Those that were delivered often get a copy that was not, and go when the broker has it. Their id stays."""
        worn = [message for message in self._in_hand if _deliveries(message) >= _WORN]
        if not worn:
            return
        producer = Producer(self._channel)
        with producer.batch():
            for message in worn:
                publish(producer, body_of(message), headers_of(message.headers))
        for message in worn:
            message.ack()
            self._in_hand.remove(message)


def _deliveries(message: Any) -> int:
    count = (message.headers or {}).get("x-delivery-count")
    return count if isinstance(count, int) else 0


def _publish(channel: Any, letters: Sequence[Back]) -> None:
    """Returns when the broker has all of them."""
    producer = Producer(channel)
    with producer.batch():
        for one in letters:
            producer.publish(
                one.body, routing_key=QUEUES[one.lane], content_type=_JSON, content_encoding=_UTF8, headers=one.headers,
            )  # fmt: skip
