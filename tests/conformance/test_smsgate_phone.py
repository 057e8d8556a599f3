"""A phone of SMSGate's app: what it fetches, what it reports, and its open line."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from tests.app import SIM, App
from tests.conformance.conftest import Start, bearer
from tests.stack import Stack, wait_for

NUMBER = "+213661234567"


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router of this module's own: no other phones than its tests'."""
    with start(SEEDROUTER_PACE_SECONDS="0.05") as stack:
        yield stack


@pytest.fixture
def app(stack: Stack) -> Iterator[App]:
    """The only phone in service, with an open line."""
    made = App(stack).listen()
    wait_for(lambda: stack.http.get("/seeds").json(), "the phone to be online")
    yield made
    retire(stack, made)


def retire(stack: Stack, app: App) -> None:
    """No later test's message goes to it."""
    app.close()
    for number in range(len(app.sims)):
        stack.operator("PATCH", f"/seeds/{app.id}.{number + 1}", {"enabled": False})


@pytest.fixture
def send(stack: Stack) -> Callable[..., str]:
    key = stack.account()["key"]

    def send(phone: str = NUMBER, text: str = "Hello") -> str:
        def accepted() -> httpx.Response | None:
            answer = stack.http.post("/api/v1/dispatch", json={"phone": phone, "message": text}, headers=bearer(key))
            return answer if answer.status_code == 200 else None

        return str(wait_for(accepted, "a seed to be seen").json()["reference_id"])

    return send


def test_the_line_tells_of_a_message(app: App, send: Callable[..., str], stack: Stack) -> None:
    """MessageEnqueued, with a data line; the pull then has it; what the phone says of it is its state."""
    id = send()
    wait_for(lambda: app.heard("MessageEnqueued"), "the event")
    message = app.take(id)

    assert [None] == app.heard("MessageEnqueued")[:1]
    assert {"text": "Hello"} == message["textMessage"]
    assert ("Hello", [NUMBER], 1, "Pending", True) == tuple(
        message[name] for name in ("message", "phoneNumbers", "simNumber", "state", "withDeliveryReport")
    )
    for state, expected in (("Processed", "dispatched"), ("Sent", "sent"), ("Delivered", "sent")):
        app.report(message, state)
        assert expected == stack.state(id)
    assert stack.trace(id)["delivered_at"]


def test_a_phone_whose_report_was_lost_is_asked(app: App, send: Callable[..., str], stack: Stack) -> None:
    """Before its lease ends without a word the line tells it to look; it is listed the message, tells again, and no other has it."""
    id = send()
    app.take(id)
    other = App(stack).listen()
    try:
        heard = len(app.heard("MessageEnqueued"))
        lease_until = stack.trace(id)["attempts"][0]["lease_until"]
        wait_for(lambda: len(app.heard("MessageEnqueued")) > heard, "the question")
        asked_after = time.time() - lease_until
        app.report(app.take(id), "Sent")

        assert -1.1 < asked_after < 5
        assert ("sent", 1) == (stack.state(id), len(stack.trace(id)["attempts"]))
        assert [] == other.pull()
    finally:
        retire(stack, other)


def test_times_have_three_fraction_digits(app: App, send: Callable[..., str]) -> None:
    """The app reads any other fraction wrongly."""
    message = app.take(send())
    app.report(message, "Sent")

    for name in ("validUntil", "createdAt"):
        assert "Z" == message[name][-1]
        assert 3 == len(message[name].removesuffix("Z").partition(".")[2])


def test_one_event_a_second(app: App, send: Callable[..., str]) -> None:
    """Many messages are one event, or two: each would begin the phone's pull anew."""
    began = time.monotonic()
    ids = [send() for _ in range(6)]
    for id in ids:
        app.report(app.take(id), "Sent")
    wait_for(lambda: app.heard("MessageEnqueued"), "an event")

    assert len(app.heard("MessageEnqueued")) <= 3 + (time.monotonic() - began)


def test_a_pull_is_no_receipt(app: App, send: Callable[..., str]) -> None:
    """Until the phone says something of it, each pull lists it, with the same id."""
    message = app.take(send())
    again = app.pull()
    app.report(message, "Processed")
    after = app.pull()
    app.report(message, "Sent")

    assert [message["id"]] == [listed["id"] for listed in again]
    assert [] == after


def test_unknown_ids_and_words_from_nowhere(app: App, stack: Stack) -> None:
    """Unknown ids are swallowed: the app would repeat them for ever. What is no report is 400."""
    nothing = {"state": "Sent", "recipients": [{"phoneNumber": NUMBER, "state": "Sent"}], "states": {}}
    for id in ("", "x", "x_1", "wg_01ABCDEFGHJKMNPQRSTVWXYZ12_1", "_" * 50, "é_1"):
        assert 204 == app.http.patch("/message", json=[nothing | {"id": id}]).status_code
    for body in ({}, [{}], [{"id": "a", "state": "Gone"}], "text", [1]):
        assert 400 == app.http.patch("/message", json=body).status_code
    assert 401 == stack.http.get("/mobile/v1/message").status_code
    assert 401 == stack.http.get("/mobile/v1/events", headers=bearer("nonsense")).status_code


