"""What the tests of the queue share: a Redis that can be stopped, and a consumer that collects."""

import asyncio
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from router.queue.broker import DEAD_QUEUE, Broker
from router.queue.consumer import BatchConsumer, DeadReason
from router.queue.entries import Entry
from tests.conftest import _find_redis, _wait_until_it_answers, require

SECONDS = 20.0


def entries(count: int, lane: str = "otp", at: float = 1000.0) -> list[Entry]:
    return [Entry(f"wg_{lane}_{i:04}", lane, at + i) for i in range(count)]  # type: ignore[arg-type]


async def until(check: Callable[[], Any], what: str) -> Any:
    """The first truthy answer of `check`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SECONDS
    while loop.time() < deadline:
        if answer := check():
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited {SECONDS:.0f} s for {what}")


class Collecting:
    """A running consumer. `work` may answer dead entries, or raise; what it took without raising stands in `taken`."""

    def __init__(
        self, broker: Broker, work: Callable[[Sequence[Entry]], Mapping[str, DeadReason]] | None = None, prefetch: int = 10
    ) -> None:
        self.batches: list[list[str]] = []
        self.dead: list[DeadReason] = []
        self._work = work
        self.consumer = BatchConsumer(broker, self._handle, prefetch=prefetch, on_dead=self.dead.append)

    @property
    def taken(self) -> list[str]:
        return [id for batch in self.batches for id in batch]

    async def _handle(self, found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        answer = self._work(found) if self._work else {}
        self.batches.append([entry.id for entry in found])
        return answer

    async def __aenter__(self) -> Self:
        self.consumer.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.consumer.stop()


def dead_letters(broker: Broker) -> list[tuple[bytes, dict[str, Any]]]:
    """Bodies and headers of the dead-letter queue, which is emptied."""
    found: list[tuple[bytes, dict[str, Any]]] = []
    with broker.connect() as connection:
        queue = connection.SimpleQueue(DEAD_QUEUE)
        while True:
            try:
                message = queue.get(block=False)
            except queue.Empty:
                return found
            message.ack()
            found.append((bytes(message.body), dict(message.headers)))


def in_hands(url: str) -> int:
    """Entries that were fetched and not acknowledged."""
    with redis.Redis.from_url(url) as client:
        return int(client.hlen("queue:unacked"))


class OwnRedis:
    """A redis-server of one test, which may be stopped and started again with what it had."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="seedrouter-")
        self._socket = Path(self._folder.name, "redis.sock")
        self._server: subprocess.Popen[bytes] | None = None
        self.url = f"unix://{self._socket}?db=0"

    def start(self) -> None:
        binary = require(_find_redis(), "redis-server")
        self._server = subprocess.Popen(
            [binary, "--port", "0", "--unixsocket", str(self._socket), "--appendonly", "yes", "--save", "", "--dir", self._folder.name],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        _wait_until_it_answers(self._server, self._socket)

    def stop(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(20)
            self._server = None

    def close(self) -> None:
        self.stop()
        self._folder.cleanup()


