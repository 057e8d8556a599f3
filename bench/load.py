"""A small HTTP/1.1 load generator: kept-alive connections, one request in flight on each, bodies made beforehand.

Cheap enough not to be what is measured: no HTTP library on the sending side, statuses and lengths read from the bytes. Loopback only.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import cast

import msgspec

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Outcome(msgspec.Struct, frozen=True):
    """How a run went. Times are seconds."""

    seconds: float
    statuses: dict[int, int]
    latencies: list[float]

    @property
    def per_second(self) -> float:
        return sum(self.statuses.values()) / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    """One whole request."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + _HEAD_END + body


class Exchange(asyncio.Protocol):
    """One kept-alive connection with one request in flight at the most; `answered` and `ended` are for the kind of load to say."""

    def __init__(self) -> None:
        self.sent_at = 0.0
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> None:
        if self._transport is not None:
            self.sent_at = time.perf_counter()
            self._transport.write(request)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return
        head = self._buffer[:end].lower()
        start = head.find(_LENGTH) + len(_LENGTH)
        stop = head.find(b"\r\n", start)
        length = int(head[start : stop if stop >= 0 else None])
        if len(self._buffer) < end + 4 + length:
            return
        status, body = int(self._buffer[9:12]), self._buffer[end + 4 :]
        self._buffer = b""
        self.answered(status, body)

    def connection_lost(self, _: Exception | None) -> None:
        self.ended()

    def answered(self, status: int, body: bytes) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        raise NotImplementedError


class _Connection(Exchange):
    """Sends the next request as soon as the last one is answered."""

    def __init__(self, requests: Iterator[bytes], statuses: Counter[int], latencies: list[float], done: "asyncio.Future[None]") -> None:
        super().__init__()
        self._requests = requests
        self._statuses = statuses
        self._latencies = latencies
        self._done = done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._next()

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.close()
        else:
            self.send(request)

    def answered(self, status: int, body: bytes) -> None:
        self._statuses[status] += 1
        self._latencies.append(time.perf_counter() - self.sent_at)
        self._next()

    def ended(self) -> None:
        if not self._done.done():
            self._done.set_result(None)


async def run(port: int, requests: list[bytes], connections: int, *, warm_up: int = 200) -> Outcome:
    """Sends all requests to a port of this machine, `warm_up` of them before the clock starts."""
    queue = iter(requests)
    await _round(port, islice(queue, warm_up), min(connections, warm_up), Counter(), [])
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    started = time.perf_counter()
    await _round(port, queue, connections, statuses, latencies)
    return Outcome(time.perf_counter() - started, dict(statuses), latencies)


async def _round(port: int, requests: Iterator[bytes], connections: int, statuses: Counter[int], latencies: list[float]) -> None:
    loop = asyncio.get_running_loop()
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        done: asyncio.Future[None] = loop.create_future()
        ends.append(done)

        def make(done: "asyncio.Future[None]" = done) -> _Connection:
            return _Connection(requests, statuses, latencies, done)

        await loop.create_connection(make, "127.0.0.1", port)
    await asyncio.gather(*ends)
