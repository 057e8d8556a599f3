"""The numbers at which alerts fire, for the lines in the panels that the alerts lead to.

Prometheus' rules are YAML and hold the numbers themselves; a test holds both against each other.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

RUNBOOKS: Final = "https://github.com/seedrouter/seedrouter/blob/main/docs/operations.md"


class Limit(msgspec.Struct, frozen=True):
    """An alert's number, in the unit of its panel."""

    value: float
    is_floor: bool = False
    """It fires below the number, not above it."""


LIMITS: Final[Mapping[str, Limit]] = {
    "OtpTimeToSentHigh": Limit(10),  # seconds, p95
    "OtpExpiryRateHigh": Limit(0.05),  # of the codes that were due
    "ConversionDrop": Limit(0.8, is_floor=True),  # of last week's conversion at this hour
    "SmsPumpingSuspected": Limit(3),  # times the usual number of codes
    "PrefixBlocked": Limit(1),  # blocks
    "ConservationBroken": Limit(0.05),  # of the messages accepted within the hour
    "HeartbeatLate": Limit(10),  # seconds of its way
    "HeartbeatMissing": Limit(150),  # seconds since the last one
    "RoleDown": Limit(60),  # seconds since it last went round
    "ApiDown": Limit(1, is_floor=True),  # processes that answer
    "FailoverStorm": Limit(0.2),  # failovers per first attempt: SEEDROUTER_FAILOVER_BUDGET
    "AmbiguousHigh": Limit(0.05),  # of the attempts
    "MessagesDuplicated": Limit(1),  # messages within an hour
    "CarrierNoSeeds": Limit(1, is_floor=True),  # seeds online
    "CarrierCapacityLow": Limit(0.9),  # of what the seeds can hold, or of their quotas
    "SeedFailRatioHigh": Limit(0.3),  # of the seeds online
    "ConsumerLag": Limit(10),  # seconds, of codes
    "UnacknowledgedStuck": Limit(60),  # seconds: two visibility timeouts
    "DeadLetters": Limit(1),  # entries
    "WebhooksDead": Limit(1),  # deliveries within an hour
    "RedisDown": Limit(1, is_floor=True),  # 1 = it answers
    "RedisEvictionPolicyWrong": Limit(1, is_floor=True),  # 1 = noeviction
    "RedisPersistenceWrong": Limit(1, is_floor=True),  # 1 = append-only, and the last write went well
    "RedisMemoryHigh": Limit(0.85),  # of maxmemory
}


def runbook(alert: str) -> str:
    """Where its runbook is."""
    return f"{RUNBOOKS}#{alert.lower()}"
