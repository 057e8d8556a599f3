"""PyPI's android-sms-gateway, unchanged, against the running router and phones of the app: all its ways to connect, all its calls."""

import asyncio
import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from android_sms_gateway import ahttp, domain, enums, errors, http
from android_sms_gateway.client import APIClient, AsyncAPIClient
from android_sms_gateway.encryption import AESEncryptor
from android_sms_gateway.enums import ProcessState

from tests.app import App
from tests.conformance.conftest import Start
from tests.conformance.smsgate import PASSWORD, UNSERVED, Login, basic, new_login, number, phone, take
from tests.stack import Stack, wait_for

KINDS = {
    "requests": http.RequestsHttpClient,
    "httpx": http.HttpxHttpClient,
    "aiohttp": ahttp.AiohttpAsyncHttpClient,
    "async-httpx": ahttp.HttpxAsyncHttpClient,
}
PREFIXES = {"Basic": "/3rdparty/v1", "JWT": "/api/3rdparty/v1"}
"""So each way to connect has been on both."""
DAY = timedelta(days=1)
_ids = itertools.count(1)


class Sdk:
    """The real client. What its asynchronous twin does is waited for, so that a test is written once for both."""

    def __init__(self, kind: str, url: str, login: str | None, password: str, **options: Any) -> None:
        self.is_async = kind in ("aiohttp", "async-httpx")
        self._kind = kind
        self._open = ExitStack()
        if self.is_async:
            self._runner = self._open.enter_context(asyncio.Runner())
            session = KINDS[kind]()
            self._run(session.__aenter__)
            self._open.callback(lambda: self._run(session.__aexit__, None, None, None))
            self.client: Any = AsyncAPIClient(login, password, base_url=url, http_client=session, **options)
        else:
            session = self._open.enter_context(KINDS[kind]())
            self.client = APIClient(login, password, base_url=url, http=session, **options)

    def _run(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        async def run() -> Any:
            return await function(*args, **options)

        return self._runner.run(run())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.client, name)
        return (lambda *args, **options: self._run(method, *args, **options)) if self.is_async else method

    def refresh(self, refresh_token: str) -> domain.TokenResponse:
        """4.3.3's asynchronous client leaves out an argument that its own HTTP clients want: no server ever hears of its refresh."""
        if not self.is_async:
            return self.client.refresh_token(refresh_token)
        with pytest.raises(TypeError, match="payload"):
            self._run(self.client.refresh_token, refresh_token)
        session = self.client.http

        class Forgiving:
            """An application's own HTTP client, as its protocol allows."""

            async def post(self, url: str, payload: Any = None, *, headers: Any = None) -> Any:
                return await session.post(url, payload, headers=headers)

        self.client.http = Forgiving()
        try:
            return self._run(self.client.refresh_token, refresh_token)
        finally:
            self.client.http = session

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router of this module's own, where nothing moves to another phone while a test looks at it."""
    with start(SEEDROUTER_PACE_SECONDS="0.05", SEEDROUTER_LEASE_SECONDS="30", SEEDROUTER_RADIO_SECONDS="60") as stack:
        yield stack


@pytest.fixture(scope="module")
def login(stack: Stack) -> Login:
    return new_login(stack)


@pytest.fixture(scope="module")
def app(stack: Stack, login: Login) -> Iterator[App]:
    """The account's own phone, the only one of the module that is always there."""
    with phone(stack, login) as app:
        yield app


@pytest.fixture(scope="module", params=[f"{kind} {auth}" for kind in KINDS for auth in PREFIXES])
def sdk(request: pytest.FixtureRequest, stack: Stack, login: Login, app: App) -> Iterator[Sdk]:
    """Over requests, httpx, aiohttp and httpx again; with login and password, and with a token made with them."""
    kind, auth = request.param.split()
    made = connect(kind, auth, stack, login)
    yield made
    made.close()


def connect(kind: str, auth: str, stack: Stack, login: Login, *scopes: str, **options: Any) -> Sdk:
    url = stack.url + PREFIXES[auth]
    by_password = Sdk(kind, url, *login, **options)
    if auth == "Basic":
        return by_password
    token = by_password.generate_token(domain.TokenRequest(list(scopes or ["all:any"]), 600))
    by_password.close()
    return Sdk(kind, url, None, token.access_token, **options)


def text(*to: str, **fields: Any) -> domain.Message:
    return domain.Message(phone_numbers=list(to) or [number()], text_message=domain.TextMessage("Your code is 1234"), **fields)


def new_id() -> str:
    return f"order-{next(_ids)}"


