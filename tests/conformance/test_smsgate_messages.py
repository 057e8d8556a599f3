"""SMSGate's messages for applications, over HTTP and by the real Python client: submissions of 1 to 100 recipients."""

import asyncio
import base64
import contextlib
import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from android_sms_gateway import ahttp, domain, enums, errors
from android_sms_gateway import http as client_http
from android_sms_gateway.client import APIClient, AsyncAPIClient
from android_sms_gateway.encryption import AESEncryptor

from tests.conformance.conftest import Start
from tests.stack import Stack, TestPhone, wait_for

PREFIXES = ("/3rdparty/v1", "/api/3rdparty/v1")
PASSWORD = "correct horse battery"
CARRIERS = {"60301": "+21366{:07d}", "60302": "+21377{:07d}", "60303": "+21355{:07d}"}
"""Mobilis, Djezzy and Ooredoo, and how their numbers are made."""
_counter = itertools.count(1)


def number(carrier: str = "60301") -> str:
    """One that no test has used."""
    return CARRIERS[carrier].format(1_000_000 + next(_counter))


class App:
    """An application with a login."""

    def __init__(self, stack: Stack, **account: Any) -> None:
        self.stack = stack
        self.login = f"app-{next(_counter)}"
        self.account = stack.account(login=self.login, password=PASSWORD, **account)
        self.auth: Any = (self.login, PASSWORD)

    def call(self, method: str, path: str, body: Any = None, *, prefix: str = PREFIXES[0], **options: Any) -> httpx.Response:
        given = {"json": body} if body is not None else {}
        return self.stack.http.request(method, prefix + path, auth=self.auth, **given | options)

    def send(self, *phones: str, **fields: Any) -> dict[str, Any]:
        body = {"textMessage": {"text": "a text"}, "phoneNumbers": list(phones) or [number()]} | fields
        answer = self.call("POST", "/messages", body)
        assert 202 == answer.status_code, answer.text
        return dict(answer.json())

    def state(self, message_id: str) -> dict[str, Any]:
        answer = self.call("GET", f"/messages/{message_id}")
        assert 200 == answer.status_code, answer.text
        return dict(answer.json())

    def token(self, *scopes: str) -> dict[str, str]:
        answer = self.call("POST", "/auth/token", {"scopes": list(scopes)})
        assert 201 == answer.status_code, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}

    @property
    def balance(self) -> int:
        listed = self.stack.operator("GET", "/accounts")
        return int(next(account["balance"] for account in listed if account["id"] == self.account["id"]))


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router of this module's own, where no seed is but the three here; none of them is punished for what a test lets it fail."""
    with start(SEEDROUTER_BREAKER_FAILURES="1000", SEEDROUTER_LEASE_SECONDS="60") as running:
        yield running


@pytest.fixture(scope="module")
def phones(stack: Stack) -> Iterator[dict[str, TestPhone]]:
    """A seed of each carrier that stays online, with room for many messages."""
    with contextlib.ExitStack() as online:
        made = {carrier: stack.phone(f"{carrier}1000000001", pace_seconds=0.02) for carrier in CARRIERS}
        for phone in made.values():
            online.enter_context(phone.stays_online())
        probe = App(stack)
        body = {"message": "probe", "phoneNumbers": [number()]}
        wait_for(lambda: probe.call("POST", "/messages", body).status_code == 202, "the seeds to be seen")
        yield made


@pytest.fixture
def app(stack: Stack, phones: dict[str, TestPhone]) -> Iterator[App]:
    """Its open messages are cancelled at the end: no later test's phone is to be given them."""
    made = App(stack)
    yield made
    for message in made.call("GET", "/messages", params={"state": "Pending", "limit": 100}).json():
        made.call("DELETE", f"/messages/{message['id']}")


@pytest.fixture(scope="module")
def shared(stack: Stack, phones: dict[str, TestPhone]) -> App:
    """For what leaves nothing that another test could see; a password takes a while to be hashed."""
    return App(stack)


