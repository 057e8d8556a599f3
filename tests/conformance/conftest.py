"""One running router for the whole package, on a database of its own, and what its tests send with."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.stack import Stack, TestPhone, wait_for

MOBILIS, DJEZZY = "60301", "60302"
OOREDOO_NUMBER = "+213551999999"
"""Accepted, since seeds of its country are online, and waiting, since none of its carrier ever is."""
SETTINGS = {
    "SEEDROUTER_LEASE_SECONDS": "12",
    "SEEDROUTER_RADIO_SECONDS": "60",
    "SEEDROUTER_PICKUP_SECONDS": "20",
    "SEEDROUTER_ONLINE_WINDOW_SECONDS": "5",
    "SEEDROUTER_MAX_ATTEMPTS": "2",
    "SEEDROUTER_RETRY_SEED_SECONDS": "0.2",
    "SEEDROUTER_FAILOVER_BUDGET": "10",
}
"""A lease that ends within a test, and a pickup time that does not: what is fetched late was kept, not moved."""

Start = Callable[..., contextlib.AbstractContextManager[Stack]]
_counter = itertools.count(1)


@pytest.fixture(scope="package")
def start(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a router. Each has a database of its own; nobody in this package uses `redis_url`, which would empty them all."""
    databases = itertools.count(1)

    @contextlib.contextmanager
    def started(**environment: str) -> Iterator[Stack]:
        url = f"unix://{redis_server}?db={next(databases)}"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
        stack = Stack(url, tmp_path_factory.mktemp("router") / "data", SETTINGS | environment)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()

    return started


@pytest.fixture(scope="package")
def stack(start: Start) -> Iterator[Stack]:
    """The router that most tests share. A Djezzy seed is always online, so that numbers of Algeria are accepted."""
    with start() as stack, stack.phone(f"{DJEZZY}9999999999").stays_online():
        wait_for(lambda: _is_served(stack), "the first seed to be seen")
        yield stack


def _is_served(stack: Stack) -> bool:
    answer = stack.http.post("/api/v1/send-otp", json={"phone": OOREDOO_NUMBER}, headers=bearer(stack.account()["key"]))
    return answer.status_code == 200


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def new_number() -> str:
    """A number of Mobilis that no test has used."""
    return f"+213661{next(_counter):06d}"


def code_in(message: dict[str, Any]) -> str:
    found = re.search(r"\d{4,10}", message["text"])
    assert found is not None
    return found.group()


def take(phone: TestPhone, message_id: str) -> dict[str, Any]:
    """Pulls until the phone is given this message."""

    def pulled() -> dict[str, Any] | None:
        return next((message for message in phone.pull(wait=0.5) if message["id"] == message_id), None)

    return dict(wait_for(pulled, f"{message_id} at {phone.imsi}"))


def send_out(phone: TestPhone, message_id: str) -> dict[str, Any]:
    """What a good phone does with a message; answers the message."""
    message = take(phone, message_id)
    assert phone.report(message, "radio") == {"accepted": 1, "stale": 0}
    assert phone.report(message, "sent") == {"accepted": 1, "stale": 0}
    return message


@pytest.fixture
def new_account(stack: Stack) -> Iterator[Callable[..., dict[str, Any]]]:
    """Makes accounts, whose open messages are cancelled at the end: no later test's phone is to be given them."""
    made: list[str] = []

    def make(**fields: Any) -> dict[str, Any]:
        account = stack.account(**fields)
        made.append(account["id"])
        return account

    yield make
    token = bearer(stack.operator_token)
    for account_id in made:
        for message in stack.operator("GET", "/messages", account=account_id, limit=500):
            if message["state"] in ("pending", "dispatched"):
                stack.http.post(f"/operator/v1/messages/{message['id']}/cancel", headers=token)


@pytest.fixture
def new_phone(stack: Stack) -> Iterator[Callable[..., TestPhone]]:
    """Makes enrolled Mobilis seeds that stay online, until the test's end puts them out of service."""
    with contextlib.ExitStack() as online:
        made: list[TestPhone] = []

        def make(**fields: Any) -> TestPhone:
            phone = stack.phone(f"{MOBILIS}{next(_counter):010d}", **fields)
            online.enter_context(phone.stays_online())
            made.append(phone)
            return phone

        yield make
        for phone in made:
            stack.operator("PATCH", f"/seeds/{phone.imsi}", {"enabled": False})


@pytest.fixture
def phone(new_phone: Callable[..., TestPhone]) -> TestPhone:
    """The only Mobilis seed in service, with room for many messages."""
    return new_phone(pace_seconds=0.02)
