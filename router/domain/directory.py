"""A dispatcher's copy of the fleet, arranged so that choosing costs the same for 100 seeds and for 100,000.

Each carrier has a *pool* of the seeds that could take a message right now. A seed leaves the pool when it is met there and turns out to
be offline, full or tripped, and comes back when something is heard of it (`update`) or its breaker's pause is over. So each look at a
useless seed is paid by the event that made it useless, and a draw meets few of them.

Rejected: filtering the whole carrier per message (linear in the fleet), and a sorted structure over scores (each reservation re-sorts).
"""

import heapq
import random
from collections.abc import Iterator
from itertools import islice

from router.domain.pools import Pool, make_pool
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import Choice, Need, Reason, choose_seed, why_not

LOOKS = 64
"""Candidates looked at per message at the most, where a pool holds many that this one message cannot use."""

_USED_KEPT_SECONDS = 60.0
"""Quotas are counted by the minute: what a copy knows of them is not older than that, where the seed is heard of."""

_LEAVES_POOL: frozenset[Reason] = frozenset({"not enrolled", "disabled", "draining", "offline", "tripped", "quota used", "no room"})


class Directory:
    """The fleet as one dispatcher knows it. Not thread-safe; `now` is always a parameter."""

    def __init__(self, rules: Rules, rng: random.Random | None = None) -> None:
        self._rules = rules
        self._rng = rng or random.Random()
        self._seeds: dict[str, Seed] = {}
        self._read_at: dict[str, float] = {}
        self._pools: dict[str, Pool] = {}
        self._probes: list[tuple[float, str]] = []
        self._probe_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._seeds)

    def __repr__(self) -> str:
        pools = ", ".join(f"{carrier}: {len(pool)}" for carrier, pool in sorted(self._pools.items()))
        return f"<Directory {len(self._seeds)} seeds; ready {pools or 'none'}>"

    def get(self, seed_id: str) -> Seed | None:
        return self._seeds.get(seed_id)

    def seeds(self) -> Iterator[Seed]:
        """All that were ever heard of since this process began."""
        return iter(self._seeds.values())

    def update(self, seed: Seed, now: float) -> None:
        """What the store knows of a seed now; the latest word wins."""
        known = self._seeds.get(seed.id)
        if known is not None and known.carrier != seed.carrier:
            self._pool(known.carrier).remove(seed.id)
        self._seeds[seed.id] = seed
        self._read_at[seed.id] = now
        self._place(seed, now)

    def heard(self, seed_id: str, at: float) -> bool:
        """A sign of life, and nothing else is known to have changed. False where it has to be read: it is not among the ready."""
        seed = self._seeds.get(seed_id)
        if seed is None or seed_id not in self._pool(seed.carrier):
            return False
        if any(seed.used) and at - self._read_at[seed_id] >= _USED_KEPT_SECONDS and any(seed.quota_limits(self._rules)):
            # What it sent an hour ago may count no more
            return False
        seed.lps = at
        self._pool(seed.carrier).add(seed)
        return True

    def reserve(self, seed_id: str, parts: int) -> None:
        """Counts what this dispatcher has just given to a seed, so that the next choice sees it before the store is read again."""
        seed = self._seeds[seed_id]
        seed.in_flight += parts
        seed.used = (seed.used[0] + parts, seed.used[1] + parts, seed.used[2] + parts)
        self._pool(seed.carrier).used(seed_id)

    def find(self, need: Need, now: float) -> Choice:
        """The seed for a message: on-net first, then, if allowed, another carrier of the same country."""
        self._return_probes(now)
        passed_over: dict[Reason, int] = {}
        if need.carrier:
            choice = self._choose(need.carrier, need, now)
            if choice.seed is not None or not self._rules.cross_carrier:
                return choice
            passed_over.update(choice.passed_over)
        others = [c for c in self._carriers_of(need.country) if c != need.carrier]
        self._rng.shuffle(others)
        for carrier in others:
            choice = self._choose(carrier, need, now)
            for reason, count in choice.passed_over.items():
                passed_over[reason] = passed_over.get(reason, 0) + count
            if choice.seed is not None:
                return Choice(
                    seed=choice.seed, score=choice.score, compared=choice.compared, passed_over=passed_over,
                    on_net=not need.carrier,
                )  # fmt: skip
        return Choice(passed_over=passed_over)

    def ready(self, carrier: str, country: str, now: float) -> int:
        """How many seeds could take a message of this carrier (an upper bound: stale entries leave when they are met)."""
        self._return_probes(now)
        own = len(self._pools[carrier]) if carrier in self._pools else 0
        if carrier and not self._rules.cross_carrier:
            return own
        return own + sum(len(self._pools[other]) for other in self._carriers_of(country) if other != carrier)

    def _pool(self, carrier: str) -> Pool:
        if carrier not in self._pools:
            self._pools[carrier] = make_pool(self._rules.policy, self._rng)
        return self._pools[carrier]

    def _carriers_of(self, country: str) -> list[str]:
        return [carrier for carrier, pool in self._pools.items() if len(pool) and self._country_of(pool) == country]

    def _country_of(self, pool: Pool) -> str:
        return self._seeds[next(pool.draw())].country

    def _place(self, seed: Seed, now: float) -> None:
        reason = why_not(seed, Need(carrier=seed.carrier, country=seed.country), now, self._rules)
        pool = self._pool(seed.carrier)
        if reason is None:
            pool.add(seed)
        else:
            self._take_out(seed, reason)

    def _take_out(self, seed: Seed, reason: Reason) -> None:
        self._pool(seed.carrier).remove(seed.id)
        until = seed.tripped_until(self._rules)
        if reason == "tripped" and self._probe_at.get(seed.id) != until:
            self._probe_at[seed.id] = until
            heapq.heappush(self._probes, (until, seed.id))

    def _return_probes(self, now: float) -> None:
        while self._probes and self._probes[0][0] <= now:
            until, seed_id = heapq.heappop(self._probes)
            if self._probe_at.get(seed_id) == until:
                del self._probe_at[seed_id]
            self._place(self._seeds[seed_id], now)

    def _choose(self, carrier: str, need: Need, now: float) -> Choice:
        pool = self._pools.get(carrier)
        if pool is None:
            return Choice()
        candidates = islice(map(self._seeds.__getitem__, pool.draw()), LOOKS)
        useless: list[Seed] = []
        choice = choose_seed(candidates, need, now, self._rules, useless)
        for seed in useless:
            # Useless for this message, or for any?
            reason = why_not(seed, Need(carrier=carrier, country=need.country), now, self._rules)
            if reason in _LEAVES_POOL:
                self._take_out(seed, reason)
        return choice