def take(phone: TestPhone, *to: str) -> list[dict[str, Any]]:
    """Pulls until the phone has been given a message to each of these numbers."""
    taken: dict[str, dict[str, Any]] = {}

    def has_all() -> bool:
        taken.update({message["to"]: message for message in phone.pull(wait=0.5)})
        return set(to) <= set(taken)

    wait_for(has_all, f"messages to {len(to)} numbers at {phone.imsi}")
    return [taken[each] for each in to]


def times(message: dict[str, Any]) -> dict[str, datetime]:
    return {state: datetime.fromisoformat(text) for state, text in message["states"].items()}


# Sending


@pytest.mark.parametrize("path", ["/messages", "/message"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_accepted(shared: App, path: str, prefix: str) -> None:
    """202, the state as the contract has it, and where to read it: on the path that was called."""
    to = number()
    before = datetime.now(UTC) - timedelta(seconds=2)
    answer = shared.call("POST", path, {"textMessage": {"text": "a text"}, "phoneNumbers": [to]}, prefix=prefix)
    state = answer.json()

    assert (202, "application/json") == (answer.status_code, answer.headers["content-type"])
    assert f"{prefix}{path}/{state['id']}" == answer.headers["location"]
    assert {"id", "deviceId", "state", "isHashed", "isEncrypted", "recipients", "states", "createdAt"} == set(state)
    assert 21 == len(state["id"])
    assert (None, "Pending", False, False) == (state["deviceId"], state["state"], state["isHashed"], state["isEncrypted"])
    assert [{"phoneNumber": to, "state": "Pending"}] == state["recipients"]
    assert ["Pending"] == list(state["states"])
    assert before < times(state)["Pending"] < before + timedelta(seconds=60)
    assert state["states"]["Pending"] == state["createdAt"]
    read = shared.stack.http.get(answer.headers["location"], auth=shared.auth)
    assert (200, "application/json") == (read.status_code, read.headers["content-type"])
    assert state["id"] == read.json()["id"]


@pytest.mark.parametrize(
    "body",
    [
        {"message": "an old client's"},
        {"textMessage": {"text": "x", "unknown": 1}, "unknown": {"field": 1}},
        {"textMessage": {"text": "x" * 65535}},
        {"textMessage": {"text": "é" * 65535}},
        {"textMessage": {"text": "\N{SNOWMAN}" * 65535}},
        {"dataMessage": {"data": base64.b64encode(bytes(300)).decode(), "port": 65535}},
        {"textMessage": {"text": "x"}, "dataMessage": None, "message": None, "deviceId": None, "simNumber": None, "ttl": None, "id": None},
        {"textMessage": {"text": "x"}, "message": ""},
        {"textMessage": {"text": "x"}, "simNumber": 3, "withDeliveryReport": False, "priority": 127, "ttl": 5},
        {"textMessage": {"text": "x"}, "priority": -128},
        {"textMessage": {"text": "x"}, "id": "i" * 36},
    ],
)
def test_taken(shared: App, body: dict[str, Any]) -> None:
    """All that the contract lets a client say."""
    to = {"phoneNumbers": [number()]}
    answer = shared.call("POST", "/messages", body | to)

    assert 202 == answer.status_code, answer.text
    assert body.get("id") in (None, answer.json()["id"])
    assert 200 == shared.call("DELETE", f"/messages/{answer.json()['id']}").status_code


def test_recipient_is_another_name_for_one_number(app: App) -> None:
    to = number()
    answer = app.call("POST", "/messages", {"textMessage": {"text": "x"}, "recipient": to})

    assert 202 == answer.status_code
    assert [to] == [recipient["phoneNumber"] for recipient in answer.json()["recipients"]]


def test_a_content_type_with_a_charset(app: App) -> None:
    body = f'{{"textMessage": {{"text": "é"}}, "phoneNumbers": ["{number()}"]}}'.encode()
    for content_type in ("application/json; charset=utf-8", "application/json;charset=UTF-8"):
        answer = app.call("POST", "/messages", content=body, headers={"Content-Type": content_type})
        assert 202 == answer.status_code, answer.text


def test_numbers_are_told_in_one_form(app: App) -> None:
    """E.164, in the order of the request, whatever they were written in."""
    one, another = number(), number("60302")
    state = app.send(f"0{one[4:]}", f"00{another[1:]}")

    assert [one, another] == [recipient["phoneNumber"] for recipient in state["recipients"]]


def test_not_validated(app: App) -> None:
    """As they are, where the client says so."""
    body = {"message": "x", "phoneNumbers": ["12", "a b|c"]}
    refused = app.call("POST", "/messages", body)
    taken = app.call("POST", "/messages", body, params={"skipPhoneValidation": "true"})

    assert 400 == refused.status_code
    assert (202, ["12", "a b|c"]) == (taken.status_code, [recipient["phoneNumber"] for recipient in taken.json()["recipients"]])


TEXT = {"textMessage": {"text": "x"}}
DAY = timedelta(days=1)


def at(offset: timedelta) -> str:
    return (datetime.now(UTC) + offset).isoformat()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "exactly one of"),
        (TEXT | {"message": "y"}, "exactly one of"),
        (TEXT | {"dataMessage": {"data": "AAAA", "port": 1}}, "exactly one of"),
        ({"textMessage": {"text": ""}}, "textMessage.text"),
        ({"textMessage": {"text": "x" * 65536}}, "textMessage.text: at most 65535"),
        ({"textMessage": "x"}, "textMessage"),
        ({"dataMessage": {"data": "not base64", "port": 1}}, "base64"),
        ({"dataMessage": {"data": "AAAA", "port": 0}}, "dataMessage.port"),
        ({"dataMessage": {"data": "AAAA"}}, "port"),
        ({"mmsMessage": {"text": "x"}}, "MMS is not supported"),
        (TEXT | {"phoneNumbers": []}, "phoneNumbers"),
        (TEXT | {"phoneNumbers": ["+213661000001"] * 2}, "phone numbers must be unique"),
        (TEXT | {"phoneNumbers": ["+213661000001", "0661000001"]}, "phone numbers must be unique"),
        (TEXT | {"phoneNumbers": [f"+2136610{place:05}" for place in range(101)]}, "phoneNumbers"),
        (TEXT | {"phoneNumbers": ["+213661000001", "12"]}, "phoneNumbers[1]"),
        (TEXT | {"phoneNumbers": ["+213210000000"]}, "not a"),
        (TEXT | {"phoneNumbers": "+213661000001"}, "phoneNumbers"),
        (TEXT | {"recipient": "+213661000001"}, "recipient"),
        (TEXT | {"simNumber": 4}, "simNumber"),
        (TEXT | {"simNumber": "one"}, "simNumber"),
        (TEXT | {"priority": 128}, "priority"),
        (TEXT | {"id": "i" * 37}, "id"),
        (TEXT | {"deviceId": "d" * 22}, "deviceId"),
        (TEXT | {"deviceId": "d" * 21}, "no such device"),
        (TEXT | {"isEncrypted": True}, "no device"),
        (TEXT | {"ttl": 4}, "ttl"),
        (TEXT | {"ttl": 7.5}, "ttl"),
        (TEXT | {"ttl": 8 * 86400}, "604800 seconds"),
        (TEXT | {"ttl": 60, "validUntil": at(DAY)}, "either ttl or validUntil"),
        (TEXT | {"validUntil": at(-DAY)}, "validUntil"),
        (TEXT | {"validUntil": at(8 * DAY)}, "604800 seconds"),
        (TEXT | {"validUntil": "tomorrow"}, "validUntil"),
        (TEXT | {"scheduleAt": at(-DAY)}, "scheduleAt"),
        (TEXT | {"scheduleAt": at(2 * DAY), "validUntil": at(DAY)}, "scheduleAt"),
        (["not an object"], ""),
    ],
)
def test_400(shared: App, body: Any, words: str) -> None:
    """The field that is wrong is named; nothing is charged, whichever recipient it was."""
    balance = shared.balance
    given = body if isinstance(body, list) else {"phoneNumbers": [number()]} | body
    answer = shared.call("POST", "/messages", given)

    assert 400 == answer.status_code, answer.text
    assert ["message"] == list(answer.json())
    assert words in answer.json()["message"]
    assert balance == shared.balance


