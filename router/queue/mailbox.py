"""A thread for a broker's synchronous client: it takes whatever has come together while it was busy, and deals with it in one go.

So concurrent callers share a round trip, and a caller alone waits for nobody. A caller hears of its own items when they are dealt with.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import structlog
from kombu import Connection, Producer

from router.domain.errors import Unavailable

T = TypeVar("T")

_log = structlog.get_logger()
BATCH = 500
_STOP_SECONDS = 10.0


class Parcel(Generic[T]):
    """What one caller wants to have dealt with, and where it waits."""

    def __init__(self, items: Sequence[T]) -> None:
        self.items = items
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[None] = self._loop.create_future()

    def resolve(self, error: Exception | None) -> None:
        """Tells the caller. From any thread."""
        self._loop.call_soon_threadsafe(self._set, error)

    def _set(self, error: Exception | None) -> None:
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        elif isinstance(error, Unavailable):
            # An error of its own for each: they are raised in several tasks
            self.done.set_exception(Unavailable(str(error), error.retry_after_seconds))
        else:
            self.done.set_exception(Unavailable(f"the queue cannot be reached: {type(error).__name__}"))


class Mailbox(Generic[T]):
    """One thread. `send` deals with parcels and resolves each; `look` is called each `look_seconds`; `close` at the end. None may raise."""

    def __init__(
        self, name: str, send: Callable[[list[Parcel[T]]], None], look: Callable[[], None], close: Callable[[], None], look_seconds: float
    ) -> None:
        self._send = send
        self._look = look
        self._close = close
        self._look_seconds = look_seconds
        self._parcels: queue.SimpleQueue[Parcel[T] | None] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    async def stop(self) -> None:
        """Deals with what is left, and ends the thread."""
        self._stopping.set()
        self._parcels.put(None)
        await asyncio.to_thread(self._thread.join, _STOP_SECONDS)

    async def post(self, items: Sequence[T]) -> None:
        """Returns when they are dealt with. Raises `Unavailable` when that is not certain."""
        if not items:
            return
        if self._stopping.is_set():
            raise Unavailable("this process is stopping")
        parcel = Parcel(items)
        self._parcels.put(parcel)
        await parcel.done

    def _run(self) -> None:
        looked_at = float("-inf")
        while not (self._stopping.is_set() and self._parcels.empty()):
            if time.monotonic() - looked_at >= self._look_seconds:
                looked_at = time.monotonic()
                self._look()
            if parcels := self._gather():
                self._send(parcels)
        self._close()

    def _gather(self) -> list[Parcel[T]]:
        """What is there, or the first that comes; nothing when it is time to look, or when woken to stop."""
        parcels: list[Parcel[T]] = []
        size = 0
        try:
            parcel = self._parcels.get(timeout=self._look_seconds)
            while parcel is not None:
                parcels.append(parcel)
                size += len(parcel.items)
                parcel = self._parcels.get_nowait() if size < BATCH else None
        except queue.Empty:
            return parcels
        return parcels


class ProducerLink:
    """The connection of a mailbox's thread, opened when it is needed."""

    def __init__(self, open_connection: Callable[[], tuple[Connection, Producer]]) -> None:
        self._open = open_connection
        self._connection: Connection | None = None
        self._producer: Producer | None = None

    @property
    def producer(self) -> Producer:
        """Raises the broker's errors."""
        if self._producer is None:
            self._connection, self._producer = self._open()
        return self._producer

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except OSError as error:
                _log.debug("queue.close_failed", error=repr(error))
