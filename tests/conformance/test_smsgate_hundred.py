"""A message to a hundred recipients over three carriers: by the real client, over phones of the app, told to a real receiver."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime
from typing import Any

import pytest
from android_sms_gateway import domain, enums
from android_sms_gateway.client import APIClient

from tests.app import App
from tests.conformance.conftest import Start
from tests.conformance.smsgate import CARRIERS, Login, new_login, number, phone
from tests.receiver import Receiver, Told, receiver
from tests.stack import Stack, wait_for

TEXT = "A text that nobody but phones may see"
EVENTS = {"sms:sent": "sentAt", "sms:delivered": "deliveredAt", "sms:failed": "failedAt"}
SHARES = {"Mobilis": 40, "Djezzy": 30, "Ooredoo": 30}
NO_SERVICE = "RESULT_ERROR_NO_SERVICE"


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router that may tell this machine, where nothing moves while a test looks at it, and no phone is punished for its failures."""
    with start(
        SEEDROUTER_WEBHOOK_ALLOW_PRIVATE="true", SEEDROUTER_PACE_SECONDS="0.05", SEEDROUTER_LEASE_SECONDS="60",
        SEEDROUTER_RETRY_SEED_SECONDS="3",
        SEEDROUTER_RADIO_SECONDS="120", SEEDROUTER_BREAKER_FAILURES="1000",
    ) as stack:  # fmt: skip
        yield stack


@pytest.fixture(scope="module")
def login(stack: Stack) -> Login:
    return new_login(stack)


@pytest.fixture(scope="module")
def phones(stack: Stack, login: Login) -> Iterator[dict[str, list[App]]]:
    """Two of Mobilis, one of the other two each, shared by all accounts."""
    with ExitStack() as online:
        yield {
            carrier: [online.enter_context(phone(stack, login, carrier, shared=True)) for _ in range(2 if carrier == "Mobilis" else 1)]
            for carrier in CARRIERS
        }


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def client(stack: Stack, login: Login, there: Receiver) -> Iterator[APIClient]:
    """With a webhook for each event."""
    with APIClient(*login, base_url=f"{stack.url}/3rdparty/v1") as client:
        for event in EVENTS:
            client.create_webhook(domain.Webhook(event.replace(":", "-"), f"{there.url}/{event}", enums.WebhookEvent(event)))
        yield client


class Submission:
    """One that was sent, and what phones have of it: by recipient the phone, and the message as it was given to it."""

    def __init__(self, client: APIClient, phones: dict[str, list[App]], recipients: Iterable[str]) -> None:
        self.client = client
        self.apps = [app for apps in phones.values() for app in apps]
        self.recipients = list(recipients)
        self.held: dict[str, tuple[App, dict[str, Any]]] = {}
        self.given: list[tuple[str, str]] = []
        """Phone and id of all that was ever given out."""
        self.id = client.send(domain.Message(phone_numbers=self.recipients, text_message=domain.TextMessage(TEXT))).id

    def pull(self, *recipients: str) -> None:
        """Until the phones have been given a new message for each of these."""
        wanted = set(recipients)

        def has_all() -> bool:
            for app in self.apps:
                for message in app.pull():
                    (to,) = message["phoneNumbers"]
                    if (app.id, message["id"]) not in self.given:
                        assert TEXT == message["textMessage"]["text"]
                        self.given.append((app.id, message["id"]))
                        self.held[to] = (app, message)
                        wanted.discard(to)
            return not wanted

        wait_for(has_all, f"messages to {len(recipients)} numbers", 60)

    def report(self, state: str, recipients: Iterable[str], error: str | None = None) -> None:
        for to in recipients:
            app, message = self.held[to]
            app.report(message, state, error)

    def look(self) -> tuple[str, dict[str, int]]:
        """The sum, and how many recipients are in each state."""
        state = self.client.get_state(self.id)
        assert self.recipients == [recipient.phone_number for recipient in state.recipients]
        return state.state.value, dict(Counter(recipient.state.value for recipient in state.recipients))