@pytest.mark.parametrize("query", [{"deviceActiveWithin": "-1"}, {"deviceActiveWithin": "x"}, {"skipPhoneValidation": "perhaps"}])
def test_400_of_the_query(shared: App, query: dict[str, str]) -> None:
    answer = shared.call("POST", "/messages", TEXT | {"phoneNumbers": [number()]}, params=query)

    assert 400 == answer.status_code
    assert next(iter(query)) in answer.json()["message"]


def test_other_refusals(stack: Stack, phones: dict[str, TestPhone]) -> None:
    """Of a country that no seed serves, of a wallet that holds too little for all, of a limit that all of them would break."""
    poor = App(stack, balance=9)
    limited = App(stack, limits={"daily": 1})

    assert 503 == poor.call("POST", "/messages", TEXT | {"phoneNumbers": ["+33612345678"]}).status_code
    assert 402 == poor.call("POST", "/messages", TEXT | {"phoneNumbers": [number(), number()]}).status_code
    assert 9 == poor.balance
    refused = limited.call("POST", "/messages", TEXT | {"phoneNumbers": [number(), number()]})
    assert 429 == refused.status_code
    assert 0 < int(refused.headers["retry-after"])
    assert 202 == limited.call("POST", "/messages", TEXT | {"phoneNumbers": [number()]}).status_code


