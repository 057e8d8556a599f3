"""What each submission asks of the store, and what changes slowly: kept in memory and looked at about twice a second.

Which carriers have an online seed, which prefixes are blocked, and whether there is a portability table at all.
"""

import asyncio
import time

import structlog

from router.clock import Clock
from router.domain.carriers import country_of_carrier
from router.domain.errors import Unavailable
from router.domain.prefix_blocks import BlockedPrefixes
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.store.store import Store

_log = structlog.get_logger()
_LOOK_EVERY_SECONDS = 0.5
_LOOK_AGAIN_SECONDS = 0.1
_SAMPLE = 20
"""Seeds looked at per pool to find one that may send: the freshest ones."""
_POOLS_PER_LOOK = 1000
"""Where accounts with phones of their own are many, it is looked more seldom."""


class Presence:
    """One per api process; `watch` runs beside the server."""

    def __init__(self, store: Store, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._shared: dict[str, Seed] = {}
        self._own: dict[str, list[Seed]] = {}
        """Of each account."""
        self._pools = 0
        self._began_at = float("-inf")
        self._looking = asyncio.Lock()
        self.has_ported_numbers = True
        """Until it was looked at, each number is looked up."""
        self.blocked = BlockedPrefixes((), 0.0)
        self._blocks_seen: bytes | None = None

    def serves(self, carrier: str, country: str, account: str = "", only: str = "") -> bool:
        """Is a message of this carrier and account accepted, by the setting `accept_when`?

        One that is bound to a phone, or to its account's phones, waits for them: that there are such is for its dialect to know.
        """
        if self._rules.accept_when == "always" or only:
            return True
        now = self._clock.now()
        witnesses = [*self._shared.values(), *self._own.get(account, ())]
        online = {seed.carrier for seed in witnesses if seed.is_online(now, self._rules)}
        if self._rules.accept_when == "carrier" and carrier and not self._rules.cross_carrier:
            return carrier in online
        return any(country_of_carrier(c) == country for c in online)

    async def look_again(self) -> None:
        """Before somebody is refused: a look that begins after this call. A storm of refusals shares looks, ten a second at the most."""
        called_at = time.monotonic()
        async with self._looking:
            if self._began_at < called_at:
                await asyncio.sleep(max(0.0, self._began_at + _LOOK_AGAIN_SECONDS - time.monotonic()))
                await self._look()

    async def look(self) -> None:
        """Looks, one at a time: an older answer never stands above a newer one."""
        async with self._looking:
            await self._look()

    async def _look(self) -> None:
        """Finds, for each pool, a seed that is online and may send."""
        self._began_at = time.monotonic()
        seeds = self._store.seeds
        pools = [pool for pool in await seeds.carriers(self._store.batch()) if pool != "-"]
        self._pools = len(pools)
        batch = self._store.batch()
        for pool in pools:
            batch.add("ZREVRANGE", seeds.online_key(pool), 0, _SAMPLE - 1)
        self._store.portability.is_used(batch)
        self._store.fraud.changes(batch)
        *freshest, is_used, changes = await batch.run()
        self.has_ported_numbers = bool(is_used)
        now = self._clock.now()
        if changes != self._blocks_seen:
            stored = await self._store.fraud.blocks(self._store.batch())
            self.blocked = BlockedPrefixes((item.block for item in stored.values() if item.block is not None), now)
            self._blocks_seen = changes
        ids = [seed_id.decode() for answer in freshest for seed_id in answer]
        found = await seeds.load(self._store.batch(), ids, now)
        witnesses: dict[str, Seed] = {}
        for seed in found:
            if seed is not None and seed.is_dispatchable() and seed.lps > (w.lps if (w := witnesses.get(seed.pool)) else 0.0):
                witnesses[seed.pool] = seed
        self._shared = {seed.carrier: seed for seed in witnesses.values() if seed.shared}
        own: dict[str, list[Seed]] = {}
        for seed in witnesses.values():
            if not seed.shared:
                own.setdefault(seed.account, []).append(seed)
        self._own = own

    async def watch(self) -> None:
        """Looks for ever; while the store is away, what was seen grows old by itself."""
        while True:
            try:
                await self.look()
            except Unavailable as error:
                _log.warning("presence.not_seen", error=str(error))
            await asyncio.sleep(_LOOK_EVERY_SECONDS * max(1.0, self._pools / _POOLS_PER_LOOK))
