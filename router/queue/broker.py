"""The queues, declared in one place, and the way to a broker.

Messages go through the default exchange, by the queue's name: with a named one, kombu's Redis transport asks for the exchange's bindings
before each publish, and drops silently once that table is gone (a flush). A dead letter is published by us, with its reason, since that
transport has no dead-letter exchange; the entry is acknowledged only after that.
"""

from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
from kombu import Connection, Queue
from kombu.transport.virtual import Channel as VirtualChannel

from router.domain.message import LANES, Lane
from router.queue.entries import Entry, decode
from router.queue.lanes import QUEUES, LaneCycle

DEAD_QUEUE = "seedrouter.dead"
KEY_PREFIX = "queue:"
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")


class LaneState(msgspec.Struct, frozen=True):
    """How full a lane is. `oldest_at` is None where it is empty, or the broker cannot tell."""

    depth: int
    oldest_at: float | None = None


class Broker:
    """How to reach the queue. Connections are made by whoever needs one, for one thread."""

    def __init__(self, url: str, *, visibility_timeout_seconds: float = 30.0) -> None:
        self.url = kombu_url(url)
        self._visibility_timeout_seconds = visibility_timeout_seconds

    def __repr__(self) -> str:
        return f"<Broker {Connection(self.url).as_uri()}>"

    @property
    def is_redis(self) -> bool:
        return self.url.split("://", 1)[0] in _REDIS_SCHEMES

    def connect(self) -> Connection:
        """A new connection, not opened yet."""
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

    @staticmethod
    def lane_queues() -> list[Queue]:
        return [Queue(QUEUES[lane], durable=True) for lane in LANES]

    @staticmethod
    def declare(channel: Any) -> None:
        """Makes all queues, where they do not exist."""
        for queue in (*Broker.lane_queues(), Queue(DEAD_QUEUE, durable=True)):
            queue(channel).declare()

    @staticmethod
    def depth(channel: Any, queue: str) -> int:
        """Entries that wait in a queue; those in a consumer's hands are not counted."""
        return int(Queue(queue, durable=True)(channel).queue_declare().message_count)

    def lane_state(self, channel: Any, lane: Lane) -> LaneState:
        """Depth, and the age of the oldest where the broker is Redis."""
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
    """Our `unix:///path?db=0` in kombu's words; everything else as it is."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair).get("db", "0")
    return f"redis+socket://{quote(unquote(parts.path))}?virtual_host={database}"
