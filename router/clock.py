"""One clock for all processes: the local one, corrected by its measured offset to Redis' (invariant 7)."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from router.domain.errors import Unavailable

_log = structlog.get_logger()
MEASURE_EVERY_SECONDS = 30.0
_LARGE_OFFSET_SECONDS = 1.0


class Clock:
    """`now()` is Unix time by Redis' clock, as good as the last measurement."""

    def __init__(self) -> None:
        self.offset_seconds = 0.0

    def now(self) -> float:
        return time.time() + self.offset_seconds

    async def measure(self, ask: Callable[[], Awaitable[float]]) -> float:
        """Sets the offset from the fastest of three questions: half of its way is what it may be wrong by."""
        best = (float("inf"), 0.0)
        for _ in range(3):
            before = time.time()
            theirs = await ask()
            after = time.time()
            best = min(best, (after - before, theirs - (before + after) / 2))
        round_trip, offset = best
        # An offset that the measurement cannot tell from zero is zero: the same machine has the same clock
        self.offset_seconds = offset if abs(offset) > round_trip else 0.0
        if abs(self.offset_seconds) > _LARGE_OFFSET_SECONDS:
            _log.warning("clock.offset", offset_seconds=round(self.offset_seconds, 3), hint="run an NTP client on this machine")
        return self.offset_seconds

    async def keep_measuring(self, ask: Callable[[], Awaitable[float]]) -> None:
        """Measures for ever; a store that is away leaves the last offset as it is."""
        while True:
            await asyncio.sleep(MEASURE_EVERY_SECONDS)
            try:
                await self.measure(ask)
            except Unavailable as error:
                _log.warning("clock.not_measured", error=str(error))
