"""The way to Redis: one server, Sentinel or Cluster; and how many commands are exchanged in one round trip.

redis-py makes the connections (addresses, TLS, passwords, Sentinel). Commands are packed and their answers taken in bulk by hiredis:
redis-py's own pipeline awaits each answer for itself, which costs ten times as much (8 µs a command against 0.8 µs, measured with 200 in a
pipeline). In a Cluster each node gets its share in that way (`redis_cluster`).
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Sequence
from typing import Any, Protocol

import hiredis
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.redis_cluster import Cluster, ClusterLink, Command
from router.redis_url import read_url

__all__ = ["Client", "Command", "Link", "close", "connect", "each_server", "link", "subscribe"]

Client = Redis | Cluster

_CONNECT_SECONDS = 3.0
_HEALTH_CHECK_SECONDS = 30
_LISTEN_SECONDS = 5.0
_WATCH_SECONDS = 0.5


class Link(Protocol):
    """Exchanges commands for answers, some of which may be errors. One exchange at a time; raises redis-py's errors where all failed."""

    async def exchange(self, commands: Sequence[Command]) -> list[Any]: ...

    async def load(self, script: str) -> None:
        """Makes a Lua script known, on every server that may be asked for it."""
        ...

    async def close(self) -> None: ...


def connect(url: str, *, timeout_seconds: float = 10.0) -> Client:
    """A client; it does not connect yet. Raises ValueError for another kind of URL.

    Nothing is sent twice by itself: whether a step may be repeated is for its caller to know.
    """
    place = read_url(url)
    options: dict[str, Any] = {"protocol": 2, "retry": Retry(NoBackoff(), 0), "health_check_interval": _HEALTH_CHECK_SECONDS}
    options |= {"socket_timeout": timeout_seconds, "socket_connect_timeout": timeout_seconds}
    if not place.is_cluster and not place.master:
        client = Redis.from_url(url, max_connections=64, **options)
        client.connection_pool.connection_class = _bulk(client.connection_pool.connection_class)
        return client
    # While one does not answer, another may be asked
    options["socket_connect_timeout"] = min(timeout_seconds, _CONNECT_SECONDS)
    secret = {"username": place.username, "password": place.password}
    if place.is_cluster:
        kind = _bulk(SSLConnection if place.is_tls else Connection)
        shared = {**options, **secret, **place.tls}
        return Cluster(
            place.addresses, lambda address: ConnectionPool(connection_class=kind, host=address[0], port=address[1], **shared), _NodeLink
        )
    tls = {"ssl": place.is_tls, **place.tls}
    asked = {**options, "socket_timeout": options["socket_connect_timeout"], "password": place.sentinel_password, **tls}
    sentinel: Any = _Sentinel(list(place.addresses), sentinel_kwargs=asked)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(place.master, db=place.database, **options, **secret, **tls)
    master.connection_pool.connection_class = _bulk(master.connection_pool.connection_class)
    return master


class _Sentinel(Sentinel):
    """Its words for a master that nobody knows are the whole of its clients, with what they were given."""

    async def discover_master(self, service_name: str) -> Any:
        try:
            return await super().discover_master(service_name)
        except MasterNotFoundError:
            raise MasterNotFoundError(f"no Sentinel answers and knows a master {service_name!r} that is up") from None


def link(client: Client) -> Link:
    """A way of its own through this client."""
    if isinstance(client, Cluster):
        return ClusterLink(client)
    pool = client.connection_pool
    return _MasterLink(pool) if isinstance(pool, SentinelConnectionPool) else _NodeLink(pool)


async def each_server(client: Client) -> dict[str, Link]:
    """A link to each server that writes: the one, the master that Sentinel names, or all primaries of a Cluster; by its address.

    Raises redis-py's errors where Sentinel, or the Cluster, cannot be asked.
    """
    if isinstance(client, Cluster):
        await client.look()
        return {f"{host}:{port}": _NodeLink(client.pool((host, port))) for host, port in sorted(client.primaries)}
    pool = client.connection_pool
    if isinstance(pool, SentinelConnectionPool):
        host, port = await pool.get_master_address()  # type: ignore[no-untyped-call]
    else:
        host, port = pool.connection_kwargs.get("host", ""), pool.connection_kwargs.get("port", "")
    return {f"{host}:{port}" if host else str(pool.connection_kwargs.get("path")): _NodeLink(pool)}


