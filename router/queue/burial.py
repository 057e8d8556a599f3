"""How an entry is buried: with its reason, and what can be told of it later.

A body that is no entry is told by its length and hash alone: nobody knows what is in it.
"""

import datetime as dt
import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from kombu import Producer

from router.domain.message import Lane
from router.queue.entries import decode
from router.queue.lanes import DEAD_QUEUE, QUEUES

_BODY_BYTES = 4096
_DIGEST_DIGITS = 16
_LANES: Final[Mapping[str, Lane]] = {queue: lane for lane, queue in QUEUES.items()}
UNKNOWN: Final = "unknown"
"""The reason of what somebody else put there."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """`id` names it until it is taken away. `lane` is where it goes back to, None where nobody knows; `message_id` is None where it is no
    entry. `queued_at`: when it was put on its lane, `died_at`: when it was buried, Unix seconds. `deaths`: how often it was buried so far.
    `size` (bytes) and `digest` (of SHA-256) are its body's; what is longer than 4096 bytes was cut.
    """

    id: str
    reason: str
    lane: Lane | None
    message_id: str | None
    queued_at: float | None
    died_at: float | None
    deaths: int
    size: int
    digest: str


class _Death(msgspec.Struct, frozen=True):
    """What the headers tell."""

    reason: str = UNKNOWN
    queue: str = ""
    at: float | None = None
    count: int = 1


def bury(dead_letters: Producer, message: Any, reason: str) -> None:
    """Publishes a message of a lane as a dead letter; to acknowledge it is the caller's business."""
    deaths = _number((message.headers or {}).get("deaths")) + 1
    queue = (message.delivery_info or {}).get("routing_key", "")
    publish(dead_letters, body_of(message)[:_BODY_BYTES], {"reason": reason, "queue": queue, "at": time.time(), "deaths": deaths})


def publish(dead_letters: Producer, body: bytes, headers: Mapping[str, Any]) -> None:
    """Puts a dead letter on its queue."""
    dead_letters.publish(
        body, routing_key=DEAD_QUEUE, content_type="application/octet-stream", content_encoding="binary", headers=dict(headers)
    )


def headers_of(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers of a copy of a dead letter, of which `letter_of` tells the same."""
    death = _death(headers)
    return {"reason": death.reason, "queue": death.queue, "at": death.at, "deaths": death.count}


def body_of(message: Any) -> bytes:
    """A message's body as it is on the wire; py-amqp's empty one is a str."""
    return message.body if isinstance(message.body, bytes) else str(message.body).encode("utf-8", "replace")


def letter_of(body: bytes, headers: Mapping[str, Any], *, id: str | None = None, died_at: float | None = None) -> DeadLetter:
    """What is told of a dead letter: of one that `bury` made, or a broker by its own rules (RabbitMQ's `x-death`), or anybody else.

    `died_at` is what its place tells, where the headers do not. Without an `id` it gets one of all this, the same each time.
    """
    death = _death(headers)
    died_at = died_at if death.at is None else death.at
    try:
        entry = decode(body)
    except (msgspec.MsgspecError, UnicodeError):
        entry = None
    digest = _digest(body)
    return DeadLetter(
        id=id or _digest(f"{digest} {death} {died_at}".encode()),
        reason=death.reason,
        lane=_LANES.get(death.queue) if entry is None else entry.lane,
        message_id=None if entry is None else entry.id,
        queued_at=None if entry is None else entry.at,
        died_at=died_at,
        deaths=death.count,
        size=len(body),
        digest=digest,
    )


def _death(headers: Mapping[str, Any]) -> _Death:
    """A letter that was put back carries its deaths, whoever buries it next."""
    before = _number(headers.get("deaths"))
    if "reason" in headers:
        return _Death(str(headers["reason"]), str(headers.get("queue", "")), _seconds(headers.get("at")), max(1, before))
    records = headers.get("x-death")
    deaths = [record for record in records if isinstance(record, Mapping)] if isinstance(records, (list, tuple)) else []
    if not deaths:
        return _Death(count=max(1, before))
    count = before + max(1, sum(_number(record.get("count")) for record in deaths))
    latest = deaths[0]
    return _Death(str(latest.get("reason", UNKNOWN)), str(latest.get("queue", "")), _seconds(latest.get("time")), count)


def _seconds(at: Any) -> float | None:
    if isinstance(at, dt.datetime):  # py-amqp's, in UTC and without saying so
        return at.replace(tzinfo=dt.UTC).timestamp()
    return float(at) if isinstance(at, (int, float)) else None


def _number(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _digest(what: bytes) -> str:
    return hashlib.sha256(what).hexdigest()[:_DIGEST_DIGITS]
