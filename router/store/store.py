"""All that is stored, wired in one place."""

from collections.abc import AsyncGenerator

from router.domain.rules import Rules
from router.redis_link import Client, close, link, subscribe
from router.store.accounts import Accounts
from router.store.listings import Listings
from router.store.messages import Messages, Seals
from router.store.parking import Parking
from router.store.portability import Portability
from router.store.redis import Batch, Funnel
from router.store.seeds import Seeds
from router.store.timers import Timers

_LINKS = 2
OUTBOX_CHANNEL = "outbox"
"""Dispatchers publish the ids of seeds that have something to fetch, separated by blanks; a hint only, it may be lost."""


class Store:
    """One per process. The parts add their commands to a `batch()`, which is one round trip."""

    def __init__(
        self, redis: Client, rules: Rules, sealer: Seals, *, timer_shards: int, retention_seconds: int, idempotency_seconds: int,
        open_seeds: bool,
    ) -> None:  # fmt: skip
        self.redis = redis
        self._funnel = Funnel([link(redis) for _ in range(_LINKS)], link(redis))
        self.listings = Listings(retention_seconds, rules.sms_seconds)
        self.messages = Messages(sealer, retention_seconds, self.listings)
        self.seeds = Seeds(rules, open_seeds=open_seeds)
        self.accounts = Accounts(idempotency_seconds, self.listings)
        self.timers = Timers(timer_shards)
        self.parking = Parking()
        self.portability = Portability()

    def batch(self) -> Batch:
        return Batch(self._funnel)

    async def time(self) -> float:
        """Redis' clock, in Unix seconds."""
        batch = self.batch()
        batch.add("TIME")
        ((seconds, microseconds),) = await batch.run()
        return float(seconds) + float(microseconds) / 1e6

    def hints(self) -> AsyncGenerator[bytes]:
        """What is published on OUTBOX_CHANNEL, for ever. Raises redis-py's errors. Whoever stops listening closes it (`aclosing`)."""
        return subscribe(self.redis, OUTBOX_CHANNEL)

    async def close(self) -> None:
        await self._funnel.close()
        await close(self.redis)