# Once


def test_an_id_is_the_accounts_own(app: App, stack: Stack) -> None:
    body = TEXT | {"phoneNumbers": [number()], "id": "order 7/a"}
    first, again = app.call("POST", "/messages", body), app.call("POST", "/messages", body)

    assert (202, 409) == (first.status_code, again.status_code)
    assert {"message": "message with the same ID already exists"} == again.json()
    assert first.headers["location"].endswith("/order%207%2Fa")
    assert 202 == App(stack).call("POST", "/messages", body).status_code


def test_an_idempotency_key(app: App) -> None:
    """The same 202 for the same request, a 409 for another; also when ten come at once."""
    body = TEXT | {"phoneNumbers": [number(), number("60302")]}
    headers = {"Idempotency-Key": "k"}
    balance = app.balance

    async def at_once() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=app.stack.url, auth=app.auth, timeout=30) as http:
            return await asyncio.gather(*(http.post("/3rdparty/v1/messages", json=body, headers=headers) for _ in range(10)))

    answers = asyncio.run(at_once())
    later = app.call("POST", "/messages", body, headers=headers)
    other = app.call("POST", "/messages", body | {"ttl": 60}, headers=headers)

    assert {202, 503} >= {answer.status_code for answer in answers}
    assert {later.json()["id"]} == {answer.json()["id"] for answer in answers if answer.status_code == 202}
    assert (202, 409) == (later.status_code, other.status_code)
    assert balance - 2 * 5 == app.balance


# Scopes

ROUTES = {
    "messages:send": ("POST", "/messages"),
    "messages:list": ("GET", "/messages"),
    "messages:read": ("GET", "/messages/unknown"),
    "messages:cancel": ("DELETE", "/messages/unknown"),
}


@pytest.mark.parametrize("path", ["/messages", "/message"])
def test_scopes(shared: App, path: str) -> None:
    """Each route needs its own, and 403 comes before whatever else is wrong."""
    for scope, (method, route) in ROUTES.items():
        wrong = shared.token(*(other for other in ROUTES if other != scope))
        route = route.replace("/messages", path)
        refused = httpx.request(method, f"{shared.stack.url}/3rdparty/v1{route}", headers=wrong, timeout=30)
        allowed = httpx.request(method, f"{shared.stack.url}/3rdparty/v1{route}", headers=shared.token(scope), timeout=30)

        assert (403, {"message": f"scope required: {scope}"}) == (refused.status_code, refused.json())
        assert allowed.status_code in (200, 400, 404)
        assert 401 == httpx.request(method, f"{shared.stack.url}/3rdparty/v1{route}", timeout=30).status_code


# Reading and cancelling


