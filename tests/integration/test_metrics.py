"""What Prometheus is told, by each role, over one message's life."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from bench.ports import free_port
from router import metrics
from tests.stack import PATIENT, Stack, wait_for

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
PORTS = {"dispatcher": free_port(), "timekeeper": free_port()}
MOBILIS, GATEWIRE = ("carrier", "60301"), ("dialect", "gatewire")


@pytest.fixture
def stack(redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    ports = {f"SEEDROUTER_{role.upper()}_METRICS_PORT": str(port) for role, port in PORTS.items()}
    stack = Stack(redis_url, tmp_path / "data", PATIENT | ports)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def scrape(stack: Stack, role: str) -> Samples:
    url = f"{stack.url}/metrics" if role == "api" else f"http://127.0.0.1:{PORTS[role]}/metrics"
    families = text_string_to_metric_families(wait_for(lambda: _page(url), f"the metrics of the {role}"))
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


def _page(url: str) -> str:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=40).text
    return ""


def value(samples: Samples, name: str, *labels: tuple[str, str]) -> float:
    return samples[f"seedrouter_{name}", tuple(sorted(labels))]


def test_every_known_label_value_stands_at_zero_from_the_start(stack: Stack) -> None:
    """A rate over the first event is right, because the series was there before."""
    for role in ("api", "dispatcher", "timekeeper"):
        samples = scrape(stack, role)

        for carrier in metrics.CARRIERS:
            for verb in ("accepted", "dispatched", "sent", "verified", "failed", "expired", "cancelled"):
                assert value(samples, f"messages_{verb}_total", ("carrier", carrier), GATEWIRE) == 0
        for reason in metrics.FAILOVER_REASONS:
            assert value(samples, "failovers_total", ("reason", reason)) == 0
        assert value(samples, "duplicates_total", MOBILIS) == 0


def test_one_message_is_counted_once_by_whoever_did_it(stack: Stack) -> None:
    """Accepted by the api, dispatched by the dispatcher, sent and verified by the api; times in the histograms; gauges follow."""
    key = stack.account()["key"]
    phone = stack.phone("603010000000001")
    headers = {"Authorization": f"Bearer {key}"}
    with phone.stays_online():
        time.sleep(0.8)
        answer = stack.http.post("/api/v1/send-otp", json={"phone": "+213661234567"}, headers=headers)
        message_id = answer.json()["reference_id"]
        (message,) = phone.pull(wait=10)
        wait_for(lambda: value(scrape(stack, "dispatcher"), "in_flight_parts", MOBILIS) == 1, "the part in flight to be seen")
        phone.report(message, "radio")
        phone.report(message, "sent")
        stack.http.post("/api/v1/send-otp", json={"phone": "+213771234567"}, headers=headers)
        wait_for(lambda: value(scrape(stack, "timekeeper"), "parked", ("carrier", "60302")) == 1, "the parked message to be seen")
        api, dispatcher = scrape(stack, "api"), scrape(stack, "dispatcher")

    assert stack.state(message_id) == "sent"
    assert value(api, "messages_accepted_total", MOBILIS, GATEWIRE) == 1
    assert value(dispatcher, "messages_dispatched_total", MOBILIS, GATEWIRE) == 1
    assert value(dispatcher, "attempts_total", MOBILIS) == 1
    assert value(dispatcher, "seeds_online", MOBILIS) == 1
    assert value(api, "messages_sent_total", MOBILIS, GATEWIRE) == 1
    assert value(api, "handover_seconds_count", MOBILIS) == 1
    assert value(api, "sent_seconds_count", MOBILIS) == 1
    assert value(api, "reports_total", ("state", "sent"), ("result", "accepted")) == 1
    assert value(scrape(stack, "timekeeper"), "messages_open") == 2


def test_labels_have_few_values(stack: Stack) -> None:
    """Never a phone, a message, an account or a seed."""
    names = {"carrier", "dialect", "reason", "state", "result", "kind", "lane", "role", "le", "step", "via", "outcome"}
    ours = {name for (metric, labels) in scrape(stack, "api") if metric.startswith("seedrouter_") for name, _ in labels}

    assert ours <= names
