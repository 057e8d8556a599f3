"""What every role is made of: the store, the queue's publisher, the clock, and the transitions over them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import msgspec
import structlog

from router import loop_lag
from router.clock import Clock
from router.domain.errors import Unavailable
from router.domain.rules import Rules
from router.queue.broker import Broker
from router.queue.entries import QueuePublisher
from router.queue.publisher import publisher_for
from router.redis_link import connect
from router.secrets import Sealer, Secrets
from router.services.prefix_tally import PREFIXES
from router.services.restoring import refuse_unfinished
from router.services.statistics import Statistics
from router.services.transitions import Transitions
from router.services.webhooks import Announcer
from router.settings import Settings
from router.store.store import Store

_log = structlog.get_logger()
_START_TRIES = 20
_START_PAUSE_SECONDS = 0.5


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """One per process; `running` starts it."""

    settings: Settings
    rules: Rules
    clock: Clock
    store: Store
    broker: Broker
    publisher: QueuePublisher
    transitions: Transitions
    statistics: Statistics


def wire(settings: Settings, secrets: Secrets) -> Wiring:
    """Makes the parts; nothing is connected yet."""
    rules = settings.rules()
    PREFIXES.follow(settings.fraud_rules())
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
    publisher = publisher_for(broker)
    return Wiring(
        settings=settings, rules=rules, clock=clock, store=store, broker=broker, publisher=publisher,
        transitions=Transitions(store, publisher, clock, rules, Announcer(store, clock)),
        statistics=Statistics(store, clock, settings.families()),
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running(wiring: Wiring) -> AsyncIterator[None]:
    """From the first measured clock to the last published entry. Raises `Unavailable`, and `RestoreUnfinished`."""
    await _wait_for_the_store(wiring)
    await refuse_unfinished(wiring.store)
    wiring.publisher.start()
    measuring = asyncio.create_task(wiring.clock.keep_measuring(wiring.store.time))
    telling = asyncio.create_task(wiring.statistics.flush_loop())
    lagging = asyncio.create_task(loop_lag.keep_measuring())
    try:
        yield
    finally:
        for task in (measuring, telling, lagging):
            task.cancel()
        await asyncio.gather(measuring, telling, lagging, return_exceptions=True)
        await wiring.publisher.stop()
        await wiring.statistics.finish()
        await wiring.store.close()


async def _wait_for_the_store(wiring: Wiring) -> None:
    """Measures the clock as soon as the store answers: at a common start, and after a crash of Redis, it may take some seconds.

    Raises `Unavailable` where it takes too long.
    """
    for left in range(_START_TRIES, -1, -1):
        try:
            await wiring.clock.measure(wiring.store.time)
        except Unavailable as error:
            if not left:
                raise
            _log.warning("store.waited_for", error=str(error))
            await asyncio.sleep(_START_PAUSE_SECONDS)
        else:
            return
