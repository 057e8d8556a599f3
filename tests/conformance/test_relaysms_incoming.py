"""SMS that come in, over the wire: RelaySMS's endpoint, the seed API's, and what a phone with SMSGate's app posts; to a real receiver."""

import hashlib
import hmac
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import kombu
import pytest
import redis
from android_sms_gateway.webhooks import SmsReceivedPayload

from bench.ports import free_port
from router.queue.broker import Broker
from router.queue.inbound import declare, inbound_queue
from tests import rabbitmq
from tests.app import App
from tests.conformance.conftest import MOBILIS, Start, bearer
from tests.rabbitmq import RabbitMQ
from tests.receiver import Receiver, receiver
from tests.stack import Stack, wait_for

TEXT = "text/html; charset=utf-8"
SMS = {"text": "the meeting is at noon", "MSISDN": "+213770123456"}
PASSWORD = "a long password"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def relay(start: Start) -> Iterator[Stack]:
    """A router that may call this machine, whose address phones know."""
    with start(
        SEEDROUTER_WEBHOOK_ALLOW_PRIVATE="true", SEEDROUTER_WEBHOOK_RETRY_SECONDS="0.2", SEEDROUTER_INBOUND_ACCOUNTS="*",
        SEEDROUTER_PUBLIC_URL="https://router.example.org", SEEDROUTER_MAX_INCOMING_TEXT_LENGTH="200",
    ) as relay:  # fmt: skip
        yield relay


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def an_sms(**fields: Any) -> dict[str, Any]:
    """One that no test has sent."""
    return SMS | {"text": f"sms number {next(_numbers)}"} | fields


def an_account(relay: Stack) -> tuple[str, tuple[str, str]]:
    """Its id, and its login."""
    login = f"incoming-{next(_numbers)}"
    return relay.account(login=login, password=PASSWORD)["id"], (login, PASSWORD)


def hear(relay: Stack, login: tuple[str, str], url: str, **fields: Any) -> None:
    body = {"url": url, "event": "sms:received"} | fields
    assert 201 == relay.http.post("/3rdparty/v1/webhooks", json=body, auth=login).status_code


def key_of(relay: Stack, login: tuple[str, str]) -> str:
    return str(relay.http.get("/3rdparty/v1/settings", auth=login).json()["webhooks"]["signing_key"])


def on_the_queue(relay: Stack) -> list[dict[str, Any]]:
    """Takes all of it, as a program would."""
    return taken(Broker(relay.environment.get("SEEDROUTER_BROKER_URL", relay.redis_url)))


def taken(broker: Broker) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with broker.connect() as connection:
        queue = inbound_queue()(connection.channel())
        queue.declare()
        while (message := queue.get()) is not None:
            found.append(message.payload | {"key": message.delivery_info["routing_key"]})
            message.ack()
    return found


def told(there: Receiver, text: str) -> list[Any]:
    with there.lock:
        return [request for request in there.told if request.event["payload"]["message"] == text]


# RelaySMS's endpoint


