"""Puts messages on streams, many in one command: the script's single answer tells that all of them are there."""

import itertools
import os
import struct
import time
from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kombu.exceptions import BatchPublishError
from redis.exceptions import NoScriptError

from .codec import Raw, body_bytes, encode
from .link import Link, packed
from .scripts import DELAY, PUT, Script

if TYPE_CHECKING:
    from .publishing import PublishingChannel

CHUNK_MESSAGES = 1000
CHUNK_BYTES = 1 << 20

_counter = itertools.count()
_STEP_AND_LENGTH = struct.Struct(">BI")
_UNIQUE = struct.Struct(">QI")


def delayed_member(step: int, meta: bytes, body: bytes) -> bytes:
    """What lua/due.lua takes apart: 16 bytes that make it unique and keep the order, the step, the length of the meta, meta, body."""
    unique = _UNIQUE.pack(time.time_ns(), next(_counter) & 0xFFFFFFFF) + os.urandom(4)
    return unique + _STEP_AND_LENGTH.pack(step, len(meta)) + meta + body


class Puts:
    """Messages for several streams, packed for the script PUT; delayed ones for DELAY."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.messages = 0
        self.bytes = 0
        self._streams: dict[bytes, list[bytes]] = {}
        self._must_exist: dict[bytes, str] = {}
        self._delayed: list[tuple[bytes, int, bytes]] = []

    def add(self, key: bytes, meta: bytes, body: bytes) -> None:
        parts = self._streams.get(key)
        if parts is None:
            parts = self._streams[key] = []
        parts.append(b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(meta), meta, len(body), body))
        self.messages += 1
        self.bytes += len(body)

    def must_exist(self, key: bytes, queue: str) -> None:
        """The queue is a temporary one: where its stream is gone, its messages are dropped, and `send` says so."""
        self._must_exist[key] = queue

    def add_delayed(self, key: bytes, delay_ms: int, member: bytes) -> None:
        self._delayed.append((key, delay_ms, member))
        self.messages += 1
        self.bytes += len(member)

    def send(self, link: Link) -> list[str]:
        """Returns the temporary queues that are gone. Raises redis-py's errors: then it is not certain what is on the queues."""
        gone: list[str] = []
        commands, scripts = self._commands()
        answers = link.send_packed(commands, len(commands))
        for command, script, answer in zip(commands, scripts, answers, strict=True):
            if isinstance(answer, NoScriptError):
                # Nothing of it was done
                link.load(script)
                answer = link.send_packed([command], 1)[0]
            if isinstance(answer, Exception):
                raise answer
            if script is PUT:
                keys = list(self._streams)
                gone += [self._must_exist[keys[index - 1]] for index in answer]
        return gone

    def _commands(self) -> tuple[list[bytes], list[Script]]:
        commands: list[bytes] = []
        scripts: list[Script] = []
        if self._streams:
            commands.append(pack_put(self._streams, self._must_exist))
            scripts.append(PUT)
        if self._delayed:
            words: list[bytes] = [b"EVALSHA", DELAY.sha.encode(), b"%d" % len(self._delayed), *(key for key, _, _ in self._delayed)]
            for _, delay_ms, member in self._delayed:
                words += (b"%d" % delay_ms, member)
            commands.append(packed(*words))
            scripts.append(DELAY)
        return commands, scripts


def pack_put(streams: dict[bytes, list[bytes]], must_exist: Container[bytes]) -> bytes:
    """The script's call, packed by hand: per message the general way costs several times as much. Each part is a message, packed."""
    words = 3 + 2 * len(streams) + 2 * sum(len(parts) for parts in streams.values())
    head = b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b\r\n$%d\r\n%d\r\n" % (words, PUT.sha.encode(), len(b"%d" % len(streams)), len(streams))
    keys = b"".join(b"$%d\r\n%b\r\n" % (len(key), key) for key in streams)
    return b"".join((head, keys, *(_counted(parts, key in must_exist) for key, parts in streams.items())))


def _counted(parts: list[bytes], must_exist: bool) -> bytes:
    number = b"%d" % (-len(parts) if must_exist else len(parts))
    return b"$%d\r\n%b\r\n" % (len(number), number) + b"".join(parts)


def chunks(bodies: Iterable[Any]) -> Iterator[list[bytes]]:
    """Bodies in pieces of a bounded number and size."""
    piece: list[bytes] = []
    size = 0
    for body in bodies:
        piece.append(body_bytes(body))
        size += len(piece[-1])
        if len(piece) >= CHUNK_MESSAGES or size >= CHUNK_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


class PublishBatch:
    """What `Producer.batch` fills (kombu.messaging): sends when full, and at the end."""

    def __init__(self, channel: "PublishingChannel", max_size: int) -> None:
        self.channel = channel
        self.max_size = max_size
        self._puts = Puts()
        self._failed: Exception | None = None
        self._ended: str | None = None

    def publish(self, message: Raw, exchange: str = "", routing_key: str = "", mandatory: bool = False, **_: Any) -> None:
        """Raises BatchPublishError when an earlier flush failed, or this one does."""
        if self._ended is not None or self._failed is not None:
            self._check()
        channel = self.channel
        puts = self._puts
        properties = message["properties"]
        if exchange or message["headers"] or properties.get("priority"):
            for queue in channel.targets(message, exchange, routing_key, mandatory):
                channel.add_put(puts, queue, message, exchange, routing_key)
        else:
            puts.add(channel.default_stream_key(routing_key), encode(message, "", routing_key, routing_key), body_bytes(message["body"]))
        if puts.messages >= self.max_size or puts.bytes >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Returns when all of it is on the queues. Raises BatchPublishError when that is not certain."""
        self._check()
        if not self._puts.messages:
            return
        try:
            self.channel.send(self._puts)
        except Exception as error:
            self._failed = error
            raise BatchPublishError("the batch failed; which of its messages are on the queues is uncertain") from error
        except BaseException:
            self._ended = "broken off"
            raise
        finally:
            self._puts.clear()

    def discard(self) -> None:
        self._ended = "aborted"
        self._puts.clear()

    def close(self) -> None:
        self._ended = self._ended or "closed"

    def _check(self) -> None:
        if self._ended is not None:
            raise RuntimeError(f"the publish batch is {self._ended}")
        if self._failed is not None:
            raise BatchPublishError("the publish batch failed before and cannot be used again") from self._failed
