"""Each service of docker-compose.yml is stopped and started in turn, by its own signal and grace period, with messages on their way."""

import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.compose import Compose
from tests.receiver import Receiver, receiver
from tests.stack import QUICK, wait_for
from workers.simulator.air import on_air_twice, read_ledger

IN_TURN = ("api-1", "api-2-1", "dispatcher-1", "dispatcher-2", "timekeeper-1", "courier-1")
"""Their clients must not notice: another one is there, or it is done later."""
NOTICED = ("caddy-1", "redis-1")
"""While these are away, nobody can submit."""
LOGIN = ("shop", "a long password")
OK = "202"
BALANCE = 10**9
SUBMITTERS = 4
PAUSE_SECONDS = 0.12
TIMES = {name: value for name, value in QUICK.items() if not name.endswith("_METRICS_PORT")} | {
    "SEEDROUTER_LOG_LEVEL": "info",
    "SEEDROUTER_PACE_SECONDS": "0.05",
    "SEEDROUTER_ONLINE_WINDOW_SECONDS": "15",
    "SEEDROUTER_WEBHOOK_ALLOW_HTTP": "true",
    "SEEDROUTER_WEBHOOK_ALLOW_PRIVATE": "true",
    "SEEDROUTER_WEBHOOK_RETRY_SECONDS": "0.5",
}


class Load:
    """Plain SMS through Caddy until it is told to stop. `accepted`: the id that was answered → the number, each of which gets one message;
    `answers` counts all answers by `phase`.
    """

    def __init__(self, url: str) -> None:
        self.accepted: dict[str, str] = {}
        self.answers: Counter[tuple[str, str]] = Counter()
        self.phase = "all there"
        self._url = url
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(SUBMITTERS)]

    def _run(self, worker: int) -> None:
        with httpx.Client(base_url=self._url, auth=LOGIN, timeout=40, trust_env=False) as http:
            number = 0
            while not self._ended.wait(PAUSE_SECONDS):
                number += 1
                phase, phone = self.phase, f"+21366{worker}{number:06}"
                try:
                    answer = http.post("/3rdparty/v1/messages", json={"message": "Hello", "phoneNumbers": [phone]})
                except httpx.TransportError as error:
                    self.answers[phase, type(error).__name__] += 1
                    continue
                self.answers[phase, OK if answer.status_code == 202 else f"{answer.status_code} {answer.text}"] += 1
                if answer.status_code == 202:
                    self.accepted[answer.json()["id"]] = phone

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(60)


@pytest.fixture
def told() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


@pytest.fixture
def compose(tmp_path: Path) -> Iterator[Compose]:
    with Compose(tmp_path / "compose", {"SEEDROUTER_PHONES": "24"}, **TIMES) as made:
        made.add("redis", "api", "api-2", "caddy", "dispatcher", "dispatcher", "timekeeper", "courier", "phones")
        for service in made.services.values():
            service.start()
            if service.name in ("redis", "api", "api-2", "caddy"):
                service.wait_until_healthy()
        yield made


def state_of(compose: Compose, message_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{compose.inside}/3rdparty/v1/messages/{message_id}", auth=LOGIN, timeout=30, trust_env=False)
    return dict(answer.json()) if answer.is_success else {"state": str(answer.status_code)}


@pytest.mark.timeout(240)
def test_each_service_in_turn(compose: Compose, told: Receiver) -> None:
    """Every stop ends within its grace period with exit code 0; what was accepted is sent, once, and told; nobody misses a role."""
    body = {"name": "t", "login": LOGIN[0], "password": LOGIN[1], "balance": BALANCE, "price": 5, "limits": {"daily": 0, "phone_hourly": 0}}
    account = compose.operator("POST", "/accounts", body)
    hook = {"id": "sent", "url": f"{told.url}/sent", "event": "sms:sent"}
    assert httpx.post(f"{compose.inside}/3rdparty/v1/webhooks", auth=LOGIN, json=hook, timeout=40, trust_env=False).status_code == 201
    wait_for(lambda: len(httpx.get(f"{compose.inside}/seeds", timeout=40, trust_env=False).json()) == 24, "all phones to be online")
    codes: dict[str, int] = {}
    ledger = compose.services["phones-1"].folder / "air.jsonl"
    with Load(compose.inside) as load:
        wait_for(lambda: len(load.accepted) >= 20, "the first to be accepted")
        for name in (*IN_TURN, *NOTICED):
            service = compose.services[name]
            before = len(load.accepted)
            load.phase = name
            codes[name] = service.stop()
            if name in IN_TURN:
                wait_for(lambda before=before: len(load.accepted) >= before + 10, f"messages to be accepted without {name}")
            service.start()
            if name not in ("timekeeper-1", "courier-1", "dispatcher-1", "dispatcher-2"):
                service.wait_until_healthy()
            before = len(load.accepted)
            load.phase = f"after {name}"
            wait_for(lambda before=before: len(load.accepted) >= before + 5, f"messages to be accepted after {name}")
    accepted = load.accepted
    wait_for(lambda: set(accepted.values()) <= {sms.to for sms in read_ledger(ledger)}, "all to be sent", 60)
    wait_for(lambda: accepted.keys() <= {one.event["payload"]["messageId"] for one in told.told}, "all to be told", 60)
    states = Counter(state_of(compose, message_id)["state"] for message_id in accepted)
    balance = compose.operator("GET", f"/accounts/{account['id']}")["balance"]
    codes |= {service.id: service.stop() for service in reversed(compose.services.values())}

    assert dict.fromkeys(compose.services, 0) == codes
    assert {OK} == {answer for (phase, answer) in load.answers if phase.removeprefix("after ") not in NOTICED}
    assert {"202", "503"} >= {answer[:3] for (phase, answer) in load.answers if phase.endswith("redis-1")}
    assert {} == on_air_twice(read_ledger(ledger))
    assert {"Sent"} == set(states)
    assert BALANCE - 5 * len({sms.to for sms in read_ledger(ledger)}) == balance
