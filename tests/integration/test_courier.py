"""The courier as a process, against a receiver that checks each signature."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.ports import free_port
from router.clock import Clock
from router.domain.events import Announcement
from router.domain.message import Attempt
from router.domain.rules import Rules
from router.services.webhooks import Announcer
from tests.integration.store.kit import a_message, open_store
from tests.receiver import Receiver, receiver
from tests.servers import Server, single
from tests.stack import Stack, wait_for

DEVICE = "abcdefghij_klmnop-123"
METRICS_PORT = free_port()
QUICK = {
    "SEEDROUTER_WEBHOOK_ALLOW_PRIVATE": "true",
    "SEEDROUTER_WEBHOOK_TIMEOUT_SECONDS": "10",
    "SEEDROUTER_WEBHOOK_RETRY_SECONDS": "0.2",
    "SEEDROUTER_WEBHOOK_RETRY_MAX_SECONDS": "0.5",
    "SEEDROUTER_WEBHOOK_BREAKER_PAUSE_SECONDS": "0.2",
    "SEEDROUTER_WEBHOOK_BREAKER_PAUSE_MAX_SECONDS": "0.5",
    "SEEDROUTER_COURIER_METRICS_PORT": str(METRICS_PORT),
}
LOGIN = ("courier-test", "a long password")


class Router:
    """An api and a courier, and what announces to them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.account = stack.account(login=LOGIN[0], password=LOGIN[1])["id"]

    def webhook(self, id: str, url: str, event: str = "sms:sent") -> None:
        answer = self.stack.http.post("/3rdparty/v1/webhooks", auth=LOGIN, json={"id": id, "url": url, "event": event})
        assert answer.status_code == 201, answer.text

    @property
    def key(self) -> str:
        return str(self.stack.http.get("/3rdparty/v1/settings", auth=LOGIN).json()["webhooks"]["signing_key"])

    def happen(self, count: int) -> list[str]:
        """So many messages were sent, as any process of the router would announce it; answers their ids."""
        attempt = Attempt(number=1, seed=f"{DEVICE}.1", carrier="60301", state="sent", assigned_at=time.time(), sent_at=time.time())
        messages = [
            a_message(id=f"sg_{time.time_ns()}_{number}", account=self.account, dialect="smsgate", kind="sms", attempts=(attempt,))
            for number in range(count)
        ]

        async def announce() -> None:
            store = open_store(self.stack.redis_url, Rules(), timer_shards=4)
            try:
                await Announcer(store, Clock()).announce([Announcement(message, "sms:sent", time.time()) for message in messages])
            finally:
                await store.close()

        asyncio.run(announce())
        return [message.id for message in messages]

    def dead(self) -> list[dict[str, Any]]:
        return list(self.stack.operator("GET", "/webhooks/dead"))


@pytest.fixture
def server() -> Iterator[Server]:
    """A Redis that can be killed."""
    with single(aof=True) as server:
        yield server


@pytest.fixture
def router(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Router]:
    """Its parameter, where there is one, are more settings."""
    stack = Stack(server.stock_url, tmp_path / "data", QUICK | getattr(request, "param", {}))
    stack.data.mkdir(mode=0o700)
    try:
        stack.start_role("api")
        wait_for(stack._is_ready, "the api to be ready")
        stack.start_role("courier")
        yield Router(stack)
    finally:
        stack.stop()


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


def messages(there: Receiver, path: str) -> list[str]:
    with there.lock:
        return [told.event["payload"]["messageId"] for told in there.told if told.path == path]


def test_signed_and_told_once(router: Router, there: Receiver) -> None:
    """Each event once, signed with the key that the account reads in its settings, at the time of the request."""
    router.webhook("w", f"{there.url}/hook")
    ids = router.happen(30)
    wait_for(lambda: len(there.told) >= 30, "the deliveries")

    assert sorted(ids) == sorted(messages(there, "/hook"))
    assert 30 == len(set(there.ids()))
    assert all(told.is_signed_by(router.key) for told in there.told)
    assert not there.told[0].is_signed_by("another key")
    assert all(abs(time.time() - int(told.headers["x-timestamp"])) < 60 for told in there.told)
    assert {"id", "webhookId", "event", "deviceId", "payload"} == there.told[0].event.keys()