def test_a_forwarder_posts(relay: Stack, there: Receiver) -> None:
    """It is on the queue, and each webhook hears of it once, signed, in SMSGate's words; the forwarder's repeat changes nothing."""
    _, login = an_account(relay)
    hear(relay, login, there.url)
    on_the_queue(relay)
    at = int(time.time()) - 30
    sms = an_sms(date=at * 1000, date_sent=(at - 2) * 1000)
    time.sleep(5.1)  # the list of those who hear of everything may be so old
    answers = [relay.http.post("/sms/platform/gmail", json=sms) for _ in range(3)]
    wait_for(lambda: told(there, sms["text"]), "the webhook")
    time.sleep(0.5)
    (request,) = told(there, sms["text"])
    (queued,) = on_the_queue(relay)
    payload = SmsReceivedPayload.from_dict(request.event["payload"])

    assert {(200, "message published successfully", TEXT)} == {(a.status_code, a.text, a.headers["Content-Type"]) for a in answers}
    assert request.is_signed_by(key_of(relay, login))
    assert "sms:received" == request.event["event"]
    assert (sms["text"], sms["MSISDN"], sms["MSISDN"]) == (payload.message, payload.sender, payload.phone_number)
    assert (None, None, at) == (payload.recipient, payload.sim_number, int(payload.received_at.timestamp()))
    assert queued == {
        "id": payload.message_id, "via": "platform", "platform": "gmail", "from": sms["MSISDN"], "text": sms["text"],
        "received_at": float(at), "sent_at": float(at - 2), "key": "gmail",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "missing key - text"),
        ({"MSISDN": "1"}, "missing key - text"),
        ({"text": None, "MSISDN": "1"}, "missing key - text"),
        ({"text": "a"}, "missing key - MSISDN"),
        ({"text": "a", "MSISDN": None}, "missing key - MSISDN"),
    ],
)
def test_missing_keys(relay: Stack, body: dict[str, Any], text: str) -> None:
    answer = relay.http.post("/sms/platform/gmail", json=body)

    assert (400, text, TEXT) == (answer.status_code, answer.text, answer.headers["Content-Type"])


@pytest.mark.parametrize(
    "fields",
    [{"address": "7711", "MSISDN": None}, {"address": "7711"}, {"date": "whenever", "date_sent": ""}, {"MSISDN": "Mobilis"}, {"text": ""}],
)
def test_what_forwarders_differ_in(relay: Stack, fields: dict[str, Any]) -> None:
    """The sender under another name, a time that nobody understands, a sender that is no number, an empty text."""
    sms = an_sms(**fields)
    on_the_queue(relay)
    answer = relay.http.post("/sms/platform/x-1_Y", json=sms)
    (queued,) = on_the_queue(relay)

    assert 200 == answer.status_code
    assert (sms["MSISDN"] or sms["address"]) == queued["from"]
    assert sms["text"] == queued["text"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"null", b"1", b'"text"', b"[]", b"NaN", b"\xff\xfe", b"[" * 10_000, b"text=a&MSISDN=1"],
    ids=repr,
)
def test_a_body_that_is_no_object_is_400_text(relay: Stack, content: bytes) -> None:
    answer = relay.http.post("/sms/platform/gmail", content=content, headers={"Content-Type": "application/json"})

    assert (400, TEXT) == (answer.status_code, answer.headers["Content-Type"])
    assert answer.text


@pytest.mark.parametrize(
    "fields",
    [
        {"text": 1}, {"text": []}, {"text": {}}, {"text": True}, {"text": "x" * 201}, {"MSISDN": 213}, {"MSISDN": []}, {"MSISDN": ""},
        {"MSISDN": "x" * 65}, {"MSISDN": "a\nb"}, {"MSISDN": "\x00"}, {"date": []}, {"date": {}}, {"date_sent": True},
    ],
    ids=repr,
)  # fmt: skip
def test_odd_values_are_400_text(relay: Stack, fields: dict[str, Any]) -> None:
    on_the_queue(relay)
    answer = relay.http.post("/sms/platform/gmail", json=SMS | fields)

    assert (400, TEXT) == (answer.status_code, answer.headers["Content-Type"])
    assert answer.text
    assert [] == on_the_queue(relay)


@pytest.mark.parametrize("platform", ["a.b", "x" * 65, "%00", "%FF", "é", "a%20b", "%23", "*", "%D9%A3"])
def test_odd_platforms_are_400_text(relay: Stack, platform: str) -> None:
    answer = relay.http.post(f"/sms/platform/{platform}", json=SMS)

    assert (400, TEXT) == (answer.status_code, answer.headers["Content-Type"])


