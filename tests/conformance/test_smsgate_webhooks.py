"""SMSGate's webhooks: what applications register, what phones are told of them, and what arrives at a receiver."""

import base64
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.app import App
from tests.conformance.conftest import Start, new_number
from tests.receiver import Receiver, receiver
from tests.stack import Stack, wait_for

PATH = "/3rdparty/v1/webhooks"
PASSWORD = "a long password"
_logins = itertools.count(1)
Login = tuple[str, str]
OURS = ("sms:sent", "sms:delivered", "sms:failed", "sms:cancelled")
PHONES = (
    "sms:received", "sms:data-received", "mms:received", "mms:downloaded", "system:ping", "app:started", "sms:batch:received",
    "sms:batch:data-received", "mms:batch:received", "mms:batch:downloaded",
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router of this module's own, that may call this machine."""
    with start(SEEDROUTER_WEBHOOK_ALLOW_PRIVATE="true", SEEDROUTER_MAX_WEBHOOKS="20", SEEDROUTER_PACE_SECONDS="0.05") as stack:
        yield stack


def new_login(stack: Stack) -> Login:
    """Of a new account."""
    name = f"hooks-{next(_logins)}"
    stack.account(login=name, password=PASSWORD)
    return name, PASSWORD


@pytest.fixture(scope="module")
def login(stack: Stack) -> Login:
    """One account for the module: a password costs a second."""
    return new_login(stack)


@pytest.fixture
def call(stack: Stack, login: Login) -> Callable[..., Any]:
    """An account without webhooks."""

    def call(method: str, path: str = "", body: Any = None, auth: Any = login) -> Any:
        # ASCII only: a lone surrogate can be sent so
        content = None if body is None else json.dumps(body).encode()
        return stack.http.request(method, PATH + path, content=content, auth=auth, headers={"Content-Type": "application/json"})

    for webhook in call("GET").json():
        call("DELETE", f"/{webhook['id']}")
    return call


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def a_webhook(**fields: Any) -> dict[str, Any]:
    return {"id": "webhook_123", "url": "https://example.com/webhook", "event": "sms:received"} | fields


def test_registered_listed_deleted(call: Callable[..., Any]) -> None:
    """201 with the object, a list with its count, 204 also for what is not there."""
    made = call("POST", body=a_webhook())

    assert (201, a_webhook(deviceId=None)) == (made.status_code, made.json())
    listed = call("GET")
    assert (200, [made.json()]) == (listed.status_code, listed.json())
    assert ("application/json", "1") == (listed.headers["content-type"], listed.headers["x-total-count"])
    assert [204, 204] == [call("DELETE", "/webhook_123").status_code for _ in range(2)]
    assert [] == call("GET").json()


def test_upsert(call: Callable[..., Any]) -> None:
    """Posting the same id again replaces it."""
    call("POST", body=a_webhook())
    again = call("POST", body=a_webhook(url="https://example.org/", event="sms:sent", deviceId="d" * 21))

    assert 201 == again.status_code
    assert [a_webhook(url="https://example.org/", event="sms:sent", deviceId="d" * 21)] == call("GET").json()


def test_without_an_id(call: Callable[..., Any]) -> None:
    """One of 21 characters is made; each time another."""
    ids = {call("POST", body=a_webhook(id=given)).json()["id"] for given in (None, "", None)}

    assert 3 == len(ids)
    assert {21} == {len(id) for id in ids}


@pytest.mark.parametrize("event", [*OURS, *PHONES])
def test_events(call: Callable[..., Any], event: str) -> None:
    """All fourteen are taken."""
    assert 201 == call("POST", body=a_webhook(event=event)).status_code


@pytest.mark.parametrize(
    "fields",
    [
        {"url": "not_a_url"}, {"url": "http://example.com/"}, {"url": "ftp://example.com/"}, {"url": "https://u:p@example.com/"},
        {"url": ""}, {"url": None}, {"url": 5}, {"url": "https://example.com/" + "a" * 3000},
        {"event": "sms:unknown"}, {"event": ""}, {"event": None}, {"event": 1},
        {"id": "x" * 37}, {"id": "a/b"}, {"id": "a b"}, {"id": ".."}, {"id": 7}, {"deviceId": "x" * 22}, {"deviceId": 1},
        {"url": "https://\ud800.example/"}, {"id": "é"},
    ],
)  # fmt: skip
def test_wrong(call: Callable[..., Any], stack: Stack, login: Login, fields: dict[str, Any]) -> None:
    """400 with a message; nothing is kept."""
    answer = call("POST", body=a_webhook(**fields))

    assert 400 == answer.status_code
    assert {"message"} == answer.json().keys()
    assert [] == call("GET").json()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"null", b"\xff", b'{"url":"https://example.com/"}'])
