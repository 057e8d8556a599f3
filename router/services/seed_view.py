"""A seed as it is shown to operators: by the operator API, and by the console."""

from collections.abc import Sequence
from typing import Literal, get_args

import msgspec

from router.domain.carriers import carrier_name
from router.domain.rules import Rules
from router.domain.seed import Seed

SeedState = Literal["online", "resting", "tripped", "draining", "offline", "no carrier", "disabled", "not enrolled"]
SEED_STATES: Sequence[SeedState] = get_args(SeedState)
"""The best first."""


class Windows(msgspec.Struct, frozen=True):
    """Parts per quota window."""

    half_hour: int
    hour: int
    day: int


class SeedView(msgspec.Struct, frozen=True, kw_only=True):
    """`in_flight`, `capacity` and quotas count parts. `lps` is null before its first ping, `tripped_until` while it is not.

    `carrier` is empty where a phone does not tell it: such a SIM has to be corrected before it serves anything but what is bound to it.
    `device`, `sim`: which phone of SMSGate's app, and which SIM there. `shared` false: it serves its `account` only.
    `recipients_used`: distinct ones this month, counted while there is a limit (`recipients_limit`, 0 = none). `parts_left`,
    `recipients_left`: what is left of the tightest quota, null where there is none. `rest_seconds`: what it was taught by limit errors to
    rest after each message; `resting_until` is null while it does not. `reliability`: the share of its latest reliability tests that
    succeeded, null before the first one ended; `tests`: how many those are.
    """

    imsi: str
    msisdn: str
    type: str
    carrier: str
    carrier_name: str
    country: str
    enrolled: bool
    enabled: bool
    draining: bool
    online: bool
    lps: float | None
    pace_seconds: float
    in_flight: int
    capacity: int
    quota_used: Windows
    quota_limits: Windows
    parts_left: int | None
    recipients_used: int
    recipients_limit: int
    recipients_left: int | None
    rest_seconds: float
    resting_until: float | None
    account: str
    shared: bool
    device: str
    sim: int
    consecutive_failures: int
    tripped_until: float | None
    failure_share: float
    seconds_to_sent: float
    sent: int
    failed: int
    reliability: float | None
    tests: int
    state: SeedState
    """In one word or two: why it is given messages, or not."""


def seed_view(seed: Seed, now: float, rules: Rules) -> SeedView:
    """What there is to say of a seed now."""
    tripped_until, resting_until = seed.tripped_until(rules), seed.resting_until()
    recipients_limit = seed.recipients_limit(rules)
    return SeedView(
        imsi=seed.id, msisdn=seed.msisdn, type=seed.kind, carrier=seed.carrier,
        carrier_name=carrier_name(seed.carrier) if seed.carrier else "", country=seed.country, enrolled=seed.enrolled,
        enabled=seed.enabled, draining=seed.draining, online=seed.is_online(now, rules), lps=seed.lps or None,
        pace_seconds=seed.pace_seconds or rules.pace_seconds, in_flight=seed.in_flight, capacity=seed.capacity(rules),
        quota_used=Windows(*seed.used), quota_limits=Windows(*seed.quota_limits(rules)),
        consecutive_failures=seed.consecutive_failures, tripped_until=tripped_until if tripped_until > now else None,
        failure_share=round(seed.failure_share(), 4), seconds_to_sent=seed.seconds_to_sent,
        sent=seed.sent, failed=seed.failed, account=seed.account, shared=seed.shared, device=seed.device, sim=seed.sim,
        parts_left=seed.quota_left(rules) if any(seed.quota_limits(rules)) else None,
        recipients_used=seed.recipients_used, recipients_limit=recipients_limit,
        recipients_left=max(0, recipients_limit - seed.recipients_used) if recipients_limit else None,
        rest_seconds=seed.rest_seconds, resting_until=resting_until if resting_until > now else None,
        reliability=seed.reliability if seed.probes else None, tests=seed.probes,
        state=state_of(seed, now, rules),
    )  # fmt: skip


def state_of(seed: Seed, now: float, rules: Rules) -> SeedState:
    """In one word or two: why it is given messages, or not."""
    if not seed.enrolled:
        return "not enrolled"
    if not seed.enabled:
        return "disabled"
    if not seed.carrier:
        return "no carrier"
    if not seed.is_online(now, rules):
        return "offline"
    if seed.draining:
        return "draining"
    if now < seed.tripped_until(rules):
        return "tripped"
    return "resting" if now < seed.resting_until() else "online"