def states(state: domain.MessageState) -> list[str]:
    """In the order of their times."""
    assert state.states is not None
    times = {name: datetime.fromisoformat(at) for name, at in state.states.items()}
    assert all(at.tzinfo is not None for at in times.values())
    return sorted(times, key=times.__getitem__)


# Messages


def test_sent_and_delivered(sdk: Sdk, app: App) -> None:
    """From Pending by the phone's own reports to Delivered; the phone was given what the client wrote."""
    to = number()
    sent = sdk.send(text(to, sim_number=1, ttl=600, priority=enums.MessagePriority.DEFAULT))
    message = take(app, to)
    told = [sdk.get_state(sent.id)]
    for state in ("Processed", "Sent", "Delivered"):
        app.report(message, state)
        told.append(sdk.get_state(sent.id))

    assert (ProcessState.Pending, None, False) == (sent.state, sent.device_id, sent.is_encrypted)
    assert [to] == [recipient.phone_number for recipient in sent.recipients]
    assert sent.created_at is not None
    assert abs(datetime.now(UTC) - sent.created_at) < timedelta(minutes=2)
    assert ("Your code is 1234", 1, True) == (message["textMessage"]["text"], message["simNumber"], message["withDeliveryReport"])
    assert ["Pending", "Processed", "Sent", "Delivered"] == [state.state.value for state in told]
    assert [ProcessState.Delivered] == [recipient.state for recipient in told[-1].recipients]
    assert ["Pending", "Processed", "Sent", "Delivered"] == states(told[-1])
    assert {app.id} == {state.device_id for state in told}
    assert told[-1].is_hashed


def test_failed(sdk: Sdk, app: App) -> None:
    """With the phone's own words, after as many attempts as there are."""
    to = number()
    sent = sdk.send(text(to))
    for _ in range(2):
        app.report(take(app, to), "Failed", "RESULT_ERROR_NO_SERVICE")
    state = sdk.get_state(sent.id)

    assert (ProcessState.Failed, "RESULT_ERROR_NO_SERVICE") == (state.state, state.recipients[0].error)
    assert ["Pending", "Failed"] == states(state)


def test_data_message(sdk: Sdk, app: App) -> None:
    """The phone is given the bytes and the port."""
    to = number()
    data = domain.DataMessage.with_bytes(b"\0\1\2", 53739)
    sent = sdk.send(domain.Message(phone_numbers=[to], data_message=data, with_delivery_report=False))
    message = take(app, to)
    app.report(message, "Sent")

    assert ({"data": "AAEC", "port": 53739}, False) == (message["dataMessage"], message["withDeliveryReport"])
    assert ProcessState.Sent == sdk.get_state(sent.id).state


def test_to_one_device(sdk: Sdk, app: App) -> None:
    """`device_id` with `device_active_within`, and a number that is none."""
    sent = sdk.send(text("12", device_id=app.id), skip_phone_validation=True, device_active_within=12)
    app.report(take(app, "12"), "Sent")

    assert app.id == sent.device_id
    assert ("12", ProcessState.Sent) == ((found := sdk.get_state(sent.id)).recipients[0].phone_number, found.state)


def test_cancelled(sdk: Sdk, app: App) -> None:
    """At once where no phone has it; where one has, when it gave it up. What is over cannot be cancelled."""
    waiting, to = sdk.send(text(number("Ooredoo"))), number()
    at_phone = sdk.send(text(to))
    message = take(app, to)
    sdk.cancel_message(waiting.id)
    sdk.cancel_message(at_phone.id)
    cancelling = sdk.get_state(at_phone.id).state
    wait_for(lambda: {"messageId": message["id"]} in app.heard("MessageCancelled"), "the event")
    app.report(message, "Cancelled")

    assert ProcessState.Cancelled == sdk.get_state(waiting.id).state
    assert (ProcessState.Cancelling, ProcessState.Cancelled) == (cancelling, sdk.get_state(at_phone.id).state)
    # Deleting is the one call whose errors requests itself raises
    with pytest.raises((errors.APIError, requests.HTTPError), match="409"):
        sdk.cancel_message(waiting.id)
    with pytest.raises((errors.NotFoundError, requests.HTTPError), match="404"):
        sdk.cancel_message("unknown")