def test_other_refusals_are_text_too(relay: Stack) -> None:
    answers = [
        relay.http.get("/sms/platform/gmail"), relay.http.post("/sms/platform", json=SMS), relay.http.post("/sms/platform/a/b", json=SMS),
        relay.http.post("/sms/platform/gmail", content=b" " * 70_000),
    ]  # fmt: skip

    assert [405, 404, 404, 413] == [answer.status_code for answer in answers]
    assert {TEXT} == {answer.headers["Content-Type"] for answer in answers}


def test_no_text_and_no_number_in_logs_and_metrics(relay: Stack) -> None:
    sms = an_sms(text="a secret that nobody may read", MSISDN="+213770987654")
    relay.http.post("/sms/platform/gmail", json=sms)
    relay.http.post("/sms/platform/gmail", content=json.dumps(sms | {"date": []}))
    said = relay.log("api") + relay.log("courier") + relay.http.get("/metrics", headers=bearer(relay.operator_token)).text

    assert "incoming.taken" in said
    assert "a secret" not in said
    assert "770987654" not in said
    assert "+2137*****54" in said
    assert 'seedrouter_incoming_total{kind="platform",result="taken"}' in said


def test_a_token_where_there_is_one(start: Start) -> None:
    """Else 401, before anything is read. And nobody's webhooks hear of it but those that the operator names: the default is none."""
    with start(SEEDROUTER_INBOUND_TOKEN="forwarders only", SEEDROUTER_MAX_INBOUND="2") as closed:
        refused = [
            closed.http.post("/sms/platform/gmail", content=b"{", headers=headers)
            for headers in ({}, bearer("x"), {"Authorization": "Bearer"}, {"Authorization": "forwarders only"}, bearer("forwarders onl"))
        ]
        answers = [closed.http.post("/sms/platform/gmail", json=an_sms(), headers=bearer("forwarders only")) for _ in range(3)]
        kept = on_the_queue(closed)
        again = closed.http.post("/sms/platform/gmail", json=an_sms(), headers=bearer("forwarders only"))

        assert {(401, TEXT)} == {(answer.status_code, answer.headers["Content-Type"]) for answer in refused}
        assert [200, 200, 503] == [answer.status_code for answer in answers]
        assert ("the inbound queue is full", "60") == (answers[2].text, answers[2].headers["Retry-After"])
        assert 2 == len(kept)
        assert 200 == again.status_code


# The seed API


def test_what_a_seed_received_is_for_its_account(relay: Stack, there: Receiver) -> None:
    """Its own token; its account's webhooks; once, however often it is told."""
    owner, login = an_account(relay)
    _, other = an_account(relay)
    hear(relay, login, f"{there.url}/owner")
    hear(relay, other, f"{there.url}/other")
    phone = relay.phone(f"{MOBILIS}0000000501", account=owner, shared=False)
    on_the_queue(relay)
    sms = {"id": "17", "from": "+213550123456", "text": f"to a seed {next(_numbers)}", "received_at": 1_795_000_000.5}
    path, headers = f"/seeds/{phone.imsi}/received", bearer(phone.token)
    first, again = (relay.http.post(path, json=[sms], headers=headers) for _ in range(2))
    stranger = relay.http.post(path, json=[sms | {"id": "18"}], headers=bearer("x"))
    wait_for(lambda: told(there, sms["text"]), "the webhook")
    time.sleep(0.5)
    (request,) = told(there, sms["text"])
    payload = SmsReceivedPayload.from_dict(request.event["payload"])
    (queued,) = on_the_queue(relay)

    assert [{"accepted": 1, "repeated": 0}, {"accepted": 0, "repeated": 1}] == [first.json(), again.json()]
    assert (401, "error") == (stranger.status_code, next(iter(stranger.json())))
    assert ("/owner", phone.imsi) == (request.path, request.event["deviceId"])
    assert request.is_signed_by(key_of(relay, login))
    assert ("+213661000001", 1_795_000_000.5) == (payload.recipient, payload.received_at.timestamp())
    assert ("seeds.received", phone.imsi, owner) == (queued["key"], queued["seed"], queued["account"])


