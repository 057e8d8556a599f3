"""The RabbitMQ side of phones that take their work from there: declare, look, publish, and hear what came back.

A RabbitMQ of its own, or a virtual host: not the router's queue. Two connections, each with a thread: one only reads dead letters, the
other does what it is told. What is published goes by the default exchange straight to the phone's queue: over the topic exchange a copy
would also reach every queue that somebody has bound with a wildcard, and two phones would send it.
"""

import asyncio
import contextlib
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import msgspec
import structlog
from amqp import Message  # type: ignore[import-untyped]  # annotated in part, and not marked so
from amqp.exceptions import PreconditionFailed  # type: ignore[import-untyped]
from kombu import Connection

from router.domain.amqp_phones import (
    DEAD_QUEUE,
    Letter,
    Look,
    QueueOfSeed,
    check_queue_name,
    headers,
    read_letter,
)
from router.domain.errors import Unavailable
from router.queue import rabbitmq

_log = structlog.get_logger()
T = TypeVar("T")
Put = Literal["published", "refused", "unknown"]
"""`refused`: it is in no queue. `unknown`: the broker did not say."""
_PREFETCH = 500
_DRAIN_SECONDS = 0.1
_PAUSE_SECONDS = 0.5
_PAUSE_MAX_SECONDS = 10.0
_PROOF_SECONDS = 3.0
_DEAD_ARGUMENTS = {"x-queue-type": "quorum"}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be put into a phone's queue. `expiration`: milliseconds, as AMQP has them; None = it stays."""

    letter: Letter
    body: bytes
    expiration: str | None = None


class Returned(msgspec.Struct, frozen=True):
    """A dead letter, to be acknowledged by its `tag`. `at` is when it came (monotonic); `is_old`: it was there before we came."""

    letter: Letter
    tag: tuple[int, int]
    at: float
    is_old: bool


class _Channel(rabbitmq.Channel):
    """Knows which messages came back, were refused, or were not confirmed in time, by their ids."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.refused: set[str] = set()
        self.unconfirmed: set[str] = set()
        self._ids: dict[int, str] = {}
        super().__init__(*arguments, **options)

    def write(self, message: Message, **where: Any) -> None:
        super().write(message, **where)
        self._ids[self._last] = message.properties["message_id"]

    def forget_unconfirmed(self) -> None:
        self.unconfirmed |= {self._ids[number] for number in self._unconfirmed if number in self._ids}
        super().forget_unconfirmed()
        self._ids.clear()

    def _nacked(self, tag: int, multiple: bool) -> None:
        self.refused |= {self._ids[number] for number in self._unconfirmed if number == tag or (multiple and number < tag)}
        super()._nacked(tag, multiple)

    def _returned(self, error: Exception, exchange: str, routing_key: str, message: Message) -> None:
        self.refused.add(message.properties.get("message_id", ""))
        super()._returned(error, exchange, routing_key, message)


class _Connection(rabbitmq.Connection):
    Channel = _Channel


class Transport(rabbitmq.Transport):
    """That of the router's own queue, with the channel of this module."""

    Connection = _Connection


def check_url(url: str) -> None:
    """Raises ValueError for a URL that is no AMQP one, or has unknown options."""
    if url.split("://", 1)[0] not in rabbitmq.SCHEMES:
        raise ValueError("an amqp:// or amqps:// URL is needed")
    rabbitmq.parameters(url)


def _connect(url: str) -> Connection:
    connection = Connection(**rabbitmq.parameters(url) | {"transport": f"{Transport.__module__}:{Transport.__qualname__}"})
    connection.ensure_connection(max_retries=0)
    return connection


