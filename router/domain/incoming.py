"""SMS that came in: what may stand in one, what the queue is told of it, and what webhooks are sent.

The wire of the webhook is SMSGate's `sms:received`. Source: the app's own sources, and its clients' models.
"""

import math
import re
from typing import Any, Final, Literal

import msgspec

from router.domain.errors import Invalid
from router.domain.webhooks import Webhook, delivery_id, moment

EVENT: Final = "sms:received"
SEEDS_KEY: Final = "seeds.received"
"""The routing key of what a SIM of the fleet received. With a dot, so that it is no platform's name."""
MAX_SENDER_LENGTH: Final = 64
MAX_ID_LENGTH: Final = 128
_PLATFORM_SHAPE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
_MILLISECONDS_FROM: Final = 1e11
"""Android's times are milliseconds; a number so large is no time in seconds before the year 5138."""
_EARLIEST: Final = 946_684_800.0
_AHEAD_SECONDS: Final = 86_400.0
Via = Literal["platform", "seed", "phone"]
"""Posted by a forwarder, told by a seed of our own protocol, or posted by a phone with SMSGate's app."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One SMS that came in; encoded as JSON it is what stands on the queue (docs/brokers.md). Times are Unix seconds."""

    id: str
    """Ours. The same where it is told again, so that a consumer knows a repeat."""
    via: Via
    platform: str = ""
    """The forwarder's word; empty for what a seed received."""
    sender: str = msgspec.field(name="from")
    text: str
    received_at: float
    """As the phone says, where that can be; else ours."""
    sent_at: float | None = None
    recipient: str = msgspec.field(name="to", default="")
    seed: str = ""
    device: str = ""
    """The phone of SMSGate's app, where it is one."""
    sim: int | None = None
    account: str = ""
    """Whose seed it came to; empty where nobody's."""

    @property
    def routing_key(self) -> str:
        return self.platform or SEEDS_KEY


class Told(msgspec.Struct, frozen=True):
    """An SMS as somebody told it, and by what a repeat of it is known for how long."""

    incoming: Incoming
    identity: str
    seconds: int


def check_platform(platform: str) -> None:
    """Raises `Invalid`."""
    if _PLATFORM_SHAPE.fullmatch(platform) is None:
        raise Invalid("platform", "1 to 64 of A-Z a-z 0-9 _ -")


def check_sms(sender: str, text: str, most: int, *, field: str = "from") -> None:
    """A sender is a number or a name; a text has at most `most` characters, and may be empty. Raises `Invalid`."""
    if not 1 <= len(sender) <= MAX_SENDER_LENGTH or not sender.isprintable() or not sender.strip():
        raise Invalid(field, f"1 to {MAX_SENDER_LENGTH} printable characters")
    if len(text) > most:
        raise Invalid("text", f"at most {most} characters")


def time_of(value: float | str | None, now: float) -> float | None:
    """Unix seconds of a time that somebody tells in seconds or milliseconds; None where it is none, or cannot be true."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if value is None or not math.isfinite(value):
        return None
    seconds = value / 1000.0 if value >= _MILLISECONDS_FROM else float(value)
    return seconds if _EARLIEST <= seconds <= now + _AHEAD_SECONDS else None


def identity_of(*parts: str) -> str:
    """What a repeat has in common with the first; each part with its length, so that none can run into the next."""
    return "".join(f"{len(part)}:{part}" for part in parts)


def told_id(webhook: Webhook, incoming: Incoming) -> str:
    """The delivery's id: the same for the same."""
    return delivery_id(incoming.id, EVENT, webhook.id)


def body_for(webhook: Webhook, incoming: Incoming) -> bytes:
    """What is posted, as JSON. The text is in it: to be kept sealed."""
    payload: dict[str, Any] = {
        "messageId": incoming.id, "message": incoming.text, "sender": incoming.sender, "phoneNumber": incoming.sender,
    }  # fmt: skip
    if incoming.recipient:
        payload["recipient"] = incoming.recipient
    payload |= {"simNumber": incoming.sim, "receivedAt": moment(incoming.received_at)}
    body = {
        "id": told_id(webhook, incoming), "webhookId": webhook.id, "event": EVENT, "deviceId": incoming.device or incoming.seed,
        "payload": payload,
    }  # fmt: skip
    return msgspec.json.encode(body)