def test_list(sdk: Sdk, app: App) -> None:
    """By time, state and device; in pages; both ways round."""
    begun = datetime.now(UTC)
    time.sleep(0.01)
    to = number()
    made = [sdk.send(text(number("Ooredoo"))) for _ in range(3)] + [sdk.send(text(to))]
    ids = [message.id for message in made]
    app.report(take(app, to), "Sent")

    def found(limit: int = 10, offset: int = 0, sort: Any = None, **query: Any) -> list[str]:
        listed = sdk.get_messages(
            query=domain.MessagesQueryFilter(**{"from_": begun} | query),
            pagination=domain.QueryPagination(limit=limit, offset=offset),
            sort=sort,
        )
        return [message.id for message in listed]

    assert ids[::-1] == found() == found(sort="-created_at")
    assert ids == found(sort="created_at")
    assert ids[1:3] == found(2, 1, "created_at")
    assert ids[:3] == found(state="Pending", sort="created_at")
    assert ids[3:] == found(state="Sent") == found(device_id=app.id)
    assert [] == found(device_id="d" * 21)
    assert ids[:2] == found(to=made[1].created_at, sort="created_at")
    assert [] == found(from_=begun - DAY, to=begun - DAY / 2)
    assert ids[-1] == sdk.get_messages()[0].id
    for message_id in ids[:3]:
        sdk.cancel_message(message_id)
    with pytest.raises(errors.BadRequestError):
        found(limit=101)
    with pytest.raises(errors.BadRequestError):
        found(state="Nowhere")


def test_once(sdk: Sdk, app: App) -> None:
    """The client's own id is good once; a request repeated with an Idempotency-Key is the first one; the phone is given each once."""
    mine, to, other = new_id(), number(), number()
    first = sdk.send(text(to, id=mine))
    with pytest.raises(errors.APIError, match="409") as caught:
        sdk.send(text(to, id=mine))
    sdk.client.headers["Idempotency-Key"] = mine
    try:
        once, again = sdk.send(text(other)), sdk.send(text(other))
    finally:
        del sdk.client.headers["Idempotency-Key"]
    taken = [take(app, to), take(app, other)]
    given = [message for message in app.pull() if message["phoneNumbers"][0] in (to, other)]
    for message in taken:
        app.report(message, "Sent")

    assert (mine, 409) == (first.id, caught.value.status_code)
    assert {"message": "message with the same ID already exists"} == caught.value.response
    assert once.id == again.id
    assert 2 == len(given)


def test_validity(sdk: Sdk) -> None:
    """`valid_until`, with a zone and without one, as the client writes it."""
    with_zone = sdk.send(text(number("Ooredoo"), valid_until=datetime.now(UTC) + DAY))
    without = sdk.send(text(number("Ooredoo"), valid_until=datetime.now(UTC).replace(tzinfo=None) + DAY))

    for sent in (with_zone, without):
        assert ProcessState.Pending == sdk.get_state(sent.id).state
        sdk.cancel_message(sent.id)
    with pytest.raises(errors.BadRequestError, match="400") as caught:
        sdk.send(text(valid_until=datetime.now(UTC) - DAY))
    assert "validUntil" in caught.value.response["message"]


def test_content_type_with_a_charset(sdk: Sdk) -> None:
    """As other HTTP libraries write it."""
    plain = sdk.client.headers["Content-Type"]
    sdk.client.headers["Content-Type"] = "application/json; charset=utf-8"
    try:
        sent = sdk.send(domain.Message(phone_numbers=[number("Ooredoo")], text_message=domain.TextMessage("Çà et là")))
    finally:
        sdk.client.headers["Content-Type"] = plain

    assert ProcessState.Pending == sent.state
    sdk.cancel_message(sent.id)


# Errors


def test_errors(sdk: Sdk) -> None:
    """Each status is the client's own class for it, with our text."""
    with pytest.raises(errors.BadRequestError) as caught:
        sdk.send(text("12"))
    assert "phoneNumbers" in caught.value.response["message"]
    with pytest.raises(errors.BadRequestError, match="400"):
        sdk.send(text(device_id="d" * 21))
    with pytest.raises(errors.NotFoundError) as caught:
        sdk.get_state("unknown")
    assert {"message": "message not found"} == caught.value.response
    with pytest.raises(errors.ServiceUnavailableError) as caught:
        sdk.send(text(UNSERVED))
    assert (503, ["message"]) == (caught.value.status_code, list(caught.value.response))
    for call in (sdk.list_inbox_messages, sdk.get_logs):
        with pytest.raises(errors.APIError) as caught:
            call()
        assert 501 == caught.value.status_code
    with pytest.raises(errors.NotFoundError):
        sdk.download_attachment("unknown", 1)


