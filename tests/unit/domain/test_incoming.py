import json

import msgspec
import pytest

from router.domain.errors import Invalid
from router.domain.incoming import SEEDS_KEY, Incoming, body_for, check_platform, check_sms, identity_of, time_of, told_id
from router.domain.webhooks import Webhook

NOW = 2_000_000_000.0
WEBHOOK = Webhook(id="w", url="https://example.org/", event="sms:received")


def an_sms(**fields: object) -> Incoming:
    about = {"id": "in_1", "via": "platform", "platform": "gmail", "sender": "+213661000001", "text": "hello", "received_at": NOW}
    return Incoming(**about | fields)  # type: ignore[arg-type]


def test_what_stands_on_the_queue() -> None:
    """The documented fields; what is not known is left out."""
    plain = json.loads(msgspec.json.encode(an_sms()))
    full = json.loads(
        msgspec.json.encode(
            an_sms(via="phone", platform="", sent_at=NOW - 1, recipient="+213661000009", seed="d.1", device="d", sim=1, account="ac_1")
        )
    )

    assert plain == {
        "id": "in_1", "via": "platform", "platform": "gmail", "from": "+213661000001", "text": "hello", "received_at": NOW,
    }  # fmt: skip
    assert full == {
        "id": "in_1", "via": "phone", "from": "+213661000001", "text": "hello", "received_at": NOW, "sent_at": NOW - 1,
        "to": "+213661000009", "seed": "d.1", "device": "d", "sim": 1, "account": "ac_1",
    }  # fmt: skip


def test_routing_keys() -> None:
    """A platform's name; and one that no platform can have for what seeds received."""
    with pytest.raises(Invalid):
        check_platform(SEEDS_KEY)

    assert "gmail" == an_sms().routing_key
    assert SEEDS_KEY == an_sms(platform="", via="seed", seed="603").routing_key


def test_the_webhooks_body() -> None:
    """SMSGate's payload of sms:received. What came to no phone has no SIM and no recipient."""
    body = json.loads(body_for(WEBHOOK, an_sms()))
    at_a_phone = json.loads(body_for(WEBHOOK, an_sms(platform="", via="seed", seed="603", sim=2, recipient="+213661000009")))

    assert {"id", "webhookId", "event", "deviceId", "payload"} == body.keys()
    assert ("w", "sms:received", "") == (body["webhookId"], body["event"], body["deviceId"])
    assert body["payload"] == {
        "messageId": "in_1", "message": "hello", "sender": "+213661000001", "phoneNumber": "+213661000001", "simNumber": None,
        "receivedAt": "2033-05-18T03:33:20.000Z",
    }  # fmt: skip
    assert "603" == at_a_phone["deviceId"]
    assert (2, "+213661000009") == (at_a_phone["payload"]["simNumber"], at_a_phone["payload"]["recipient"])


def test_a_deliverys_id_is_the_same_for_the_same() -> None:
    assert told_id(WEBHOOK, an_sms()) == told_id(WEBHOOK, an_sms(text="other"))
    assert told_id(WEBHOOK, an_sms()) != told_id(WEBHOOK, an_sms(id="in_2"))


@pytest.mark.parametrize("platform", ["g", "x" * 64, "g-mail_2", "0"])
def test_platforms(platform: str) -> None:
    """1 to 64 of letters, digits, _ and -."""
    check_platform(platform)

    assert an_sms(platform=platform).routing_key == platform


@pytest.mark.parametrize("platform", ["", "x" * 65, "a.b", "a b", "a/b", "é", "٣", "#", "*", "a\n"])
def test_what_is_no_platform(platform: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_platform(platform)

    assert refused.value.field == "platform"


def test_senders_and_texts() -> None:
    """Numbers and names; a text may be empty, and has a bound."""
    for sender in ("+213661000001", "Mobilis", "7711", "بريد", "My Bank"):
        check_sms(sender, "", 10)
    check_sms("1", "x" * 10, 10)
    with pytest.raises(Invalid) as long:
        check_sms("1", "x" * 11, 10)
    for sender in ("", " ", "x" * 65, "a\n", "\x00"):
        with pytest.raises(Invalid) as refused:
            check_sms(sender, "", 10, field="MSISDN")
        assert refused.value.field == "MSISDN"

    assert long.value.field == "text"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (NOW, NOW), (NOW * 1000, NOW), (int(NOW) * 1000, NOW), (str(int(NOW)), NOW), (f"{NOW * 1000:.0f}", NOW), (NOW + 60, NOW + 60),
        (None, None), ("", None), ("yesterday", None), (0, None), (-5, None), (1.0, None), (NOW + 90_000, None), (float("nan"), None),
        (float("inf"), None), ("nan", None), ("1e400", None),
    ],
)  # fmt: skip
def test_times_as_forwarders_tell_them(told: float | str | None, seconds: float | None) -> None:
    """In seconds or milliseconds. What cannot be true counts as not told."""
    assert time_of(told, NOW) == seconds


def test_parts_of_an_identity_do_not_run_into_each_other() -> None:
    assert identity_of("a", "bc") != identity_of("ab", "c")
    assert identity_of("a", "") != identity_of("a")
    assert identity_of("1:a") != identity_of("a")