@pytest.mark.parametrize(
    "body",
    [
        None, {}, [1], [{}], [{"from": "1"}], [{"text": "a"}], [{"from": 1, "text": "a"}], [{"from": "", "text": "a"}],
        [{"from": "1", "text": "x" * 201}], [{"from": "1", "text": "a", "id": 5}], [{"from": "1", "text": "a", "received_at": "now"}],
        [{"from": "1", "text": "a"}] * 1001,
    ],
    ids=lambda body: repr(body)[:40],
)  # fmt: skip
def test_odd_lists_of_a_seed_are_422(relay: Stack, body: Any) -> None:
    phone = relay.phone(f"{MOBILIS}0000000502")
    answer = relay.http.post(f"/seeds/{phone.imsi}/received", json=body, headers=bearer(phone.token))

    assert (422, {"error"}) == (answer.status_code, answer.json().keys())


# A phone with SMSGate's app


def sign(key: str, body: bytes, at: int) -> dict[str, str]:
    """As the app does: HMAC-SHA256 over the body and then the time, in hex."""
    signature = hmac.new(key.encode(), body + str(at).encode(), hashlib.sha256).hexdigest()
    return {"X-Signature": signature, "X-Timestamp": str(at), "Content-Type": "application/json"}


def test_what_a_phone_posts(relay: Stack, there: Receiver) -> None:
    """It is told of one webhook more; what comes there is on the queue, once, and the account's own webhooks are the phone's to tell."""
    account, login = an_account(relay)
    hear(relay, login, there.url, id="mine")
    app = App(relay, auth=httpx.BasicAuth(*login)._auth_header)
    try:
        listed = app.http.get("/webhooks").json()
        signing_key = app.http.get("/settings").json()["webhooks"]["signing_key"]
    finally:
        app.close()
    shown = relay.http.get("/3rdparty/v1/webhooks", auth=login).json()
    (ours,) = [webhook for webhook in listed if webhook["id"] != "mine"]
    path = ours["url"].removeprefix("https://router.example.org")
    on_the_queue(relay)
    text = f"to a phone {next(_numbers)}"
    payload = {
        "messageId": "abc", "message": text, "sender": "7711", "phoneNumber": "7711", "simNumber": 1,
        "receivedAt": "2026-11-21T19:00:00.000+01:00",
    }  # fmt: skip
    event = {"id": "e", "webhookId": ours["id"], "event": "sms:received", "deviceId": app.id, "payload": payload}
    body = json.dumps(event).encode()
    now = int(time.time())
    good = [relay.http.post(path, content=body, headers=sign(signing_key, body, now)) for _ in range(2)]
    wrong_key = relay.http.post(path, content=body, headers=sign("another", body, now))
    unsigned = relay.http.post(path, content=body)
    old = relay.http.post(path, content=body, headers=sign(signing_key, body, now - 4000))
    elsewhere = relay.http.post(f"{path[:-1]}x", content=body, headers=sign(signing_key, body, now))
    junk = relay.http.post(path, content=b"{}", headers=sign(signing_key, b"{}", now))
    (queued,) = on_the_queue(relay)
    time.sleep(0.5)

    assert {"mine"} == {webhook["id"] for webhook in shown}
    assert ("sms:received", app.id) == (ours["event"], ours["deviceId"])
    assert [200, 200] == [answer.status_code for answer in good]
    assert [401, 401, 401, 401, 400] == [answer.status_code for answer in (wrong_key, unsigned, old, elsewhere, junk)]
    assert {"message"} == wrong_key.json().keys()
    assert ("phone", text, f"{app.id}.1", account) == (queued["via"], queued["text"], queued["seed"], queued["account"])
    assert [] == told(there, text)


def test_without_a_public_url_a_phone_is_told_nothing(stack: Stack) -> None:
    app = App(stack)
    try:
        assert [] == app.http.get("/webhooks").json()
    finally:
        app.close()


# Where the broker is


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    with rabbitmq.running() as node:
        yield node


