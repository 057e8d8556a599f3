"""One connection to Redis for one purpose, opened when it is needed, and again after it broke. Nothing is ever sent twice by itself."""

import os
import threading
from collections.abc import Sequence
from typing import Any

from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoScriptError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .scripts import Script
from .servers import Servers

WRONG_SERVER = (ReadOnlyError, BusyLoadingError, MasterDownError, ClusterDownError, MovedError, AskError, TryAgainError)
"""Answers of a server that is not, or not yet, the one to talk to: connect anew, and with Sentinel or Cluster ask who is."""
CONNECTION_ERRORS = (RedisConnectionError, RedisTimeoutError, OSError, *WRONG_SERVER)
_WRONG_SERVER_WORDS = ("READONLY ", "MASTERDOWN ", "LOADING ", "CLUSTERDOWN ")


class WrongServer(ReadOnlyError):
    """The server said so from inside a script; before Redis 7 that stands in the text of the script's error."""


class Link:
    """A connection for one purpose. Safe to use from several threads; one waits for the other."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._lock = threading.RLock()
        self._connection: Any = None
        self._pid = 0

    def call(self, *words: Any) -> Any:
        """One command. Raises redis-py's errors; after those in CONNECTION_ERRORS it may or may not have happened."""
        with self._lock:
            connection = self._open()
            try:
                connection.send_command(*words, check_health=False)
                return self._read(connection)
            except ResponseError:
                raise
            except BaseException:
                # An answer that was not read would be taken for the next one's
                self._drop()
                raise

    def run(self, script: Script, keys: Sequence[bytes], *arguments: Any) -> Any:
        """One script. As `call`."""
        try:
            return self.call("EVALSHA", script.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            # The server has not run it: it may be a new one, or was flushed of scripts
            return self.call("EVAL", script.source, len(keys), *keys, *arguments)

    def send_packed(self, parts: Sequence[bytes], replies: int) -> list[Any]:
        """Sends commands that are packed already, and reads their answers: errors are among them. Raises when the connection breaks."""
        with self._lock:
            connection = self._open()
            try:
                connection.send_packed_command([b"".join(parts)], check_health=False)
                return [self._answer(connection) for _ in range(replies)]
            except BaseException:
                self._drop()
                raise

    def _answer(self, connection: Any) -> Any:
        try:
            return self._read(connection)
        except WRONG_SERVER:
            raise
        except ResponseError as error:
            return error

    def load(self, script: Script) -> None:
        self.call("SCRIPT LOAD", script.source)

    def close(self) -> None:
        with self._lock:
            self._drop()

    def forget(self) -> None:
        """After a fork: the connection is the parent's."""
        self._lock = threading.RLock()
        self._connection = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None

    def _open(self) -> Any:
        connection = self._connection
        if connection is not None and self._pid == os.getpid() and connection._sock is not None:  # noqa: SLF001 - `is_connected` is new
            return connection
        self._connection = None
        connection = self._servers.connect()
        self._connection, self._pid = connection, os.getpid()
        return connection

    def _read(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except WRONG_SERVER:
            self._drop()
            raise
        except ResponseError as error:
            if any(word in str(error) for word in _WRONG_SERVER_WORDS):
                self._drop()
                raise WrongServer(str(error)) from error
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.disconnect()
            except (RedisError, OSError):
                self._connection = None


def packed(*words: bytes) -> bytes:
    """A command in Redis' protocol (RESP)."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
