"""Webhooks: what an account wants to be told, what is sent to it, and when a delivery that failed is tried again.

The wire: SMSGate's webhooks. Source of the events, the body and the retries: the app's and the server's own sources.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, Final, get_args

import msgspec

from router.domain.device import NO_SIMS, device_of_seed, sim_of_seed
from router.domain.message import Attempt, Event, Message

OURS: Final[frozenset[str]] = frozenset(get_args(Event))
"""What the router delivers itself, since a message may move between phones."""
PHONES: Final[frozenset[str]] = frozenset(
    {
        "sms:received", "sms:data-received", "mms:received", "mms:downloaded", "system:ping", "app:started",
        "sms:batch:received", "sms:batch:data-received", "mms:batch:received", "mms:batch:downloaded",
    }
)  # fmt: skip
"""What a phone alone knows of, and tells the account's address itself."""
EVENTS: Final = OURS | PHONES

MAX_WEBHOOK_ID_LENGTH: Final = 36
MAX_DEVICE_ID_LENGTH: Final = 21
_ID_LENGTH: Final = 21
_MAX_REASON_LENGTH: Final = 256


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """One event, told to one address. `device_id`: only of messages at that phone; None = of all."""

    id: str
    url: str
    event: str
    device_id: str | None = None

    def wants(self, event: str, device: str) -> bool:
        """Is it to be told of this event at this phone?"""
        return self.event == event and self.device_id in (None, device)


class WebhookRules(msgspec.Struct, frozen=True, kw_only=True):
    """The courier's bounds. Times are seconds; `router.settings` lets an operator change each one as `webhook_…`."""

    timeout_seconds: float = 30.0
    """From the look-up of the name to the status of the last redirect."""
    tries: int = 15
    retry_seconds: float = 5.0
    """The pause after the first try; it doubles."""
    retry_max_seconds: float = 14_400.0
    jitter: float = 0.2
    """A pause is this share longer or shorter, so that what failed together does not come again together."""
    max_age_seconds: float = 172_800.0
    """A delivery that waits for so long is dead: behind an open breaker tries are seldom."""
    per_target: int = 4
    total: int = 100
    breaker_failures: int = 5
    breaker_pause_seconds: float = 5.0
    breaker_pause_max_seconds: float = 300.0
    dead_seconds: float = 14 * 86_400.0
    """How long dead deliveries are kept."""
    max_dead: int = 10_000


def delivery_id(message_id: str, event: str, webhook_id: str) -> str:
    """The same for the same: telling twice delivers once, and a receiver can tell a repeat."""
    told = f"{message_id}\0{event}\0{webhook_id}"
    return urlsafe_b64encode(hashlib.sha256(told.encode("utf-8", "surrogatepass")).digest()).decode()[:_ID_LENGTH]


def attempt_of(message: Message, event: Event) -> Attempt | None:
    """The attempt that the event is about; None where no phone ever had the message."""
    if event == "sms:delivered":
        told = [attempt for attempt in message.attempts if attempt.delivered_at is not None]
    elif event == "sms:sent":
        told = [attempt for attempt in message.attempts if attempt.sent_at is not None]
    else:
        told = []
    return told[-1] if told else message.current


def device_of(message: Message, event: Event) -> str:
    """The id of the phone that the event happened at; empty where there is none."""
    attempt = attempt_of(message, event)
    return device_of_seed(attempt.seed) if attempt is not None else ""


def body_of(webhook: Webhook, message: Message, event: Event, at: float) -> bytes:
    """What is posted, as JSON. `at` is when it happened, Unix seconds. Never the message's text."""
    attempt = attempt_of(message, event)
    sim = sim_of_seed(attempt.seed) if attempt is not None else NO_SIMS
    payload: dict[str, Any] = {"messageId": message.submission or message.id, "recipient": message.to, "phoneNumber": message.to}
    if sim != NO_SIMS:
        payload["simNumber"] = sim
    payload |= _about(message, event, at)
    body = {
        "id": delivery_id(message.id, event, webhook.id), "webhookId": webhook.id, "event": event,
        "deviceId": device_of(message, event), "payload": payload,
    }  # fmt: skip
    return msgspec.json.encode(body)


def _about(message: Message, event: Event, at: float) -> dict[str, Any]:
    if event == "sms:sent":
        return {"sentAt": moment(at), "partsCount": message.parts}
    if event == "sms:delivered":
        return {"deliveredAt": moment(at)}
    if event == "sms:failed":
        return {"failedAt": moment(at), "reason": (message.reason or message.state)[:_MAX_REASON_LENGTH]}
    return {"cancelledAt": moment(at)}


def moment(at: float) -> str:
    """RFC 3339 in UTC, with exactly three fraction digits."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def sign(key: str, body: bytes, timestamp: str) -> str:
    """`X-Signature`: HMAC-SHA256 over the raw body and then the `X-Timestamp`, in hex."""
    return hmac.new(key.encode("utf-8", "surrogatepass"), body + timestamp.encode(), hashlib.sha256).hexdigest()


def retry_pause(tries: int, rules: WebhookRules, chance: float) -> float:
    """Seconds until a delivery that failed `tries` times is tried again. `chance` is a random number from 0 to 1."""
    pause = min(rules.retry_seconds * 2.0 ** min(tries - 1, 40), rules.retry_max_seconds)
    return pause * (1.0 + rules.jitter * (2.0 * chance - 1.0))


def is_dead(tries: int, rules: WebhookRules) -> bool:
    """Nobody tries any more; an operator may let it begin anew."""
    return tries >= rules.tries
