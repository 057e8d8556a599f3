"""What RabbitMQ needs beyond kombu's transport: confirms by the batch, bounded waiting, and the lanes side by side.

**Confirms.** py-amqp's own confirm mode waits for each message, a round trip every time, and takes any confirm for the one it waits for,
also a late one of an earlier message. Here a batch is written in one go, and then the channel is read until the broker has confirmed each
of its messages by number. kombu's `Producer.batch` is the way in, as with Redis; a publish outside of a batch is a batch of one. RabbitMQ
confirms what it could not route as well, so messages are mandatory: one without a queue comes back, and is a failure.

**Alarms.** A broker short of memory or disk stops reading from whoever publishes, and says so (`connection.blocked`). Waiting for an answer
to anything would be in vain, so publishing fails at once until it says that it reads again.

**Lanes.** `LaneCycle` asks a virtual transport's queues in turn. RabbitMQ pushes instead, and its consumer priorities choose between the
consumers of one queue, never between queues. So each lane has the whole prefetch to itself (`basic.qos` per consumer), and the consumer
picks from what it holds in the same turns. A share of the prefetch for each lane would crowd out nobody either, but a lane that is alone
would go at the pace of its share.
"""

import itertools
import ssl
import time
from collections import deque
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from amqp import Message, NotFound  # type: ignore[import-untyped]  # annotated in part, and not marked so
from kombu.transport import pyamqp

from router.domain.errors import Unavailable
from router.domain.message import LANES
from router.queue.lanes import QUEUES, TURNS, order_of_turn

SCHEMES = ("amqp", "amqps")
CONFIRM_SECONDS = 5.0
"""How long a batch may take to be confirmed. A quorum queue without a majority of its nodes confirms nothing."""
HEARTBEAT_SECONDS = 60
_ANSWER_SECONDS = 5.0
_VERIFY = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "none": ssl.CERT_NONE}

__all__ = ["CONFIRM_SECONDS", "SCHEMES", "Blocked", "InHand", "NotConfirmed", "NotFound", "Transport", "parameters"]


class Blocked(Unavailable):
    """The broker takes nothing for now. The connection is good, and is told when that is over."""

    def __init__(self) -> None:
        super().__init__("the queue takes no new messages: its broker is short of memory or disk", retry_after_seconds=5)


class NotConfirmed(Unavailable):
    """The broker refused a message, had no queue for it, or did not confirm it in time: nobody may take it for accepted."""


def parameters(url: str) -> dict[str, Any]:
    """What kombu's `Connection` is to be given for an amqp:// or amqps:// URL.

    Of its query: `heartbeat`, `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` and `ssl_cert_reqs` (required, optional, none). The name in the
    certificate is checked too. Raises ValueError for anything else.
    """
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    found: dict[str, Any] = {
        "hostname": urlunsplit(parts._replace(scheme="amqp", query="")),
        "transport": f"{Transport.__module__}:{Transport.__qualname__}",
        "heartbeat": float(query.pop("heartbeat", HEARTBEAT_SECONDS)),
    }
    tls: dict[str, Any] = {name: query.pop(f"ssl_{name}") for name in ("ca_certs", "certfile", "keyfile") if f"ssl_{name}" in query}
    if verify := query.pop("ssl_cert_reqs", None):
        if verify not in _VERIFY:
            raise ValueError(f"ssl_cert_reqs is one of {', '.join(_VERIFY)}")
        tls["cert_reqs"] = _VERIFY[verify]
    if query:
        raise ValueError(f"not known in the query of an AMQP URL: {', '.join(sorted(query))}")
    if parts.scheme == "amqps":
        checked = tls.get("cert_reqs") != ssl.CERT_NONE
        found["ssl"] = tls | ({"server_hostname": parts.hostname} if checked else {})
        found["port"] = parts.port or pyamqp.DEFAULT_SSL_PORT
    elif tls:
        raise ValueError("the ssl_ options need amqps://")
    return found


class _Batch:
    """kombu's publish session (`Producer.batch`): each message is written at once, `flush` waits for the confirms of all."""

    def __init__(self, channel: "Channel") -> None:
        self.channel = channel

    def publish(self, message: Message, **where: Any) -> None:
        self.channel.write(message, **where)

    def flush(self) -> None:
        """Raises `Blocked`, `NotConfirmed`, or the connection's error; then none of the batch may be taken for accepted."""
        self.channel.wait_for_confirms()

    def discard(self) -> None:
        """What was written cannot be taken back; nobody is told that it was accepted."""
        self.channel.forget_unconfirmed()

    def close(self) -> None:
        """Nothing is held."""