def test_wrong_body(stack: Stack, login: Login, content: bytes) -> None:
    """400, whatever it is."""
    answer = stack.http.post(PATH, content=content, auth=login, headers={"Content-Type": "application/json"})

    assert (400, {"message"}) == (answer.status_code, answer.json().keys())


def test_unknown_fields_are_passed_over(call: Callable[..., Any]) -> None:
    """As upstream does."""
    assert 201 == call("POST", body=a_webhook(extra={"a": 1})).status_code


def test_bound(call: Callable[..., Any]) -> None:
    """An account may have so many; one of them can still be replaced."""
    made = [call("POST", body=a_webhook(id=str(number))).status_code for number in range(21)]

    assert [201] * 20 + [429] == made
    assert 201 == call("POST", body=a_webhook(id="1", event="sms:sent")).status_code


def test_scopes(call: Callable[..., Any], stack: Stack, login: Login) -> None:
    """Each call needs its own scope; without credentials it is 401, whatever the body."""
    calls = (("GET", "", "webhooks:list"), ("POST", "", "webhooks:write"), ("DELETE", "/x", "webhooks:delete"))
    for method, path, scope in calls:
        assert 401 == call(method, path, body={}, auth=None).status_code
        for held in ("webhooks:list", "webhooks:write", "webhooks:delete"):
            token = stack.http.post("/3rdparty/v1/auth/token", json={"scopes": [held]}, auth=login).json()["access_token"]
            answer = stack.http.request(
                method, PATH + path, json=a_webhook() if method == "POST" else None, headers={"Authorization": f"Bearer {token}"}
            )
            assert (held == scope) == answer.is_success
            assert answer.is_success or (403, {"message": f"scope required: {scope}"}) == (answer.status_code, answer.json())


def test_prefixes(stack: Stack, login: Login) -> None:
    """Below both prefixes, the same."""
    stack.http.post(f"/api{PATH}", json=a_webhook(), auth=login)

    assert ["webhook_123"] == [webhook["id"] for webhook in stack.http.get(PATH, auth=login).json()]


def test_accounts_do_not_see_each_other(call: Callable[..., Any], stack: Stack) -> None:
    """Neither listed nor deleted nor replaced by another account."""
    other = new_login(stack)
    call("POST", body=a_webhook())
    call("POST", body=a_webhook(url="https://other.example/"), auth=other)
    call("DELETE", "/webhook_123", auth=other)

    assert [] == call("GET", auth=other).json()
    assert ["https://example.com/webhook"] == [webhook["url"] for webhook in call("GET").json()]


def test_phones_are_told_what_they_alone_know(call: Callable[..., Any], stack: Stack, login: Login) -> None:
    """The account's phones are told of a change, and are given all but what the router delivers itself; another account's are not."""
    app, stranger = App(stack, auth=_basic(login)).listen(), App(stack)
    for event in (*OURS, *PHONES):
        call("POST", body=a_webhook(id=event, event=event))
    call("POST", body=a_webhook(id="other", deviceId="z" * 21))
    call("POST", body=a_webhook(id="own", deviceId=app.id))
    wait_for(lambda: app.heard("WebhooksUpdated"), "the news")
    try:
        given = app.http.get("/webhooks")

        assert (200, {*PHONES, "own"}) == (given.status_code, {webhook["id"] for webhook in given.json()})
        assert {"id", "deviceId", "url", "event"} == given.json()[0].keys()
        assert [] == stranger.http.get("/webhooks").json()
        assert 401 == stack.http.get("/mobile/v1/webhooks").status_code
    finally:
        app.close()
        stranger.close()


