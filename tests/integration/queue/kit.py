"""What the tests of the queue share: a Redis that can be stopped, and a consumer that collects."""

import asyncio
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import kombu
import redis

from router.queue.broker import Broker
from router.queue.consumer import BatchConsumer, DeadReason
from router.queue.entries import Entry, QueuePublisher, decode
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.publisher import publisher_for
from tests.conftest import _find_redis, _wait_until_it_answers, require

SECONDS = 20.0


def entries(count: int, lane: str = "otp", at: float = 1000.0) -> list[Entry]:
    return [Entry(f"wg_{lane}_{i:04}", lane, at + i) for i in range(count)]  # type: ignore[arg-type]


async def until(check: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """The first truthy answer of `check`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while loop.time() < deadline:
        if answer := check():
            return answer
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


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
        queue = broker.dead_queue()(connection.channel())
        queue.declare()
        while (message := queue.get()) is not None:
            message.ack()
            body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)  # py-amqp's empty body is a str
            found.append((body, dict(message.headers)))
    return found


class QueueServer(Protocol):
    """A broker under test, seen without the code under test."""

    url: str

    def length(self, lane: str = "otp") -> int:
        """Entries that wait in a lane."""
        ...

    def is_oldest(self, told: float | None, at: float) -> bool:
        """Is that what is to be told of a lane whose oldest entry is from `at`, put there just now?"""
        ...

    def left(self) -> int:
        """Entries of all lanes that are not acknowledged. To be asked when no consumer is left, since not each broker tells of theirs."""
        ...


class RedisQueue:
    """kombu's own Redis transport: a list per lane, and a hash of what is in somebody's hands."""

    def __init__(self, redis_url: str) -> None:
        self.url = f"stock+{redis_url}"
        self.redis_url = redis_url

    def length(self, lane: str = "otp") -> int:
        with redis.Redis.from_url(self.redis_url) as client:
            return int(client.llen(f"queue:{QUEUES[lane]}"))  # type: ignore[index]

    def is_oldest(self, told: float | None, at: float) -> bool:
        return told == at

    def left(self) -> int:
        return sum(map(self.length, QUEUES)) + in_hands(self.redis_url)


class StreamsQueue:
    """Our own Redis transport: a stream per lane, as long as what is not acknowledged."""

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url

    def length(self, lane: str = "otp") -> int:
        with redis.Redis.from_url(self.url) as client:
            return int(client.xlen(f"queue:{{q}}:s:0:{QUEUES[lane]}"))  # type: ignore[index]

    def is_oldest(self, told: float | None, at: float) -> bool:
        """A stream knows itself when something was added."""
        return told is not None and abs(time.time() - told) < 60

    def left(self) -> int:
        return sum(map(self.length, QUEUES))


    def in_hands(self, lane: str = "otp") -> set[str]:
        """The ids of entries that somebody has fetched and not acknowledged."""
        key = f"queue:{{q}}:s:0:{QUEUES[lane]}"  # type: ignore[index]
        with redis.Redis.from_url(self.url) as client:
            (group,) = client.xinfo_groups(key)
            pending = client.xpending_range(key, group["name"], "-", "+", 1000)
            found = [client.xrange(key, entry["message_id"], entry["message_id"])[0][1] for entry in pending]
        return {decode(fields[b"b"]).id for fields in found}


class RabbitQueue:
    """RabbitMQ, asked over a connection of kombu's own transport."""

    def __init__(self, url: str) -> None:
        self.url = url

    def length(self, lane: str = "otp") -> int:
        """A quorum queue whose leader does not answer within a quarter of a second is called empty: asked again, then."""
        return next((found for _ in range(8) if (found := self._asked(lane))), 0)

    def _asked(self, lane: str) -> int:
        with kombu.Connection(self.url) as connection:
            return int(connection.channel().queue_declare(QUEUES[lane], passive=True).message_count)  # type: ignore[index]

    def is_oldest(self, told: float | None, at: float) -> bool:
        return told is None

    def left(self) -> int:
        """Looked at for a while: what a consumer held comes back a moment after its connection is closed."""
        found = 0
        for _ in range(10):
            found = max(found, sum(map(self._asked, QUEUES)))
            time.sleep(0.03)
        return found

    def delete(self) -> None:
        """All our queues, and what is in them."""
        with kombu.Connection(self.url) as connection:
            for queue in (*QUEUES.values(), DEAD_QUEUE):
                connection.channel().queue_delete(queue)


def publisher_of(url: str) -> QueuePublisher:
    """The publisher that a role would take for this URL."""
    return publisher_for(Broker(url))


def in_hands(url: str) -> int:
    """Entries that were fetched over kombu's Redis transport and not acknowledged."""
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


