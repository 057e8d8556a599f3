"""Fraud: the timekeepers' judgement of prefixes, and what operators see and do. The rules are in `domain/fraud.py`.

A judgement may be repeated, and several may judge at once: a block is written only over what was read, so that it is written once; a
minute is added to what is usual once. One timekeeper at a time has the turn, which only saves work.
"""

from collections.abc import Callable

import structlog

from router import metrics
from router.clock import Clock
from router.domain.errors import Conflict, Invalid, NotFound
from router.domain.fraud import FraudRules, Minute, Sums
from router.domain.prefix_blocks import Block, blocked_by_operator, lifted_by_operator, next_block
from router.domain.prefixes import carrier_of_prefix, check_prefix
from router.domain.statistics import MINUTE_SECONDS
from router.domain.verdicts import PrefixView, is_calm
from router.services.prefix_figures import Judged, PrefixFigures
from router.services.presence import Presence
from router.services.statistics import Statistics
from router.store.fraud import Learned, StoredBlock
from router.store.store import Store

_log = structlog.get_logger()
_MOST_MINUTES = 30
"""Minutes learned in one turn."""
_HOUR = 3600
_WORTH_KEEPING = 1.0
"""Messages (aged) below which a prefix' past is forgotten: it would not change any verdict."""
_MAX_USUAL = 50_000
"""Prefixes whose past is kept; beyond it the quietest go."""
_MAX_LIMIT = 1000
_LONGEST_WHY = 200
_LONGEST_BLOCK_SECONDS = 366 * 86_400
_TRIES = 5


class FraudJudge:
    """One per timekeeper."""

    def __init__(self, store: Store, statistics: Statistics, clock: Clock, rules: FraudRules, turn_seconds: float) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._turn_seconds = turn_seconds
        self._figures = PrefixFigures(store, statistics, clock, rules)

    async def run(self) -> bool:
        """Looks at all prefixes, unless somebody else just did. Raises `Unavailable`."""
        stored = await self._store.fraud.blocks(self._store.batch())
        self._show(stored)
        if self._rules.mode == "off" or not await self._store.fraud.takes_turn(self._store.batch(), self._turn_seconds):
            return False
        await self._judge(stored)
        await self._learn(await self._store.fraud.blocks(self._store.batch()))
        return True

    def _show(self, stored: dict[str, StoredBlock]) -> None:
        now = self._clock.now()
        blocked, suspected = dict.fromkeys(metrics.CARRIERS, 0), dict.fromkeys(metrics.CARRIERS, 0)
        for block in (item.block for item in stored.values()):
            if block is not None and block.is_active(now):
                counts = blocked if block.refuses(self._rules) else suspected
                counts[metrics.carrier_label(block.carrier)] += 1
        for carrier in metrics.CARRIERS:
            metrics.PREFIXES_BLOCKED.labels(carrier).set(blocked[carrier])
            metrics.PREFIXES_SUSPECTED.labels(carrier).set(suspected[carrier])

    async def _judge(self, stored: dict[str, StoredBlock]) -> None:
        look = await self._figures.look()
        known = {prefix: item.block for prefix, item in stored.items() if item.block is not None}
        wanted = {prefix: one for prefix, one in look.figures.items() if self._figures.is_busy(one)}
        wanted |= {prefix: look.of(prefix, block.carrier) for prefix, block in known.items()}
        batch = self._store.batch()
        changes: list[tuple[int, Block | None, Block | None]] = []
        for judged in await self._figures.judged(look, wanted.values()):
            before, after = self._next(judged, known, look.now)
            if after != before:
                prefix = judged.figures.prefix
                place = self._store.fraud.change(batch, prefix, stored.get(prefix, StoredBlock()), after)
                changes.append((place, before, after))
        answers = await batch.run()
        for place, before, after in changes:
            if answers[place] == 1:
                _tell(before, after, self._rules)

    def _next(self, judged: Judged, known: dict[str, Block], now: float) -> tuple[Block | None, Block | None]:
        figures = judged.figures
        before = known.get(figures.prefix)
        calm = is_calm(figures, judged.reference, self._rules)
        return before, next_block(before, figures.prefix, figures.carrier, judged.verdict, is_calm=calm, now=now, rules=self._rules)

    # What is usual

    async def _learn(self, stored: dict[str, StoredBlock]) -> None:
        """Adds the minutes that are past, of all prefixes but those under suspicion: an attack must not become what is usual."""
        now = self._clock.now()
        before = await self._store.fraud.learned(self._store.batch())
        last, oldest = (_minute(now - seconds) for seconds in (self._rules.learn_seconds, self._rules.keep_seconds))
        # What is older than the oldest is forgotten: nobody has judged for so long
        first = last if before is None else max(before.upto, oldest) + MINUTE_SECONDS
        starts = list(range(first, last + 1, MINUTE_SECONDS))[:_MOST_MINUTES]
        minutes = await self._figures.minutes(starts) if starts else {}
        blocks = [item.block for item in stored.values() if item.block is not None]
        for start in starts:
            suspects = {block.prefix for block in blocks if block.taints(start)}
            after = Learned(start, before.since if before else first)
            if not await self._learn_minute(before, after, _for_learning(minutes[start], suspects)):
                return
            before = Learned(after.upto, after.since, f"{after.upto} {after.since}".encode())
            if start % _HOUR == 0:
                await self._forget(now)

    async def _learn_minute(self, before: Learned | None, after: Learned, sums: dict[str, Sums]) -> bool:
        usual = await self._store.fraud.usual(self._store.batch(), list(sums))
        batch = self._store.batch()
        learned = {name: usual[name].plus(sums[name], float(after.upto), self._rules) for name in sums}
        place = self._store.fraud.learn(batch, before, after, learned)
        return bool((await batch.run())[place])

    async def _forget(self, now: float) -> None:
        usual = {
            name: known.aged(now, self._rules).accepted
            for name, known in (await self._store.fraud.all_usual(self._store.batch())).items()
            if name.startswith("+")
        }
        by_size = sorted(usual, key=lambda name: usual[name], reverse=True)
        gone = [name for place, name in enumerate(by_size) if place >= _MAX_USUAL or usual[name] < _WORTH_KEEPING]
        if gone:
            batch = self._store.batch()
            self._store.fraud.forget_usual(batch, gone)
            await batch.run()


