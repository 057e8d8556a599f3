"""The two transports that the queue's benches set side by side, over the same Redis: `ours` (on Streams) and `stock` (kombu's own)."""

from typing import Any, Final

import msgspec
from kombu import Connection, Queue
from kombu.transport.redis import Transport as StockTransport

from router.queue.broker import Broker
from router.queue.entries import Entry, encode
from router.queue.streams.transport import Transport as StreamTransport

QUEUE: Final = "bench.otp"
_SCHEMES: Final = {"ours": "redis", "stock": "stock+redis"}
_TRANSPORTS: Final[dict[str, Any]] = {"ours": StreamTransport, "stock": StockTransport}


class Side(msgspec.Struct, frozen=True):
    """One transport on one Redis. `visibility_seconds`: how long an unacknowledged entry stays with a silent consumer."""

    name: str
    port: int
    visibility_seconds: float = 30.0

    @property
    def url(self) -> str:
        return f"{_SCHEMES[self.name]}://127.0.0.1:{self.port}/0"

    def through(self, port: int) -> "Side":
        """The same, by another way."""
        return msgspec.structs.replace(self, port=port)

    def connect(self) -> Connection:
        """A connection, not opened yet, with the options that the router gives this transport.

        Raises RuntimeError where the URL leads to another transport than the name says: a comparison of ours with itself looks like one.
        """
        connection = Broker(self.url, visibility_timeout_seconds=self.visibility_seconds).connect()
        found = connection.get_transport_cls()
        if found is not _TRANSPORTS[self.name]:
            raise RuntimeError(f"{self.url} is meant to be {self.name}, and kombu takes {found.__module__}.{found.__qualname__} for it")
        return connection


def queue() -> Queue:
    """The one queue of the benches, on the default exchange as the router's are."""
    return Queue(QUEUE, durable=True)


def body_of(entry_id: str, at: float) -> bytes:
    """What stands on the queue: an entry such as the router's, about 100 bytes with kombu's own fields left out."""
    return encode(Entry(entry_id, "otp", at))


PUBLISH: Final[dict[str, str]] = {"routing_key": QUEUE, "content_type": "application/json", "content_encoding": "utf-8"}
"""How an entry is published, to be given to `Producer.publish`."""
