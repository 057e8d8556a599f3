"""Wrong tries of a secret, and the lock that too many of them set.

A guarded thing has two keys of one hash tag: `<wrong>` a sorted set try → when, `<locked>` a string, as long as none is heard.
"""

import secrets
from typing import Any

import msgspec

from router.store.redis import Batch, Script

_TRY = Script("tries")


class TryLimit(msgspec.Struct, frozen=True):
    """So many wrong tries within `seconds` set a lock of `lock_seconds`."""

    wrong: int
    seconds: float
    lock_seconds: float


class TryKeys(msgspec.Struct, frozen=True):
    """Where the tries of one thing are counted."""

    wrong: str
    locked: str


def may_try(batch: Batch, keys: TryKeys, *, is_counted: bool, now: float, limit: TryLimit) -> int:
    """The answer at this place, by `parse_lock`, is how long none is heard. One that `is_counted` is wrong until `forgive`."""
    name = secrets.token_urlsafe(12) if is_counted else ""
    return batch.call(_TRY, (keys.wrong, keys.locked), name, repr(now), limit.wrong, limit.seconds, limit.lock_seconds)


def parse_lock(answer: Any) -> float:
    """Seconds; 0 where it may be tried."""
    return int(answer) / 1000


def forgive(batch: Batch, keys: TryKeys) -> None:
    """The secret was right: the lock and the count go."""
    batch.add("DEL", keys.wrong, keys.locked)