async def subscribe(client: Client, channel: str) -> AsyncGenerator[bytes]:
    """What is published on a channel, for ever; it may miss some. Raises redis-py's errors. Whoever stops listening closes it (`aclosing`).

    In a Cluster what is published at one node is heard at all.
    """
    async with contextlib.AsyncExitStack() as ended:
        if isinstance(client, Cluster):
            await client.look()
            node = Redis(connection_pool=client.pool(random.choice(sorted(client.primaries))))
            ended.push_async_callback(node.connection_pool.disconnect)
        else:
            node = client
        pubsub = await ended.enter_async_context(node.pubsub(ignore_subscribe_messages=True))
        await pubsub.subscribe(channel)
        while True:
            message = await pubsub.get_message(timeout=_LISTEN_SECONDS)
            if message is not None:
                yield message["data"]


async def close(client: Client) -> None:
    """With the connections to Sentinels. The links are closed by those who have them."""
    if isinstance(client, Cluster):
        return
    pool = client.connection_pool
    await client.aclose()
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _bulk(kind: Any) -> Any:
    """A connection of redis-py's with `_BulkReads` mixed in."""
    return type(f"Bulk{kind.__name__}", (_BulkReads, kind), {})


class _BulkReads:
    """Mixed into a connection of redis-py: many answers for the price of one, and no cancellation is forgotten."""

    socket_timeout: float | None
    _parser: Any
    _reader: Any
    _writer: Any

    @property
    def is_usable(self) -> bool:
        # One that was cut is closing first, and at its end a turn of the loop later
        return self._reader is not None and not self._reader.at_eof() and not self._writer.transport.is_closing()

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """redis-py sends within `wait_for`, which on Python 3.11 forgets a cancellation that comes as it ends: nobody could stop us."""
        allowed, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(allowed):
                await super().send_packed_command(command, check_health)  # type: ignore[misc]
        except TimeoutError as error:
            raise RedisTimeoutError("Timeout writing to socket") from error
        finally:
            self.socket_timeout = allowed

    def cut(self) -> None:
        """Whoever waits for an answer hears that the connection broke; the next exchange connects anew."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def read_responses(self, count: int) -> list[Any]:
        answers: list[Any] = []
        while len(answers) < count:
            answers.append(await self._read_next())
            answers += self._buffered(count - len(answers))
        return answers

    def _buffered(self, count: int) -> list[Any]:
        """What the socket has brought already."""
        gets = self._parser._reader.gets  # noqa: SLF001 - its parser, and hiredis' reader in it
        answers: list[Any] = []
        while len(answers) < count and (answer := gets()) is not NOT_ENOUGH_DATA:
            answers.append(answer)
        return answers

    async def _read_next(self) -> Any:
        """Waits for it, as long as the socket's timeout allows; an error of one command is an answer."""
        try:
            return await self.read_response()  # type: ignore[attr-defined]
        except ResponseError as error:
            return error


class _NodeLink:
    """A connection of its own to one server, made again where it broke."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._connection: Any = None

    async def _connected(self) -> Any:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
        if not connection.is_usable:
            await connection.disconnect(nowait=True)
            await connection.connect()
        return connection

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        try:
            connection = await self._connected()
            await connection.send_packed_command(b"".join(map(hiredis.pack_command, commands)), check_health=False)
            answers: list[Any] = await connection.read_responses(len(commands))
        except BaseException:
            await self._drop()
            raise
        if any(isinstance(answer, ResponseError) and _is_read_only(answer) for answer in answers):
            # The master of yesterday: who is it now?
            await self._drop()
        return answers

    async def load(self, script: str) -> None:
        (answer,) = await self.exchange([("SCRIPT", "LOAD", script)])
        if isinstance(answer, Exception):
            raise answer

    async def close(self) -> None:
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)


class _MasterLink(_NodeLink):
    """A connection to the master that Sentinel names, who is asked again and again.

    One that is replaced while it is well goes on taking writes until Sentinel turns it into a replica, which takes ten seconds and loses
    them all: what a phone was given leave to send would be sent by another one too.
    """

    def __init__(self, pool: SentinelConnectionPool) -> None:
        super().__init__(pool)
        self._sentinels = pool
        self._watching: asyncio.Task[None] | None = None

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="who is the master")
        return await super().exchange(commands)

    async def load(self, script: str) -> None:
        """At the master of now: another link has met it already, while this one may have been idle since before."""
        await self._check()
        await super().load(script)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            with contextlib.suppress(RedisError, OSError, TimeoutError):
                # Without Sentinels the connection alone tells whether the master is there
                await self._check()

    async def _check(self) -> None:
        address = await self._sentinels.get_master_address()  # type: ignore[no-untyped-call]
        connection = self._connection
        if connection is not None and (connection.host, connection.port) != address:
            connection.cut()

    async def close(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        await super().close()


def _is_read_only(answer: ResponseError) -> bool:
    """Before Redis 7 what a script met stands in the text of the script's error."""
    return isinstance(answer, ReadOnlyError) or "READONLY " in str(answer)