def _basic(login: Login) -> str:
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def test_the_key_is_in_the_settings(call: Callable[..., Any], stack: Stack, login: Login) -> None:
    """Made with the first webhook, and the same from then on."""
    call("POST", body=a_webhook())
    keys = [stack.http.get("/3rdparty/v1/settings", auth=login).json()["webhooks"]["signing_key"] for _ in range(2)]
    call("POST", body=a_webhook(id="second"))
    keys.append(stack.http.get("/3rdparty/v1/settings", auth=login).json()["webhooks"]["signing_key"])

    assert 1 == len(set(keys))
    assert len(keys[0]) >= 32


def test_a_messages_whole_life(call: Callable[..., Any], stack: Stack, login: Login, there: Receiver) -> None:
    """sent and delivered for one recipient, failed for another, cancelled for a third: each once, signed, with the client's id."""
    for event in OURS:
        call("POST", body=a_webhook(id=event, event=event, url=f"{there.url}/{event}"))
    app = App(stack, auth=_basic(login)).listen()
    try:
        sent, failed, cancelled = new_number(), new_number(), new_number()
        _send(stack, login, "mine-1", [sent])
        message = _take(app, sent)
        for state in ("Processed", "Sent", "Delivered", "Delivered", "Sent"):
            app.report(message, state)
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        _send(stack, login, "mine-3", [cancelled], scheduleAt=later)
        assert 200 == stack.http.delete("/3rdparty/v1/messages/mine-3", auth=login).status_code
        _send(stack, login, "mine-2", [failed])
        for _ in range(2):
            app.report(_take(app, failed), "Failed", "no service")
        wait_for(lambda: len(there.told) >= 4, "four deliveries")
        time.sleep(1.0)
    finally:
        app.close()

    key = stack.http.get("/3rdparty/v1/settings", auth=login).json()["webhooks"]["signing_key"]
    told = {told.event["event"]: told for told in there.told}
    assert 4 == len(there.told) == len(told)
    assert all(one.is_signed_by(key) for one in there.told)
    for event, id, number, time_name in (
        ("sms:sent", "mine-1", sent, "sentAt"),
        ("sms:delivered", "mine-1", sent, "deliveredAt"),
        ("sms:failed", "mine-2", failed, "failedAt"),
        ("sms:cancelled", "mine-3", cancelled, "cancelledAt"),
    ):
        body = told[event].event
        payload = body["payload"]
        assert (event, f"/{event}") == (body["webhookId"], told[event].path)
        assert (id, number, number) == (payload["messageId"], payload["recipient"], payload["phoneNumber"])
        assert "Z" == payload[time_name][-1]
        assert "Hello" not in told[event].body.decode()
    body = told["sms:sent"].event
    assert (app.id, 1, 1) == (body["deviceId"], body["payload"]["simNumber"], body["payload"]["partsCount"])
    assert told["sms:failed"].event["payload"]["reason"]


def _send(stack: Stack, login: Login, id: str, numbers: list[str], **fields: Any) -> None:
    body = {"id": id, "textMessage": {"text": "Hello"}, "phoneNumbers": numbers} | fields

    def accepted() -> bool:
        answer = stack.http.post("/3rdparty/v1/messages", auth=login, json=body, params={"skipPhoneValidation": "true"})
        assert answer.status_code in (202, 503), answer.text
        return answer.status_code == 202

    wait_for(accepted, "the phone to be seen")


def _take(app: App, number: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        return next((message for message in app.pull() if message["phoneNumbers"] == [number] and message["state"] == "Pending"), None)

    return dict(wait_for(found, f"the message to {number}"))
