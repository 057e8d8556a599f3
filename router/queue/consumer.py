"""Takes entries from the queue for an asyncio program, in batches, and acknowledges each batch when it has been dealt with.

kombu is synchronous, so a thread holds the connection and does all that kombu does; the work itself is a coroutine on the program's loop.
What cannot be handled goes to the dead-letter queue with its reason, so that one bad entry holds up nobody.

Entries that cannot be dealt with for now, since the store is away, stay in hand and are tried again. Given back, they would count as
delivered once more each time, and a broker with a delivery limit would bury them.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Literal

import msgspec
import structlog
from kombu import Connection, Consumer, Producer

from router.domain.errors import RouterError
from router.domain.message import LANES
from router.queue.broker import Broker
from router.queue.burial import bury
from router.queue.entries import Entry, decode
from router.queue.rabbitmq import InHand

_log = structlog.get_logger()
_AT_ONCE = 2
"""Batches on the program's loop: while one waits for the store, the other is worked on; and the next comes in meanwhile."""
_IDLE_SECONDS = 0.25
_GATHER_SECONDS = 0.002
_PAUSE_SECONDS = 0.5
_BURY_AGAIN_SECONDS = 5.0

DeadReason = Literal["undecodable", "unknown_message", "error"]
Handle = Callable[[Sequence[Entry]], Awaitable[Mapping[str, DeadReason]]]
"""Deals with entries; answers which of them (by id) belong on the dead-letter queue. Raises where it could not do its work at all."""


_Dead = list[tuple[Any, DeadReason]]
"""Messages that are to be buried, and why."""


class _FirstCome(deque[Any]):
    """Messages of a transport that asks the lanes in turns: they are taken as they came."""

    def take(self, most: int) -> list[Any]:
        return [self.popleft() for _ in range(min(most, len(self)))]


class _Job(msgspec.Struct, frozen=True):
    """A batch on the program's loop. The same entry may have come as several messages."""

    batch: list[Any]
    by_id: dict[str, tuple[Entry, list[Any]]]
    undecodable: list[Any]
    answer: "Future[Mapping[str, DeadReason]]"


