"""A simulated phone that takes its work from RabbitMQ, as strict as DekuSMS: for tests of what is published for it.

It declares exchange, queue and binding without arguments; takes one message at a time per SIM, and settles it by hand. A body must be
exactly `{"text","to","sid","id"}`, three strings and an int32: anything else is rejected for good. Sent: acknowledged. Send failed, or
a `sid` that is no decimal number (releases since November 2025): rejected, to be given again, without end.
"""

import contextlib
import heapq
import itertools
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

import amqp  # type: ignore[import-untyped]  # annotated in part, and not marked so
import msgspec
import structlog

from workers.simulator.air import Air, Sms

_log = structlog.get_logger()
_KEYS = frozenset({"text", "to", "sid", "id"})
_INT32 = 2**31
_IDLE_SECONDS = 0.05
_PAUSE_SECONDS = 0.2
_DEAD_SECONDS = 2.0
"""A phone that died takes at least so long to be back."""


class Undecodable(Exception):
    """The app drops it."""


class Request(msgspec.Struct, frozen=True):
    """What the app was asked to send."""

    text: str
    to: str
    sid: str
    id: int


def decode(body: bytes) -> Request:
    """As kotlinx.serialization does for the app's class. Raises `Undecodable`."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Undecodable("no JSON") from error
    if not isinstance(found, dict) or found.keys() != _KEYS:
        raise Undecodable("not exactly the four keys")
    if not all(isinstance(found[key], str) for key in ("text", "to", "sid")):
        raise Undecodable("text, to and sid are strings, and not null")
    if type(found["id"]) is not int or not -_INT32 <= found["id"] < _INT32:
        raise Undecodable("id is an int32")
    return Request(**found)


class SimQueue(msgspec.Struct, frozen=True, kw_only=True):
    """One SIM: its subscription id on this phone, and the binding that its owner entered. `seed`, `carrier`: for the ledger."""

    project: str
    binding: str
    subscription_id: int
    seed: str
    carrier: str

    @property
    def queue(self) -> str:
        return self.binding.replace(".", "_")


class AmqpBehaviour(msgspec.Struct, frozen=True, kw_only=True):
    """`fails`: does sending this fail? `dies_after_send_rate`: how often its connection is gone between the send and the ack."""

    send_seconds: float = 0.0
    fails: Callable[[Request], bool] | None = None
    dies_after_send_rate: float = 0.0


class AmqpPhone:
    """A thread from `start` to `kill` or `stop`; may be started again."""

    def __init__(self, url: str, sims: Sequence[SimQueue], air: Air, behaviour: AmqpBehaviour | None = None, seed: int = 1) -> None:
        self._url = url
        self._sims = sims
        self._air = air
        self._behaviour = behaviour or AmqpBehaviour()
        self._rng = random.Random(seed)
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._killed = False
        self.counts: Counter[str] = Counter()
        """taken, sent, failed, undecodable, looped, died."""

    def start(self) -> None:
        """Power on; it connects again by itself until it is ended."""
        self._over.clear()
        self._killed = False
        self._thread = threading.Thread(target=self._live, name=f"phone-{self._sims[0].seed}", daemon=True)
        self._thread.start()

    def kill(self) -> None:
        """The battery is out: no farewell, whatever it was doing."""
        self._end(killed=True)

    def stop(self) -> None:
        """Its connection is closed in order; what it has taken goes back."""
        self._end(killed=False)

    def _end(self, *, killed: bool) -> None:
        self._killed = killed
        self._over.set()
        if self._thread is not None:
            self._thread.join(10.0)
            self._thread = None

    def _live(self) -> None:
        while not self._over.is_set():
            died = self.counts["died"]
            try:
                _Connected(self).run()
            except (OSError, amqp.AMQPError) as error:
                _log.debug("phone_lost_its_connection", error=repr(error))
            self._over.wait(_PAUSE_SECONDS if died == self.counts["died"] else _DEAD_SECONDS)

    # For the connection

    def connect(self) -> Any:
        parts = urlsplit(self._url)
        connection = amqp.Connection(
            f"{parts.hostname}:{parts.port}", unquote(parts.username or "guest"), unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/", connect_timeout=5, read_timeout=5, write_timeout=5,
        )  # fmt: skip
        connection.connect()
        return connection

    @property
    def sims(self) -> Sequence[SimQueue]:
        return self._sims

    @property
    def behaviour(self) -> AmqpBehaviour:
        return self._behaviour

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    @property
    def was_killed(self) -> bool:
        return self._killed

    def dies_now(self) -> bool:
        """Between the send and its ack."""
        return (self._killed and self._over.is_set()) or self._rng.random() < self._behaviour.dies_after_send_rate

    def transmit(self, request: Request, sim: SimQueue) -> bool:
        """The radio: True where it is on the air."""
        if int(request.sid) not in {known.subscription_id for known in self._sims}:
            return False
        if self._behaviour.fails is not None and self._behaviour.fails(request):
            return False
        self._air.write(
            Sms(at=time.time(), seed=sim.seed, carrier=sim.carrier, id=str(request.id), attempt=0, to=request.to, text=request.text)
        )
        return True


class _Connected:
    """One connection of a phone: a channel per SIM."""

    def __init__(self, phone: AmqpPhone) -> None:
        self._phone = phone
        self._connection = phone.connect()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._is_dead = False

    def run(self) -> None:
        phone = self._phone
        try:
            for sim in phone.sims:
                self._consume(sim)
            while not phone.is_over and not self._is_dead:
                wait = self._due[0][0] - time.monotonic() if self._due else _IDLE_SECONDS
                with contextlib.suppress(TimeoutError):
                    self._connection.drain_events(timeout=min(max(wait, 0.001), _IDLE_SECONDS))
                while self._due and self._due[0][0] <= time.monotonic() and not phone.is_over and not self._is_dead:
                    heapq.heappop(self._due)[2]()
        finally:
            if self._is_dead or phone.was_killed:
                self._cut()
            else:
                with contextlib.suppress(OSError, amqp.AMQPError):
                    self._connection.close()

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.transport.sock.shutdown(socket.SHUT_RDWR)
        self._connection.collect()

    def _consume(self, sim: SimQueue) -> None:
        channel = self._connection.channel()
        channel.basic_qos(0, 1, False)
        channel.exchange_declare(sim.project, "topic", durable=True, auto_delete=False)
        channel.queue_declare(sim.queue, durable=True, exclusive=False, auto_delete=False)
        channel.queue_bind(sim.queue, sim.project, sim.binding)
        channel.basic_consume(sim.queue, callback=partial(self._take, sim))

    def _take(self, sim: SimQueue, message: Any) -> None:
        counts, channel, tag = self._phone.counts, message.channel, message.delivery_info["delivery_tag"]
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        try:
            request = decode(body)
        except Undecodable:
            counts["undecodable"] += 1
            channel.basic_reject(tag, False)
            return
        counts["taken"] += 1
        if not request.sid.isdecimal():
            counts["looped"] += 1
            channel.basic_reject(tag, True)
            return
        due_at = time.monotonic() + self._phone.behaviour.send_seconds
        send: Callable[[], None] = partial(self._send, sim, request, channel, tag)
        heapq.heappush(self._due, (due_at, next(self._order), send))

    def _send(self, sim: SimQueue, request: Request, channel: Any, tag: int) -> None:
        counts = self._phone.counts
        if not self._phone.transmit(request, sim):
            counts["failed"] += 1
            channel.basic_reject(tag, True)
            return
        counts["sent"] += 1
        if self._phone.dies_now():
            counts["died"] += 1
            self._is_dead = True
            return
        channel.basic_ack(tag)
