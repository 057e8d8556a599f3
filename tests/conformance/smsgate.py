"""What the tests of SMSGate's real clients share: accounts with a login, numbers of three carriers, and phones that send by themselves."""

import base64
import contextlib
import itertools
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.app import App
from tests.stack import Stack, wait_for

PASSWORD = "correct horse battery"
CARRIERS = {"Mobilis": "+21366{:07d}", "Djezzy": "+21377{:07d}", "Ooredoo": "+21355{:07d}"}
"""How their numbers are made."""
UNSERVED = "+33612345678"
"""A mobile number of a country where no seed is."""
Login = tuple[str, str]
_counter = itertools.count(1)


def number(carrier: str = "Mobilis") -> str:
    """One that no test has used."""
    return CARRIERS[carrier].format(2_000_000 + next(_counter))


def new_login(stack: Stack, name: str = "", password: str = PASSWORD) -> Login:
    """Of a new account."""
    name = name or f"sdk-{next(_counter)}"
    stack.account(login=name, password=password)
    return name, password


def basic(login: Login) -> str:
    """As a header's value."""
    return "Basic " + base64.b64encode(":".join(login).encode()).decode()


def sim(carrier: str) -> dict[str, Any]:
    """As the app tells of it."""
    return {"slotIndex": 0, "simNumber": 1, "phoneNumber": number(carrier)}


@contextlib.contextmanager
def phone(stack: Stack, login: Login, carrier: str = "Mobilis", *, shared: bool = False) -> Iterator[App]:
    """An online phone with one SIM, the account's own or shared by all; the account can send. Out of service at the end."""
    app = App(stack, sim(carrier), auth="" if shared else basic(login))
    try:
        app.listen()
        wait_for(lambda: is_listed(stack, app), f"{app.id} to be online")
        wait_for(lambda: _is_accepted(stack, login), "the api to have seen it: it looks at the most ten times a second")
        yield app
    finally:
        app.close()
        if app.id in {device["id"] for device in stack.operator("GET", "/devices")}:
            stack.operator("DELETE", f"/devices/{app.id}")


def _is_accepted(stack: Stack, login: Login) -> bool:
    """A message that is withdrawn at once, long before its time."""
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    body = {"message": "probe", "phoneNumbers": [number()], "scheduleAt": tomorrow}
    answer = stack.http.post("/3rdparty/v1/messages", json=body, auth=login)
    if answer.status_code == 503:
        return False
    assert answer.status_code == 202, answer.text
    return stack.http.delete(answer.headers["location"], auth=login).status_code == 200


def is_listed(stack: Stack, app: App) -> bool:
    return any(seed["IMSI"].startswith(app.id) for seed in stack.http.get("/seeds").json())


def take(app: App, to: str) -> dict[str, Any]:
    """Pulls until it is given a message to this number, or a message that it has to give up."""

    def found() -> dict[str, Any] | None:
        return next((message for message in app.pull() if message["phoneNumbers"] == [to]), None)

    return dict(wait_for(found, f"a message to {to} at {app.id}"))


@contextlib.contextmanager
def sends(app: App) -> Iterator[list[dict[str, Any]]]:
    """Beside the test the phone sends whatever it is given, and says that it arrived; gives the list of what it sent."""
    sent: list[dict[str, Any]] = []
    faults: list[Exception] = []
    ended = threading.Event()

    def send() -> None:
        known: set[str] = set()
        try:
            while not ended.wait(0.05):
                for message in app.pull("fifo"):
                    if message["id"] not in known and message["state"] == "Pending":
                        known.add(message["id"])
                        for state in ("Processed", "Sent", "Delivered"):
                            app.report(message, state)
                        sent.append(message)
        except Exception as error:
            faults.append(error)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield sent
    finally:
        ended.set()
        thread.join(30)
    assert not faults, faults