class BatchConsumer:
    """One per process; `start` and `stop` it from the loop that the work runs on."""

    def __init__(
        self, broker: Broker, handle: Handle, *, prefetch: int, on_dead: Callable[[DeadReason], None],
        on_redelivered: Callable[[int], None] | None = None,
    ) -> None:  # fmt: skip
        """`on_redelivered` hears how many entries came that somebody had before."""
        self._broker = broker
        self._handle = handle
        self._prefetch = prefetch
        self._on_dead = on_dead
        self._on_redelivered = on_redelivered
        self.is_connected = False
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
            finally:
                self.is_connected = False

    def _look_at(self, taken: list[Any]) -> list[Any]:
        """Tells of those that somebody had before; gives them all back."""
        if self._on_redelivered is not None and (again := sum(map(_is_redelivered, taken))):
            self._on_redelivered(again)
        return taken

    def _consume(self, connection: Connection) -> None:
        channel = self._broker.open_channel(connection)
        hand: InHand | _FirstCome = InHand() if self._broker.is_amqp else _FirstCome()
        lanes = len(LANES) if self._broker.is_amqp else 1  # RabbitMQ counts the prefetch for each lane
        prefetch = (_AT_ONCE + 1) * self._prefetch
        jobs: deque[_Job] = deque()
        again: list[Any] = []
        dead: _Dead = []
        bury_at = float("-inf")
        with Consumer(channel, self._broker.lane_queues(), on_message=hand.append, prefetch_count=prefetch):
            self.is_connected = True
            while not self._stopping.is_set():
                connection.heartbeat_check()
                held = len(again) + len(dead) + sum(len(job.batch) for job in jobs)
                self._gather(connection, hand, lanes * prefetch - held, is_idle=not (jobs or again))
                # A second batch at once only where it is a full one: else what comes meanwhile makes a larger batch
                if not jobs or (len(jobs) < _AT_ONCE and len(again) + len(hand) >= self._prefetch):
                    batch, again = again[: self._prefetch], again[self._prefetch :]
                    batch += self._look_at(hand.take(self._prefetch - len(batch)))
                    if batch:
                        jobs.append(self._begin(batch))
                else:
                    again += self._end(jobs.popleft(), dead)
                if dead and time.monotonic() >= bury_at and not self._bury(dead):
                    bury_at = time.monotonic() + _BURY_AGAIN_SECONDS
                if again:
                    self._stopping.wait(_PAUSE_SECONDS)
            for job in jobs:
                self._end(job, dead)

    def _gather(self, connection: Connection, hand: InHand | _FirstCome, room: int, *, is_idle: bool) -> None:
        """Takes what is there, as far as there is room; an idle consumer waits for it.

        Streams bring all that is there at once. Other brokers bring one message at a time, so there is a short wait for the next.
        """
        timeout = _IDLE_SECONDS if is_idle and not hand else 0.0
        while len(hand) < room:
            try:
                connection.drain_events(timeout=timeout)
            except TimeoutError:
                return
            if self._broker.is_streams:
                return
            timeout = _GATHER_SECONDS if len(hand) < self._prefetch else 0.0

    def _begin(self, batch: list[Any]) -> "_Job":
        """Hands a batch to the program's loop."""
        by_id: dict[str, tuple[Entry, list[Any]]] = {}
        undecodable: list[Any] = []
        for message in batch:
            try:
                entry = decode(message.body)
            except (msgspec.MsgspecError, UnicodeError):
                undecodable.append(message)
                continue
            by_id.setdefault(entry.id, (entry, []))[1].append(message)
        return _Job(batch, by_id, undecodable, self._submit([entry for entry, _ in by_id.values()]))

    def _end(self, job: "_Job", dead: _Dead) -> list[Any]:
        """Waits for a batch, and acknowledges it. Adds to `dead` what is to be buried; gives back what has to be tried again."""
        try:
            reasons = self._reasons(job)
        except RouterError as error:
            # The store is away: nothing is wrong with the entries
            _log.warning("queue.batch_waits", entries=len(job.by_id), error=repr(error))
            return job.batch
        dead += [(message, "undecodable") for message in job.undecodable]
        for entry, messages in job.by_id.values():
            for message in messages:
                if reason := reasons.get(entry.id):
                    dead.append((message, reason))
                else:
                    message.ack()
        return []

    def _reasons(self, job: "_Job") -> Mapping[str, DeadReason]:
        try:
            return job.answer.result()
        except RouterError:
            raise
        except Exception:  # noqa: BLE001 - one entry is to blame; it is found, and the others go on
            _log.exception("queue.batch_failed", entries=len(job.by_id))
            return self._one_by_one([entry for entry, _ in job.by_id.values()])

    def _one_by_one(self, entries: Sequence[Entry]) -> dict[str, DeadReason]:
        """Finds the entry that makes the work fail, so that the others go on."""
        dead: dict[str, DeadReason] = {}
        for entry in entries:
            try:
                dead.update(self._submit([entry]).result())
            except RouterError:
                raise
            except Exception:  # noqa: BLE001 - it goes to the dead letters, with its trace in the log
                _log.exception("queue.entry_failed", message_id=entry.id)
                dead[entry.id] = "error"
        return dead

    def _submit(self, entries: Sequence[Entry]) -> "Future[Mapping[str, DeadReason]]":
        async def work() -> Mapping[str, DeadReason]:
            return await self._handle(entries) if entries else {}

        if self._loop is None:
            raise RuntimeError("the consumer was not started")
        return asyncio.run_coroutine_threadsafe(work(), self._loop)

    def _bury(self, dead: _Dead) -> bool:
        """Acknowledges each when the dead-letter queue has it, and empties the list. False where that queue cannot be reached: they stay.

        Over a connection of its own: a broker in need blocks who publishes, and would no longer read this consumer's acknowledgements.
        """
        try:
            with self._broker.connect() as connection:
                dead_letters = Producer(self._broker.open_channel(connection))
                with dead_letters.batch():
                    for message, reason in dead:
                        bury(dead_letters, message, reason)
        except Exception as error:  # noqa: BLE001 - every broker library has errors of its own
            _log.warning("queue.not_buried", entries=len(dead), error=repr(error))
            return False
        for message, reason in dead:
            message.ack()
            self._on_dead(reason)
            _log.error("queue.dead_letter", reason=reason)
        dead.clear()
        return True


def _is_redelivered(message: Any) -> bool:
    return bool((message.delivery_info or {}).get("redelivered"))
