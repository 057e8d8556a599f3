"""The transport: one connection's servers, links, queues and leases, shared by its channels."""

import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis
from kombu.log import get_logger
from kombu.transport import base, virtual
from redis.exceptions import AuthenticationError, ResponseError

from . import lifecycle
from .acks import Acks
from .channel import Channel as StreamChannel
from .exchanges import Exchanges
from .keeper import Keeper, move_due
from .keys import Keys
from .link import CONNECTION_ERRORS, Link
from .message import Entry, Stream
from .options import BLOCK_SECONDS, Options
from .place import servers_of
from .queues import RELEASED, Queues
from .scripts import RELEASE
from .servers import DEFAULT_PORT

_log = get_logger("kombu.transport.redisstreams")
_UNBLOCKED = ("NOGROUP", "UNBLOCKED", "no longer exists")
_IDS_A_CALL = 500


class Limits(NamedTuple):
    """What a queue's arguments bound. `deliveries` below 0 is no limit."""

    deliveries: int
    ttl_ms: int | None


class Transport(virtual.Transport):
    """See the package's docstring."""

    Channel = StreamChannel
    default_port: Any = DEFAULT_PORT
    driver_type = "redis"
    driver_name = "redis"
    polling_interval: Any = None
    connection_errors: Any = (*base.Transport.connection_errors, *CONNECTION_ERRORS, AuthenticationError)
    channel_errors: Any = (*base.Transport.channel_errors, ResponseError)
    implements = virtual.Transport.implements.extend(
        asynchronous=False, batch_publish=True, exchange_type=frozenset(["direct", "topic", "fanout"]), heartbeats=False
    )
    supports_batch_publish = True

    def __init__(self, client: Any, **kwargs: Any) -> None:
        super().__init__(client, **kwargs)  # type: ignore[no-untyped-call]
        self.options = Options.of(client.transport_options or {})
        self.keys = Keys(self.options.global_keyprefix, self.options.hash_tag)
        self.servers = servers_of(client, self.options, self.keys.slot_key)
        self.link = Link(self.servers)
        self._reader = Link(self.servers)
        self.queues = Queues(self.link, self.keys, self.options)
        self.exchanges = Exchanges(self.link, self.keys, self.options.binding_cache_seconds)
        self.exclusive: set[str] = set()
        self._place = (client.hostname, client.port, client.virtual_host, self.keys.slot_key, self.options.group)
        self._unroutable: set[tuple[str, str]] = set()
        self._consumed: set[str] = set()
        self._seen: set[bytes] = set()
        self._room = threading.Event()
        self._waits_for_room = False
        self.gone = False
        self.callbacks: dict[str, Any] = self._callbacks
        self._clock_offset: float | None = None
        self._begin()

    def _begin(self) -> None:
        self.consumer_name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.acks = Acks(self.options.group, self._place)
        self.keeper = Keeper(self)
        self._limits: dict[str, Limits] = {}

    def driver_version(self) -> str:
        return str(redis.__version__)

    @property
    def default_connection_params(self) -> dict[str, Any]:
        return {"port": None}

    def establish_connection(self) -> Any:
        self.link.call("PING")
        lifecycle.opened(self)
        return super().establish_connection()  # type: ignore[no-untyped-call]

    def verify_connection(self, connection: Any) -> bool:
        return True

    def close_connection(self, connection: Any) -> None:
        """Gives back what is in hand and sends the acknowledgements, as far as the server is there."""
        super().close_connection(connection)  # type: ignore[no-untyped-call]
        self.keeper.stop()
        try:
            if self.gone:
                return
            self.acks.flush(self.link)
            for queue in list(self.exclusive):
                self.delete_queue(queue)
            for queue in self._consumed:
                self.queues.leave(queue, self.consumer_name)
        except CONNECTION_ERRORS as error:
            _log.info("the connection was closed without its server: %r", error)
        except ResponseError as error:
            _log.warning("closing the connection: %r", error)
        finally:
            self.acks.close()
            lifecycle.closed(self)
            self.link.close()
            self._reader.close()

    def drain_events(self, connection: Any, timeout: float | None = None, **kwargs: Any) -> None:
        """Delivers all that one read brings, to every channel with room. Raises socket.timeout after `timeout` seconds with nothing."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            channels: list[StreamChannel] = list(self.channels)
            delivered = False
            for channel in channels:
                delivered = channel.deliver_ready() or delivered
            if delivered:
                return
            left = BLOCK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self.wait(channels, min(left, BLOCK_SECONDS))

    def as_uri(self, uri: str, include_password: bool = False, mask: str = "**") -> str:
        raise NotImplementedError  # kombu's own, which hides the password, will do

    def wait(self, channels: Sequence[StreamChannel], seconds: float) -> None:
        """Waits until a stream that a channel has room for has a message, or a channel has room again, at most so long."""
        channel_of: dict[bytes, tuple[StreamChannel, Stream]] = {}
        smallest = self.options.read_count
        for channel in channels:
            room = channel.room()
            if room:
                smallest = min(smallest, room)
                for stream in channel.intake.streams():
                    channel_of[stream.key] = channel, stream
        if not channel_of:
            self._room.clear()
            self._waits_for_room = True
            try:
                if not any(channel.room() for channel in channels):
                    self._room.wait(seconds)
            finally:
                self._waits_for_room = False
            return
        # What comes while nobody waits may come on several streams at once: so no more than one of each
        number = smallest if len(channel_of) == 1 else 1
        try:
            found = self._reader.call(
                "XREADGROUP", "GROUP", self.options.group, self.consumer_name, "COUNT", number, "BLOCK", max(int(seconds * 1000), 1),
                "STREAMS", *channel_of, *[">"] * len(channel_of),
            )  # fmt: skip
        except ResponseError as error:
            if not any(word in str(error) for word in _UNBLOCKED):
                raise
            return  # the next take makes the group again, and says so
        for key, entries in found or ():
            channel, stream = channel_of[key]
            channel.intake.accept(stream, entries)

    def has_room(self) -> None:
        if self._waits_for_room:
            self._room.set()

    def settled(self, entry: Entry) -> None:
        """Acknowledged, by any thread: gone at the latest when the keeper looks next."""
        self.acks.add(entry)
        self.has_room()
        if len(self.acks) >= self.options.ack_batch_size and not self.acks.closed:
            self.acks.flush(self.link)

    def give_back(self, entries: Iterable[Entry]) -> None:
        """To the front of the queue, as far as they are still ours."""
        by_key: dict[bytes, list[bytes]] = {}
        for entry in entries:
            by_key.setdefault(entry.stream.key, []).append(entry.id)
        for key, ids in by_key.items():
            for first in range(0, len(ids), _IDS_A_CALL):
                some = ids[first : first + _IDS_A_CALL]
                given = self.link.run(RELEASE, [key], self.options.group, self.consumer_name, RELEASED, *some)
                if given < len(some):
                    _log.warning("%d messages could not be given back: leased to another consumer, or gone from Redis", len(some) - given)

    def in_hand(self) -> dict[Stream, list[bytes]]:
        """The ids that this connection holds, by stream: delivered, or read and waiting to be delivered."""
        held: dict[Stream, list[bytes]] = {}
        for channel in list(self.channels):
            for entry in channel.held():
                held.setdefault(entry.stream, []).append(entry.id)
        return held

    def begin_consuming(self, queue: str) -> None:
        self._consumed.add(queue)
        self._limits.pop(queue, None)
        self.limits_of(queue)
        self.queues.touch(self.link, queue, self.consumer_name)
        self.keep()

    def keep(self) -> None:
        """From now on messages may be in hand."""
        self.keeper.start()
        if self.options.flush_on_sigterm:
            lifecycle.handle_sigterm()

    def end_consuming(self, queue: str) -> None:
        """The last consumer of a queue that was to be deleted with it takes it away."""
        declaration = self.queues.declared.get(queue)
        if declaration is None or not declaration.temporary or queue in self._active_queues():
            return
        if not self.in_use(queue):
            self.delete_queue(queue)

    def delete_queue(self, queue: str) -> None:
        """With its messages, delayed ones included, and its bindings."""
        self.acks.flush(self.link)
        self.exchanges.unbind_queue(queue)
        self.queues.delete(queue)
        self.exclusive.discard(queue)

    def in_use(self, queue: str) -> bool:
        """Whether anybody else, or a channel of this connection, consumes from a queue."""
        return queue in self._active_queues() or self.queues.leave(queue, self.consumer_name) > 0

    def _active_queues(self) -> set[str]:
        return {queue for channel in list(self.channels) for queue in channel.active_queues}

    def consumed_queues(self) -> list[str]:
        return sorted(self._active_queues())

    def declared(self, queue: str) -> None:
        """Its arguments may be others than they were."""
        self._limits.pop(queue, None)

    def limits_of(self, queue: str) -> Limits:
        found = self._limits.get(queue)
        if found is None:
            arguments = self.queues.declaration(queue).arguments
            limit, ttl = arguments.get("x-delivery-limit"), arguments.get("x-message-ttl")
            deliveries = self.options.delivery_limit if limit is None else int(limit)
            found = self._limits[queue] = Limits(deliveries, None if ttl is None else int(ttl))
        return found

    def move_due(self, queues: list[str]) -> None:
        move_due(self.link, self, queues)

    def seen(self, streams: Iterable[Stream]) -> None:
        self._seen.update(stream.key for stream in streams)

    def groups_made(self, streams: Sequence[Stream]) -> None:
        """A read found no group and made it. Where it was there before, Redis has lost data."""
        lost = [stream for stream in streams if stream.key in self._seen or stream.queue in self.queues.declared]
        if lost:
            names = sorted({stream.queue for stream in lost})
            _log.warning("the consumer group of %s was gone: Redis was emptied, or the queue deleted. It is made again", ", ".join(names))
            self.queues.declare_again()
            self.exchanges.declare_again()

    def heal(self) -> None:
        """Notices what Redis has lost and another connection has made again only in part."""
        if self.queues.lost() or self.exchanges.lost():
            _log.warning("queues or exchanges of this connection were gone: Redis was emptied, or they were deleted. They are made again")
            self.queues.declare_again()
            self.exchanges.declare_again()

    def unroutable(self, exchange: str, routing_key: str) -> None:
        """AMQP drops what no queue is bound for; told once for each key."""
        if (exchange, routing_key) not in self._unroutable and len(self._unroutable) < 1000:
            self._unroutable.add((exchange, routing_key))
            _log.warning("no queue is bound to exchange %r for routing key %r: messages are dropped, as AMQP has it", exchange, routing_key)

    def server_ms(self) -> float:
        """Now, by Redis' clock, in ms: the offset is measured once."""
        if self._clock_offset is None:
            before = time.time()
            seconds, micros = self.link.call("TIME")
            self._clock_offset = int(seconds) + int(micros) / 1e6 - (before + time.time()) / 2
        return (time.time() + self._clock_offset) * 1000

    def forked(self) -> None:
        """In a child: the connections, leases, messages and acknowledgements are the parent's."""
        self.link.forget()
        self._reader.forget()
        self._begin()
        for channel in self.channels:
            channel.forget()
