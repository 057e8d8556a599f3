"""The relay: hands messages to phones that take them from RabbitMQ. Run as many as you like; one is at work, the others stand by."""

import asyncio
import contextlib
import time
import uuid

import structlog

from router import metrics
from router.clock import Clock
from router.domain.errors import Unavailable
from router.queue.amqp_phones import PhoneBroker
from router.secrets import Secrets
from router.services.amqp_phones import AmqpPhones
from router.services.outbox import Outbox
from router.services.wiring import Wiring
from router.settings import Settings
from router.store.store import Store
from workers.role import run as run_role
from workers.role import starting

_log = structlog.get_logger()
_LEAD_SECONDS = 5.0
_STAY_EVERY_SECONDS = 1.0
_PAUSE_SECONDS = 0.5


class Relay:
    """`run` it until it is stopped."""

    def __init__(self, store: Store, broker: PhoneBroker, phones: AmqpPhones, clock: Clock) -> None:
        self._store = store
        self._broker = broker
        self._phones = phones
        self._clock = clock
        self._name = uuid.uuid4().hex
        self._woken = asyncio.Event()
        self._seeds: set[str] = set()
        self._leads_until = float("-inf")
        self._asked_at = float("-inf")
        self._stopping = False

    @property
    def is_at_work(self) -> bool:
        return time.monotonic() < self._leads_until

    def stop(self) -> None:
        self._stopping = True
        self._woken.set()

    async def run(self) -> None:
        """Stands by until no other relay is at work, then works."""
        listening = asyncio.create_task(self._listen())
        reading = False
        try:
            while not self._stopping:
                try:
                    await self._ask()
                    if self.is_at_work and not reading:
                        self._broker.start(self._woken.set)
                        reading = True
                    if self.is_at_work:
                        await self._work()
                    elif reading:
                        # Its letters are given to whoever reads next, and what it was about to say is said by that one
                        _log.warning("relay.lost_its_place")
                        return
                    else:
                        await self._wait(_STAY_EVERY_SECONDS)
                    metrics.LAST_RUN.labels("relay").set(time.time())
                except Unavailable as error:
                    _log.warning("worker.waits", work="relay", error=str(error))
                    await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            if reading:
                await self._broker.stop()
            await self._leave()

    async def _work(self) -> None:
        self._woken.clear()
        seeds, self._seeds = self._seeds, set()
        await self._phones.turn(sorted(seeds))
        await self._wait(min(self._phones.next_seconds(), _STAY_EVERY_SECONDS))

    async def _wait(self, seconds: float) -> None:
        if not self._stopping:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._woken.wait(), seconds)

    async def _ask(self) -> None:
        """Is this the relay at work? Its place is kept with time to spare."""
        if time.monotonic() - self._asked_at < _STAY_EVERY_SECONDS:
            return
        asked_at = time.monotonic()
        batch = self._store.batch()
        self._store.amqp_phones.lead(batch, self._name, _LEAD_SECONDS)
        (leads,) = await batch.run()
        self._asked_at = asked_at
        if leads:
            self._leads_until = asked_at + _LEAD_SECONDS - _STAY_EVERY_SECONDS

    async def _leave(self) -> None:
        batch = self._store.batch()
        self._store.amqp_phones.lead(batch, self._name, 0)
        with contextlib.suppress(Unavailable):
            await batch.run()

    async def _listen(self) -> None:
        """Takes the dispatchers' hints, for ever; what they miss is found once a second."""
        while True:
            try:
                async with contextlib.aclosing(self._store.hints()) as hints:
                    async for hint in hints:
                        if found := self._phones.places.keys() & hint.decode().split():
                            self._seeds |= found
                            self._woken.set()
            except Exception as error:  # noqa: BLE001 - redis-py raises several kinds here; the look goes on without hints
                _log.warning("outbox.no_hints", error=repr(error))
                await asyncio.sleep(_PAUSE_SECONDS)


def make_relay(wiring: Wiring) -> Relay:
    """Raises ValueError for a URL that is no AMQP one."""
    settings = wiring.settings
    broker = PhoneBroker(settings.phones_amqp_url)
    outbox = Outbox(wiring.store, wiring.transitions, wiring.clock, wiring.rules, open_seeds=False)
    phones = AmqpPhones(
        wiring.store, broker, outbox, wiring.transitions, wiring.clock, wiring.rules,
        margin_seconds=settings.phones_amqp_margin_seconds, markers=settings.phones_amqp_markers,
    )  # fmt: skip
    return Relay(wiring.store, broker, phones, wiring.clock)


async def _main(settings: Settings, secrets: Secrets) -> None:
    async with starting(settings, secrets, "relay", settings.relay_metrics_port) as role:
        while not role.stopping.is_set():
            relay = make_relay(role.wiring)

            async def stop_with_role(relay: Relay = relay) -> None:
                await role.stopping.wait()
                relay.stop()

            stopping = asyncio.create_task(stop_with_role())
            await relay.run()
            stopping.cancel()


def run(settings: Settings, secrets: Secrets) -> int:
    """The relay role, until SIGTERM or SIGINT. Gives the exit code."""
    return run_role(_main(settings, secrets))