def test_an_open_line_is_a_sign_of_life(app: App, stack: Stack) -> None:
    """Longer than the online window, with nothing said."""
    time.sleep(6)

    assert [f"{app.id}.1"] == [seed["IMSI"] for seed in stack.http.get("/seeds").json()]


def test_a_phone_that_leaves_is_gone(stack: Stack) -> None:
    """Its line is closed, and nothing is a sign of life any more."""
    phone = App(stack).listen()
    wait_for(lambda: _listed(stack, phone), "the phone to be online")
    phone.close()

    wait_for(lambda: not _listed(stack, phone), "the phone to be offline", 20)
    retire(stack, phone)


def test_cancelled_while_it_has_it(app: App, send: Callable[..., str], stack: Stack) -> None:
    """The line says so at once; the list has it as being cancelled, without its text; then it is gone."""
    id = send()
    message = app.take(id)
    stack.operator("POST", f"/messages/{id}/cancel")
    wait_for(lambda: app.heard("MessageCancelled"), "the event")
    (listed,) = app.pull()
    app.report(listed, "Cancelled")

    assert [{"messageId": message["id"]}] == app.heard("MessageCancelled")
    assert (message["id"], "Cancelling", "") == (listed["id"], listed["state"], listed["message"])
    assert [] == app.pull()
    assert stack.trace(id)["settled"]


def test_two_sims_are_two_seeds(stack: Stack) -> None:
    """Each message comes out of the SIM of its carrier."""
    phone = App(stack, SIM, {"slotIndex": 1, "simNumber": 2, "phoneNumber": "+213771999999"}).listen()
    wait_for(lambda: len(_listed(stack, phone)) == 2, "both SIMs to be online")
    key = stack.account()["key"]
    found: dict[str, Any] = {}
    for number in (NUMBER, "+213771234567"):
        answer = stack.http.post("/api/v1/dispatch", json={"phone": number, "message": "x"}, headers=bearer(key))
        message = phone.take(answer.json()["reference_id"])
        phone.report(message, "Sent")
        found[number] = message["simNumber"]
    retire(stack, phone)

    assert {NUMBER: 1, "+213771234567": 2} == found


def test_two_api_processes(app: App, send: Callable[..., str], stack: Stack) -> None:
    """The line is at one, everything else at the other: events travel between them."""
    port = free_port()
    environment = os.environ | stack.environment | {
        "SEEDROUTER_DATA": str(stack.data), "SEEDROUTER_REDIS_URL": stack.redis_url, "SEEDROUTER_PORT": str(port),
    }  # fmt: skip
    other = subprocess.Popen(
        [sys.executable, "-m", "router.cli.main", "api"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_up(url), "the second api process")
        id = send()
        wait_for(lambda: app.heard("MessageEnqueued"), "the event")
        message = app.take(id)
        assert httpx.post(f"{url}/operator/v1/messages/{id}/cancel", headers=bearer(stack.operator_token)).is_success
        wait_for(lambda: app.heard("MessageCancelled"), "the event of the other process")
        app.report(message, "Cancelled")
    finally:
        other.terminate()
        other.wait(30)

    assert [{"messageId": message["id"]}] == app.heard("MessageCancelled")


def test_a_deleted_phone_is_hung_up_on(stack: Stack) -> None:
    """Its line ends, its token is void, and it is not listed any more."""
    phone = App(stack).listen()
    wait_for(lambda: _listed(stack, phone), "the phone to be online")
    stack.operator("DELETE", f"/devices/{phone.id}")
    wait_for(phone.is_ended.is_set, "the line to be closed")

    assert 401 == phone.http.get("/message").status_code
    assert [None] == phone.heard("broken off")
    assert [] == [device for device in stack.operator("GET", "/devices") if device["id"] == phone.id]
    phone.close()


def test_another_sim_is_served_by_a_new_line(stack: Stack) -> None:
    """The line ends when the phone tells of another SIM; the next one is a sign of life of both."""
    phone = App(stack).listen()
    sims = [SIM, {"slotIndex": 1, "simNumber": 2, "phoneNumber": "+213771999997"}]
    assert 204 == phone.http.patch("/device", json={"id": phone.id, "simCards": sims}).status_code
    wait_for(phone.is_ended.is_set, "the line to be closed")
    phone.sims = sims
    phone.listen()

    wait_for(lambda: len(_listed(stack, phone)) == 2, "both SIMs to be online")
    retire(stack, phone)


def test_a_stop_closes_the_lines(start: Start) -> None:
    """The process ends in order, and does not wait for phones that would stay for ever."""
    with start() as stack:
        phone = App(stack).listen()
        process = stack.processes["api"]
        process.terminate()

        assert 0 == process.wait(15)
        wait_for(phone.is_ended.is_set, "the line to be closed")
        phone.close()


def _listed(stack: Stack, phone: App) -> list[str]:
    return [seed["IMSI"] for seed in stack.http.get("/seeds").json() if seed["IMSI"].startswith(phone.id)]


def _is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").status_code == 200
    except httpx.TransportError:
        return False
