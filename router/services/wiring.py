"""What every role is made of: the store, the queue's publisher, the clock, and the transitions over them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec

from router.clock import Clock
from router.domain.rules import Rules
from router.queue.broker import Broker
from router.queue.publisher import BatchingPublisher
from router.secrets import Sealer, Secrets
from router.services.transitions import Transitions
from router.settings import Settings
from router.store.redis import connect
from router.store.store import Store


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """One per process; `running` starts it."""

    settings: Settings
    rules: Rules
    clock: Clock
    store: Store
    broker: Broker
    publisher: BatchingPublisher
    transitions: Transitions


def wire(settings: Settings, secrets: Secrets) -> Wiring:
    """Makes the parts; nothing is connected yet."""
    rules = settings.rules()
    clock = Clock()
    store = Store(
        connect(settings.redis_url),
        rules,
        Sealer(bytes.fromhex(secrets.seal_key)),
        timer_shards=settings.timer_shards,
        retention_seconds=settings.retention_seconds,
        idempotency_seconds=settings.idempotency_seconds,
        open_seeds=settings.open_seeds,
    )
    broker = Broker(settings.broker_url or settings.redis_url, visibility_timeout_seconds=settings.visibility_timeout_seconds)
    publisher = BatchingPublisher(broker)
    return Wiring(
        settings=settings, rules=rules, clock=clock, store=store, broker=broker, publisher=publisher,
        transitions=Transitions(store, publisher, clock, rules),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(wiring: Wiring) -> AsyncIterator[None]:
    """From the first measured clock to the last published entry."""
    await wiring.clock.measure(wiring.store.time)
    wiring.publisher.start()
    measuring = asyncio.create_task(wiring.clock.keep_measuring(wiring.store.time))
    try:
        yield
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)
        await wiring.publisher.stop()
        await wiring.store.close()
