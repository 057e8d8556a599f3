"""Where messages go that nobody will handle here: by the queue's arguments, in RabbitMQ's words, with the same headers.

A rejected or expired message goes where `x-dead-letter-exchange` and `x-dead-letter-routing-key` say, and is dropped where they say
nothing, as AMQP has it. One that was delivered too often, or that cannot be read, is never dropped: without those arguments it goes to
the queue `<name>.dead`. So does one whose dead-letter exchange leads nowhere.
"""

import time
from typing import TYPE_CHECKING, Any, Literal

from kombu.exceptions import ChannelError
from kombu.log import get_logger

from .codec import Meta, encode
from .link import Link
from .message import Entry
from .scripts import MOVE

if TYPE_CHECKING:
    from .channel import Channel

_log = get_logger("kombu.transport.redisstreams")
Reason = Literal["rejected", "expired", "delivery_limit", "undecodable"]
_NEVER_DROPPED = ("delivery_limit", "undecodable")


class DeadLetters:
    """Of one channel."""

    def __init__(self, channel: "Channel", group: str, suffix: str) -> None:
        self._channel = channel
        self._group = group
        self._suffix = suffix

    def reject(self, entry: Entry) -> None:
        self.bury(entry, "rejected")

    def bury(self, entry: Entry, reason: Reason) -> None:
        """Moves an entry, in one step, to the dead letters; or acknowledges it where the queue has none."""
        queue = entry.stream.queue
        try:
            meta = entry.meta()
        except ValueError:
            meta = Meta(None, None, {}, {}, "", None)
        targets, exchange, routing_key = self._targets(queue, meta, reason)
        if not targets:
            _log.info("dropped a message of queue %r: %s, and the queue has no x-dead-letter-exchange", queue, reason)
            self._channel.connection.settled(entry)
            return
        if reason in _NEVER_DROPPED:
            _log.warning("a message of queue %r goes to %s: %s after %d deliveries", queue, ", ".join(targets), reason, entry.deliveries)
        properties = {name: value for name, value in meta.properties.items() if name != "expiration"}
        message = {
            "content-type": meta.content_type, "content-encoding": meta.content_encoding,
            "headers": with_death(meta, queue, reason), "properties": properties,
        }  # fmt: skip
        link: Link = self._channel.link
        keys = [self._channel.stream_for(target, int(properties.get("priority") or 0)).key for target in targets]
        link.run(MOVE, [entry.stream.key, *keys], self._group, entry.id, encode(message, exchange, routing_key, ""), entry.body)

    def _targets(self, queue: str, meta: Meta, reason: Reason) -> tuple[list[str], str, str]:
        arguments = self._channel.arguments_of(queue)
        exchange = arguments.get("x-dead-letter-exchange")
        if exchange is None:
            if reason in _NEVER_DROPPED:
                return [queue + self._suffix], "", queue + self._suffix
            return [], "", ""
        routing_key = arguments.get("x-dead-letter-routing-key") or (queue if meta.routing_key is None else meta.routing_key)
        try:
            targets = self._channel.route(exchange, routing_key)
        except ChannelError:
            targets = []
        if targets:
            return targets, exchange, routing_key
        dead = queue + self._suffix
        _log.error("queue %r: its dead-letter exchange %r leads nowhere with key %r; %r is used", queue, exchange, routing_key, dead)
        return [dead], "", dead


def with_death(meta: Meta, queue: str, reason: Reason) -> dict[str, Any]:
    """The headers with RabbitMQ's `x-death`: one record per queue and reason, the newest first. `time` is Unix seconds."""
    headers = {name: value for name, value in meta.headers.items() if name not in ("redelivered", "x-delivery-count")}
    deaths = [dict(death) for death in headers.get("x-death") or () if isinstance(death, dict)]
    routing_key = queue if meta.routing_key is None else meta.routing_key
    mine: dict[str, Any] = {"reason": reason, "queue": queue, "exchange": meta.exchange, "routing-keys": [routing_key], "count": 0}
    for death in deaths:
        if (death.get("queue"), death.get("reason")) == (queue, reason):
            mine = death
            deaths.remove(death)
            break
    mine |= {"count": int(mine.get("count") or 0) + 1, "time": int(time.time())}
    if "expiration" in meta.properties:
        mine["original-expiration"] = meta.properties["expiration"]
    headers["x-death"] = [mine, *deaths]
    headers.setdefault("x-first-death-reason", reason)
    headers.setdefault("x-first-death-queue", queue)
    headers.setdefault("x-first-death-exchange", meta.exchange)
    return headers
