"""How an attempt changes what is kept of its seed: a place is taken, and later freed with what the attempt said of the seed.

These are the rules; on Redis the scripts `seed_reserve.lua`, `seed_finish.lua` and `usage.lua` carry them out in one atomic step each, and
a test does the same things to both and compares. What works without Redis (`seedrouter bench routing`) uses them as they stand here.
"""

from typing import Final, Literal

import msgspec

from router.domain.lifecycle import Outcome
from router.domain.rules import Rules
from router.domain.seed import Seed

Refused = Literal["not enrolled", "disabled", "draining", "resting", "no room", "quota used"]

KEPT_OF_SECONDS_TO_SENT: Final = 0.7
"""What the time to sent so far weighs against the newest one."""
REST_SHRINKS: Final = 0.8
"""A success shortens the learned rest by a fifth."""
_MINUTES_KEPT: Final = 60
_HOURS_KEPT: Final = 24


class Record(Seed, kw_only=True):
    """A seed at rest. `used` is not kept: it follows from the buckets."""

    limited_at: float = 0.0
    """When it last reported that it sends too fast."""
    given_before: float = 0.0
    """`last_given_at` before the last reservation, for one that comes to nothing."""
    minutes: dict[int, int] = msgspec.field(default_factory=dict)
    hours: dict[int, int] = msgspec.field(default_factory=dict)
    """Parts reserved, by the minute and the hour since 1970."""
    held: dict[str, tuple[float, int]] = msgspec.field(default_factory=dict)
    """By attempt: when it was reserved, and its parts."""

    def usage(self, now: float) -> tuple[int, int, int]:
        """Parts of the last 30 minutes, 60 minutes and 24 hours, by whole minutes and hours; forgets what is older."""
        minute, hour = int(now // 60), int(now // 3600)
        for kept, oldest in ((self.minutes, minute - _MINUTES_KEPT), (self.hours, hour - _HOURS_KEPT)):
            for bucket in [bucket for bucket in kept if bucket <= oldest]:
                del kept[bucket]
        half = sum(parts for bucket, parts in self.minutes.items() if bucket > minute - 30)
        return half, sum(self.minutes.values()), sum(self.hours.values())

    def reserve(self, attempt: str, parts: int, now: float, rules: Rules) -> Refused | None:
        """Takes a place for an attempt, or says why there is none. Recipients' quotas are the store's alone."""
        if attempt in self.held:
            return None
        if reason := self._refused(parts, now, rules):
            return reason
        self.held[attempt] = now, parts
        self.in_flight += parts
        for kept, bucket in ((self.minutes, int(now // 60)), (self.hours, int(now // 3600))):
            kept[bucket] = kept.get(bucket, 0) + parts
        if self.rest_seconds > 0:
            self.given_before, self.last_given_at = self.last_given_at, now
        return None

    def _refused(self, parts: int, now: float, rules: Rules) -> Refused | None:
        if not self.enrolled:
            return "not enrolled"
        if not self.enabled:
            return "disabled"
        if self.draining:
            return "draining"
        if self.rest_seconds > 0 and now < self.resting_until():
            return "resting"
        if not self.has_room(parts, rules):
            return "no room"
        limits = self.quota_limits(rules)
        if any(limits) and any(limit > 0 and used + parts > limit for limit, used in zip(limits, self.usage(now), strict=True)):
            return "quota used"
        return None

    def finish(
        self, attempt: str, outcome: Outcome, now: float, rules: Rules, *, handed_over: bool = True, seconds: float | None = None
    ) -> bool:
        """Frees an attempt's place and keeps what it said of the seed; False where it holds none (any more). `seconds`: to sent.

        A run of failures counts occasions, not messages: what the seed held already when it last failed went down with the same cause.
        """
        taken = self.held.pop(attempt, None)
        if taken is None:
            return False
        reserved_at, parts = taken
        self.in_flight = max(0, self.in_flight - parts)
        if not handed_over:
            self._give_back(reserved_at, parts)
        if outcome == "returned":
            return True
        if outcome == "limited":
            self._limited(reserved_at, now, rules)
            return True
        if outcome == "sent" and self.rest_seconds > 0 and reserved_at > self.limited_at:
            shorter = self.rest_seconds * REST_SHRINKS
            self.rest_seconds = 0.0 if shorter < self._first_rest(rules) else shorter
        self.bad, self.outcomes = self.bad * rules.stats_decay, self.outcomes * rules.stats_decay + 1.0
        if outcome == "sent":
            self.consecutive_failures = 0
            self.sent += 1
            if seconds is not None:
                known = self.seconds_to_sent
                kept = KEPT_OF_SECONDS_TO_SENT
                self.seconds_to_sent = known * kept + seconds * (1.0 - kept) if known > 0 else seconds
            return True
        self.bad += 1.0
        self.failed += 1
        if reserved_at > self.failed_at:
            self.consecutive_failures += 1
            self.failed_at = now
        return True

    def _give_back(self, reserved_at: float, parts: int) -> None:
        """It was never handed over: its quota is free again, and it was no reason to rest."""
        for kept, bucket in ((self.minutes, int(reserved_at // 60)), (self.hours, int(reserved_at // 3600))):
            if bucket in kept:
                kept[bucket] -= parts
                if kept[bucket] <= 0:
                    del kept[bucket]
        if self.rest_seconds > 0 and self.last_given_at == reserved_at:
            self.last_given_at = self.given_before

    def _limited(self, reserved_at: float, now: float, rules: Rules) -> None:
        if reserved_at > self.limited_at:
            longer = self.rest_seconds * 2 if self.rest_seconds > 0 else self._first_rest(rules)
            self.rest_seconds = min(longer, rules.limit_rest_max_seconds)
            self.limited_at = now
        self.last_given_at = now

    def _first_rest(self, rules: Rules) -> float:
        return max(self.pace_seconds or rules.pace_seconds, rules.limit_rest_seconds)
