"""The router's own message, sent through all of it each minute: when one is due, what it is, and what became of it.

It is a plain SMS in the lane of codes, bound to a seed of its own (as a probe is to the seed that it tests), of an account that no API can
name. Nobody's traffic: it is neither counted, nor listed, nor charged.
"""

from typing import Literal

import msgspec
from msgspec.structs import replace

from router.domain.message import HEARTBEAT, ONE_SEED, Message
from router.domain.seed import pool_of

CARRIER = "00101"
"""MCC 001 is for test networks (ITU-T E.212): no country, and nobody's number."""
TO = "+99900000101"
"""Country code 999 is in reserve: no phone has such a number."""
POOL = pool_of(CARRIER, HEARTBEAT, shared=False)

Result = Literal["arrived", "late", "failed"]


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """The last heartbeat, as all timekeepers know it. Times are Unix seconds by the router's clock; 0 = never."""

    message: str = ""
    begun_at: float = 0.0
    is_open: bool = False
    """Nobody has said yet what became of it."""
    arrived_at: float = 0.0
    """When one last arrived, this one or an earlier one."""
    seconds: float = 0.0
    """How long that one was under way."""

    def is_due(self, now: float, every_seconds: float) -> bool:
        """Is it time for the next one? One at a time is under way."""
        return not self.is_open and now - self.begun_at >= every_seconds


def life_seconds(every_seconds: float, late_seconds: float) -> float:
    """When a heartbeat is given up: it has the time to be late."""
    return max(every_seconds, 2 * late_seconds)


def heartbeat_message(message_id: str, now: float, life: float) -> Message:
    """The message of a heartbeat."""
    return Message(
        id=message_id, account=HEARTBEAT, dialect="operator", kind="sms", lane="otp", to=TO, country="", carrier=CARRIER, parts=1, price=0,
        created_at=now, expires_at=now + life, queued_at=now, ambiguous_policy="fail", only=ONE_SEED + HEARTBEAT, delivery_report=False,
    )  # fmt: skip


def judge(beat: Beat, sent_at: float | None, is_over: bool, late_seconds: float) -> tuple[Beat, Result | None]:
    """What became of it, and how it is remembered; None while nobody knows. `sent_at`: when its seed had sent it, None = not so far."""
    if not beat.is_open:
        return beat, None
    if sent_at is not None:
        seconds = max(0.0, sent_at - beat.begun_at)
        result: Result = "arrived" if seconds <= late_seconds else "late"
        return replace(beat, is_open=False, arrived_at=sent_at, seconds=seconds), result
    return (replace(beat, is_open=False), "failed") if is_over else (beat, None)
