"""What Grafana and the alerts ask, asked of a real Prometheus that scrapes a real router under load, with failovers and all."""

import contextlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from bench.ports import free_port
from deploy.grafana.expressions import expressions
from tests.prometheus import Prometheus, scraping
from tests.receiver import receiver
from tests.servers import single
from tests.stack import Stack, TestPhone, wait_for

PORTS = {role: free_port() for role in ("dispatcher", "timekeeper", "courier")}
SECOND_DISPATCHER = free_port()
LOGIN = ("shop", "a long password")
ENVIRONMENT = {
    **{f"SEEDROUTER_{role.upper()}_METRICS_PORT": str(port) for role, port in PORTS.items()},
    "SEEDROUTER_HEARTBEAT_SECONDS": "2",
    "SEEDROUTER_WEBHOOK_ALLOW_PRIVATE": "true",
    "SEEDROUTER_LOG_LEVEL": "info",
}
LOAD_SECONDS = 8.0
DIFFERENCE = "sum(seedrouter_messages_accepted_total) - sum(seedrouter_messages_ended_total) - max(seedrouter_messages_open)"

Serve = Callable[["Phones", TestPhone, dict[str, Any]], None]


class Phones:
    """Phones with habits, each in a thread of its own, until it is stopped."""

    def __init__(self, stack: Stack, key: str) -> None:
        self._stack = stack
        self._key = key
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.faults: list[str] = []

    def start(self, imsi: str, serve: Serve) -> None:
        phone = self._stack.phone(imsi, pace_seconds=0.02)
        thread = threading.Thread(target=self._live, args=(phone, serve), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _live(self, phone: TestPhone, serve: Serve) -> None:
        try:
            while not self._stopping.is_set():
                for message in phone.pull(wait=0.5):
                    serve(self, phone, message)
        except (AssertionError, httpx.HTTPError) as error:
            self.faults.append(f"{phone.imsi}: {error!r}")

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(20)

    def verify(self, message: dict[str, Any]) -> None:
        """The code comes back, where the message has one."""
        code = re.search(r"code is (\d+)", message["text"])
        if code is not None:
            body = {"reference_id": message["id"], "code": code[1]}
            self._stack.http.post("/api/v1/verify-otp", json=body, headers={"Authorization": f"Bearer {self._key}"})


def sends(phones: Phones, phone: TestPhone, message: dict[str, Any]) -> None:
    """As it should be; of five codes, four come back."""
    phone.report(message, "radio")
    phone.report(message, "sent")
    if random.random() < 0.8:
        phones.verify(message)


def takes_and_is_silent(phones: Phones, phone: TestPhone, message: dict[str, Any]) -> None:
    """And never says a word."""


def fails(phones: Phones, phone: TestPhone, message: dict[str, Any]) -> None:
    phone.report(message, "failed", "no service")


def send_codes(stack: Stack, key: str, count: int) -> int:
    """Codes to one carrier; answers how many."""
    for number in range(count):
        body = {"phone": f"+21366{random.randrange(10**5):05}{number:02}"}
        answer = stack.http.post("/api/v1/send-otp", json=body, headers={"Authorization": f"Bearer {key}"})
        assert 200 == answer.status_code, answer.text
    return count


def load(stack: Stack, key: str, seconds: float) -> int:
    """Codes, plain SMS, and what is refused; answers how many were accepted."""
    headers = {"Authorization": f"Bearer {key}"}
    until, accepted, turn = time.monotonic() + seconds, 0, 0
    while time.monotonic() < until:
        turn += 1
        carrier = random.choice(("661", "661", "661", "771"))
        phone = f"+213{carrier}{random.randrange(10**6):06}"
        if turn % 4:
            answer = stack.http.post("/api/v1/send-otp", json={"phone": phone}, headers=headers)
            accepted += answer.status_code == 200
        else:
            body = {"phoneNumbers": [phone], "textMessage": {"text": "Hello"}}
            accepted += stack.http.post("/3rdparty/v1/messages", json=body, auth=LOGIN).status_code == 202
        if turn % 10 == 0:
            blocked = stack.http.post("/api/v1/send-otp", json={"phone": "+213699000001"}, headers=headers)
            assert 503 == blocked.status_code, blocked.text
            assert 401 == stack.http.post("/api/v1/send-otp", json={"phone": phone}, headers={"Authorization": "Bearer no"}).status_code
        time.sleep(0.04)
    return accepted


class Running:
    """A router at rest after its load, and the Prometheus that has seen all of it."""

    def __init__(self, prometheus: Prometheus, stack: Stack, accepted: int) -> None:
        self.prometheus = prometheus
        self.stack = stack
        self.accepted = accepted


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("prometheus")
    with contextlib.ExitStack() as ended:
        redis = ended.enter_context(single(aof=True, appendfsync="everysec", maxmemory="256mb"))
        stack = Stack(f"redis://127.0.0.1:{redis.port}/0", folder / "data", ENVIRONMENT)
        ended.callback(stack.stop)
        stack.start()
        stack.processes["first dispatcher"] = stack.processes["dispatcher"]
        stack.environment["SEEDROUTER_DISPATCHER_METRICS_PORT"] = str(SECOND_DISPATCHER)
        stack.start_role("dispatcher")
        targets = {role: [port] for role, port in PORTS.items()} | {"api": [stack.port]}
        targets["dispatcher"].append(SECOND_DISPATCHER)
        prometheus = ended.enter_context(scraping(folder, targets))
        hooks = ended.enter_context(receiver())
        key = stack.account(login=LOGIN[0], password=LOGIN[1])["key"]
        hook = stack.http.post("/3rdparty/v1/webhooks", auth=LOGIN, json={"id": "w", "url": f"{hooks.url}/sent", "event": "sms:sent"})
        assert 201 == hook.status_code, hook.text
        stack.operator("POST", "/fraud/blocks", {"prefix": "+213699", "why": "a test"})
        phones = Phones(stack, key)
        ended.callback(phones.stop)
        # Those that are no good first: beside good ones they would be given little
        accepted = 0
        for imsi, serve in (("603010000000004", takes_and_is_silent), ("603010000000005", fails)):
            phones.start(imsi, serve)
            accepted += send_codes(stack, key, 3)
            attempts = accepted
            wait_for(lambda: prometheus.value("sum(seedrouter_attempts_total)") >= attempts, "the codes to be at a phone")  # noqa: B023
        for imsi in ("603010000000001", "603010000000002", "603010000000003", "603020000000001"):
            phones.start(imsi, sends)
        wait_for(lambda: prometheus.value("max(seedrouter_seeds_online{carrier='60301'})") == 5.0, "the phones to be seen")
        accepted += load(stack, key, LOAD_SECONDS)
        assert hooks.told
        assert not any("metrics.port_taken" in stack.log(role) for role in PORTS), "another process would be scraped"
        yield Running(prometheus, stack, accepted)
        assert [] == phones.faults


def missing_of(wanted: dict[str, str], is_there: Callable[[str], object]) -> dict[str, str]:
    """Those queries that had no answer, with where they stand. A scrape that was late takes all series of its target away till the next."""
    missing = dict(wanted)

    def look() -> bool:
        for query in list(missing):
            if is_there(query):
                del missing[query]
        return not missing

    with contextlib.suppress(AssertionError):
        wait_for(look, "data", 30.0)
    return missing


def test_every_expression_returns_data(running: Running) -> None:
    """Of every panel and recording rule, but for those that are empty on purpose; those have to be valid all the same."""
    wanted = [found for found in expressions() if found.empty_on_purpose is None]
    rest = [found for found in expressions() if found.empty_on_purpose is not None]
    missing = missing_of({found.query(): found.where for found in wanted}, running.prometheus.tells)
    for found in rest:
        running.prometheus.query(found.query())

    assert not running.prometheus.tells("seedrouter_that_nobody_exports")
    assert len(wanted) > 100
    assert {} == missing


def test_every_series_that_an_alert_asks_for_is_there(running: Running) -> None:
    """An alert whose series does not exist would be silent for ever; and Prometheus can evaluate every rule."""
    asked = {selector: found.where for found in expressions() if found.where.startswith("alert ") for selector in found.selectors}

    assert asked
    assert {} == missing_of(asked, running.prometheus.query)
    assert [] == running.prometheus.unwell_rules()


def test_what_was_accepted_has_ended_or_is_open(running: Running) -> None:
    """To the message, as soon as nothing moves; and so by the figure that is on the wall."""
    # The last message may have come after the last scrape, and then nothing is missing without it
    holds(running, f"sum(seedrouter_messages_accepted_total) == {running.accepted}")
    holds(running, f"{DIFFERENCE} == 0")
    holds(running, "abs(seedrouter:conservation:difference1h) / seedrouter:messages_accepted:increase1h < 0.05")


def holds(running: Running, *conditions: str) -> None:
    """Comparisons in PromQL, each of which becomes true."""
    assert {} == missing_of(dict.fromkeys(conditions, "not so"), running.prometheus.query)


def test_what_the_load_was_for_shows(running: Running) -> None:
    """Failovers of the phone that fails and of the one that is silent, refusals, choices, deliveries: each where it belongs."""
    holds(
        running,
        "sum(seedrouter_failovers_total{reason='failed'}) >= 1",
        "sum(seedrouter_failovers_total{reason='silent'}) >= 1",
        "sum(seedrouter_requests_refused_total{reason='blocked'}) >= 1",
        "sum(seedrouter_requests_refused_total{reason='unauthorized'}) >= 1",
        "sum(seedrouter_choices_total{outcome='on_net'}) == sum(seedrouter_attempts_total)",
        "sum(seedrouter_queue_consumers) == 2",
        "sum(seedrouter_deliveries_total{result='delivered'}) >= 1",
        "sum(seedrouter_messages_verified_total) <= sum(seedrouter_codes_sent_total)",
        "max(seedrouter_seeds_by_ping_age{le='+Inf'}) == 6",
        "min(seedrouter_redis_up{job='timekeeper'} + seedrouter_redis_eviction_policy_ok + seedrouter_redis_aof_enabled) == 3",
    )


def test_heartbeats_arrive(running: Running) -> None:
    """Beside the load, and the phones know nothing of it."""
    holds(running, "sum(seedrouter_heartbeats_total{result='arrived'}) >= 3")
    holds(
        running,
        "sum(seedrouter_heartbeats_total{result!='arrived'}) == 0",
        "max(seedrouter_heartbeat_seconds) > 0 < 30",
        "max(seedrouter_seeds_enrolled{carrier='other'}) == 0",
    )
