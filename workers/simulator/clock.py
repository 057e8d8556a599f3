"""A phone's idea of the time: its own clock, and the router's as far as it can be known."""

import math
import time
from collections.abc import Callable


class PhoneClock:
    """Times are Unix seconds. `offset_seconds` is how far this phone's clock is ahead of `wall`; the phone does not know it."""

    def __init__(self, offset_seconds: float = 0.0, wall: Callable[[], float] = time.time) -> None:
        self._offset_seconds = offset_seconds
        self._wall = wall
        self._router_ahead_seconds = 0.0
        self._quickest_seconds = math.inf

    def __repr__(self) -> str:
        return f"<PhoneClock router {self._router_ahead_seconds:+.3f} s>"

    @property
    def is_set(self) -> bool:
        """Has a ping told the router's time?"""
        return self._quickest_seconds < math.inf

    def now(self) -> float:
        """What the phone's own clock shows."""
        return self._wall() + self._offset_seconds

    def router_now(self) -> float:
        """The router's time at the latest it can be: a lease that is open by this is open."""
        return self.now() + self._router_ahead_seconds

    def learn(self, lps: float, asked_at: float, answered_at: float) -> None:
        """A ping, asked and answered by the own clock, told the router's time `lps`.

        The router looked at its clock after it was asked, so `lps - asked_at` can only be too large: the phone stops too early,
        never too late. The quickest ping is the least wrong.
        """
        round_trip_seconds = max(0.0, answered_at - asked_at)
        if round_trip_seconds <= self._quickest_seconds:
            self._quickest_seconds = round_trip_seconds
            self._router_ahead_seconds = lps - asked_at
