"""A dispatcher's copy of the fleet, arranged so that choosing costs the same for 100 seeds and for 100,000.

Each carrier has a *pool* of the seeds that could take a message right now. A seed leaves the pool when it is met there and turns out to
be offline, full or tripped, and comes back when something is heard of it (`update`) or its breaker's pause is over. So each look at a
useless seed is paid by the event that made it useless, and a draw meets few of them.

Rejected: filtering the whole carrier per message (linear in the fleet), and a sorted structure over scores (each reservation re-sorts).
"""

import heapq
import random
from collections.abc import Iterator

from router.domain.rules import Policy, Rules
from router.domain.seed import Seed
from router.domain.selection import Choice, Need, Reason, choose_seed, why_not

LOOKS = 64
"""Candidates looked at per message at the most, where a pool holds many that this one message cannot use."""

_LEAVES_POOL: frozenset[Reason] = frozenset({"not enrolled", "disabled", "draining", "offline", "tripped", "quota used", "no room"})


class _Pool:
    """Seeds by id in an order that serves the policy, with removal and insertion in constant time."""

    def __init__(self, policy: Policy, rng: random.Random) -> None:
        self._policy = policy
        self._rng = rng
        self._ids: list[str] = []
        self._places: dict[str, int] = {}
        self._order: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._ids) if self._policy == "balanced" else len(self._order)

    def __contains__(self, seed_id: str) -> bool:
        return seed_id in (self._places if self._policy == "balanced" else self._order)

    def add(self, seed_id: str) -> None:
        if self._policy != "balanced":
            if self._policy == "freshest":
                self._order.pop(seed_id, None)
            self._order.setdefault(seed_id)
        elif seed_id not in self._places:
            self._places[seed_id] = len(self._ids)
            self._ids.append(seed_id)

    def remove(self, seed_id: str) -> None:
        if self._policy != "balanced":
            self._order.pop(seed_id, None)
        elif (place := self._places.pop(seed_id, None)) is not None:
            last = self._ids.pop()
            if last != seed_id:
                self._ids[place] = last
                self._places[last] = place

    def draw(self) -> Iterator[str]:
        """Ids in the policy's order: random, latest ping first, or longest unused first."""
        if self._policy == "freshest":
            yield from reversed(self._order)
            return
        if self._policy == "round-robin":
            yield from self._order
            return
        ids, places = self._ids, self._places
        for first in range(len(ids)):
            other = self._rng.randrange(first, len(ids))
            ids[first], ids[other] = ids[other], ids[first]
            places[ids[first]], places[ids[other]] = first, other
            yield ids[first]


class Directory:
    """The fleet as one dispatcher knows it. Not thread-safe; `now` is always a parameter."""

    def __init__(self, rules: Rules, rng: random.Random | None = None) -> None:
        self._rules = rules
        self._rng = rng or random.Random()
        self._seeds: dict[str, Seed] = {}
        self._pools: dict[str, _Pool] = {}
        self._probes: list[tuple[float, str]] = []

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
        self._place(seed, now)

    def reserve(self, seed_id: str, parts: int) -> None:
        """Counts what this dispatcher has just given to a seed, so that the next choice sees it before the store is read again."""
        seed = self._seeds[seed_id]
        seed.in_flight += parts
        seed.used = (seed.used[0] + parts, seed.used[1] + parts, seed.used[2] + parts)
        pool = self._pool(seed.carrier)
        if self._rules.policy == "round-robin" and seed_id in pool:
            pool.remove(seed_id)
            pool.add(seed_id)

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

    def _pool(self, carrier: str) -> _Pool:
        if carrier not in self._pools:
            self._pools[carrier] = _Pool(self._rules.policy, self._rng)
        return self._pools[carrier]

    def _carriers_of(self, country: str) -> list[str]:
        return [carrier for carrier, pool in self._pools.items() if len(pool) and self._country_of(pool) == country]

    def _country_of(self, pool: _Pool) -> str:
        return self._seeds[next(pool.draw())].country

    def _place(self, seed: Seed, now: float) -> None:
        reason = why_not(seed, Need(carrier=seed.carrier, country=seed.country), now, self._rules)
        pool = self._pool(seed.carrier)
        if reason is None:
            pool.add(seed.id)
        else:
            self._take_out(seed, reason)

    def _take_out(self, seed: Seed, reason: Reason) -> None:
        self._pool(seed.carrier).remove(seed.id)
        if reason == "tripped":
            heapq.heappush(self._probes, (seed.tripped_until(self._rules), seed.id))

    def _return_probes(self, now: float) -> None:
        while self._probes and self._probes[0][0] <= now:
            _, seed_id = heapq.heappop(self._probes)
            self._place(self._seeds[seed_id], now)

    def _choose(self, carrier: str, need: Need, now: float) -> Choice:
        pool = self._pools.get(carrier)
        if pool is None:
            return Choice()
        met: list[Seed] = []

        def draw() -> Iterator[Seed]:
            for seed_id in pool.draw():
                seed = self._seeds[seed_id]
                met.append(seed)
                yield seed
                if len(met) >= LOOKS:
                    return

        choice = choose_seed(draw(), need, now, self._rules)
        for seed in met:
            reason = why_not(seed, Need(carrier=carrier, country=need.country), now, self._rules)
            if reason in _LEAVES_POOL:
                self._take_out(seed, reason)
        return choice
