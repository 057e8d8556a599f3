"""Requests that are begun when they are due, whatever the answers to the others (an open loop).

A closed loop asks less of a router that is slow, and so hides what a caller would have waited for (the "coordinated omission" of Gil
Tene's talks on measuring latency). Here a request that no connection is free for waits in line, and its time runs from when it was due.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator

import msgspec

from bench.load import Exchange

_TICK_SECONDS = 0.002
_LAST_ANSWER_SECONDS = 60.0
NO_ANSWER = 0
"""The status of a request whose connection ended without an answer."""


class Paced(msgspec.Struct):
    """How it went. `bodies` are those of the answers, in the order in which they came; `waits` are seconds from due to answered."""

    seconds: float = 0.0
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    bodies: list[bytes] = msgspec.field(default_factory=list)
    waits: list[float] = msgspec.field(default_factory=list)


class _Line:
    """The requests that are due and the connections that are free."""

    def __init__(self, outcome: Paced) -> None:
        self._outcome = outcome
        self._due: deque[tuple[bytes, float]] = deque()
        self._free: deque[_Connection] = deque()
        self.alive = 0
        self._unanswered = 0
        self.is_empty = asyncio.Event()
        self.is_empty.set()

    def add(self, request: bytes) -> None:
        self._due.append((request, time.perf_counter()))
        self._unanswered += 1
        self.is_empty.clear()
        self.serve()

    def serve(self) -> None:
        while self._due and self._free:
            # The one that has rested longest: a server closes those that rest too long
            self._free.popleft().take(*self._due.popleft())

    def rest(self, connection: "_Connection") -> None:
        self._free.append(connection)
        self.serve()

    def answered(self, status: int, body: bytes, due_at: float) -> None:
        self._outcome.statuses[status] += 1
        self._outcome.bodies.append(body)
        self._outcome.waits.append(time.perf_counter() - due_at)
        self._unanswered -= 1
        if not self._unanswered:
            self.is_empty.set()

    def ended(self, connection: "_Connection") -> None:
        self.alive -= 1
        if connection in self._free:
            self._free.remove(connection)

    def close(self) -> None:
        for connection in tuple(self._free):
            connection.close()


class _Connection(Exchange):
    def __init__(self, line: _Line) -> None:
        super().__init__()
        self._line = line
        self._due_at: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._line.alive += 1
        self._line.rest(self)

    def take(self, request: bytes, due_at: float) -> None:
        self._due_at = due_at
        self.send(request)

    def answered(self, status: int, body: bytes) -> None:
        self._settle(status, body)
        self._line.rest(self)

    def ended(self) -> None:
        self._settle(NO_ANSWER, b"")
        self._line.ended(self)

    def _settle(self, status: int, body: bytes) -> None:
        if self._due_at is not None:
            self._line.answered(status, body, self._due_at)
        self._due_at = None


def steady(per_second: float) -> Callable[[float], int]:
    """How many requests are due after so many seconds at this rate."""
    return lambda elapsed: int(elapsed * per_second)


async def run(port: int, requests: Iterator[bytes], due: Callable[[float], int], seconds: float, *, connections: int = 64) -> Paced:
    """Begins requests to a port of this machine for so long, as many as `due(elapsed)` says, and waits for the last answers.

    Raises TimeoutError where they do not come.
    """
    outcome = Paced()
    line = _Line(outcome)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    begun = 0
    while (elapsed := time.perf_counter() - started) < seconds:
        for _ in range(connections - line.alive):
            await loop.create_connection(lambda: _Connection(line), "127.0.0.1", port)
        for _ in range(due(elapsed) - begun):
            line.add(next(requests))
            begun += 1
        await asyncio.sleep(_TICK_SECONDS)
    outcome.seconds = time.perf_counter() - started
    async with asyncio.timeout(_LAST_ANSWER_SECONDS):
        await line.is_empty.wait()
    line.close()
    return outcome