def told_of(there: Receiver, submission: Submission) -> list[Told]:
    with there.lock:
        return [told for told in there.told if told.event["payload"]["messageId"] == submission.id]


def test_a_hundred(client: APIClient, phones: dict[str, list[App]], there: Receiver, stack: Stack) -> None:
    """Each goes over its carrier; states of each and in sum at every stage; a webhook for each recipient and event, once, signed."""
    by_carrier = {carrier: [number(carrier) for _ in range(share)] for carrier, share in SHARES.items()}
    everyone = [to for numbers in by_carrier.values() for to in numbers]
    # As an application would have them, in no order of carriers
    sent = Submission(client, phones, everyone[::3] + everyone[1::3] + everyone[2::3])
    failing = [to for numbers in by_carrier.values() for to in numbers[:4]]
    moving, failed, good = failing[0], failing[1:], [to for to in everyone if to not in failing[1:]]
    # Accepted: no phone has said a word
    assert ("Pending", {"Pending": 100}) == sent.look()

    sent.pull(*everyone)
    for carrier, numbers in by_carrier.items():
        ids = {app.id for app in phones[carrier]}
        assert ids == {sent.held[to][0].id for to in numbers}
    # Given to phones: a pull is no receipt
    assert ("Pending", {"Pending": 100}) == sent.look()

    last = good[-1]
    sent.report("Processed", [to for to in everyone if to != last])
    assert ("Pending", {"Processed": 99, "Pending": 1}) == sent.look()
    sent.report("Processed", [last])
    assert ("Processed", {"Processed": 100}) == sent.look()

    # One phone after the other refuses: another attempt, hence Pending again
    first = {to: sent.held[to] for to in failing}
    sent.report("Failed", failing, NO_SERVICE)
    assert ("Pending", {"Processed": 88, "Pending": 12}) == sent.look()
    sent.pull(*failing)
    assert first[moving][1]["id"] != sent.held[moving][1]["id"]
    assert first[moving][0].id != sent.held[moving][0].id
    sent.report("Failed", failed, NO_SERVICE)
    assert ("Pending", {"Processed": 88, "Pending": 1, "Failed": 11}) == sent.look()
    sent.report("Processed", [moving])
    assert ("Processed", {"Processed": 89, "Failed": 11}) == sent.look()

    sent.report("Sent", good[:-1])
    assert ("Processed", {"Sent": 88, "Processed": 1, "Failed": 11}) == sent.look()
    sent.report("Sent", [last])
    assert ("Sent", {"Sent": 89, "Failed": 11}) == sent.look()
    sent.report("Delivered", good[:40])
    assert ("Sent", {"Delivered": 40, "Sent": 49, "Failed": 11}) == sent.look()
    # Twice, late, and in the wrong order: nothing changes
    sent.report("Processed", good[30:50])
    sent.report("Sent", good[:20])
    sent.report("Delivered", good[:20])
    sent.report("Failed", good[:3] + failed, "told late")
    assert ("Sent", {"Delivered": 40, "Sent": 49, "Failed": 11}) == sent.look()
    sent.report("Delivered", good[40:])
    assert ("Sent", {"Delivered": 89, "Failed": 11}) == sent.look()

    check_states(client, sent, good)
    check_webhooks(client, sent, there, good, failed)
    assert 112 == len(sent.given)
    logs = "".join(stack.log(role) for role in ("api", "dispatcher", "timekeeper", "courier"))
    assert TEXT not in logs
    assert not any(to in logs for to in everyone)