def test_rabbitmq_and_when_it_is_away(start: Start, node: RabbitMQ, there: Receiver) -> None:
    """On the durable exchange, confirmed. While it is away 503, nothing is published, no webhook hears; afterwards the repeat is taken."""
    with start(
        SEEDROUTER_BROKER_URL=node.url, SEEDROUTER_INBOUND_ACCOUNTS="*", SEEDROUTER_WEBHOOK_ALLOW_PRIVATE="true"
    ) as relay:
        _, login = an_account(relay)
        hear(relay, login, there.url)
        first, second = an_sms(), an_sms()
        before = relay.http.post("/sms/platform/gmail", json=first)
        node.kill()
        away = relay.http.post("/sms/platform/gmail", json=second)
        time.sleep(0.5)
        heard_while_away = told(there, second["text"])
        node.start()
        wait_for(lambda: relay.http.post("/sms/platform/gmail", json=second).status_code == 200, "the repeat to be taken")
        wait_for(lambda: told(there, second["text"]), "the webhook")
        with kombu.Connection(node.url) as connection:
            declared = connection.channel().exchange_declare("inbound", "topic", durable=True, passive=True)
        queued = on_the_queue(relay)

        assert (200, 503) == (before.status_code, away.status_code)
        assert away.headers["Retry-After"]
        assert [] == heard_while_away
        assert 1 == len(told(there, first["text"])) == len(told(there, second["text"]))
        assert [first["text"], second["text"]] == list(dict.fromkeys(sms["text"] for sms in queued))
        assert len({sms["id"] for sms in queued}) == 2
        assert declared is None


def test_redis_as_the_broker_is_away(start: Start) -> None:
    """A broker of its own that nobody reaches: 503 and no 400, since forwarders take that for final; the rest of the API goes on."""
    with start(SEEDROUTER_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0") as relay:
        answer = relay.http.post("/sms/platform/gmail", json=an_sms())
        wrong = relay.http.post("/sms/platform/gmail", json={})
        seeds = relay.http.get("/seeds")

        assert (503, TEXT) == (answer.status_code, answer.headers["Content-Type"])
        assert answer.headers["Retry-After"]
        assert (400, 200) == (wrong.status_code, seeds.status_code)


def test_a_bare_redis_client_can_consume(relay: Stack) -> None:
    """As the documentation tells programs without kombu: a group of the stream, and then acknowledged and deleted."""
    on_the_queue(relay)
    sms = an_sms()
    relay.http.post("/sms/platform/gmail", json=sms)
    key = "queue:{q}:s:0:seedrouter.inbound"
    with redis.Redis.from_url(relay.redis_url) as client:
        ((_, ((entry, fields),)),) = client.xreadgroup("seedrouter", "my-program", {key: ">"}, count=10)
        acknowledged = client.xack(key, "seedrouter", entry), client.xdel(key, entry)
        left = client.xlen(key)
    with Broker(relay.redis_url).connect() as connection:
        waiting = declare(connection.channel())

    assert sms["text"] == json.loads(fields[b"b"])["text"]
    assert (1, 1) == acknowledged
    assert 0 == left == waiting


def test_the_command_takes_and_prints(relay: Stack) -> None:
    """`seedrouter inbound`: with --keep they stay; without, they are gone."""

    def printed(*arguments: str) -> list[dict[str, Any]]:
        command = [sys.executable, "-m", "router.cli.main", "inbound", "--redis-url", relay.redis_url, *arguments]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return [json.loads(line) for line in answer.stdout.splitlines()]

    on_the_queue(relay)
    sms = [an_sms(), an_sms()]
    for one in sms:
        relay.http.post("/sms/platform/gmail", json=one)
    kept, first, rest = printed("--keep"), printed("--max", "1"), printed()

    assert [one["text"] for one in sms] == [one["text"] for one in kept]
    assert kept == [*first, *rest]
    assert 1 == len(first)
    assert [] == printed()
