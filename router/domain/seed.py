"""What a seed is, as the choice sees it: one SIM in one phone, with its signs of life, its room and its record so far."""

import msgspec

from router.domain.rules import Rules

_UNBOUNDED = 1_000_000


_QUOTA_WEIGHT = 0.5
"""What a window that is used up adds to the score, as much as half of a full lease: failures and slowness weigh more."""


def pool_of(carrier: str, account: str, *, shared: bool) -> str:
    """The name of the pool that a seed is chosen from: its carrier's, or its account's own one of that carrier, `60302@ac_1`."""
    return carrier if shared else f"{carrier}@{account}"


class Quota(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How much a SIM may send. None = the router's setting, 0 = no limit."""

    half_hour: int | None = None
    hour: int | None = None
    day: int | None = None
    """Parts per window."""
    recipients: int | None = None
    """Distinct recipients per UTC month."""


class Seed(msgspec.Struct, kw_only=True):
    """One seed at one moment. Times are Unix seconds by the router's clock; `in_flight` and `used` count parts."""

    id: str
    """The IMSI, or whatever the seed calls itself."""
    msisdn: str = ""
    kind: str = "seed"
    """`seed_type` of the ping."""
    device: str = ""
    """The id of its phone, where that runs SMSGate's app."""
    sim: int = 0
    """The SIM's number in that phone, 1 to 3; 0 = the phone does not say."""
    account: str = ""
    """Whose phone it is."""
    shared: bool = True
    """Serves every account; where not, its own one only."""
    carrier: str = ""
    country: str = ""
    enrolled: bool = False
    enabled: bool = True
    draining: bool = False
    first_ping: float = 0.0
    lps: float = 0.0
    window_seconds: float = 0.0
    """Online window; 0 = the setting."""
    pace_seconds: float = 0.0
    """Time it takes for one part; 0 = the setting."""
    quota: Quota = Quota()
    used: tuple[int, int, int] = (0, 0, 0)
    """Parts in the current half hour, hour, day."""
    recipients_used: int = 0
    """Distinct recipients in this month; counted only while there is a limit."""
    rest_seconds: float = 0.0
    """Learned: how long it rests after each message, since it was told that it sends too fast; 0 = it need not."""
    last_given_at: float = 0.0
    """When it was last given a message or reported such a limit; kept while it has to rest."""
    in_flight: int = 0
    consecutive_failures: int = 0
    """Occasions, not messages: attempts that it held already when it last failed do not count again."""
    failed_at: float = 0.0
    bad: float = 0.0
    outcomes: float = 0.0
    """Failures and all outcomes, both decaying (`stats_decay`)."""
    seconds_to_sent: float = 0.0
    """Recent time from hand-over to sent, smoothed."""
    sent: int = 0
    failed: int = 0
    reliability: float = 1.0
    """Share of the probes that arrived (`domain/reliability.py`), 0.0 to 1.0."""
    probes: int = 0
    """Finished probes that this share is of."""

    def is_online(self, now: float, rules: Rules) -> bool:
        """Did it ping within its online window?"""
        return self.lps > 0 and now - self.lps <= (self.window_seconds or rules.online_window_seconds)

    def is_dispatchable(self) -> bool:
        """May it be given messages at all, were it online and had it room? (invariant 6: enrolled)"""
        return self.enrolled and self.enabled and not self.draining and bool(self.carrier)

    @property
    def pool(self) -> str:
        """See `pool_of`."""
        return pool_of(self.carrier, self.account, shared=self.shared)

    def resting_until(self) -> float:
        """When it may have its next message; 0 where it need not rest."""
        return self.last_given_at + self.rest_seconds if self.rest_seconds > 0 else 0.0

    def tripped_until(self, rules: Rules) -> float:
        """When the breaker lets a probe through; 0 while it is closed. It needs no state: it follows from the run of failures."""
        beyond = self.consecutive_failures - rules.breaker_failures
        if beyond < 0:
            return 0.0
        return self.failed_at + min(rules.breaker_pause_seconds * 2.0 ** min(beyond, 20), rules.breaker_pause_max_seconds)

    def is_on_probation(self, rules: Rules) -> bool:
        """The breaker has been open and no success has closed it: one probe at a time."""
        return self.consecutive_failures >= rules.breaker_failures

    def is_known_good(self) -> bool:
        """Its last outcome was a success: what a failover storm may still use."""
        return self.consecutive_failures == 0 and self.sent > 0

    def failure_share(self) -> float:
        """Smoothed: a seed without a history stands at one in ten."""
        return (self.bad + 0.5) / (self.outcomes + 5.0)

    def quota_limits(self, rules: Rules) -> tuple[int, int, int]:
        """Parts per half hour, hour and day; 0 = no limit."""
        quota = self.quota
        return (
            rules.parts_per_half_hour if quota.half_hour is None else quota.half_hour,
            rules.parts_per_hour if quota.hour is None else quota.hour,
            rules.parts_per_day if quota.day is None else quota.day,
        )

    def quota_left(self, rules: Rules) -> int:
        """Parts that every window still allows."""
        # Written out: this is asked of every candidate of every message
        half_hour, hour, day = self.quota_limits(rules)
        used = self.used
        left = half_hour - used[0] if half_hour > 0 else _UNBOUNDED
        if hour > 0 and hour - used[1] < left:
            left = hour - used[1]
        if day > 0 and day - used[2] < left:
            left = day - used[2]
        return max(0, left)

    def recipients_limit(self, rules: Rules) -> int:
        """Distinct recipients per month; 0 = no limit."""
        return rules.recipients_per_month if self.quota.recipients is None else self.quota.recipients

    def quota_share(self, rules: Rules) -> float:
        """How much of the tightest of its limits is used, 0.0 to 1.0 (and beyond, where a limit was lowered)."""
        used = self.used
        share = 0.0
        if used[2] or used[1]:
            half_hour, hour, day = self.quota_limits(rules)
            if half_hour > 0:
                share = used[0] / half_hour
            if hour > 0 and used[1] > share * hour:
                share = used[1] / hour
            if day > 0 and used[2] > share * day:
                share = used[2] / day
        if self.recipients_used:
            limit = self.recipients_limit(rules)
            if limit > 0 and self.recipients_used > share * limit:
                share = self.recipients_used / limit
        return share

    def capacity(self, rules: Rules) -> int:
        """Parts it may hold at once: the one that it sends, and those whose turn comes within the planned share of a lease."""
        if self.is_on_probation(rules):
            return 1
        pace = self.pace_seconds or rules.pace_seconds
        return 1 + int(rules.lease_seconds * rules.lease_fill / pace) if pace > 0 else 1

    def has_room(self, parts: int, rules: Rules) -> bool:
        """A message longer than the capacity still fits an idle seed. The quota is another question."""
        return self.in_flight == 0 or self.in_flight + parts <= self.capacity(rules)

    def score(self, rules: Rules) -> float:
        """Lowest is best; how long nothing was heard of it comes on top (`selection`)."""
        waits = self.in_flight / self.capacity(rules) + rules.slowness_weight * self.seconds_to_sent
        doubts = rules.probe_weight * (1.0 - self.reliability) if self.probes >= rules.probes_least else 0.0
        return waits + 8.0 * self.failure_share() + _QUOTA_WEIGHT * self.quota_share(rules) + doubts