def check_states(client: APIClient, sent: Submission, good: list[str]) -> None:
    """Reasons, times, and the same in the list."""
    state = client.get_state(sent.id)
    reasons = {recipient.error for recipient in state.recipients if recipient.state is enums.ProcessState.Failed}
    assert {NO_SERVICE} == reasons
    assert not any(recipient.error for recipient in state.recipients if recipient.phone_number in good)
    assert state.states is not None
    times = {name: datetime.fromisoformat(at) for name, at in state.states.items()}
    assert ["Pending", "Processed", "Sent"] == sorted(times, key=times.__getitem__)
    assert state == next(listed for listed in client.get_messages() if listed.id == sent.id)


def check_webhooks(client: APIClient, sent: Submission, there: Receiver, good: list[str], failed: list[str]) -> None:
    """One for each recipient and event, of the phone that had it, signed with the key that the client reads from its settings."""
    expected = {(event, to) for event in ("sms:sent", "sms:delivered") for to in good} | {("sms:failed", to) for to in failed}
    wait_for(lambda: len(told_of(there, sent)) >= len(expected), f"{len(expected)} webhooks", 60)
    time.sleep(1.5)  # Whatever is told twice would be told now
    told = told_of(there, sent)
    settings = client.get_settings()
    assert settings.webhooks is not None
    assert settings.webhooks.signing_key is not None
    key = settings.webhooks.signing_key

    assert expected == {(one.event["event"], one.event["payload"]["recipient"]) for one in told}
    assert len(expected) == len(told) == len({one.event["id"] for one in told})
    assert all(one.is_signed_by(key) for one in told)
    assert not any(one.is_signed_by(key[:-1]) for one in told)
    assert not any(TEXT.encode() in one.body for one in told)
    for one in told:
        event, payload = one.event, one.event["payload"]
        app, _ = sent.held[payload["recipient"]]
        assert (f"/{event['event']}", event["event"].replace(":", "-")) == (one.path, event["webhookId"])
        assert (app.id, 1, payload["recipient"]) == (event["deviceId"], payload["simNumber"], payload["phoneNumber"])
        assert datetime.fromisoformat(payload[EVENTS[event["event"]]]).tzinfo is not None
        if event["event"] == "sms:failed":
            assert NO_SERVICE == payload["reason"]


@pytest.mark.parametrize(("word", "error"), [("Delivered", None), ("Failed", NO_SERVICE)])
def test_unanimous(client: APIClient, phones: dict[str, list[App]], there: Receiver, word: str, error: str | None) -> None:
    """All delivered is Delivered, all failed is Failed."""
    everyone = [number(carrier) for carrier in CARRIERS]
    sent = Submission(client, phones, everyone)
    for attempt in range(2 if error else 1):
        assert ("Pending", {"Pending": 3}) == sent.look(), attempt
        sent.pull(*everyone)
        sent.report(word, everyone, error)

    assert (word, {word: 3}) == sent.look()
    events = ["sms:failed"] * 3 if error else ["sms:delivered"] * 3 + ["sms:sent"] * 3
    wait_for(lambda: len(told_of(there, sent)) >= len(events), "the webhooks")
    time.sleep(0.5)
    assert events == sorted(told.event["event"] for told in told_of(there, sent))


def test_a_failure_that_was_none(client: APIClient, phones: dict[str, list[App]], there: Receiver) -> None:
    """A phone takes back that it failed, when all is over: it went out, so it is told as sent; each event once, the first ones too."""
    to = number("Djezzy")
    sent = Submission(client, phones, [to])
    for _ in range(2):
        sent.pull(to)
        sent.report("Failed", [to], NO_SERVICE)
    assert ("Failed", {"Failed": 1}) == sent.look()
    wait_for(lambda: told_of(there, sent), "the first webhook")
    for state in ("Sent", "Delivered", "Sent"):
        sent.report(state, [to])

    assert ("Delivered", {"Delivered": 1}) == sent.look()
    wait_for(lambda: len(told_of(there, sent)) >= 3, "the other two")
    time.sleep(0.5)
    assert ["sms:delivered", "sms:failed", "sms:sent"] == sorted(told.event["event"] for told in told_of(there, sent))
