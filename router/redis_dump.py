"""A copy of all that a Redis holds at one moment, taken over the wire as a replica takes it: nothing is stopped, no file is shared.

The server forks and sends an RDB of that moment (SYNC, as `redis-cli --rdb` does it). So it works over TCP and unix sockets alike, and what
comes is an RDB file that any Redis of that version or a later one can load.
"""

import socket
from collections.abc import Iterator
from typing import Any, Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from router.domain.errors import RouterError
from router.redis_url import read_url

RDB_MAGIC: Final = b"REDIS"
_ANSWER_SECONDS: Final = 10.0
_SILENCE_SECONDS: Final = 120.0
"""How long the server may say nothing while it forks and writes; it sends newlines meanwhile, and data after that."""
_CHUNK_BYTES: Final = 1 << 18
_EOF_MARK: Final = b"EOF:"
_MARK_BYTES: Final = 40


class CopyFailed(RouterError):
    """The server gave no whole copy, or did not take one."""


def open_server(url: str) -> redis.Redis:
    """A client of the one server that writes. Raises ValueError for a Cluster, which has many, and for what is no Redis URL."""
    place = read_url(url)
    options: dict[str, Any] = {"socket_timeout": _ANSWER_SECONDS, "socket_connect_timeout": _ANSWER_SECONDS, "retry": Retry(NoBackoff(), 0)}
    if place.is_cluster:
        raise ValueError("a Cluster is many servers: `redis-cli --cluster backup` copies each of them (docs/operations.md)")
    if not place.master:
        return redis.Redis.from_url(url, protocol=2, **options)
    tls = {"ssl": place.is_tls, **place.tls}
    sentinel: Any = Sentinel(list(place.addresses), sentinel_kwargs={"password": place.sentinel_password, **options, **tls})  # type: ignore[no-untyped-call]
    secret = {"username": place.username, "password": place.password}
    made: redis.Redis = sentinel.master_for(place.master, db=place.database, protocol=2, **options, **secret, **tls)
    return made


def fetch(client: redis.Redis) -> Iterator[bytes]:
    """The RDB, in pieces, of the moment at which the server forks. Raises `CopyFailed`, and redis-py's errors where nobody answers."""
    pool = client.connection_pool
    connection: Any = pool.make_connection()
    try:
        connection.connect()
        yield from _receive(_Reader(connection._sock))  # noqa: SLF001 - redis-py reads answers; this is a stream
    except OSError as error:
        raise CopyFailed(f"the copy broke off: {error}") from None
    finally:
        connection.disconnect()


class _Reader:
    """A socket, read by lines and by lengths."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._kept = b""

    def some(self, most: int = _CHUNK_BYTES) -> bytes:
        if self._kept:
            piece, self._kept = self._kept[:most], self._kept[most:]
            return piece
        piece = self.sock.recv(most)
        if not piece:
            raise CopyFailed("the server hung up in the middle of the copy")
        return piece

    def line(self) -> bytes:
        """Without its end. Newlines alone are a sign of life."""
        found = b""
        while not found:
            while b"\n" not in self._kept:
                piece = self.sock.recv(4096)
                if not piece:
                    raise CopyFailed("the server hung up before the copy")
                self._kept += piece
            found, self._kept = self._kept.split(b"\n", 1)
            found = found.rstrip(b"\r")
        return found


def _receive(reader: _Reader) -> Iterator[bytes]:
    reader.sock.settimeout(_ANSWER_SECONDS)
    # `rdb-only` (Redis 7): no stream of changes behind it. `eof`: it need not be written to the server's disk first
    for words in ((b"capa", b"eof"), (b"rdb-only", b"1")):
        reader.sock.sendall(command(b"REPLCONF", *words))
        reader.line()
    reader.sock.settimeout(_SILENCE_SECONDS)
    reader.sock.sendall(command(b"SYNC"))
    said = reader.line()
    if not said.startswith(b"$"):
        raise CopyFailed(f"the server gives no copy: {said.decode(errors='replace')}")
    if said[1:].startswith(_EOF_MARK):
        yield from _until_mark(reader, said[1 + len(_EOF_MARK) :])
        return
    left = int(said[1:])
    while left:
        piece = reader.some(min(left, _CHUNK_BYTES))
        left -= len(piece)
        yield piece


def _until_mark(reader: _Reader, mark: bytes) -> Iterator[bytes]:
    """Of unknown length: it ends with the mark that was told at its beginning."""
    if len(mark) != _MARK_BYTES:
        raise CopyFailed("the server does not say where the copy ends")
    held = b""
    while True:
        held += reader.some()
        if held.endswith(mark):
            yield held[:-_MARK_BYTES]
            return
        yield held[:-_MARK_BYTES]
        held = held[-_MARK_BYTES:]


def command(*words: bytes) -> bytes:
    """As it goes over the wire."""
    return b"*%d\r\n%b" % (len(words), b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words))
