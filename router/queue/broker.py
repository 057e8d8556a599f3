"""The queues, declared in one place, and the way to a broker.

Messages go through the default exchange, by the queue's name: with a named one, kombu's Redis transport asks for the exchange's bindings
before each publish, and drops silently once that table is gone (a flush). A dead letter is published by us, with its reason, since that
transport has no dead-letter exchange; the entry is acknowledged only after that.

A broker that can (RabbitMQ, from 3.10) makes them quorum queues, and buries by itself what was given out `DELIVERY_LIMIT` times and came
back each time: an entry that takes its consumer down with it. It keeps such an entry until the dead-letter queue has it (at-least-once),
which it does only for queues that refuse when they are full (reject-publish).
"""

import itertools
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit

import msgspec
from kombu import Connection, Queue
from kombu.transport.virtual import Channel as VirtualChannel
from kombu.utils.url import sanitize_url

from router.domain.message import LANES, Lane
from router.queue import rabbitmq, redis_streams
from router.queue.entries import Entry, LaneState, decode
from router.queue.lanes import DEAD_QUEUE, QUEUES, LaneCycle

DELIVERY_LIMIT: Final = 20
LANE_ARGUMENTS: Final = {
    "x-queue-type": "quorum",
    "x-delivery-limit": DELIVERY_LIMIT,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": DEAD_QUEUE,
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
"""The same for all brokers: each takes what it understands; kombu's Redis transport none of it."""
DEAD_ARGUMENTS: Final = {"x-queue-type": "quorum"}
KEY_PREFIX = "queue:"
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")


class Broker:
    """How to reach the queue. Connections are made by whoever needs one, for one thread."""

    def __init__(self, url: str, *, visibility_timeout_seconds: float = 30.0) -> None:
        """Several AMQP URLs, with `;` in between, are nodes of one cluster. Raises ValueError for one with an unknown option."""
        self.is_streams = url.split("://", 1)[0] in redis_streams.SCHEMES
        self.url = url if self.is_streams else kombu_url(url)
        self._visibility_timeout_seconds = visibility_timeout_seconds
        nodes = self.url.split(";")
        if self.is_amqp:
            for node in nodes:
                rabbitmq.parameters(node)
        self._nodes = itertools.cycle(nodes)

    def __repr__(self) -> str:
        if self.is_amqp or self.is_streams:
            return f"<Broker {';'.join(map(sanitize_url, self.url.split(';')))}>"
        return f"<Broker {Connection(self.url).as_uri()}>"

    @property
    def is_redis(self) -> bool:
        """kombu's own transport for Redis."""
        return not self.is_streams and self.url.split("://", 1)[0] in _REDIS_SCHEMES

    @property
    def is_amqp(self) -> bool:
        return self.url.split("://", 1)[0] in rabbitmq.SCHEMES

    def connect(self) -> Connection:
        """A new connection, not opened yet; of several AMQP nodes to the next one each time."""
        if self.is_amqp:
            return Connection(**rabbitmq.parameters(next(self._nodes)))
        if self.is_streams:
            return Connection(**redis_streams.parameters(self.url, visibility_timeout_seconds=self._visibility_timeout_seconds))
        options: dict[str, Any] = {}
        if self.is_redis:
            options = {
                "global_keyprefix": KEY_PREFIX,
                "priority_steps": [0],
                "queue_order_strategy": f"{LaneCycle.__module__}:{LaneCycle.__qualname__}",
                "visibility_timeout": self._visibility_timeout_seconds,
                "unacked_restore_throttle": 1,
                "socket_timeout": 15,
                "socket_connect_timeout": 5,
            }
        return Connection(self.url, transport_options=options)

    def open_channel(self, connection: Connection) -> Any:
        """A channel, and all queues. Raises the broker's error at once: whoever calls has a rule of its own for trying again."""
        if self.is_amqp or self.is_streams:
            connection.ensure_connection(max_retries=0)
        channel = connection.channel()
        self.declare(channel)
        return channel

    @staticmethod
    def lane_queues() -> list[Queue]:
        return [Queue(QUEUES[lane], durable=True, queue_arguments=LANE_ARGUMENTS) for lane in LANES]

    @staticmethod
    def dead_queue() -> Queue:
        return Queue(DEAD_QUEUE, durable=True, queue_arguments=DEAD_ARGUMENTS)

    @staticmethod
    def declare(channel: Any) -> None:
        """Makes all queues, where they do not exist."""
        for queue in (*Broker.lane_queues(), Broker.dead_queue()):
            queue(channel).declare()

    @staticmethod
    def depth(channel: Any, queue: str) -> int:
        """Entries that wait in a queue; those in a consumer's hands are not counted. Makes all queues anew where it is missing."""
        passive = not isinstance(channel, VirtualChannel)
        try:
            return int(Queue(queue, durable=True)(channel).queue_declare(passive=passive).message_count)
        except rabbitmq.NotFound:  # py-amqp has opened the channel again, which the broker closed for that
            Broker.declare(channel)
            return 0

    def lane_state(self, channel: Any, lane: Lane) -> LaneState:
        """Depth, and the age of the oldest where the broker is kombu's own Redis. (On streams `StreamPublisher` looks for itself.)"""
        depth = self.depth(channel, QUEUES[lane])
        if depth == 0 or not isinstance(channel, VirtualChannel) or not self.is_redis:
            return LaneState(depth)
        return LaneState(depth, _oldest_on_redis(channel, QUEUES[lane]))


def _oldest_on_redis(channel: Any, queue: str) -> float | None:
    """kombu's lists are filled from the left: the last element is the oldest."""
    # kombu does not put its prefix before the key of a command that it does not use itself
    raw = channel.client.lindex(f"{KEY_PREFIX}{queue}", -1)
    if raw is None:
        return None
    try:
        return _entry_of(channel, msgspec.json.decode(raw)).at
    except (msgspec.MsgspecError, LookupError, TypeError, AttributeError, ValueError):
        # Whatever it is, it is no entry of ours; the consumer will find out
        return None


def _entry_of(channel: Any, message: dict[str, Any]) -> Entry:
    body = channel.decode_body(message["body"], message["properties"].get("body_encoding"))
    return decode(body)


def kombu_url(url: str) -> str:
    """Our `stock+redis://…` and `stock+unix:///path?db=0` in kombu's words; everything else as it is."""
    url = url.removeprefix("stock+")
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("db", "0")
    return f"redis+socket://{quote(unquote(parts.path))}?virtual_host={database}"