def test_404(app: App, stack: Stack) -> None:
    """Unknown, and another account's: nobody can tell them apart."""
    theirs = App(stack).send()["id"]
    for message_id in ("unknown", theirs):
        for method in ("GET", "DELETE"):
            answer = app.call(method, f"/messages/{message_id}")
            assert (404, {"message": "message not found"}) == (answer.status_code, answer.json())


def test_the_way_of_a_message(app: App, phones: dict[str, TestPhone]) -> None:
    """Pending at the phone until the radio has it, Processed, Sent, Delivered; each with its time."""
    to = number()
    message_id = app.send(to)["id"]
    (message,) = take(phones["60301"], to)
    assert "Pending" == app.state(message_id)["state"]
    phones["60301"].report(message, "radio")
    assert "Processed" == app.state(message_id)["state"]
    phones["60301"].report(message, "sent")
    sent = app.state(message_id)
    assert ("Sent", True) == (sent["state"], sent["isHashed"])
    phones["60301"].report(message, "delivered")
    state = app.state(message_id)

    assert ("Delivered", [{"phoneNumber": to, "state": "Delivered"}]) == (state["state"], state["recipients"])
    assert ["Pending", "Processed", "Sent", "Delivered"] == sorted(times(state), key=times(state).__getitem__)
    assert 409 == app.call("DELETE", f"/messages/{message_id}").status_code


def test_failed_with_the_reason(app: App, phones: dict[str, TestPhone]) -> None:
    to = number()
    message_id = app.send(to)["id"]
    for _ in range(2):  # as many attempts as there are
        (message,) = take(phones["60301"], to)
        phones["60301"].report(message, "failed", error="no service")
    state = app.state(message_id)

    assert "Failed" == state["state"]
    assert [{"phoneNumber": to, "state": "Failed", "error": "no service"}] == state["recipients"]
    assert {"Pending", "Failed"} == set(state["states"])


def test_cancelled(app: App, phones: dict[str, TestPhone]) -> None:
    """What no phone has is cancelled at once; what one has, when it gave it up."""
    balance, to = app.balance, number()
    waiting = app.send(number(), scheduleAt=at(DAY))["id"]
    at_phone = app.send(to)["id"]
    (message,) = take(phones["60301"], to)
    cancelled = app.call("DELETE", f"/messages/{waiting}")
    cancelling = app.call("DELETE", f"/message/{at_phone}", prefix=PREFIXES[1])

    assert (200, "Cancelled") == (cancelled.status_code, cancelled.json()["state"])
    assert (200, "Cancelling") == (cancelling.status_code, cancelling.json()["state"])
    for message_id in (waiting, at_phone):
        again = app.call("DELETE", f"/messages/{message_id}")
        assert (409, {"message": "message is not pending"}) == (again.status_code, again.json())
    phones["60301"].report(message, "cancelled")
    assert "Cancelled" == app.state(at_phone)["state"]
    assert balance == app.balance


def test_scheduled(app: App, phones: dict[str, TestPhone]) -> None:
    """Not before its time."""
    to, begun = number(), time.time()
    message_id = app.send(to, scheduleAt=at(timedelta(seconds=2)))["id"]
    take(phones["60301"], to)

    # The contract's times have milliseconds
    assert begun + 1.99 < time.time()
    assert "Pending" == app.state(message_id)["state"]


# Lists


def test_list(app: App) -> None:
    """Newest first; `X-Total-Count` is of all of them; the content only where it was asked for."""
    made = [app.send(number(), id=f"m{place}", textMessage={"text": f"text {place}"})["id"] for place in range(5)]
    answer = app.call("GET", "/messages")
    page = app.call("GET", "/message", params={"limit": 2, "offset": 1, "sort": "created_at", "includeContent": "true"})

    assert (200, "application/json", "5") == (answer.status_code, answer.headers["content-type"], answer.headers["x-total-count"])
    assert made[::-1] == [message["id"] for message in answer.json()]
    assert not any("textMessage" in message for message in answer.json())
    assert ("5", made[1:3]) == (page.headers["x-total-count"], [message["id"] for message in page.json()])
    assert [{"text": "text 1"}, {"text": "text 2"}] == [message["textMessage"] for message in page.json()]
    assert made == [message["id"] for message in app.call("GET", "/messages?sort=+created_at").json()]