def test_key_of_the_account(router: Router, there: Receiver) -> None:
    """The account may set its own key; what is sent after that is signed with it."""
    router.webhook("w", f"{there.url}/hook")
    settings = {"webhooks": {"signing_key": "my own key"}}
    assert 200 == router.stack.http.patch("/3rdparty/v1/settings", auth=LOGIN, json=settings).status_code
    router.happen(1)
    wait_for(lambda: there.told, "the delivery")

    assert there.told[0].is_signed_by("my own key")


def test_retried_until_it_answers(router: Router, there: Receiver) -> None:
    """Failures are tried again, with the same id, signed anew."""
    there.answer = lambda told, number: (503 if number < 4 else 200, {})
    router.webhook("w", f"{there.url}/hook")
    router.happen(1)
    wait_for(lambda: len(there.told) >= 4, "the fourth try")
    time.sleep(1.0)

    assert 4 == len(there.told)
    assert 1 == len(set(there.ids()))
    assert all(told.is_signed_by(router.key) for told in there.told)


@pytest.mark.parametrize("router", [{"SEEDROUTER_WEBHOOK_TIMEOUT_SECONDS": "30", "SEEDROUTER_STOP_GRACE_SECONDS": "1"}], indirect=True)
def test_one_that_hangs_and_one_that_answers(router: Router, there: Receiver) -> None:
    """Hundreds for a target that never answers do not hold up those of one that does; at a time so many to each target."""
    with receiver() as hangs:
        hangs.gate.clear()
        router.webhook("hangs", f"{hangs.url}/hook")
        router.webhook("answers", f"{there.url}/hook")
        ids = router.happen(100)
        wait_for(lambda: len(there.told) >= 100, "those of the target that answers")

        assert sorted(ids) == sorted(messages(there, "/hook"))
        assert 4 == hangs.most_at_once == len(hangs.told)
        assert 1 <= there.most_at_once <= 4


@pytest.mark.parametrize("router", [{"SEEDROUTER_WEBHOOK_TIMEOUT_SECONDS": "3"}], indirect=True)
def test_killed_in_the_middle(router: Router, there: Receiver) -> None:
    """kill -9 with deliveries under way: the next courier delivers all of them, those once more that were under way."""
    there.gate.clear()
    router.webhook("w", f"{there.url}/hook")
    ids = router.happen(40)
    wait_for(lambda: there.at_once == 4, "some under way")
    router.stack.kill_role("courier")
    under_way = there.ids()
    there.gate.set()
    router.stack.start_role("courier")
    wait_for(lambda: set(ids) == set(messages(there, "/hook")), "all of them", 60)
    wait_for(lambda: all(there.ids().count(id) >= 2 for id in under_way), "those that were under way, again", 60)

    assert 40 == len(set(there.ids())), "a receiver can tell repeats"


def test_redis_killed_in_the_middle(router: Router, there: Receiver, server: Server) -> None:
    """The courier waits for Redis, keeps in mind what was answered meanwhile, and goes on."""
    there.gate.clear()
    router.webhook("w", f"{there.url}/hook")
    ids = router.happen(40)
    wait_for(lambda: there.at_once == 4, "some under way")
    process = router.stack.processes["courier"]
    server.kill()
    there.gate.set()
    time.sleep(0.5)
    server.start()
    wait_for(lambda: set(ids) == set(messages(there, "/hook")), "all of them", 60)

    assert process.poll() is None
    assert 40 == len(set(there.ids()))
    assert 40 == len(there.told), "nothing twice: the answers were kept in mind"


