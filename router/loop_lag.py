"""How late an event loop is: a sleeper that asks to be woken, and looks at when it was. What it waits, everything in the process waits."""

import asyncio
import time

from router import metrics

_EVERY_SECONDS = 0.25


async def keep_measuring(every_seconds: float = _EVERY_SECONDS) -> None:
    """Measures for ever."""
    while True:
        asked_at = time.monotonic()
        await asyncio.sleep(every_seconds)
        metrics.LOOP_LAG_SECONDS.observe(max(0.0, time.monotonic() - asked_at - every_seconds))