class PhoneBroker:
    """One per relay; `start` and `stop` it from the loop. Its methods raise `Unavailable` while RabbitMQ is away."""

    def __init__(self, url: str) -> None:
        """Raises ValueError: see `check_url`."""
        check_url(url)
        self._url = url
        self._letters: deque[Returned] = deque()
        self._settled: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._proofs: dict[str, str] = {}
        self._proven = threading.Condition()
        self._stopping = threading.Event()
        self._caller = ThreadPoolExecutor(1, thread_name_prefix="phones-amqp")
        self._connection: Connection | None = None
        self._open_channel: _Channel | None = None
        self._reader = threading.Thread(target=self._read, name="phones-amqp-letters", daemon=True)
        self._wake: Callable[[], None] = _nothing
        self._loop: asyncio.AbstractEventLoop | None = None
        self.is_reading = False
        """Dead letters are being read now."""

    def start(self, wake: Callable[[], None]) -> None:
        """`wake` is called in the loop when there are letters."""
        self._loop = asyncio.get_running_loop()
        self._wake = wake
        self._reader.start()

    async def stop(self) -> None:
        """What was settled is acknowledged; then both connections are closed."""
        self._stopping.set()
        await asyncio.to_thread(self._reader.join, 10.0)
        await asyncio.get_running_loop().run_in_executor(self._caller, self._hang_up)
        self._caller.shutdown(wait=False)

    # Dead letters

    def letters(self) -> list[Returned]:
        """What has come since, in its order. Each is given once more after a lost connection, unless `settle` was in time."""
        found: list[Returned] = []
        while self._letters:
            found.append(self._letters.popleft())
        return found

    def settle(self, returned: Sequence[Returned]) -> None:
        """They were dealt with."""
        for item in returned:
            self._settled.put(item.tag)

    def _read(self) -> None:
        generation, pause = 0, _PAUSE_SECONDS
        while not self._stopping.is_set():
            generation += 1
            try:
                with _connect(self._url) as connection:
                    channel: Any = connection.channel()
                    old = channel.queue_declare(DEAD_QUEUE, durable=True, auto_delete=False, arguments=_DEAD_ARGUMENTS).message_count
                    channel.basic_qos(0, _PREFETCH, False)
                    channel.basic_consume(DEAD_QUEUE, callback=_Reading(self, generation, old))
                    self.is_reading, pause = True, _PAUSE_SECONDS
                    _log.info("phones_amqp.reads", waiting=old)
                    while not self._stopping.is_set():
                        self._drain(connection, channel, generation)
                    self._acknowledge(channel, generation)
            except Exception as error:  # noqa: BLE001 - py-amqp and sockets raise many kinds; we connect again
                _log.warning("phones_amqp.away", error=repr(error))
            finally:
                self.is_reading = False
            self._stopping.wait(pause)
            pause = min(2 * pause, _PAUSE_MAX_SECONDS)

    def _drain(self, connection: Connection, channel: Any, generation: int) -> None:
        connection.heartbeat_check()
        with contextlib.suppress(TimeoutError):
            connection.drain_events(timeout=_DRAIN_SECONDS)
        self._acknowledge(channel, generation)

    def _acknowledge(self, channel: Any, generation: int) -> None:
        while not self._settled.empty():
            number, tag = self._settled.get()
            if number == generation:
                channel.basic_ack(tag)

    def take_in(self, message: Any, generation: int, *, is_old: bool) -> None:
        """A dead letter, in the reader's thread."""
        tag = (generation, message.delivery_info["delivery_tag"])
        letter = read_letter(message.headers)
        if letter is None:
            _log.warning("phones_amqp.strange_letter", hint=f"only phones' queues may dead-letter to {DEAD_QUEUE}")
            self._settled.put(tag)
        elif letter.kind == "check":
            self._settled.put(tag)
            with self._proven:
                self._proofs[letter.message_id] = letter.reason
                self._proven.notify_all()
        else:
            self._letters.append(Returned(letter, tag, time.monotonic(), is_old))
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._wake)

    # What the relay asks

    async def declare(self, places: Sequence[QueueOfSeed]) -> None:
        """Exchanges, queues and bindings, as the app declares them. Raises `Unavailable`."""
        await self._call(self._declare, places)

    async def look(self, queues: Sequence[str]) -> dict[str, Look | None]:
        """Each queue as it is; None where there is none."""
        return await self._call(self._look, queues)

    async def publish(self, entries: Sequence[Entry]) -> list[Put]:
        """Puts all into their queues, in their order, and waits for the broker's word. Never raises: what is not known is `unknown`."""
        try:
            return await self._call(self._publish, entries)
        except Unavailable as error:
            _log.warning("phones_amqp.not_published", error=str(error))
            return ["unknown"] * len(entries)

    async def prove(self, project: str) -> bool:
        """Does the broker's policy hold for this project: is what comes back once never given out again, but dead-lettered to us?"""
        return await self._call(self._prove, project)

    async def _call(self, work: Callable[[Any], T], argument: Any) -> T:
        def run() -> T:
            try:
                return work(argument)
            except Unavailable:
                raise
            except Exception as error:
                self._hang_up()
                raise Unavailable(f"RabbitMQ of the phones: {type(error).__name__}") from error

        return await asyncio.get_running_loop().run_in_executor(self._caller, run)

    def _channel(self) -> _Channel:
        if self._connection is None or self._open_channel is None:
            self._connection = _connect(self._url)
            self._open_channel = self._connection.channel()
        self._connection.heartbeat_check()
        return self._open_channel

    def _hang_up(self) -> None:
        connection, self._connection, self._open_channel = self._connection, None, None
        if connection is None:
            return
        try:
            connection.release()
        except OSError as error:
            _log.debug("phones_amqp.close_failed", error=repr(error))

    def _declare(self, places: Sequence[QueueOfSeed]) -> None:
        channel = self._channel()
        for place in places:
            channel.exchange_declare(place.exchange, "topic", durable=True, auto_delete=False)
            channel.queue_declare(place.queue, durable=True, auto_delete=False)
            channel.queue_bind(place.queue, place.exchange, place.binding)

    def _look(self, queues: Sequence[str]) -> dict[str, Look | None]:
        channel = self._channel()
        found: dict[str, Look | None] = {}
        for name in queues:
            try:
                answer = channel.queue_declare(name, passive=True)
            except rabbitmq.NotFound:  # py-amqp has opened the channel again, which the broker closed for that
                found[name] = None
            else:
                found[name] = Look(answer.message_count, answer.consumer_count)
        return found

    def _publish(self, entries: Sequence[Entry]) -> list[Put]:
        channel = self._channel()
        channel.refused.clear()
        channel.unconfirmed.clear()
        written: list[str] = []
        try:
            for entry in entries:
                message_id = uuid.uuid4().hex
                channel.write(_message(entry, message_id), exchange="", routing_key=entry.letter.queue)
                written.append(message_id)
            channel.wait_for_confirms()
        except (rabbitmq.Blocked, rabbitmq.NotConfirmed) as error:
            _log.warning("phones_amqp.not_confirmed", error=str(error))
        finally:
            channel.forget_unconfirmed()
        found: list[Put] = []
        for message_id in written:
            unsure = message_id in channel.unconfirmed
            found.append("refused" if message_id in channel.refused else "unknown" if unsure else "published")
        # What was not even written is in no queue
        return found + ["refused"] * (len(entries) - len(written))

    def _prove(self, project: str) -> bool:
        channel = self._channel()
        name, token = check_queue_name(project), uuid.uuid4().hex
        try:
            channel.queue_declare(name, durable=True, auto_delete=False)
        except PreconditionFailed as error:
            raise Unavailable(f"the queue {name} has other properties than ours") from error
        channel.queue_purge(name)
        letter = Letter(kind="check", seed="", queue=name, message_id=token, attempt=0, parts=0, reason="")
        if self._publish([Entry(letter=letter, body=b"{}", expiration=str(int(_PROOF_SECONDS * 2000)))]) != ["published"]:
            return False
        message = channel.basic_get(name)
        if message is not None:
            channel.basic_reject(message.delivery_info["delivery_tag"], True)
        with self._proven:
            self._proven.wait_for(lambda: token in self._proofs, _PROOF_SECONDS)
            reason = self._proofs.pop(token, "")
        channel.queue_delete(name)
        return reason == "delivery_limit"


class _Reading:
    """The consumer's callback: counts what was there before."""

    def __init__(self, broker: PhoneBroker, generation: int, old: int) -> None:
        self._broker = broker
        self._generation = generation
        self._old = old

    def __call__(self, message: Any) -> None:
        is_old = self._old > 0
        self._old -= 1
        self._broker.take_in(message, self._generation, is_old=is_old)


def _message(entry: Entry, message_id: str) -> Message:
    properties: dict[str, Any] = {
        "delivery_mode": 2, "content_type": "application/json", "content_encoding": "utf-8", "message_id": message_id,
        "application_headers": headers(entry.letter),
    }  # fmt: skip
    if entry.expiration is not None:
        properties["expiration"] = entry.expiration
    return Message(entry.body, **properties)


def _nothing() -> None:
    """Nobody listens yet."""
