import hashlib
import hmac
import json
from typing import Any, get_args

import pytest

from router.domain.message import Attempt, Event, Message
from router.domain.webhooks import (
    EVENTS,
    OURS,
    PHONES,
    Webhook,
    WebhookRules,
    body_of,
    delivery_id,
    device_of,
    is_dead,
    moment,
    retry_pause,
    sign,
)

DEVICE = "abcdefghij_klmnop-123"
AT = 1_700_000_000.25
RULES = WebhookRules()


def an_attempt(number: int = 1, seed: str = f"{DEVICE}.2", **fields: Any) -> Attempt:
    return Attempt(**{"number": number, "seed": seed, "carrier": "60301", "state": "sent", "assigned_at": AT} | fields)


def a_message(*attempts: Attempt, **fields: Any) -> Message:
    about: dict[str, Any] = {
        "id": "sg_1", "account": "ac_1", "dialect": "smsgate", "kind": "sms", "lane": "notification", "to": "+213661000001",
        "country": "DZ", "carrier": "60301", "parts": 2, "price": 0, "created_at": AT, "expires_at": AT + 60, "submission": "client-1",
    }  # fmt: skip
    return Message(**about | {"attempts": attempts} | fields)


def a_webhook(event: str = "sms:sent", device_id: str | None = None) -> Webhook:
    return Webhook(id="webhook_123", url="https://example.com/webhook", event=event, device_id=device_id)


def body(event: Event, message: Message, at: float = AT) -> dict[str, Any]:
    return dict(json.loads(body_of(a_webhook(event), message, event, at)))


def test_events() -> None:
    """All fourteen names; each is told either by the router or by phones."""
    assert 14 == len(EVENTS)
    assert {"sms:sent", "sms:delivered", "sms:failed", "sms:cancelled"} == OURS
    assert not OURS & PHONES


def test_body_of_sent() -> None:
    """The client's id of the message, the recipient twice, the SIM, when, and how many parts."""
    told = body("sms:sent", a_message(an_attempt(sent_at=AT)))

    assert {"id", "webhookId", "event", "deviceId", "payload"} == told.keys()
    assert ("webhook_123", "sms:sent", DEVICE) == (told["webhookId"], told["event"], told["deviceId"])
    assert {
        "messageId": "client-1", "recipient": "+213661000001", "phoneNumber": "+213661000001", "simNumber": 2,
        "sentAt": "2023-11-14T22:13:20.250Z", "partsCount": 2,
    } == told["payload"]  # fmt: skip


@pytest.mark.parametrize(
    ("event", "about"),
    [
        ("sms:delivered", {"deliveredAt": "2023-11-14T22:13:20.250Z"}),
        ("sms:failed", {"failedAt": "2023-11-14T22:13:20.250Z", "reason": "no signal"}),
        ("sms:cancelled", {"cancelledAt": "2023-11-14T22:13:20.250Z"}),
    ],
)
def test_body_of_others(event: Event, about: dict[str, Any]) -> None:
    """Each has its own time; a failure its reason."""
    payload = body(event, a_message(an_attempt(delivered_at=AT), reason="no signal"))["payload"]

    assert about == {name: payload[name] for name in payload.keys() - {"messageId", "recipient", "phoneNumber", "simNumber"}}


def test_body_without_a_phone() -> None:
    """A message that no phone ever had, and one that a seed of another protocol had: no device, no SIM."""
    for message in (a_message(reason="expired"), a_message(an_attempt(seed="603010000000001"))):
        told = body("sms:failed", message)

        assert "" == told["deviceId"]
        assert "simNumber" not in told["payload"]


def test_body_without_sims() -> None:
    """A phone that tells no SIMs is never given a number."""
    told = body("sms:sent", a_message(an_attempt(seed=f"{DEVICE}.0", sent_at=AT)))

    assert DEVICE == told["deviceId"]
    assert "simNumber" not in told["payload"]


def test_body_of_a_message_without_a_submission() -> None:
    """Then its own id."""
    assert "sg_1" == body("sms:sent", a_message(submission=""))["payload"]["messageId"]


def test_the_attempt_that_sent() -> None:
    """A message that moved is told of at the phone that sent it, not at the last one that had it."""
    other = "z" * 21
    message = a_message(an_attempt(1, sent_at=AT), an_attempt(2, f"{other}.1", state="failed"))

    assert DEVICE == device_of(message, "sms:sent")
    assert other == device_of(message, "sms:failed")


def test_reason_is_bounded() -> None:
    """A phone's words may be long; without any, the state is the reason."""
    assert 256 == len(body("sms:failed", a_message(reason="x" * 5000))["payload"]["reason"])
    assert "expired" == body("sms:failed", a_message(state="expired"))["payload"]["reason"]


@pytest.mark.parametrize(
    ("device_id", "event", "device", "is_wanted"),
    [
        (None, "sms:sent", DEVICE, True),
        (None, "sms:sent", "", True),
        (DEVICE, "sms:sent", DEVICE, True),
        (DEVICE, "sms:sent", "z" * 21, False),
        (DEVICE, "sms:sent", "", False),
        (None, "sms:failed", DEVICE, False),
    ],
)
def test_wants(device_id: str | None, event: str, device: str, is_wanted: bool) -> None:
    """Its event, and where it names a phone, only at that phone."""
    assert is_wanted == a_webhook("sms:sent", device_id).wants(event, device)


def test_delivery_id() -> None:
    """Short, the same for the same, and another for another message, event or webhook."""
    events = get_args(Event)
    ids = {delivery_id(message, event, webhook) for message in ("sg_1", "sg_11") for event in events for webhook in ("1", "w")}

    assert 16 == len(ids)
    assert {21} == {len(one) for one in ids}
    assert delivery_id("sg_1", "sms:sent", "w") == delivery_id("sg_1", "sms:sent", "w")
    assert delivery_id("sg_1", "sms:sent", "webhook_123") == body("sms:sent", a_message())["id"]


@pytest.mark.parametrize(("at", "text"), [(0.0, "1970-01-01T00:00:00.000Z"), (1_700_000_000.123456, "2023-11-14T22:13:20.123Z")])
def test_moment(at: float, text: str) -> None:
    """Three fraction digits, whatever there are."""
    assert text == moment(at)


def test_signature() -> None:
    """HMAC-SHA256 over the raw body and then the timestamp."""
    assert hmac.new(b"key", b'{"a":1}1700000000', hashlib.sha256).hexdigest() == sign("key", b'{"a":1}', "1700000000")
    assert sign("key", b"{}", "1") != sign("key", b"{}", "2")


def test_retries() -> None:
    """From 5 s, doubling, 15 tries, never beyond the bound."""
    pauses = [retry_pause(tries, RULES, 0.5) for tries in range(1, 15)]

    assert [5.0, 10.0, 20.0, 40.0] == pauses[:4]
    assert RULES.retry_max_seconds == pauses[-1] == max(pauses)
    assert [False, True] == [is_dead(14, RULES), is_dead(15, RULES)]


def test_jitter() -> None:
    """A fifth shorter or longer, also at the bound."""
    assert (4.0, 6.0) == (retry_pause(1, RULES, 0.0), retry_pause(1, RULES, 1.0))
    assert 0.8 * RULES.retry_max_seconds == pytest.approx(retry_pause(1000, RULES, 0.0))
