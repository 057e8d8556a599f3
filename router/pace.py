"""How often a process exchanges with Redis, so that under load more callers share each round trip."""

import asyncio
import time


class Pace:
    """A burst of exchanges at once, then one each `seconds`; one that has `enough` commands goes at once.

    An exchange costs some 65 µs of processor time on either side, whatever is in it. Whoever is alone never waits: the few exchanges of a
    request are within the burst. Under load two milliseconds more per step buy half of the processor time.
    """

    def __init__(self, seconds: float = 0.002, burst: int = 16, enough: int = 64) -> None:
        self._seconds = seconds
        self._burst = burst
        self._enough = enough
        self._left = float(burst)
        self._at = time.monotonic()

    async def turn(self, commands: int) -> None:
        """Returns when an exchange with so many commands may begin."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) / self._seconds)
        self._at = now
        if self._left < 1.0 and commands < self._enough:
            await asyncio.sleep((1.0 - self._left) * self._seconds)
        self._left -= 1.0