def test_list_of_data_messages(app: App) -> None:
    data = {"data": "AAAA", "port": 1234}
    app.call("POST", "/messages", {"dataMessage": data, "phoneNumbers": [number()]})
    (message,) = app.call("GET", "/messages", params={"includeContent": "true"}).json()

    assert data == message["dataMessage"]
    assert "textMessage" not in message


def test_list_filtered(app: App) -> None:
    """By time, both ends included; by state; by device."""
    made = []
    for place in range(3):
        made.append(app.send(number(), id=f"m{place}"))
        time.sleep(0.02)
    app.call("DELETE", "/messages/m0")

    def found(**query: str) -> list[str]:
        return [message["id"] for message in app.call("GET", "/messages", params=query).json()]

    assert ["m1"] == found(**{"from": made[1]["createdAt"], "to": made[1]["createdAt"]})
    assert ["m2", "m1"] == found(**{"from": made[1]["createdAt"]})
    assert ["m0"] == found(state="Cancelled")
    assert ["m2", "m1"] == found(state="Pending")
    assert [] == found(deviceId="d" * 21)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"offset": "-1"}, {"state": "Nowhere"}, {"sort": "state"}, {"from": "yesterday"},
        {"to": "2026-13-01T00:00:00Z"}, {"includeContent": "perhaps"},
    ],
)  # fmt: skip
def test_list_400(shared: App, query: dict[str, str]) -> None:
    answer = shared.call("GET", "/messages", params=query)

    assert 400 == answer.status_code
    assert next(iter(query)) in answer.json()["message"]


# The real client

SYNC: list[Callable[[], Any]] = [client_http.RequestsHttpClient, client_http.HttpxHttpClient]
ASYNC: list[Callable[[], Any]] = [ahttp.AiohttpAsyncHttpClient, ahttp.HttpxAsyncHttpClient]


def text_message(**fields: Any) -> domain.Message:
    return domain.Message(**{"phone_numbers": [number()], "text_message": domain.TextMessage("a text")} | fields)


