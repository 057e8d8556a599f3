"""What phones that take their work from RabbitMQ (DekuSMS) agree on: names, bodies, times, and what a dead letter says.

The app declares exchange, queue and binding itself, each without arguments, so these names and nothing else are the contract
(spec/relaysms.md). A queue has one SIM behind it, which takes one entry at a time and settles it before the next: a *marker* that is
published right behind a message, and that the app cannot read, therefore comes back as a dead letter exactly when the message before it
is done. With a delivery limit of 0 a message that came back from the phone is not given out again either, but comes back to us.
"""

import hashlib
import math
import re
from typing import Any, Literal

import msgspec

from router.domain.errors import Invalid

Kind = Literal["message", "marker", "check"]
"""What we put into phones' queues; `check` goes into one of our own, to see whether the broker's policy is in force."""
Fate = Literal["unsent", "dropped", "back", "lost"]
"""Of a message that came back: never taken, dropped by the app as unreadable, returned by the phone or its connection; not known."""

DEAD_QUEUE = "seedrouter.phones.dead"
MARKER_BODY = b"{}"
"""Each release of the app rejects it for good: the four keys are missing."""
_INT32 = 0x7FFFFFFF
_PROJECT_SHAPE = re.compile(r"[A-Za-z0-9-]{1,64}")
_CALLING_CODE_SHAPE = re.compile(r"[1-9][0-9]{0,2}")
_SUBSCRIPTION_SHAPE = re.compile(r"0|[1-9][0-9]{0,9}")


class QueueOfSeed(msgspec.Struct, frozen=True, kw_only=True):
    """Where a seed takes its work from. `since`: Unix seconds of the enrolment."""

    seed: str
    project: str
    calling_code: str
    """Of the country, without `+`."""
    carrier: str
    """MCC+MNC, as the phone's owner gave it in the binding."""
    subscription_id: str
    """The SIM's subscription id on its phone, a decimal number: `sid`."""
    since: float = 0.0

    @property
    def exchange(self) -> str:
        return self.project

    @property
    def binding(self) -> str:
        return f"{self.project}.{self.calling_code}.{self.carrier}"

    @property
    def queue(self) -> str:
        return self.binding.replace(".", "_")


def check_queue(place: QueueOfSeed) -> None:
    """Raises `Invalid` for what the app would not understand, or loop over."""
    check_project(place.project)
    if not _CALLING_CODE_SHAPE.fullmatch(place.calling_code):
        raise Invalid("calling_code", "1 to 3 digits without +, e.g. 213")
    if not _SUBSCRIPTION_SHAPE.fullmatch(place.subscription_id) or int(place.subscription_id) > _INT32:
        raise Invalid("subscription_id", "the SIM's subscription id on its phone, a decimal number")


def check_project(project: str) -> None:
    """Raises `Invalid`. No dots and underscores: two projects can then never mean one queue."""
    if not _PROJECT_SHAPE.fullmatch(project):
        raise Invalid("project", "1 to 64 of A-Z a-z 0-9 -")


def check_queue_name(project: str) -> str:
    """A queue of our own under the same policy as the project's phones."""
    return f"{project}_seedrouter_check"


def body(text: str, to: str, subscription_id: str, number: int) -> bytes:
    """What the app takes: these four keys, all of them, and no other, or it drops the message. UTF-8."""
    return msgspec.json.encode({"text": text, "to": to, "sid": subscription_id, "id": number})


def int32_id(message_id: str, attempt: int) -> int:
    """A positive 32-bit number for an attempt: the app knows no longer ids. It is not read back: headers tell what came back."""
    digest = hashlib.blake2s(f"{message_id}:{attempt}".encode(), digest_size=4).digest()
    return (int.from_bytes(digest, "big") & _INT32) or 1


def expiration(lease_until: float, now: float) -> str | None:
    """What is left of the lease, as AMQP has it (whole milliseconds, decimal); None where it is over.

    Rounded down: the broker's clock starts when it has the message, later than `now`.
    """
    left = math.floor((lease_until - now) * 1000)
    return str(left) if left > 0 else None


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What came back from a phone's queue."""

    kind: Kind
    seed: str
    queue: str
    message_id: str
    attempt: int
    parts: int
    reason: str
    """RabbitMQ's: expired, rejected, delivery_limit, maxlen."""


def headers(letter: Letter) -> dict[str, Any]:
    """What travels with an entry, outside of its body, to be known again."""
    return {
        "seedrouter-kind": letter.kind, "seedrouter-seed": letter.seed, "seedrouter-message": letter.message_id,
        "seedrouter-attempt": letter.attempt, "seedrouter-parts": letter.parts,
    }  # fmt: skip


def read_letter(found: Any) -> Letter | None:
    """The letter from a dead letter's headers; None for one that is not ours, or never was in a phone's queue."""
    if not isinstance(found, dict):
        return None
    deaths = found.get("x-death")
    if not isinstance(deaths, list) or not deaths or not isinstance(deaths[0], dict):
        return None
    try:
        return msgspec.convert(
            {
                "kind": found.get("seedrouter-kind"), "seed": found.get("seedrouter-seed"),
                "message_id": found.get("seedrouter-message"), "attempt": found.get("seedrouter-attempt"),
                "parts": found.get("seedrouter-parts"), "queue": deaths[0].get("queue"), "reason": deaths[0].get("reason"),
            },
            Letter,
        )  # fmt: skip
    except msgspec.ValidationError:
        return None


def fate_of(letter: Letter, *, proven: bool) -> Fate:
    """What became of a message that came back. `proven`: the broker was seen to bury what comes back once, so that one that expired had
    never been taken.
    """
    if letter.reason == "expired":
        return "unsent" if proven else "lost"
    if letter.reason == "rejected":
        return "dropped"
    return "back" if letter.reason == "delivery_limit" else "lost"


class Look(msgspec.Struct, frozen=True):
    """A phone's queue at one moment: entries that nobody has taken, and consumers."""

    ready: int
    consumers: int

    @property
    def has_phone(self) -> bool:
        """Exactly one: with two, nothing could be said of who has a message, and each of them might send."""
        return self.consumers == 1