@pytest.mark.parametrize("kind", KINDS)
def test_refused_credentials(kind: str, stack: Stack, login: Login) -> None:
    """A wrong password and a token that is none are Unauthorized; a token without the scope is Forbidden."""
    reads = connect(kind, "JWT", stack, login, "messages:read", "messages:list")
    for name, password in ((login[0], "wrong"), ("nobody", PASSWORD), (None, "no.token.atall")):
        stranger = Sdk(kind, f"{stack.url}/3rdparty/v1", name, password)
        with pytest.raises(errors.UnauthorizedError) as caught:
            stranger.get_messages()
        assert {"message": "Unauthorized"} == caught.value.response
        stranger.close()
    assert isinstance(reads.get_messages(pagination=domain.QueryPagination(limit=1)), list)
    with pytest.raises(errors.ForbiddenError) as caught:
        reads.send(text())
    assert {"message": "scope required: messages:send"} == caught.value.response
    reads.close()


# Tokens


def test_tokens(sdk: Sdk, stack: Stack) -> None:
    """Made, used, refreshed, revoked; a refresh token that is shown twice ends all that came of it."""
    kind = sdk._kind

    def may_read(token: str) -> bool:
        client = Sdk(kind, f"{stack.url}/3rdparty/v1", None, token)
        try:
            client.get_messages(pagination=domain.QueryPagination(limit=1))
        except errors.UnauthorizedError:
            return False
        finally:
            client.close()
        return True

    made = sdk.generate_token(domain.TokenRequest(["messages:list", "messages:read"], 300))
    lives = datetime.fromisoformat(made.expires_at) - datetime.now(UTC)
    assert ("Bearer", 3) == (made.token_type, len(made.access_token.split(".")))
    assert timedelta(seconds=200) < lives <= timedelta(seconds=301)
    assert may_read(made.access_token)
    assert made.refresh_token is not None

    refreshed = sdk.refresh(made.refresh_token)
    assert refreshed.id != made.id
    assert may_read(refreshed.access_token)
    assert refreshed.refresh_token is not None
    with pytest.raises(errors.UnauthorizedError):
        sdk.refresh(made.refresh_token)
    assert not may_read(refreshed.access_token)

    other = sdk.generate_token(domain.TokenRequest(["messages:list"]))
    assert may_read(other.access_token)
    sdk.revoke_token(other.id)
    assert not may_read(other.access_token)
    assert other.refresh_token is not None
    with pytest.raises(errors.UnauthorizedError):
        sdk.refresh(other.refresh_token)
    sdk.revoke_token("unknown")
    for scopes in ([], ["messages:fly"]):
        with pytest.raises(errors.BadRequestError):
            sdk.generate_token(domain.TokenRequest(scopes))


# Devices, webhooks, settings, health, inbox


def test_devices(sdk: Sdk, stack: Stack, login: Login, app: App) -> None:
    """The account's own phones, each with its times; a removed one hears 401."""
    another = App(stack, auth=basic(login))
    listed = sdk.list_devices()
    sdk.remove_device(another.id)

    assert [app.id, another.id] == [device.id for device in listed]
    assert "test phone" == listed[0].name
    for device in listed:
        for at in (device.created_at, device.updated_at, device.last_seen):
            assert at is not None
            assert at.tzinfo is not None
    assert [app.id] == [device.id for device in sdk.list_devices()]
    assert 401 == another.http.get("/message").status_code
    another.close()


def test_webhooks(sdk: Sdk) -> None:
    """Created with an id and without one, replaced by id, listed, deleted."""
    mine = new_id()
    created = sdk.create_webhook(domain.Webhook(mine, "https://example.com/hook", enums.WebhookEvent.SMS_SENT))
    unnamed = sdk.create_webhook(domain.Webhook(None, "https://example.com/hook", enums.WebhookEvent.MMS_BATCH_DOWNLOADED, "d" * 21))
    replaced = sdk.create_webhook(domain.Webhook(mine, "https://example.org/hook", enums.WebhookEvent.SMS_FAILED))
    listed = sdk.get_webhooks()
    for webhook in listed:
        sdk.delete_webhook(webhook.id)

    assert domain.Webhook(mine, "https://example.com/hook", enums.WebhookEvent.SMS_SENT) == created
    assert 21 == len(unnamed.id)
    assert "d" * 21 == unnamed.device_id
    assert {replaced, unnamed} == set(listed)
    assert [] == sdk.get_webhooks()
    sdk.delete_webhook(mine)
    with pytest.raises(errors.BadRequestError):
        sdk.create_webhook(domain.Webhook(None, "not_a_url", enums.WebhookEvent.SMS_SENT))


