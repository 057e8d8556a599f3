"""Keeps a dispatcher's copy of the fleet fresh by what changed since the last look: two round trips, whatever the size of the fleet."""

import asyncio

import structlog

from router import metrics
from router.clock import Clock
from router.domain.census import Census, SeedTally
from router.domain.directory import Directory
from router.domain.lots import is_special
from router.domain.message import HEARTBEAT
from router.domain.rules import Rules
from router.store.parking import EMPTY_SECONDS
from router.store.seeds import Seeds
from router.store.store import Store

_log = structlog.get_logger()
_SEEDS_AT_ONCE = 500
"""Counted without a pause: about a millisecond."""
_NOTHING = SeedTally()
_OVERLAP_SECONDS = 2.0
"""Looked at again each time: writers' clocks and round trips differ by less."""


class FleetCopy:
    """Feeds a `Directory` from the store."""

    def __init__(self, store: Store, directory: Directory, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._rules = rules
        self._since = 0.0
        self.looked_at = 0.0
        self.heard = 0
        """Signs of life that the last look read."""
        self.pools = 0
        """Lists that they were in."""
        self._seen: dict[str, tuple[float, float]] = {}
        self.parked: dict[str, int] = {}
        """How many messages wait, by parking lot, at the last look."""
        self.tallies: dict[str, SeedTally] = {}
        """The seeds of each carrier in figures, as last observed."""

    async def refresh(self) -> None:
        """Notes every seed that was heard of since the last look, reads those that changed, and how full the parking lots are.

        One that was only heard of, and is ready anyway, is not read again: a hundred thousand seeds ping some thousand times a second.
        """
        now = self._clock.now()
        pools = await self._store.seeds.carriers(self._store.batch())
        batch = self._store.batch()
        for pool in pools:
            Seeds.pinged_since(batch, pool, self._since)
        Seeds.changed_since(batch, self._since)
        *pings, changes = await batch.run()
        heard = [pair for flat in pings for pair in _pairs(flat)]
        self.heard = len(heard)
        self.pools = len(pools)
        stale = self._news(_pairs(changes), 1)
        for seed_id, at in self._news(heard, 0).items():
            if seed_id not in stale and not self._directory.heard(seed_id, at):
                stale[seed_id] = at
        self._since = now - _OVERLAP_SECONDS
        self.looked_at = now
        seeds = await self._store.seeds.load(self._store.batch(), sorted(stale, key=stale.__getitem__), now)
        for seed in seeds:
            if seed is not None:
                self._directory.update(seed, now)
        await self._look_at_lots(now)

    async def _look_at_lots(self, now: float) -> None:
        lots = await self._store.parking.uses(self._store.batch())
        self.parked = await self._store.parking.counts(self._store.batch(), [lot.name for lot in lots])
        batch = self._store.batch()
        for lot in lots:
            if is_special(lot.name) and not self.parked[lot.name] and now - lot.parked_at > EMPTY_SECONDS:
                self._store.parking.drop(batch, lot)
        await batch.run()

    def _news(self, pairs: list[tuple[str, float]], kind: int) -> dict[str, float]:
        """Those whose time is another than at the last look; the later sort last, for the `freshest` policy."""
        news: dict[str, float] = {}
        for seed_id, at in pairs:
            seen = self._seen.get(seed_id, (0.0, 0.0))
            if seen[kind] != at:
                self._seen[seed_id] = (at, seen[1]) if kind == 0 else (seen[0], at)
                news[seed_id] = at
        return news

    async def observe(self) -> None:
        """Sets the gauges that only a copy of the fleet can tell. Other work goes on between two parts of a large fleet."""
        now = self._clock.now()
        census = Census(now, self._rules, self._directory.loads.by_seed(now))
        seeds = list(self._directory.seeds())
        for start in range(0, len(seeds), _SEEDS_AT_ONCE):
            for seed in seeds[start : start + _SEEDS_AT_ONCE]:
                if seed.id != HEARTBEAT:
                    census.count(seed, seed.carrier)
            await asyncio.sleep(0)
        self.tallies = census.tallies
        self._directory.unready = census.unready
        labelled = census.by(metrics.carrier_label)
        for carrier in metrics.CARRIERS:
            _set_gauges(carrier, labelled.get(carrier, _NOTHING))
        for label, heard in zip(metrics.PING_AGE_LABELS, census.heard_within(metrics.PING_AGES), strict=True):
            metrics.SEEDS_BY_PING_AGE.labels(label).set(heard)


def _set_gauges(carrier: str, tally: SeedTally) -> None:
    metrics.SEEDS_ENROLLED.labels(carrier).set(tally.enrolled)
    metrics.SEEDS_ONLINE.labels(carrier).set(tally.online)
    metrics.SEEDS_TRIPPED.labels(carrier).set(tally.tripped)
    metrics.SEEDS_FAILING.labels(carrier).set(tally.failing)
    metrics.IN_FLIGHT.labels(carrier).set(tally.in_flight)
    metrics.SEED_ROOM.labels(carrier).set(tally.room)
    metrics.QUOTA_USED.labels(carrier).set(tally.mean_quota_used)
    metrics.LOAD_MAX.labels(carrier).set(tally.unevenness)


def _pairs(flat: list[bytes]) -> list[tuple[str, float]]:
    return [(flat[i].decode(), float(flat[i + 1])) for i in range(0, len(flat), 2)]
