"""Gives a Redis all that an RDB file holds, over the wire: this process plays its primary for a moment (REPLICAOF).

The server loads the file as it would load its primary's, so neither its disk nor its version's file format is our business. Until it is
told to be a primary again it takes no writes: so whatever has to stand in it before anybody works with it is sent behind the file.
"""

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import redis

from router.redis_dump import RDB_MAGIC, CopyFailed, command

_POLL_SECONDS: Final = 0.05
_CONNECT_SECONDS: Final = 30.0
_LOAD_SECONDS: Final = 3600.0
_CHUNK_BYTES: Final = 1 << 18
_END: Final = b"\xff"
_TRAILER_BYTES: Final = 9
"""The end's mark, and a checksum."""
_TRIES: Final = 3
"""A server that cannot load what it was given asks for it again; so often, and then it is given up."""


def check_file(path: Path) -> None:
    """Is this an RDB file, and not cut off? A server ends when it loads one that is. Raises `CopyFailed`, OSError."""
    with path.open("rb") as file:
        if file.read(len(RDB_MAGIC)) != RDB_MAGIC:
            raise CopyFailed(f"{path} is no backup: it does not begin like an RDB file")
        file.seek(-_TRAILER_BYTES, os.SEEK_END)
        if file.read(1) != _END:
            raise CopyFailed(f"{path} is cut off: it does not end like an RDB file")


def feed(client: redis.Redis, path: Path, behind: Sequence[Sequence[bytes]], database: int) -> None:
    """The server drops what it has, takes what is in the file, and then the commands `behind` (on that database).

    Returns when it takes writes again, and its append-only file, where it keeps one, holds all of it. Raises `CopyFailed`, OSError, and
    redis-py's errors.
    """
    check_file(path)
    password = secrets.token_hex(32)
    was = client.config_get("masterauth")
    tail = b"".join(command(*words) for words in ((b"SELECT", b"%d" % database), *behind))
    with _Primary(_our_address(client), path, tail, password) as primary:
        client.config_set("masterauth", password)
        try:
            client.replicaof(*primary.address)
            _wait_until_taken(client, primary, len(tail))
        finally:
            # Of a server that has ended while it loaded, the error says enough
            with contextlib.suppress(redis.ConnectionError):
                client.replicaof("NO", "ONE")
                client.config_set("masterauth", next(iter(was.values()), None) or "")
    _wait_until_on_disk(client)


def _our_address(client: redis.Redis) -> str:
    """Where that server can reach us: the near end of a connection to it."""
    connection: Any = client.connection_pool.make_connection()
    connection.connect()
    try:
        sock: socket.socket = connection._sock  # noqa: SLF001 - redis-py does not tell it otherwise
        return "127.0.0.1" if sock.family == socket.AF_UNIX else str(sock.getsockname()[0])
    finally:
        connection.disconnect()


class _Primary:
    """Listens as a primary would, for one replica that knows the password."""

    def __init__(self, host: str, path: Path, tail: bytes, password: str) -> None:
        self._path = path
        self._tail = tail
        self._password = password
        self._listening = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.asked = 0
        """How often it was asked for everything."""
        self.given = 0
        """How often it gave all of it."""
        self.address: tuple[str, int] = self._listening.getsockname()[:2]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listening.close()
        self._thread.join(5)

    def _serve(self) -> None:
        self._listening.settimeout(_POLL_SECONDS)
        while not self._ended.is_set():
            try:
                replica, _ = self._listening.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with replica, contextlib.suppress(OSError, ValueError):
                replica.settimeout(_CONNECT_SECONDS)
                self._converse(replica)

    def _converse(self, replica: socket.socket) -> None:
        knows_password = False
        with replica.makefile("rb") as words_of_it:
            for words in _commands(words_of_it):
                match words[0].upper():
                    case b"PING":
                        replica.sendall(b"+PONG\r\n")
                    case b"AUTH":
                        knows_password = secrets.compare_digest(words[-1], self._password.encode())
                        replica.sendall(b"+OK\r\n" if knows_password else b"-WRONGPASS\r\n")
                    case b"PSYNC" | b"SYNC" if knows_password:
                        self._give(replica)
                    case b"REPLCONF" if len(words) > 1 and words[1].upper() == b"ACK":
                        pass
                    case b"REPLCONF":
                        replica.sendall(b"+OK\r\n")
                    case _:
                        replica.sendall(b"-ERR not here\r\n")
                        return
                if self._ended.is_set():
                    return

    def _give(self, replica: socket.socket) -> None:
        self.asked += 1
        replica.settimeout(_LOAD_SECONDS)
        replica.sendall(b"+FULLRESYNC %b 0\r\n$%d\r\n" % (secrets.token_hex(20).encode(), self._path.stat().st_size))
        with self._path.open("rb") as file:
            while piece := file.read(_CHUNK_BYTES):
                replica.sendall(piece)
        replica.sendall(self._tail)
        self.given += 1


def _commands(stream: BinaryIO) -> Iterator[list[bytes]]:
    """What the replica says, command by command, until it hangs up. Raises ValueError for what is none."""
    while line := stream.readline():
        if line.strip():
            yield [_word(stream) for _ in range(int(line.removeprefix(b"*")))]


def _word(stream: BinaryIO) -> bytes:
    length = int(stream.readline().removeprefix(b"$"))
    return stream.read(length + 2)[:-2]


def _wait_until_taken(client: redis.Redis, primary: _Primary, behind: int) -> None:
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        said = _info(client)
        if primary.given and said.get("master_link_status") == "up" and int(said["slave_repl_offset"]) >= behind:
            return
        if primary.asked > _TRIES:
            raise CopyFailed("the server does not take the backup: its log says why (a newer Redis may have written it)")
        if time.monotonic() > deadline + (_LOAD_SECONDS if primary.asked else 0.0):
            raise CopyFailed(f"the server does not come to fetch the backup from {primary.address[0]} port {primary.address[1]}")
        time.sleep(_POLL_SECONDS)


def _info(client: redis.Redis) -> dict[str, Any]:
    """While it loads, redis-py's connections are refused by some versions: that is no answer yet."""
    try:
        return {**client.info("replication"), **client.info("persistence")}
    except redis.BusyLoadingError:
        return {}
    except redis.ConnectionError as error:
        raise CopyFailed(f"the server went away while it loaded the backup, which may be cut off; its log says why ({error})") from None


def _wait_until_on_disk(client: redis.Redis) -> None:
    deadline = time.monotonic() + _LOAD_SECONDS
    while True:
        said = client.info("persistence")
        if not (said["aof_enabled"] and (said["aof_rewrite_in_progress"] or said["aof_rewrite_scheduled"])):
            if said["aof_enabled"] and said["aof_last_bgrewrite_status"] != "ok":
                raise CopyFailed("the server cannot write its append-only file: is the disk full?")
            return
        if time.monotonic() > deadline:
            raise CopyFailed("the server does not finish its append-only file")
        time.sleep(_POLL_SECONDS)
