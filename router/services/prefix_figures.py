"""The figures of all prefixes within the window, as all processes have counted them, and what they are compared with."""

from collections.abc import Iterable, Mapping

import msgspec

from router.clock import Clock
from router.domain.fraud import (
    PREFIX,
    Figures,
    FraudRules,
    Minute,
    Others,
    Reference,
    Sums,
    Usual,
    figures_of,
    usual_conversion,
    usual_count,
)
from router.domain.statistics import MINUTE_SECONDS
from router.domain.verdicts import Verdict, judge
from router.services.prefix_tally import read_sums
from router.services.statistics import Statistics
from router.store.fraud import Learned
from router.store.store import Store

_SETTLED_SECONDS = 30
"""After its end nothing is added to a minute any more, but by a process that could not reach Redis: that is too late."""


class Look(msgspec.Struct, frozen=True):
    """All prefixes that anything happened to within the window, as of `now`."""

    now: float
    figures: Mapping[str, Figures]
    others: Mapping[str, Others]

    def of(self, prefix: str, carrier: str = "") -> Figures:
        return self.figures.get(prefix) or Figures(prefix=prefix, carrier=carrier, now=Sums(), ripe=Sums(), young=Sums())


class Judged(msgspec.Struct, frozen=True):
    """One prefix, what it is compared with, and what follows."""

    figures: Figures
    reference: Reference
    verdict: Verdict


class PrefixFigures:
    """One per process; minutes that are over are read once."""

    def __init__(self, store: Store, statistics: Statistics, clock: Clock, rules: FraudRules) -> None:
        self._store = store
        self._statistics = statistics
        self._clock = clock
        self._rules = rules
        self._over: dict[int, Minute] = {}

    async def minutes(self, starts: Iterable[int]) -> dict[int, Minute]:
        """What happened in the minutes that begin then. Raises `Unavailable`."""
        wanted = list(starts)
        now = self._clock.now()
        asked = [start for start in wanted if start not in self._over]
        answers = await self._statistics.bucket(PREFIX, asked) if asked else []
        read = {start: read_sums(fields) for start, fields in zip(asked, answers, strict=True)}
        found = {start: read[start] if start in read else self._over[start] for start in wanted}
        oldest, settled = now - self._rules.keep_seconds, now - MINUTE_SECONDS - _SETTLED_SECONDS
        self._over = {start: minute for start, minute in (self._over | read).items() if oldest < start <= settled}
        return found

    async def look(self) -> Look:
        """The running minute and those before it that are within the window. Raises `Unavailable`."""
        now = self._clock.now()
        running = int(now) // MINUTE_SECONDS * MINUTE_SECONDS
        minutes = await self.minutes(range(running - self._rules.window_seconds, running + 1, MINUTE_SECONDS))
        figures = figures_of(minutes, now, self._rules)
        return Look(now, figures, Others.by_carrier(figures.values()))

    async def judged(self, look: Look, wanted: Iterable[Figures]) -> list[Judged]:
        """These, each with its verdict, in their order. Raises `Unavailable`."""
        found = list(wanted)
        names = list(dict.fromkeys(name for one in found for name in (one.prefix, one.carrier) if name))
        usual = await self._store.fraud.usual(self._store.batch(), names)
        learned = await self._store.fraud.learned(self._store.batch())
        references = [self._reference(look, one, usual, learned) for one in found]
        return [
            Judged(one, reference, judge(one, reference, self._rules)) for one, reference in zip(found, references, strict=True)
        ]

    def _reference(self, look: Look, one: Figures, usual: Mapping[str, Usual], learned: Learned | None) -> Reference:
        recorded = float(learned.upto + MINUTE_SECONDS - learned.since) if learned else 0.0
        others, latest = look.others.get(one.carrier, Others()).without(one, self._rules.floor)
        return Reference(
            count=usual_count(usual[one.prefix], recorded, look.now, self._rules),
            conversion=usual_conversion(usual[one.carrier], look.now, self._rules) if one.carrier else None,
            others=others,
            latest=latest,
        )

    def is_busy(self, figures: Figures) -> bool:
        """Is there anything to judge?"""
        return figures.demand >= self._rules.floor or 0 < self._rules.limit < figures.now.accepted
