"""The seeds of one carrier that could take a message right now, in the order that a policy looks at them."""

import random
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol

from router.domain.rules import Policy
from router.domain.seed import Seed


class Pool(Protocol):
    """Seeds by id. Adding one that is there already brings it up to date."""

    def __len__(self) -> int: ...

    def __contains__(self, seed_id: str) -> bool: ...

    def add(self, seed: Seed) -> None: ...

    def remove(self, seed_id: str) -> None: ...

    def used(self, seed_id: str) -> None:
        """It was just given a message."""

    def draw(self) -> Iterator[str]:
        """Ids, one after the other, as far as the caller wants them; nothing may be added or removed meanwhile."""
        ...


_FEW = 8
"""Draws that most choices are content with."""


def make_pool(policy: Policy, rng: random.Random) -> Pool:
    """The pool for a policy."""
    match policy:
        case "balanced":
            return RandomPool(rng)
        case "freshest":
            return FreshestPool()
        case "round-robin":
            return TurnPool()


class RandomPool:
    """Random order (`balanced`); everything in constant time: a removed id's place is taken by the last one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._ids: list[str] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, seed_id: str) -> bool:
        return seed_id in self._places

    def add(self, seed: Seed) -> None:
        if seed.id not in self._places:
            self._places[seed.id] = len(self._ids)
            self._ids.append(seed.id)

    def remove(self, seed_id: str) -> None:
        place = self._places.pop(seed_id, None)
        if place is None:
            return
        last = self._ids.pop()
        if last != seed_id:
            self._ids[place] = last
            self._places[last] = place

    def used(self, seed_id: str) -> None:
        """The order is random anyway."""

    def draw(self) -> Iterator[str]:
        ids, places, rng = self._ids, self._places, self._rng.random
        met: set[str] = set()
        # The first few of many: drawn without the work of putting each aside
        while len(met) < _FEW < len(ids) // _FEW:
            seed_id = ids[int(rng() * len(ids))]
            if seed_id not in met:
                met.add(seed_id)
                yield seed_id
        for first in range(len(ids)):
            other = first + int(rng() * (len(ids) - first))
            ids[first], ids[other] = ids[other], ids[first]
            places[ids[first]], places[ids[other]] = first, other
            if ids[first] not in met:
                yield ids[first]


class FreshestPool:
    """Latest ping first (`freshest`): a list kept sorted by last ping time."""

    def __init__(self) -> None:
        self._order: list[tuple[float, str]] = []
        self._lps: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, seed_id: str) -> bool:
        return seed_id in self._lps

    def add(self, seed: Seed) -> None:
        if self._lps.get(seed.id) != seed.lps:
            self.remove(seed.id)
            self._lps[seed.id] = seed.lps
            insort(self._order, (seed.lps, seed.id))

    def remove(self, seed_id: str) -> None:
        lps = self._lps.pop(seed_id, None)
        if lps is not None:
            del self._order[bisect_left(self._order, (lps, seed_id))]

    def used(self, seed_id: str) -> None:
        """Being used makes nobody fresher."""

    def draw(self) -> Iterator[str]:
        for _, seed_id in reversed(self._order):
            yield seed_id


class TurnPool:
    """Longest unused first (`round-robin`)."""

    def __init__(self) -> None:
        self._order: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, seed_id: str) -> bool:
        return seed_id in self._order

    def add(self, seed: Seed) -> None:
        self._order.setdefault(seed.id)

    def remove(self, seed_id: str) -> None:
        self._order.pop(seed_id, None)

    def used(self, seed_id: str) -> None:
        if seed_id in self._order:
            del self._order[seed_id]
            self._order[seed_id] = None

    def draw(self) -> Iterator[str]:
        yield from self._order
