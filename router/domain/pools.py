"""The seeds of one carrier that could take a message right now, in the order that a policy looks at them. Seeds are told by their slots."""

import random
from array import array
from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Protocol

from router.domain.rules import Policy


class Pool(Protocol):
    """Slots of seeds. Adding one that is there already brings it up to date."""

    def __len__(self) -> int: ...

    def __contains__(self, slot: int) -> bool: ...

    def add(self, slot: int, lps: float) -> None: ...

    def remove(self, slot: int) -> None: ...

    def used(self, slot: int) -> None:
        """It was just given a message."""

    def draw(self) -> Iterator[int]:
        """Slots, one after the other, as far as the caller wants them; nothing may be added or removed meanwhile."""
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
    """Random order (`balanced`); everything in constant time: a removed slot's place is taken by the last one."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._slots = array("I")
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, slot: int) -> bool:
        return slot in self._places

    def add(self, slot: int, lps: float) -> None:
        if slot not in self._places:
            self._places[slot] = len(self._slots)
            self._slots.append(slot)

    def remove(self, slot: int) -> None:
        place = self._places.pop(slot, None)
        if place is None:
            return
        last = self._slots.pop()
        if last != slot:
            self._slots[place] = last
            self._places[last] = place

    def used(self, slot: int) -> None:
        """The order is random anyway."""

    def draw(self) -> Iterator[int]:
        slots, places, rng = self._slots, self._places, self._rng.random
        count = len(slots)
        met: set[int] = set()
        # The first few of many: drawn without the work of putting each aside
        while len(met) < _FEW < count // _FEW:
            slot = slots[int(rng() * count)]
            if slot not in met:
                met.add(slot)
                yield slot
        for first in range(count):
            other = first + int(rng() * (count - first))
            slots[first], slots[other] = slots[other], slots[first]
            places[slots[first]], places[slots[other]] = first, other
            if slots[first] not in met:
                yield slots[first]


class FreshestPool:
    """Latest ping first (`freshest`): a list kept sorted by last ping time."""

    def __init__(self) -> None:
        self._order: list[tuple[float, int]] = []
        self._lps: dict[int, float] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, slot: int) -> bool:
        return slot in self._lps

    def add(self, slot: int, lps: float) -> None:
        if self._lps.get(slot) != lps:
            self.remove(slot)
            self._lps[slot] = lps
            insort(self._order, (lps, slot))

    def remove(self, slot: int) -> None:
        lps = self._lps.pop(slot, None)
        if lps is not None:
            del self._order[bisect_left(self._order, (lps, slot))]

    def used(self, slot: int) -> None:
        """Being used makes nobody fresher."""

    def draw(self) -> Iterator[int]:
        for _, slot in reversed(self._order):
            yield slot


class TurnPool:
    """Longest unused first (`round-robin`)."""

    def __init__(self) -> None:
        self._order: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __contains__(self, slot: int) -> bool:
        return slot in self._order

    def add(self, slot: int, lps: float) -> None:
        self._order.setdefault(slot)

    def remove(self, slot: int) -> None:
        self._order.pop(slot, None)

    def used(self, slot: int) -> None:
        if slot in self._order:
            del self._order[slot]
            self._order[slot] = None

    def draw(self) -> Iterator[int]:
        yield from self._order
