"""A fleet in figures, by carrier: what the dispatcher's gauges show, and what it tells the operators' pages."""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate

import msgspec

from router.domain.loads import unevenness
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import Reason, easiest, why_not

FAILING_SHARE = 0.5
"""A seed with a larger share of failures is failing."""


class SeedTally(msgspec.Struct):
    """The seeds of one carrier. Room and what is in flight are parts."""

    enrolled: int = 0
    online: int = 0
    """Those that may be given messages and were heard of within their window; so for all that follows."""
    ready: int = 0
    """Those that may be given a message of one part now."""
    tripped: int = 0
    failing: int = 0
    room: int = 0
    quota_used: float = 0.0
    in_flight: int = 0
    """Of all seeds: one that has gone may still hold something."""
    given: int = 0
    most_given: int = 0

    @property
    def mean_quota_used(self) -> float:
        """0.0 to 1.0, of the online seeds' tightest limits."""
        return self.quota_used / self.online if self.online else 0.0

    @property
    def unevenness(self) -> float:
        """See `loads.unevenness`."""
        return unevenness(self.most_given, self.given, self.online)

    def join(self, other: "SeedTally") -> None:
        """Both are one from now on."""
        most = max(self.most_given, other.most_given)
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.most_given = most


class Census:
    """Counts seeds one by one. `given`: messages that each had lately, by its id."""

    def __init__(self, now: float, rules: Rules, given: Mapping[str, int]) -> None:
        self._now = now
        self._rules = rules
        self._given = given
        self._ages: list[float] = []
        self.tallies: dict[str, SeedTally] = {}
        """By the name that was given with each seed; so is the next."""
        self.unready: dict[str, dict[Reason, int]] = {}
        """The enrolled seeds that serve everybody and could take nothing now, by reason."""

    def count(self, seed: Seed, name: str) -> None:
        """One more seed, of the carrier of that name."""
        tally = self.tallies.get(name)
        if tally is None:
            tally = self.tallies[name] = SeedTally()
        now, rules = self._now, self._rules
        tally.in_flight += seed.in_flight
        if given := self._given.get(seed.id):
            tally.given += given
            tally.most_given = max(tally.most_given, given)
        if not seed.enrolled:
            return
        tally.enrolled += 1
        if seed.lps > 0:
            self._ages.append(now - seed.lps)
        if not seed.is_dispatchable() or not seed.is_online(now, rules):
            self._note_unready(seed, name)
            return
        tally.online += 1
        tally.failing += seed.failure_share() > FAILING_SHARE
        tally.quota_used += seed.quota_share(rules)
        is_ready = False
        if now < seed.tripped_until(rules):
            tally.tripped += 1
        else:
            room = max(0, min(seed.capacity(rules) - seed.in_flight, seed.quota_left(rules)))
            tally.room += room
            is_ready = room > 0 and now >= seed.resting_until()
        tally.ready += is_ready
        if not is_ready:
            self._note_unready(seed, name)

    def _note_unready(self, seed: Seed, name: str) -> None:
        if seed.shared and (reason := why_not(seed, easiest(seed), self._now, self._rules)):
            counts = self.unready.setdefault(name, {})
            counts[reason] = counts.get(reason, 0) + 1

    def by(self, name: Callable[[str], str]) -> dict[str, SeedTally]:
        """The tallies under other names; those that come to the same one are joined."""
        found: dict[str, SeedTally] = {}
        for old, tally in self.tallies.items():
            found.setdefault(name(old), SeedTally()).join(tally)
        return found

    def heard_within(self, bounds: Sequence[float]) -> list[int]:
        """How many enrolled seeds were heard of within each of these seconds; bounds ascend, and the last is for all that ever were."""
        found = [0] * len(bounds)
        for age in self._ages:
            place = bisect_left(bounds, age)
            found[min(place, len(bounds) - 1)] += 1
        return list(accumulate(found))
