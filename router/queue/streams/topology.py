"""The channel's verbs for exchanges, bindings and queues."""

from collections.abc import Iterable, Mapping
from typing import Any

from amqp.protocol import queue_declare_ok_t  # type: ignore[import-untyped]
from kombu.exceptions import ChannelError
from kombu.transport import virtual
from kombu.transport.base import to_rabbitmq_queue_arguments
from kombu.utils.uuid import uuid

from .exchanges import Exchanges
from .link import Link
from .queues import Declaration, QueueState


class TopologyChannel(virtual.Channel):
    """What a channel can declare, bind, count, empty and delete."""

    supports_fanout = True

    def __init__(self, connection: Any, **kwargs: Any) -> None:
        super().__init__(connection, **kwargs)  # type: ignore[no-untyped-call]
        self.link: Link = connection.link
        self.exchanges: Exchanges = connection.exchanges

    def _lookup(self, exchange: str, routing_key: str, default: str | None = None) -> list[str]:
        if not exchange:
            return [routing_key or default or ""]
        table = self.exchanges.table(exchange)
        kind: Any = self.exchange_types[table.type]
        rows = [kind.prepare_bind(one.queue, exchange, one.routing_key, None) for one in table.bindings]
        return sorted(kind.lookup(rows, exchange, routing_key, default))

    def get_table(self, exchange: str) -> list[Any]:
        table = self.exchanges.table(exchange)
        kind: Any = self.exchange_types[table.type]
        return [kind.prepare_bind(one.queue, exchange, one.routing_key, None) for one in table.bindings]

    def typeof(self, exchange: str, default: str = "direct") -> Any:
        return self.exchange_types[self.exchanges.type_of(exchange)]

    def get_exchanges(self) -> list[str]:
        return sorted(self.exchanges.names())

    def exchange_declare(
        self, exchange: str | None = None, type: str = "direct", durable: bool = False, auto_delete: bool = False,
        arguments: Mapping[str, Any] | None = None, nowait: bool = False, passive: bool = False,
    ) -> None:  # fmt: skip
        type = type or "direct"
        exchange = exchange or f"amq.{type}"
        if passive:
            if not self.exchanges.exists(exchange):
                raise ChannelError(f"NOT_FOUND - no exchange {exchange!r}", (40, 10), "Channel.exchange_declare", "404")
            return
        if type not in self.exchange_types:
            raise ChannelError(f"COMMAND_INVALID - unknown exchange type {type!r}", (40, 10), "Channel.exchange_declare", "503")
        record = {"type": type, "durable": durable, "auto_delete": auto_delete, "arguments": dict(arguments or {})}
        self.exchanges.declare(exchange, record)
        self.state.exchanges[exchange] = {**record, "table": []}

    def exchange_delete(self, exchange: str, if_unused: bool = False, nowait: bool = False) -> None:
        if if_unused and self.exchanges.table(exchange, fresh=True).bindings:
            raise ChannelError(f"PRECONDITION_FAILED - exchange {exchange!r} in use", (40, 20), "Channel.exchange_delete", "406")
        self.exchanges.delete(exchange)
        self.state.exchanges.pop(exchange, None)

    def queue_bind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        exchange = exchange or "amq.direct"
        if not self.exchanges.exists(exchange):
            raise ChannelError(f"NOT_FOUND - no exchange {exchange!r}", (50, 20), "Channel.queue_bind", "404")
        self.exchanges.bind(exchange, routing_key or "", queue, self.connection.queues.declaration(queue).temporary)

    def queue_unbind(
        self, queue: str, exchange: str | None = None, routing_key: str = "", arguments: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        self.exchanges.unbind(exchange or "amq.direct", routing_key or "", queue)

    def list_bindings(self) -> Iterable[tuple[str, str, str]]:
        return ((one.queue, name, one.routing_key) for name in self.get_exchanges() for one in self.exchanges.table(name).bindings)

    # --- queues ---

    def prepare_queue_arguments(self, arguments: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return to_rabbitmq_queue_arguments(arguments or {}, **kwargs)

    def queue_declare(
        self, queue: str | None = None, passive: bool = False, durable: bool = False, exclusive: bool = False, auto_delete: bool = False,
        nowait: bool = False, arguments: Mapping[str, Any] | None = None, **kwargs: Any,
    ) -> Any:  # fmt: skip
        queue = queue or f"amq.gen-{uuid()}"
        if passive:
            state = self.queue_state(queue)
            if not state.exists:
                raise ChannelError(f"NOT_FOUND - no queue {queue!r}", (50, 10), "Channel.queue_declare", "404")
            return queue_declare_ok_t(queue, state.waiting, 0)
        waiting = self._new_queue(queue, exclusive=exclusive, auto_delete=auto_delete, arguments=arguments)
        return queue_declare_ok_t(queue, waiting, 0)

    def _new_queue(
        self, queue: str, exclusive: bool = False, auto_delete: bool = False, arguments: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> int:
        arguments = dict(arguments or {})
        temporary = bool(exclusive or auto_delete)
        expires = int(arguments.get("x-expires") or (self.connection.options.temporary_queue_expires * 1000 if temporary else 0))
        waiting: int = self.connection.queues.declare(queue, Declaration(arguments, temporary, expires))
        self.connection.declared(queue)
        if exclusive:
            self.connection.exclusive.add(queue)
        return waiting

    def queue_delete(self, queue: str, if_unused: bool = False, if_empty: bool = False, **kwargs: Any) -> int:
        """Returns how many waiting messages went with it. Raises ChannelError where it is used, or not empty, and that matters."""
        state = self.queue_state(queue)
        if if_empty and state.waiting:
            raise ChannelError(f"PRECONDITION_FAILED - queue {queue!r} not empty", (50, 40), "Channel.queue_delete", "406")
        if if_unused and self.connection.in_use(queue):
            raise ChannelError(f"PRECONDITION_FAILED - queue {queue!r} in use", (50, 40), "Channel.queue_delete", "406")
        self._delete(queue)
        return state.waiting

    def _delete(self, queue: str, *args: Any, **kwargs: Any) -> None:
        self.connection.delete_queue(queue)

    def queue_state(self, queue: str) -> QueueState:
        """Waiting, in hands, delayed, and since when the oldest waits."""
        state: QueueState = self.connection.queues.state(queue)
        return state

    def arguments_of(self, queue: str) -> dict[str, Any]:
        arguments: dict[str, Any] = self.connection.queues.declaration(queue).arguments
        return arguments

    def _size(self, queue: str) -> int:
        return self.queue_state(queue).waiting

    def _has_queue(self, queue: str, **kwargs: Any) -> bool:
        return self.queue_state(queue).exists

    def _purge(self, queue: str) -> int:
        removed: int = self.connection.queues.purge(queue)
        return removed