def test_settings(sdk: Sdk, app: App) -> None:
    """Read, replaced, changed; the phone hears that they are others, and reads them."""
    heard = len(app.heard("SettingsUpdated"))
    messages = domain.SettingsMessages(
        limit_period=enums.LimitPeriod.PER_DAY, limit_value=200, sim_selection_mode=enums.SimSelectionMode.ROUND_ROBIN,
        processing_order=enums.MessagesProcessingOrder.LIFO, send_interval_min=1, send_interval_max=next(_ids) + 10,
    )  # fmt: skip
    webhooks = domain.SettingsWebhooks(signing_key="a key of the client's own", retry_count=5)
    before = sdk.get_settings()
    sdk.update_settings(domain.DeviceSettings(messages=messages, webhooks=webhooks, encryption=domain.SettingsEncryption("secret")))
    replaced = sdk.get_settings()
    sdk.patch_settings(domain.DeviceSettings(messages=domain.SettingsMessages(limit_value=100), ping=domain.SettingsPing(30)))
    patched = sdk.get_settings()
    wait_for(lambda: len(app.heard("SettingsUpdated")) > heard, "the news")
    given = app.http.get("/settings").json()

    assert ("SSE_ONLY", True) == (before.gateway.notification_channel, before.ping.interval_seconds > 0)
    assert messages == replaced.messages
    assert webhooks == replaced.webhooks
    assert None is replaced.encryption
    assert (100, enums.LimitPeriod.PER_DAY) == (patched.messages.limit_value, patched.messages.limit_period)
    assert 30 == patched.ping.interval_seconds
    assert ("secret", 100) == (given["encryption"]["passphrase"], given["messages"]["limit_value"])
    with pytest.raises(errors.BadRequestError):
        sdk.patch_settings(domain.DeviceSettings(messages=domain.SettingsMessages(limit_value=0)))


def test_health(sdk: Sdk) -> None:
    """All four probes, for everybody."""
    for probe in (sdk.health_check, sdk.liveness_check, sdk.readiness_check, sdk.startup_check):
        answer = probe()
        assert enums.HealthStatus.PASS == answer.status
        assert answer.version
    checks = sdk.health_check().checks
    assert {"process", "store", "queue"} == set(checks)
    assert {enums.HealthStatus.PASS} == {check.status for check in checks.values()}


def test_inbox(sdk: Sdk, app: App) -> None:
    """The account's phones are asked for what they have received, by the new call and by the old one."""
    since, until = datetime.now(UTC) - DAY, datetime.now(UTC)
    heard = len(app.heard("MessagesExportRequested"))
    request = domain.InboxRefreshRequest(since, until, None, ["SMS", "MMS"], enums.WebhookDelivery.BATCH)
    answers = [sdk.refresh_inbox(request)]
    wait_for(lambda: len(app.heard("MessagesExportRequested")) == heard + 1, "the first event")
    answers.append(sdk.export_inbox(domain.MessagesExportRequest(app.id, since, until)))
    wait_for(lambda: len(app.heard("MessagesExportRequested")) == heard + 2, "the second event")
    refreshed, exported = app.heard("MessagesExportRequested")[heard:]

    assert [{}, {}] == answers
    assert ("SMS,MMS", "Batch") == (refreshed["messageTypes"], refreshed["webhookDelivery"])
    for told in (refreshed, exported):
        assert abs(datetime.fromisoformat(told["since"]) - since) < timedelta(milliseconds=2)
    with pytest.raises(errors.BadRequestError):
        sdk.export_inbox(domain.MessagesExportRequest("d" * 21, since, until))


@pytest.mark.parametrize("kind", KINDS)
def test_encrypted(kind: str, stack: Stack, login: Login, app: App) -> None:
    """Only the client and the phone, which share a passphrase, can read number and text; the router routes to the account's phone."""
    encryptor = AESEncryptor("a passphrase", iterations=1000)
    sdk = connect(kind, "Basic", stack, login, encryptor=encryptor)
    to = number()
    sent = sdk.send(text(to))

    def found() -> dict[str, Any] | None:
        return next((message for message in app.pull() if message.get("isEncrypted")), None)

    message = wait_for(found, "the ciphertext at the phone")
    app.report(message, "Delivered")
    state = sdk.get_state(sent.id)
    sdk.close()

    assert (to, "Your code is 1234") == (
        encryptor.decrypt(message["phoneNumbers"][0]),
        encryptor.decrypt(message["textMessage"]["text"]),
    )
    assert (to, ProcessState.Delivered) == (state.recipients[0].phone_number, state.state)