@pytest.mark.parametrize("http", SYNC)
@pytest.mark.parametrize("with_token", [False, True])
def test_sync_client(app: App, http: Callable[[], Any], with_token: bool) -> None:
    """Sends, reads the state, lists, cancels: with Basic and with a token."""
    login, password = (None, app.token("all:any")["Authorization"][7:]) if with_token else (app.login, PASSWORD)
    with http() as session, APIClient(login, password, base_url=f"{app.stack.url}/3rdparty/v1", http=session) as client:
        sent = client.send(text_message(id="mine", valid_until=datetime.now(UTC) + DAY, priority=enums.MessagePriority.DEFAULT))
        data = client.send(text_message(text_message=None, data_message=domain.DataMessage.with_bytes(b"\0\1", 99), ttl=60))
        read = client.get_state("mine")
        listed = client.get_messages(
            query=domain.MessagesQueryFilter(from_=datetime.now(UTC) - DAY, to=datetime.now(UTC) + DAY, state="Pending"),
            pagination=domain.QueryPagination(limit=10, offset=0),
            sort="created_at",
        )
        client.cancel_message("mine")

        assert ("mine", enums.ProcessState.Pending) == (sent.id, sent.state)
        assert sent.recipients == read.recipients
        assert sent.created_at is not None
        assert abs(sent.created_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert ["mine", data.id] == [message.id for message in listed]
        assert enums.ProcessState.Cancelled == client.get_state("mine").state
        with pytest.raises(errors.NotFoundError):
            client.get_state("unknown")
        with pytest.raises(errors.BadRequestError, match="400"):
            client.send(text_message(phone_numbers=["12"]))
        assert "12" == client.send(text_message(phone_numbers=["12"]), skip_phone_validation=True).recipients[0].phone_number
        assert enums.ProcessState.Pending == client.send(text_message(), device_active_within=12).state


@pytest.mark.parametrize("http", ASYNC)
def test_async_client(app: App, http: Callable[[], Any]) -> None:
    async def story() -> tuple[Any, ...]:
        async with http() as session:
            client = AsyncAPIClient(app.login, PASSWORD, base_url=f"{app.stack.url}/api/3rdparty/v1", http_client=session)
            sent = await client.send(text_message(id="mine"))
            read = await client.get_state("mine")
            listed = await client.get_messages()
            await client.cancel_message("mine")
            return sent, read, listed, await client.get_state("mine")

    sent, read, listed, cancelled = asyncio.run(story())

    assert sent.recipients == read.recipients
    assert ["mine"] == [message.id for message in listed]
    assert enums.ProcessState.Cancelled == cancelled.state


def test_client_with_a_passphrase(app: App) -> None:
    """Ciphertexts are kept as they are: the client that has the passphrase reads its numbers again. They wait for the account's phone."""
    to = number()
    encryptor = AESEncryptor("a passphrase", iterations=1000)
    with APIClient(app.login, PASSWORD, base_url=f"{app.stack.url}/3rdparty/v1", encryptor=encryptor) as client:
        with pytest.raises(errors.BadRequestError):
            client.send(text_message(phone_numbers=[to]))
        device = app.call("POST", "/device", {"name": "phone", "simCards": []}, prefix="/mobile/v1").json()
        sent = client.send(text_message(phone_numbers=[to], id="mine"))
        asked_for = client.send(text_message(phone_numbers=[to], device_id=device["id"]))
        read = client.get_state("mine")

    assert [to] == [recipient.phone_number for recipient in sent.recipients] == [recipient.phone_number for recipient in read.recipients]
    assert device["id"] == asked_for.device_id
    raw = app.state("mine")
    assert raw["isEncrypted"]
    assert raw["recipients"][0]["phoneNumber"].startswith("$aes-256-cbc/")


# A hundred


def test_a_hundred_recipients_over_three_carriers(app: App, phones: dict[str, TestPhone]) -> None:
    """Each goes to its own carrier's phone; its state is its own, and the sum is as the contract has it."""
    by_carrier = {carrier: [number(carrier) for _ in range(count)] for carrier, count in zip(CARRIERS, (34, 33, 33), strict=True)}
    everyone = [to for group in zip(*by_carrier.values(), strict=False) for to in group] + by_carrier["60301"][33:]
    balance = app.balance
    message_id = app.send(*everyone)["id"]
    assert balance - 500 == app.balance
    held: dict[str, tuple[TestPhone, dict[str, Any]]] = {}
    for carrier, to in by_carrier.items():
        held |= {message["to"]: (phones[carrier], message) for message in take(phones[carrier], *to)}

    def report(word: str, *recipients: str, error: str | None = None) -> dict[str, Any]:
        for to in recipients:
            phone, message = held[to]
            assert 1 == phone.report(message, word, error)["accepted"]
        return app.state(message_id)

    def count(state: dict[str, Any]) -> dict[str, int]:
        states = [recipient["state"] for recipient in state["recipients"]]
        return {each: states.count(each) for each in sorted(set(states))}

    assert 100 == len(held)
    assert ("Pending", {"Pending": 100}) == ((state := app.state(message_id))["state"], count(state))
    state = report("radio", *everyone[:99])
    assert ("Pending", {"Pending": 1, "Processed": 99}) == (state["state"], count(state))
    state = report("radio", everyone[99])
    assert ("Processed", {"Processed": 100}) == (state["state"], count(state))
    state = report("sent", *everyone)
    assert ("Sent", {"Sent": 100}) == (state["state"], count(state))
    state = report("delivered", *everyone[:99])
    assert ("Sent", {"Delivered": 99, "Sent": 1}) == (state["state"], count(state))
    state = report("delivered", everyone[99])
    assert ("Delivered", {"Delivered": 100}) == (state["state"], count(state))
    assert everyone == [recipient["phoneNumber"] for recipient in state["recipients"]]
    assert ["Pending", "Processed", "Sent", "Delivered"] == sorted(times(state), key=times(state).__getitem__)
    told = "".join(app.stack.log(role) for role in ("api", "dispatcher", "timekeeper"))
    assert state["id"] == message_id
    assert "a text" not in told
    assert not any(to in told for to in everyone)
