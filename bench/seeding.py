"""What a bench works on: an embedded Redis in a temporary folder, append-only file on, with seeds and accepted messages in it.

Messages are made by the router's own acceptance (`router.services.submit`), in this process: what stands in Redis is what the api would
have written there, whatever that is, and the wallet, the limits and the queue are as full as they would be. Seeds are enrolled by the
store's own calls. Nothing else runs unless the bench starts it: no timekeeper, so nothing is published twice and nothing expires.
"""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec

from router.api.parts import Parts, make_parts
from router.domain.account import KeyCredential, Limits
from router.domain.carriers import country_of_carrier
from router.domain.seed import Seed
from router.embedded import EmbeddedRedis
from router.secrets import load_secrets
from router.services import wiring
from router.services.submit import Request
from router.settings import Settings
from router.store.accounts import hash_key
from router.store.seeds import Seeds

CARRIERS = ("60301", "60302", "60303")
_PREFIXES = ("+2136{:08d}", "+2137{:08d}", "+2135{:08d}")
_FIRST_NUMBERS = (60_000_000, 70_000_000, 50_000_000)
_NUMBERS_PER_CARRIER = 10_000_000
_AT_ONCE = 512
_SEEDS_PER_BATCH = 1000
_SETTINGS = {
    "SEEDROUTER_ACCEPT_WHEN": "always",
    "SEEDROUTER_MAX_QUEUE_LENGTH": "100000000",
    "SEEDROUTER_CODE_SECONDS": "3600",  # nothing may expire before it was measured
    "SEEDROUTER_ONLINE_WINDOW_SECONDS": "86400",  # seeds ping once, at their enrolment
    "SEEDROUTER_LEASE_SECONDS": "600",
    "SEEDROUTER_PACE_SECONDS": "0.001",  # with the lease: room for 300,000 parts at each seed
    "SEEDROUTER_PARTS_PER_HALF_HOUR": "0",
    "SEEDROUTER_PARTS_PER_HOUR": "0",
    "SEEDROUTER_PARTS_PER_DAY": "0",
    "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
    "SEEDROUTER_LOG_LEVEL": "warning",
}


class Ground(msgspec.Struct):
    """One Redis with what stands in it. `parts` are those of an api process, here in this one."""

    folder: Path
    redis: EmbeddedRedis
    environment: dict[str, str]
    parts: Parts
    account: str
    key: str
    accepted: int = 0

    @property
    def log(self) -> Path:
        """Where the roles that a bench starts write what goes wrong."""
        return self.folder / "log"

    async def enrol(self, count: int) -> list[str]:
        """Enrols and pings that many new seeds, of the three carriers in turn; answers their ids."""
        store, now = self.parts.store, self.parts.clock.now()
        made: list[str] = []
        for start in range(0, count, _SEEDS_PER_BATCH):
            batch = store.batch()
            for i in range(start, min(count, start + _SEEDS_PER_BATCH)):
                carrier = CARRIERS[i % 3]
                seed = Seed(id=f"{carrier}{i:010d}", msisdn=phone(i), carrier=carrier, country=country_of_carrier(carrier) or "")
                Seeds.enrol(batch, seed, hash_key(seed.id), now)
                Seeds.touch(batch, seed.id, carrier, now)
                made.append(seed.id)
            await batch.run()
        return made

    async def accept(self, count: int) -> list[str]:
        """Accepts that many codes, each to another phone; answers their ids in about the order of the queue."""
        account = await self.parts.accounts.authenticate(hash_key(self.key))
        numbers = iter(range(self.accepted, self.accepted + count))
        self.accepted += count
        made: list[str] = []

        async def submit() -> None:
            for i in numbers:
                request = Request(dialect="gatewire", credential=KeyCredential(hash_key(self.key)), phone=phone(i))
                made.append((await self.parts.submit.submit(account, request)).message.id)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(_AT_ONCE, count)):
                tasks.create_task(submit())
        return made


@contextlib.asynccontextmanager
async def prepared(settings: dict[str, str] | None = None) -> AsyncIterator[Ground]:
    """An empty ground with one account, which has money and no limit that the bench could meet. `settings` are added to the bench's own."""
    with tempfile.TemporaryDirectory(prefix="seedrouter-bench-") as name, EmbeddedRedis(Path(name) / "redis") as redis:
        folder = Path(name)
        environment = _SETTINGS | {"SEEDROUTER_DATA": str(folder / "data"), "SEEDROUTER_REDIS_URL": redis.url} | (settings or {})
        given = settings_of(environment)
        parts = make_parts(given, load_secrets(given.data, given.given_secrets()))
        # Only what acceptance needs: `router.api.parts.running` would listen to the dispatcher's hints as well
        async with wiring.running(parts.wiring):
            await parts.presence.look()
            limits = Limits(daily=0, hourly=0)  # a phone's own limit stays as it is by default: its books are a part of acceptance
            account, key = await parts.admin.create("bench", balance=10**12, price=5, limits=limits)
            yield Ground(folder, redis, environment, parts, account.id, key)


def settings_of(environment: dict[str, str]) -> Settings:
    """What a process with this environment would work with."""
    return Settings(**{name.removeprefix("SEEDROUTER_").lower(): value for name, value in environment.items()})  # type: ignore[arg-type]


def phone(number: int) -> str:
    """A valid number, of the three carriers in turn; each below 30 million gives another phone."""
    which, index = number % 3, number // 3
    return _PREFIXES[which].format(_FIRST_NUMBERS[which] + index % _NUMBERS_PER_CARRIER)


def chunks(ids: list[str], size: int = 5000) -> Iterator[list[str]]:
    """The list in pieces that fit a round trip."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
