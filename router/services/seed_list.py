"""All seeds, searched, sorted and counted, a page at a time.

A state depends on the time and on several fields, so nothing in the store is sorted by it: the whole fleet is read, and a copy of it serves
everybody who looks within the next seconds. The copy is the longer in use the longer it took to read, so that looking at a fleet takes a
twentieth of this process' time at the most, whatever its size. The seeds of the page that is shown are read anew each time.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, Literal, get_args

import msgspec

from router.clock import Clock
from router.domain.carriers import carrier_name
from router.domain.errors import Invalid
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.services.seed_view import SEED_STATES, SeedState, SeedView, seed_view, state_of
from router.store.store import Store

_KEPT_SECONDS: Final = 2.0
_SHARE: Final = 0.05
_AT_ONCE: Final = 250
"""Seeds read in one exchange: so long others wait."""
MOST_SHOWN: Final = 200
_MOST_ANSWERS: Final = 50

SeedSort = Literal["imsi", "state", "carrier", "ping", "in_flight", "quota", "failing", "to_sent", "reliability"]
SEED_SORTS: tuple[SeedSort, ...] = get_args(SeedSort)


class SeedQuery(msgspec.Struct, frozen=True, kw_only=True):
    """`words`: a part of the IMSI, of the phone's own number, of the owner's or device's id. `carrier`: MCC+MNC. Empty = any."""

    words: str = ""
    carrier: str = ""
    state: SeedState | Literal[""] = ""
    sort: SeedSort = "imsi"
    descending: bool = False
    offset: int = 0
    limit: int = 50


class SeedRow(msgspec.Struct, frozen=True):
    """A seed on a page. `quota_share`: how much of its tightest limit is used, 0.0 to 1.0 (and beyond, where a limit was lowered)."""

    seed: SeedView
    state: SeedState
    quota_share: float


class SeedPage(msgspec.Struct, frozen=True, kw_only=True):
    """`total`: how many match. `states`: how many match all but the state, by state. `as_of`: when the fleet was read (Unix seconds)."""

    rows: list[SeedRow]
    total: int
    states: dict[SeedState, int]
    carriers: dict[str, str]
    """Of all seeds: code and name."""
    as_of: float


class _Answer(msgspec.Struct, frozen=True):
    ids: list[str]
    states: Counter[SeedState]


class _Copy(msgspec.Struct, frozen=True):
    seeds: list[Seed] = []
    as_of: float = 0.0
    good_until: float = float("-inf")
    """By this process' monotonic clock."""
    carriers: dict[str, str] = {}
    answers: dict[SeedQuery, _Answer] = {}
    """What was asked of this copy already."""


class SeedList:
    """One per api process."""

    def __init__(self, store: Store, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._copy = _Copy()
        self._reading = asyncio.Lock()

    async def page(self, query: SeedQuery) -> SeedPage:
        """Raises `Invalid`, `Unavailable`."""
        if not 1 <= query.limit <= MOST_SHOWN or query.offset < 0:
            raise Invalid("limit", f"1 to {MOST_SHOWN}, from place 0 on")
        copy = await self._fresh_copy()
        asked = msgspec.structs.replace(query, offset=0, limit=1)
        found = copy.answers.get(asked)
        if found is None:
            found = await self._search(copy, asked)
            if len(copy.answers) < _MOST_ANSWERS:
                copy.answers[asked] = found
        return SeedPage(
            rows=await self.rows(found.ids[query.offset : query.offset + query.limit]),
            total=len(found.ids),
            states={state: found.states[state] for state in SEED_STATES},
            carriers=copy.carriers,
            as_of=copy.as_of,
        )

    async def _search(self, copy: _Copy, query: SeedQuery) -> _Answer:
        """All that match, in order."""
        states: Counter[SeedState] = Counter()
        found: list[tuple[Any, str]] = []
        key, words = _KEYS[query.sort], _words(query.words)
        for place, seed in enumerate(copy.seeds):
            if place % _AT_ONCE == 0:
                # Others do not wait for a large fleet
                await asyncio.sleep(0)
            if (query.carrier and seed.carrier != query.carrier) or not _has(seed, words):
                continue
            state = state_of(seed, copy.as_of, self._rules)
            states[state] += 1
            if query.state in ("", state):
                found.append((key(seed, state, copy.as_of, self._rules), seed.id))
        found.sort(reverse=query.descending)
        return _Answer([seed_id for _, seed_id in found], states)

    async def rows(self, seed_ids: list[str]) -> list[SeedRow]:
        """These seeds as they are now, in order; those that are gone are left out."""
        now = self._clock.now()
        found = await self._store.seeds.load(self._store.batch(), seed_ids, now)
        return [self._row(seed, now) for seed in found if seed is not None]

    def _row(self, seed: Seed, now: float) -> SeedRow:
        return SeedRow(seed_view(seed, now, self._rules), state_of(seed, now, self._rules), seed.quota_share(self._rules))

    def forget(self) -> None:
        """Somebody has just changed a seed here, and wants to see it."""
        self._copy = _Copy()

    async def _fresh_copy(self) -> _Copy:
        async with self._reading:
            if time.monotonic() >= self._copy.good_until:
                began = time.monotonic()
                ids = await self._store.seeds.all_ids(self._store.batch())
                as_of = self._clock.now()
                seeds: list[Seed] = []
                for start in range(0, len(ids), _AT_ONCE):
                    found = await self._store.seeds.load(self._store.batch(), ids[start : start + _AT_ONCE], as_of)
                    seeds += [seed for seed in found if seed is not None]
                ended = time.monotonic()
                carriers = {code: carrier_name(code) for code in sorted({seed.carrier for seed in seeds}) if code}
                self._copy = _Copy(seeds, as_of, ended + max(_KEPT_SECONDS, (ended - began) / _SHARE), carriers)
            return self._copy


def _words(given: str) -> list[str]:
    """A number may have blanks in it."""
    number = given.translate(_DROP)
    return [number] if number.removeprefix("+").isdigit() else given.casefold().split()


def _has(seed: Seed, words: list[str]) -> bool:
    """Does it have each of these words somewhere? A leading zero of a number does not matter."""
    for word in words:
        digits = word.lstrip("+0")
        in_number = digits.isdigit() and digits in seed.msisdn
        if not (in_number or word in seed.id.casefold() or word in seed.account.casefold()):
            return False
    return True


_DROP: Final = str.maketrans("", "", " -.()")
_Key = Callable[[Seed, SeedState, float, Rules], Any]
_RANK: Final = {state: rank for rank, state in enumerate(SEED_STATES)}
_KEYS: Final[dict[SeedSort, _Key]] = {
    "imsi": lambda seed, state, now, rules: seed.id,
    "state": lambda seed, state, now, rules: _RANK[state],
    "carrier": lambda seed, state, now, rules: seed.carrier,
    "ping": lambda seed, state, now, rules: now - seed.lps,
    "in_flight": lambda seed, state, now, rules: seed.in_flight,
    "quota": lambda seed, state, now, rules: seed.quota_share(rules),
    "failing": lambda seed, state, now, rules: seed.failure_share(),
    "to_sent": lambda seed, state, now, rules: seed.seconds_to_sent,
    "reliability": lambda seed, state, now, rules: seed.reliability if seed.probes else 2.0,
}