class Channel(pyamqp.Channel):
    """A channel on which everything published is confirmed."""

    supports_batch_publish = True

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._numbered_on: int | None = None
        self._opened = 0
        self._last = 0
        self._unconfirmed: dict[int, None] = {}  # in the order of their numbers
        self._failure: str | None = None
        super().__init__(*arguments, **options)
        self.events["basic_ack"].add(self._acked)
        self.events["basic_nack"].add(self._nacked)
        self.events["basic_return"].add(self._returned)

    def open(self) -> Any:
        """Also called by py-amqp when the broker closed the channel: the confirms begin anew."""
        self._opened += 1
        return super().open()

    def create_publish_batch(self, max_size: int) -> _Batch:
        return _Batch(self)

    def basic_publish(self, msg: Message, **where: Any) -> None:
        """Returns when the broker has confirmed it."""
        self.write(msg, **where)
        self.wait_for_confirms()

    def queue_declare(self, *arguments: Any, **options: Any) -> Any:
        self._refuse_where_blocked()
        try:
            return super().queue_declare(*arguments, **options)
        except TimeoutError:
            self.connection.is_silent = True
            raise

    def write(self, message: Message, **where: Any) -> None:
        """Publishes without waiting. Raises `Blocked`."""
        self._refuse_where_blocked()
        if self._numbered_on != self._opened:
            self.confirm_select()
            self._numbered_on, self._last = self._opened, 0
            self._unconfirmed.clear()
        where |= {"mandatory": True, "timeout": _ANSWER_SECONDS}
        where.pop("confirm_timeout", None)
        self._last += 1
        self._unconfirmed[self._last] = None
        super().basic_publish(message, **where)

    def wait_for_confirms(self) -> None:
        """Raises `Blocked` as soon as the broker says so, `NotConfirmed` after `CONFIRM_SECONDS` or for a refused message."""
        deadline = time.monotonic() + CONFIRM_SECONDS
        try:
            while self._unconfirmed:
                self._refuse_where_blocked()
                left = deadline - time.monotonic()
                if left <= 0:
                    self.connection.is_silent = True
                    raise NotConfirmed("the queue did not confirm in time", retry_after_seconds=5)
                try:
                    self.connection.drain_events(timeout=left)
                except TimeoutError:
                    continue
            if self._failure:
                raise NotConfirmed(f"the queue refused a message: {self._failure}")
        finally:
            self.forget_unconfirmed()

    def forget_unconfirmed(self) -> None:
        self._unconfirmed.clear()
        self._failure = None

    def _refuse_where_blocked(self) -> None:
        connection = self.connection
        if connection is not None and connection.is_blocked:
            connection.look()
            if connection.is_blocked:
                raise Blocked

    def _acked(self, tag: int, multiple: bool) -> None:
        if not multiple:
            self._unconfirmed.pop(tag, None)
            return
        for number in list(itertools.takewhile(lambda number: number <= tag, self._unconfirmed)):
            del self._unconfirmed[number]

    def _nacked(self, tag: int, multiple: bool) -> None:
        before = len(self._unconfirmed)
        self._acked(tag, multiple)
        if len(self._unconfirmed) < before:
            self._failure = "refused by the broker"

    def _returned(self, error: Exception, exchange: str, routing_key: str, message: Message) -> None:
        self._failure = f"there is no queue {routing_key}"


class Connection(pyamqp.Connection):
    """Knows whether the broker blocks it, and waits for no answer for ever."""

    Channel = Channel

    def __init__(self, **options: Any) -> None:
        self.is_blocked = False
        self.is_silent = False
        super().__init__(
            **{"read_timeout": _ANSWER_SECONDS, "write_timeout": _ANSWER_SECONDS} | options,
            on_blocked=self._block, on_unblocked=self._unblock,
        )  # fmt: skip

    def look(self) -> None:
        """Takes in what the broker has said, without waiting for more."""
        try:
            while True:
                self.drain_events(timeout=0)
        except TimeoutError:
            return

    def _block(self, reason: str) -> None:
        self.is_blocked = True

    def _unblock(self) -> None:
        self.is_blocked = False


class Transport(pyamqp.Transport):
    """kombu's AMQP transport with the channel of this module."""

    Connection = Connection

    implements = pyamqp.Transport.implements.extend(batch_publish=True)

    def close_connection(self, connection: Any) -> None:
        """A broker that blocks a connection, or does not answer, would not read its farewell."""
        if connection.is_blocked or connection.is_silent:
            connection.client = None
            connection.collect()
        else:
            super().close_connection(connection)  # type: ignore[no-untyped-call]


class InHand:
    """Messages that came from all lanes at once, taken in the turns of `lanes.order_of_turn`. Used by one thread."""

    def __init__(self) -> None:
        self._lanes: dict[str, deque[Any]] = {QUEUES[lane]: deque() for lane in LANES}
        self._turn = 0

    def __len__(self) -> int:
        return sum(map(len, self._lanes.values()))

    def append(self, message: Any) -> None:
        # What an operator put there by another exchange bears another key, and goes last
        key = message.delivery_info["routing_key"]
        self._lanes[key if key in self._lanes else QUEUES["bulk"]].append(message)

    def take(self, most: int) -> list[Any]:
        """Up to so many: a turn is one message, and goes to the first lane in its order that has any."""
        return [self._next() for _ in range(min(most, len(self)))]

    def _next(self) -> Any:
        order = order_of_turn(self._turn)
        self._turn = (self._turn + 1) % TURNS
        return next(self._lanes[queue] for queue in order if self._lanes[queue]).popleft()
