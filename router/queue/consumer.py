"""Takes entries from the queue for an asyncio program, in batches, and acknowledges each batch when it has been dealt with.

kombu is synchronous, so a thread holds the connection and does all that kombu does; the work itself is a coroutine on the program's loop.
What cannot be handled goes to the dead-letter queue with its reason, so that one bad entry holds up nobody.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import structlog
from kombu import Connection, Consumer, Producer

from router.domain.errors import RouterError
from router.queue.broker import DEAD_QUEUE, Broker
from router.queue.entries import Entry, decode

_log = structlog.get_logger()
_IDLE_SECONDS = 0.25
_GATHER_SECONDS = 0.002
_PAUSE_SECONDS = 0.5
_DEAD_BODY_BYTES = 4096

DeadReason = Literal["undecodable", "unknown_message", "error"]
Handle = Callable[[Sequence[Entry]], Awaitable[Mapping[str, DeadReason]]]
"""Deals with entries; answers which of them (by id) belong on the dead-letter queue. Raises where it could not do its work at all."""


class BatchConsumer:
    """One per process; `start` and `stop` it from the loop that the work runs on."""

    def __init__(self, broker: Broker, handle: Handle, *, prefetch: int, on_dead: Callable[[DeadReason], None]) -> None:
        self._broker = broker
        self._handle = handle
        self._prefetch = prefetch
        self._on_dead = on_dead
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="consumer", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def stop(self) -> None:
        """Finishes the batch in hand, gives back what was only fetched, and ends the thread."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join, 30.0)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._broker.connect() as connection:
                    self._consume(connection)
            except Exception as error:  # noqa: BLE001 - every broker library has errors of its own; we connect again
                _log.warning("queue.consumer_reconnects", error=repr(error))
                self._stopping.wait(_PAUSE_SECONDS)

    def _consume(self, connection: Connection) -> None:
        channel = connection.channel()
        self._broker.declare(channel)
        gathered: list[Any] = []
        consumer = Consumer(channel, self._broker.lane_queues(), on_message=gathered.append, prefetch_count=self._prefetch)
        dead_letters = Producer(channel)
        with consumer:
            while not self._stopping.is_set():
                self._gather(connection, gathered)
                if gathered:
                    self._work(gathered, dead_letters)
                    gathered.clear()

    def _gather(self, connection: Connection, gathered: list[Any]) -> None:
        """Waits for one, then takes what else is there, up to the prefetch."""
        timeout = _IDLE_SECONDS
        while len(gathered) < self._prefetch:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                return
            timeout = _GATHER_SECONDS

    def _work(self, gathered: Sequence[Any], dead_letters: Producer) -> None:
        by_id: dict[str, tuple[Entry, list[Any]]] = {}
        for message in gathered:
            try:
                entry = decode(message.body)
            except (msgspec.MsgspecError, UnicodeError):
                self._bury(dead_letters, message, "undecodable")
                continue
            by_id.setdefault(entry.id, (entry, []))[1].append(message)
        entries = [entry for entry, _ in by_id.values()]
        try:
            dead = dict(self._await(entries))
        except RouterError as error:
            # The store is away: nothing is wrong with the entries
            _log.warning("queue.batch_given_back", entries=len(entries), error=repr(error))
            self._give_back(by_id.values())
            return
        except Exception:  # noqa: BLE001 - one entry is to blame; it is found, and the others go on
            _log.exception("queue.batch_failed", entries=len(entries))
            dead = self._one_by_one(entries)
        for entry, messages in by_id.values():
            for message in messages:
                if reason := dead.get(entry.id):
                    self._bury(dead_letters, message, reason)
                else:
                    message.ack()

    def _one_by_one(self, entries: Sequence[Entry]) -> dict[str, DeadReason]:
        """Finds the entry that makes the work fail, so that the others go on."""
        dead: dict[str, DeadReason] = {}
        for entry in entries:
            try:
                dead.update(self._await([entry]))
            except RouterError:
                raise
            except Exception:  # noqa: BLE001 - it goes to the dead letters, with its trace in the log
                _log.exception("queue.entry_failed", message_id=entry.id)
                dead[entry.id] = "error"
        return dead

    def _await(self, entries: Sequence[Entry]) -> Mapping[str, DeadReason]:
        if not entries or self._loop is None:
            return {}

        async def work() -> Mapping[str, DeadReason]:
            return await self._handle(entries)

        return asyncio.run_coroutine_threadsafe(work(), self._loop).result()

    def _give_back(self, batches: Any) -> None:
        for _, messages in batches:
            for message in messages:
                message.requeue()
        self._stopping.wait(_PAUSE_SECONDS)

    def _bury(self, dead_letters: Producer, message: Any, reason: DeadReason) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode("utf-8", "replace")
        dead_letters.publish(
            body[:_DEAD_BODY_BYTES],
            routing_key=DEAD_QUEUE,
            content_type="application/octet-stream",
            content_encoding="binary",
            headers={"reason": reason, "queue": (message.delivery_info or {}).get("routing_key", ""), "at": time.time()},
        )
        message.ack()
        self._on_dead(reason)
        _log.error("queue.dead_letter", reason=reason)