def test_stopped_in_order(router: Router, there: Receiver) -> None:
    """SIGTERM: what is under way is finished and not sent again; what is left is for the next."""
    there.gate.clear()
    router.webhook("w", f"{there.url}/hook")
    ids = router.happen(10)
    wait_for(lambda: there.at_once == 4, "some under way")
    process = router.stack.processes["courier"]
    process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    there.gate.set()

    assert 0 == process.wait(30)
    router.stack.start_role("courier")
    wait_for(lambda: set(ids) == set(messages(there, "/hook")), "the rest")
    assert 10 == len(there.told), "none of them twice"


@pytest.mark.parametrize("router", [{"SEEDROUTER_WEBHOOK_TRIES": "2"}], indirect=True)
def test_dead_and_replayed(router: Router, there: Receiver) -> None:
    """After the last try an operator sees it, with what went wrong, and has one or all tried again: over the API and by the commands."""
    there.answer = lambda told, number: (500, {})
    stack = router.stack
    router.webhook("w", f"{there.url}/hook")
    ids = router.happen(3)
    wait_for(lambda: len(router.dead()) == 3, "three dead")

    first = router.dead()[0]
    assert (router.account, "w", "sms:sent", f"{there.url}/hook", 2, 500, "HTTP 500") == tuple(
        first[name] for name in ("account", "webhook", "event", "url", "tries", "status", "error")
    )
    assert [] == stack.operator("GET", "/webhooks/dead", account="ac_other")
    assert 2 == len(stack.operator("GET", "/webhooks/dead", account=router.account, limit=2))
    wait_for(lambda: _deliveries() == {"delivered": 0, "failed": 3, "dead": 3, "withdrawn": 0}, "all to be counted")

    there.answer = lambda told, number: (200, {})
    assert {"replayed": 1} == stack.operator("POST", f"/webhooks/dead/{first['id']}/replay")
    wait_for(lambda: len(router.dead()) == 2, "the first to be alive")
    table = _command(stack, "webhooks", "dead")
    assert all(dead["id"] in table for dead in router.dead())
    assert {"replayed": 2} == orjson.loads(_command(stack, "webhooks", "replay", "--all", "--account", "test", "--json"))
    wait_for(lambda: len(there.told) == 9, "the others")
    assert [] == orjson.loads(_command(stack, "webhooks", "dead", "--json"))
    assert set(ids) == set(messages(there, "/hook"))
    refused = stack.http.post(
        f"/operator/v1/webhooks/dead/{first['id']}/replay", headers={"Authorization": f"Bearer {stack.operator_token}"}
    )
    assert 404 == refused.status_code


def _deliveries() -> dict[str, float]:
    page = httpx.get(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=40).text
    (found,) = (family for family in text_string_to_metric_families(page) if family.name == "seedrouter_deliveries")
    return {sample.labels["result"]: sample.value for sample in found.samples if sample.name.endswith("_total")}


def _command(stack: Stack, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", *arguments],
        env={"SEEDROUTER_URL": stack.url, "SEEDROUTER_OPERATOR_TOKEN": stack.operator_token, "PATH": "", "COLUMNS": "300"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_guard(router: Router, tmp_path: Path, there: Receiver) -> None:
    """Without the setting nothing on this machine is called, though the webhook was registered when it was allowed."""
    router.webhook("w", f"{there.url}/hook")
    router.stack.processes["courier"].terminate()
    router.stack.processes["courier"].wait(20)
    router.stack.environment["SEEDROUTER_WEBHOOK_ALLOW_PRIVATE"] = "false"
    router.stack.environment["SEEDROUTER_WEBHOOK_TRIES"] = "1"
    router.stack.start_role("courier")
    router.happen(1)
    wait_for(lambda: len(router.dead()) == 1, "it to be given up")

    assert "not called: url: must not be a private address" == router.dead()[0]["error"]
    assert [] == there.told
