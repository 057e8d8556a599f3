"""A dispatcher's copy of the fleet, arranged so that choosing costs the same for 100 seeds and for 100,000.

Each carrier has a *pool* of the seeds that could take a message right now. A seed leaves the pool when it is met there and turns out to
be offline, full or tripped, and comes back when something is heard of it (`update`) or its breaker's pause or its rest is over. So each
look at a useless seed is paid by the event that made it useless, and a draw meets few of them.

Seeds that serve their own account only have pools of their own, phones have one each, and what only some can do (`lots`) has a pool of
those that can: a message with such a demand meets as few useless seeds as any other.

Rejected: filtering the whole carrier per message (linear in the fleet), and a sorted structure over scores (each reservation re-sorts).
"""

import heapq
import random
from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

import msgspec

from router.domain.loads import Loads
from router.domain.lots import demands_of, group, parse_lot, pools_of
from router.domain.message import ONE_SEED
from router.domain.pools import Pool, make_pool
from router.domain.rules import Rules
from router.domain.seed import Seed, pool_of
from router.domain.selection import Choice, Need, Reason, choose_seed, easiest, why_not
from router.domain.standing import Standings

LOOKS = 64
"""Candidates looked at per message at the most, where a pool holds many that this one message cannot use."""

_USED_KEPT_SECONDS = 60.0
"""Quotas are counted by the minute: what a copy knows of them is not older than that, where the seed is heard of."""

_LEAVES_POOL: frozenset[Reason] = frozenset(
    {"not enrolled", "disabled", "draining", "offline", "tripped", "resting", "quota used", "recipients used", "no room"}
)
"""What is said of the seed and not of the message. The others do not take it out of its pools."""


