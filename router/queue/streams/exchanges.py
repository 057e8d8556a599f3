"""Named exchanges: how they were declared and which queues are bound to them, in Redis, with a copy here that is soon old.

A table that vanished (a flush) is told from an exchange without bindings by the exchange's own record. What this connection declared is
declared again; if after that nothing is bound where something was, publishing raises: a message is never dropped for a lost table.
"""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from kombu.exceptions import ChannelError
from kombu.log import get_logger
from kombu.transport.virtual.base import NotEquivalentError

from .keys import Keys
from .link import Link

_log = get_logger("kombu.transport.redisstreams")
_PREDECLARED = {"amq.direct": "direct", "amq.topic": "topic", "amq.fanout": "fanout"}


class Binding(NamedTuple):
    """A queue at an exchange. A temporary queue may be gone without a word."""

    routing_key: str
    queue: str
    temporary: bool

    def dump(self) -> str:
        return json.dumps([self.routing_key, self.queue, int(self.temporary)], separators=(",", ":"))


class NotEquivalent(ChannelError, NotEquivalentError):  # type: ignore[misc]
    """PRECONDITION_FAILED: the exchange exists, declared otherwise."""


class Table(NamedTuple):
    """A copy of an exchange's bindings. `there`: the exchange is declared, or one of AMQP's own."""

    bindings: tuple[Binding, ...]
    type: str
    there: bool
    read_at: float


class Exchanges:
    """Of one connection."""

    def __init__(self, link: Link, keys: Keys, cache_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._keys = keys
        self._cache_seconds = cache_seconds
        self._clock = clock
        self._tables: dict[str, Table] = {}
        self._declared: dict[str, dict[str, Any]] = {}
        self._bound: dict[str, set[Binding]] = {}
        self.temporary_queues: set[str] = set()

    def declare(self, name: str, record: dict[str, Any]) -> None:
        """Raises NotEquivalent where it exists with another type, durability or arguments."""
        self._declared[name] = record
        made = self._link.call("HSETNX", self._keys.exchanges, name, json.dumps(record))
        self._tables.pop(name, None)
        if not made:
            there = self._record(name)
            if there is not None and there != record:
                del self._declared[name]
                raise NotEquivalent(
                    f"PRECONDITION_FAILED - inequivalent arg for exchange {name!r}: declared {there!r}, asked {record!r}",
                    (40, 10), "Channel.exchange_declare", "406",
                )  # fmt: skip

    def exists(self, name: str) -> bool:
        return name in _PREDECLARED or self._record(name) is not None

    def type_of(self, name: str) -> str:
        return self.table(name).type

    def delete(self, name: str) -> None:
        self._declared.pop(name, None)
        self._bound.pop(name, None)
        self._tables.pop(name, None)
        self._link.call("DEL", self._keys.bindings(name))
        self._link.call("HDEL", self._keys.exchanges, name)

    def bind(self, exchange: str, routing_key: str, queue: str, temporary: bool) -> None:
        binding = Binding(routing_key, queue, temporary)
        self._bound.setdefault(exchange, set()).add(binding)
        self._link.call("SADD", self._keys.bindings(exchange), binding.dump())
        self._tables.pop(exchange, None)

    def unbind(self, exchange: str, routing_key: str, queue: str) -> None:
        mine = self._bound.get(exchange, set())
        mine -= {one for one in mine if (one.routing_key, one.queue) == (routing_key, queue)}
        for temporary in (False, True):
            self._link.call("SREM", self._keys.bindings(exchange), Binding(routing_key, queue, temporary).dump())
        self._tables.pop(exchange, None)

    def unbind_queue(self, queue: str) -> None:
        """Takes a queue out of every exchange's table."""
        for name in {raw.decode() for raw in self._link.call("HKEYS", self._keys.exchanges)} | set(_PREDECLARED) | set(self._bound):
            for one in self._read(name):
                if one.queue == queue:
                    self.unbind(name, one.routing_key, queue)

    def names(self) -> set[str]:
        return {raw.decode() for raw in self._link.call("HKEYS", self._keys.exchanges)}

    def table(self, exchange: str, *, fresh: bool = False) -> Table:
        """The bindings. Raises ChannelError where there is no such exchange, or its table is gone and cannot be made again."""
        known = self._tables.get(exchange)
        if known is not None and not fresh and self._clock() - known.read_at < self._cache_seconds:
            return known
        record = self._record(exchange)
        if record is None and exchange not in _PREDECLARED:
            self._make_again(exchange, known)
            record = self._record(exchange)
        kind = record["type"] if record else _PREDECLARED.get(exchange, "direct")
        table = self._tables[exchange] = Table(tuple(self._read(exchange)), kind, True, self._clock())
        return table

    def lost(self) -> bool:
        """Whether Redis has forgotten an exchange that this connection declared."""
        names = list(self._declared)
        return bool(names) and None in self._link.call("HMGET", self._keys.exchanges, *names)

    def declare_again(self) -> None:
        """After a flush: all that this connection declared and bound."""
        for name, record in list(self._declared.items()):
            self._link.call("HSETNX", self._keys.exchanges, name, json.dumps(record))
        for name, bindings in list(self._bound.items()):
            for one in list(bindings):
                self._link.call("SADD", self._keys.bindings(name), one.dump())
        self._tables.clear()

    def _make_again(self, exchange: str, known: Table | None) -> None:
        if exchange not in self._declared:
            raise ChannelError(f"NOT_FOUND - no exchange {exchange!r}", (60, 40), "Channel.basic_publish", "404")
        _log.warning("the exchange %r was gone from Redis; it is declared again, with the bindings of this connection", exchange)
        if known is not None and known.bindings and not self._bound.get(exchange) and not self._read(exchange):
            self._tables.pop(exchange, None)
            raise ChannelError(
                f"NOT_FOUND - the bindings of exchange {exchange!r} are gone from Redis; their consumers must declare them again",
                (60, 40), "Channel.basic_publish", "404",
            )  # fmt: skip
        self._link.call("HSETNX", self._keys.exchanges, exchange, json.dumps(self._declared[exchange]))
        for one in self._bound.get(exchange, ()):
            self._link.call("SADD", self._keys.bindings(exchange), one.dump())

    def _record(self, name: str) -> dict[str, Any] | None:
        raw = self._link.call("HGET", self._keys.exchanges, name)
        return None if raw is None else dict(json.loads(raw))

    def _read(self, name: str) -> list[Binding]:
        rows = (json.loads(raw) for raw in self._link.call("SMEMBERS", self._keys.bindings(name)))
        bindings = sorted(Binding(row[0], row[1], bool(row[2])) for row in rows)
        self.temporary_queues.update(one.queue for one in bindings if one.temporary)
        return bindings