def _minute(at: float) -> int:
    return int(at) // MINUTE_SECONDS * MINUTE_SECONDS


def _for_learning(minute: Minute, suspects: set[str]) -> dict[str, Sums]:
    """By prefix and by carrier."""
    found: dict[str, Sums] = {}
    for prefix, by_carrier in minute.items():
        if prefix in suspects:
            continue
        for carrier, sums in by_carrier.items():
            for name in (prefix, carrier):
                if name:
                    found.setdefault(name, Sums()).add(sums)
    return found


def _tell(before: Block | None, after: Block | None, rules: FraudRules) -> None:
    """Counts and logs what was changed."""
    if after is None:
        return
    if after.lifted_at is not None:
        _log.info("prefix.lifted", prefix=after.prefix, carrier=after.carrier, by=after.lifted_by)
    elif before is None or before.since != after.since:
        metrics.PREFIX_BLOCKS.labels(after.reason).inc()
        _log.warning(
            "prefix.blocked" if after.refuses(rules) else "prefix.suspected", prefix=after.prefix, carrier=after.carrier,
            reason=after.reason, why=after.why, by=after.by, until=after.until,
        )  # fmt: skip


class Fraud:
    """What operators see and do: one per api process."""

    def __init__(self, store: Store, statistics: Statistics, clock: Clock, rules: FraudRules, presence: Presence) -> None:
        self._store = store
        self._clock = clock
        self._presence = presence
        self.rules = rules
        self._figures = PrefixFigures(store, statistics, clock, rules)

    async def blocks(self) -> list[Block]:
        """Those in force first, then those that ended lately; the latest of each first. Raises `Unavailable`."""
        now = self._clock.now()
        stored = await self._store.fraud.blocks(self._store.batch())
        found = [item.block for item in stored.values() if item.block is not None]
        return sorted(found, key=lambda block: (not block.is_active(now), -block.since, block.prefix))

    async def block(self, prefix: str, why: str, seconds: float | None = None) -> Block:
        """Refuses all messages to numbers that begin so, for so long or until it is lifted; in place of a block that is there.

        Raises `Invalid` and `Unavailable`.
        """
        prefix, why = check_prefix(prefix), why.strip()
        if len(why) > _LONGEST_WHY or not why.isprintable():
            raise Invalid("why", f"at most {_LONGEST_WHY} printable characters")
        if seconds is not None and not 1 <= seconds <= _LONGEST_BLOCK_SECONDS:
            raise Invalid("seconds", f"1 to {_LONGEST_BLOCK_SECONDS}")
        made = blocked_by_operator(prefix, carrier_of_prefix(prefix), why or "by an operator", seconds, self._clock.now(), self.rules)
        return await self._change(prefix, lambda _: made)

    async def lift(self, prefix: str) -> Block:
        """Ends a block at once; the router spares the prefix for a while. Raises `Invalid`, `NotFound` and `Unavailable`."""
        prefix = check_prefix(prefix)

        def lifted(block: Block | None) -> Block:
            now = self._clock.now()
            if block is None or not block.is_active(now):
                raise NotFound("this prefix is not blocked")
            return lifted_by_operator(block, now, self.rules)

        return await self._change(prefix, lifted)

    async def _change(self, prefix: str, change: Callable[[Block | None], Block]) -> Block:
        for _ in range(_TRIES):
            stored = await self._store.fraud.block(self._store.batch(), prefix)
            after = change(stored.block)
            batch = self._store.batch()
            place = self._store.fraud.change(batch, prefix, stored, after)
            if (await batch.run())[place] == 1:
                _tell(stored.block, after, self.rules)
                # Other api processes notice it at their next look, this one at once
                await self._presence.look()
                return after
        raise Conflict("the block is being changed, or too many prefixes are remembered; try again")

    async def prefixes(self, limit: int = 50) -> list[PrefixView]:
        """What there is against somebody first, then by what was wanted. Raises `Invalid` and `Unavailable`."""
        if not 1 <= limit <= _MAX_LIMIT:
            raise Invalid("limit", f"1 to {_MAX_LIMIT}")
        look = await self._figures.look()
        by_demand = sorted(look.figures.values(), key=lambda one: (-one.demand, one.prefix))
        shown = [one for place, one in enumerate(by_demand) if place < limit or self._figures.is_busy(one)]
        judged = await self._figures.judged(look, shown)
        # A stable sort: within a rank by what was wanted
        return [_view(one) for one in sorted(judged, key=_rank)][:limit]


def _rank(judged: Judged) -> int:
    return 0 if judged.verdict.reason else 1 if judged.verdict.state == "fast" else 2


def _view(judged: Judged) -> PrefixView:
    figures, reference = judged.figures, judged.reference
    return PrefixView(
        prefix=figures.prefix, carrier=figures.carrier, accepted=figures.now.accepted, sent=figures.ripe.sent,
        verified=figures.now.verified, refused=figures.now.refused, conversion=figures.conversion, usual_conversion=reference.conversion,
        usual_accepted=round(reference.count, 3), verdict=judged.verdict.state, why=judged.verdict.why,
    )  # fmt: skip
