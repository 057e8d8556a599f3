"""All that is stored, wired in one place."""

from collections.abc import AsyncGenerator
from typing import Protocol

from router.domain.rules import Rules
from router.redis_link import Client, close, link, subscribe
from router.store.accounts import Accounts
from router.store.amqp_phones import AmqpPhones
from router.store.console import ConsoleStore
from router.store.deliveries import Deliveries
from router.store.devices import Devices
from router.store.fraud import FraudStore
from router.store.heartbeat import HeartbeatStore
from router.store.incoming import IncomingSeen
from router.store.listings import Listings
from router.store.messages import Messages, Seals
from router.store.parking import Parking
from router.store.phone_settings import PhoneSettingsStore
from router.store.phones import PHONES_CHANNEL, Phones
from router.store.portability import Portability
from router.store.redis import Batch, Funnel
from router.store.restoring import Restoring
from router.store.seeds import Fingerprints, Seeds
from router.store.statistics import StatisticsStore
from router.store.submissions import Submissions
from router.store.sync import SYNC_CHANNEL, SyncStore
from router.store.timers import Timers
from router.store.webhooks import Webhooks

_LINKS = 2
OUTBOX_CHANNEL = "outbox"
"""Dispatchers publish the ids of seeds that have something to fetch, separated by blanks; a hint only, it may be lost."""


class Secrecy(Seals, Fingerprints, Protocol):
    """What the store needs of router.secrets.Sealer."""


class Store:
    """One per process. The parts add their commands to a `batch()`, which is one round trip."""

    def __init__(
        self, redis: Client, rules: Rules, sealer: Secrecy, *, timer_shards: int, retention_seconds: int, idempotency_seconds: int,
        open_seeds: bool,
    ) -> None:  # fmt: skip
        self.redis = redis
        self._funnel = Funnel([link(redis) for _ in range(_LINKS)], link(redis))
        self.listings = Listings(retention_seconds, rules.longest_seconds)
        self.messages = Messages(sealer, retention_seconds, self.listings)
        self.seeds = Seeds(rules, sealer, open_seeds=open_seeds)
        self.accounts = Accounts(idempotency_seconds, self.listings)
        self.submissions = Submissions(self.accounts, idempotency_seconds, retention_seconds, self.listings)
        self.timers = Timers(timer_shards)
        self.parking = Parking()
        self.phones = Phones()
        self.amqp_phones = AmqpPhones()
        self.devices = Devices()
        self.phone_settings = PhoneSettingsStore(sealer)
        self.portability = Portability()
        self.fraud = FraudStore()
        self.webhooks = Webhooks()
        self.sync = SyncStore()
        self.console = ConsoleStore()
        self.deliveries = Deliveries(timer_shards, sealer)
        self.incoming = IncomingSeen(sealer)
        self.restoring = Restoring()
        self.statistics = StatisticsStore()
        self.heartbeat = HeartbeatStore()

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

    def news(self) -> AsyncGenerator[bytes]:
        """What is published on PHONES_CHANNEL, for ever; else like `hints`."""
        return subscribe(self.redis, PHONES_CHANNEL)

    def sync_hints(self) -> AsyncGenerator[bytes]:
        """What is published on SYNC_CHANNEL, for ever; else like `hints`."""
        return subscribe(self.redis, SYNC_CHANNEL)

    async def close(self) -> None:
        await self._funnel.close()
        await close(self.redis)