class Directory:
    """The fleet as one dispatcher knows it. Not thread-safe; `now` is always a parameter."""

    def __init__(self, rules: Rules, rng: random.Random | None = None) -> None:
        self._rules = rules
        self._rng = rng or random.Random()
        self._standings = Standings(rules)
        self._read_at = array("d")
        """By slot: when the store was last asked."""
        self._listed: list[tuple[Pool, ...]] = []
        """By slot: where a seed is while it is ready."""
        self._pools: dict[str, Pool] = {}
        self._tuples: dict[tuple[str, ...], tuple[Pool, ...]] = {}
        """The same pools are one object for all their seeds."""
        self._shared: dict[str, dict[str, None]] = {}
        """The carriers of a country that ever had a shared seed."""
        self._own: dict[str, dict[str, str]] = {}
        """The carriers of an account's own seeds, with their country."""
        self.unready: Mapping[str, Mapping[Reason, int]] = {}
        """By carrier: the shared seeds that could take nothing at the last census, by reason. For the words of what finds no seed."""
        self.loads = Loads()
        self._probes: list[tuple[float, int]] = []
        self._probe_at: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._standings)

    def __repr__(self) -> str:
        pools = ", ".join(f"{name}: {len(pool)}" for name, pool in sorted(self._pools.items()) if parse_lot(name).carrier)
        return f"<Directory {len(self)} seeds; ready {pools or 'none'}>"

    def get(self, seed_id: str) -> Seed | None:
        slot = self._standings.slot(seed_id)
        return None if slot is None else self._standings.seeds[slot]

    def seeds(self) -> Iterator[Seed]:
        """All that were ever heard of since this process began."""
        return iter(self._standings)

    def owns(self, account: str) -> bool:
        """Was a seed ever heard of that serves this account only?"""
        return account in self._own

    def update(self, seed: Seed, now: float) -> None:
        """What the store knows of a seed now; the latest word wins."""
        known = self.get(seed.id)
        slot = self._standings.put(seed)
        if known is None:
            self._listed.append(self._pools_of(seed))
            self._read_at.append(now)
        elif _belongs_elsewhere(known, seed):
            for pool in self._listed[slot]:
                pool.remove(slot)
            self._listed[slot] = self._pools_of(seed)
        self._read_at[slot] = now
        self._place(slot, now)

    def _pools_of(self, seed: Seed) -> tuple[Pool, ...]:
        if seed.carrier and seed.shared:
            self._shared.setdefault(seed.country, {})[seed.carrier] = None
        elif seed.carrier:
            self._own.setdefault(seed.account, {})[seed.carrier] = seed.country
        names = tuple(pools_of(seed))
        if names not in self._tuples:
            self._tuples[names] = tuple(map(self._pool, names))
        return self._tuples[names]

    def heard(self, seed_id: str, at: float) -> bool:
        """A sign of life, and nothing else is known to have changed. False where it has to be read: it is not among the ready."""
        slot = self._standings.slot(seed_id)
        if slot is None or not self._is_ready(slot):
            return False
        seed = self._standings.seeds[slot]
        if any(seed.used) and at - self._read_at[slot] >= _USED_KEPT_SECONDS and any(seed.quota_limits(self._rules)):
            # What it sent an hour ago may count no more
            return False
        seed.lps = at
        self._standings.heard(slot, at)
        for pool in self._listed[slot]:
            pool.add(slot, at)
        return True

    def _is_ready(self, slot: int) -> bool:
        pools = self._listed[slot]
        return bool(pools) and slot in pools[0]

    def take(self, choice: Choice, parts: int, now: float) -> None:
        """Counts what this dispatcher has just given to the seed that it chose, so that the next choice sees it before the store is read
        again. By its slot: among 100,000 seeds a look-up of the id would cost a tenth of the choice.
        """
        slot = choice.slot
        seed = self._standings.seeds[slot]
        seed.in_flight += parts
        self.loads.add(seed.id, now)
        seed.used = (seed.used[0] + parts, seed.used[1] + parts, seed.used[2] + parts)
        if seed.rest_seconds > 0:
            seed.last_given_at = max(seed.last_given_at, now)
        self._standings.given(slot)
        if self._rules.policy == "round-robin":
            for pool in self._listed[slot]:
                pool.used(slot)

    def find(self, need: Need, now: float) -> Choice:
        """The seed for a message: of the group it is bound to; else the account's own and then the shared ones, on-net first, then, if
        allowed, of another carrier of the same country.
        """
        self._return_probes(now)
        wanted = demands_of(need) if need.is_special else ""
        if need.only:
            if need.only.startswith(ONE_SEED):
                known = self._standings.slot(need.only[1:])
                return self._choose_among([] if known is None else [known], need, now)
            return self._choose(group(need.only, wanted), need, now)
        passed_over: dict[Reason, int] = {}
        if need.carrier:
            for name in self._homes(need.carrier, need.account):
                choice = _after(passed_over, self._choose(name + wanted, need, now))
                if choice.seed is not None:
                    return choice
            if not self._rules.cross_carrier:
                return self._nobody([need.carrier], passed_over)
        for name in self._homes_abroad(need.carrier, need.country, need.account):
            choice = _after(passed_over, self._choose(name + wanted, need, now))
            if choice.seed is not None:
                return msgspec.structs.replace(choice, on_net=not need.carrier)
        return self._nobody(self._shared.get(need.country, ()), passed_over)

    def _nobody(self, carriers: Iterable[str], passed_over: dict[Reason, int]) -> Choice:
        unready: dict[Reason, int] = {}
        for carrier in carriers:
            for reason, count in self.unready.get(carrier, {}).items():
                unready[reason] = unready.get(reason, 0) + count
        return Choice(passed_over=passed_over, unready=unready)

    def _homes(self, carrier: str, account: str) -> tuple[str, ...]:
        """Where a message of a carrier looks for a seed: its account's own ones first."""
        if account in self._own and carrier in self._own[account]:
            return pool_of(carrier, account, shared=False), carrier
        return (carrier,)

    def _homes_abroad(self, carrier: str, country: str, account: str) -> list[str]:
        """Likewise of the country's other carriers, in random order."""
        own = [
            pool_of(other, account, shared=False)
            for other, home in self._own.get(account, {}).items()
            if home == country and other != carrier
        ]
        shared = [other for other in self._shared.get(country, ()) if other != carrier]
        self._rng.shuffle(own)
        self._rng.shuffle(shared)
        return own + shared

    def ready(self, lot: str, now: float) -> int:
        """How many seeds could take messages of a lot (an upper bound: stale entries leave when they are met)."""
        self._return_probes(now)
        about = parse_lot(lot)
        if about.seed:
            slot = self._standings.slot(about.seed)
            return int(slot is not None and self._is_ready(slot))
        if about.is_group:
            return self._count(lot)
        names = list(self._homes(about.carrier, about.owner)) if about.carrier else []
        if not about.carrier or self._rules.cross_carrier:
            names += self._homes_abroad(about.carrier, about.country, about.owner)
        return sum(self._count(name + about.demands) for name in names)

    def _count(self, name: str) -> int:
        pool = self._pools.get(name)
        return len(pool) if pool is not None else 0

    def _pool(self, name: str) -> Pool:
        if name not in self._pools:
            self._pools[name] = make_pool(self._rules.policy, self._rng)
        return self._pools[name]

    def _place(self, slot: int, now: float) -> None:
        seed = self._standings.seeds[slot]
        reason = why_not(seed, easiest(seed), now, self._rules)
        self._standings.note(slot, free=reason is None)
        if reason is not None:
            self._take_out(slot, reason)
            return
        for pool in self._listed[slot]:
            pool.add(slot, seed.lps)

    def _take_out(self, slot: int, reason: Reason) -> None:
        for pool in self._listed[slot]:
            pool.remove(slot)
        if reason not in ("tripped", "resting"):
            return
        seed = self._standings.seeds[slot]
        until = seed.tripped_until(self._rules) if reason == "tripped" else seed.resting_until()
        if self._probe_at.get(slot) != until:
            self._probe_at[slot] = until
            heapq.heappush(self._probes, (until, slot))

    def _return_probes(self, now: float) -> None:
        while self._probes and self._probes[0][0] <= now:
            until, slot = heapq.heappop(self._probes)
            if self._probe_at.get(slot) == until:
                del self._probe_at[slot]
            self._place(slot, now)

    def _choose(self, name: str, need: Need, now: float) -> Choice:
        pool = self._pools.get(name)
        if pool is None:
            return Choice()
        return self._choose_among(islice(pool.draw(), LOOKS), need, now)

    def _choose_among(self, candidates: Iterable[int], need: Need, now: float) -> Choice:
        useless: list[int] = []
        choice = choose_seed(candidates, self._standings, need, now, self._rules, useless)
        for slot in useless:
            # Useless for this message, or for any?
            seed = self._standings.seeds[slot]
            reason = why_not(seed, easiest(seed), now, self._rules)
            if reason in _LEAVES_POOL:
                self._take_out(slot, reason)
        return choice


def _belongs_elsewhere(known: Seed, seed: Seed) -> bool:
    return (
        known.carrier != seed.carrier
        or known.shared != seed.shared
        or known.account != seed.account
        or known.device != seed.device
        or known.sim != seed.sim
    )


def _after(passed_over: dict[Reason, int], choice: Choice) -> Choice:
    """The choice with what was passed over before it, which is added up."""
    if not passed_over:
        if choice.seed is None:
            passed_over.update(choice.passed_over)
        return choice
    for reason, count in choice.passed_over.items():
        passed_over[reason] = passed_over.get(reason, 0) + count
    return msgspec.structs.replace(choice, passed_over=dict(passed_over))
