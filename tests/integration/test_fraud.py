"""A number range that is pumped, against the roles as processes: two api processes, the timekeeper, the commands, the real client."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gatewire import GateWireClient, GateWireException
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from bench.ports import free_port
from router.cli.main import app
from tests.stack import Stack, TestPhone, wait_for

TIMEKEEPER_PORT = free_port()
SETTINGS = {
    "SEEDROUTER_FRAUD": "block",
    "SEEDROUTER_FRAUD_FLOOR": "10",
    "SEEDROUTER_FRAUD_WINDOW_SECONDS": "60",
    "SEEDROUTER_FRAUD_BLOCK_SECONDS": "600",
    "SEEDROUTER_FRAUD_RIPE_SECONDS": "0",
    "SEEDROUTER_COUNTRIES": "DZ,TN,FR",
    "SEEDROUTER_TIMEKEEPER_METRICS_PORT": str(TIMEKEEPER_PORT),
}
"""Judged at once: tests do not wait for a minute's codes."""
PUMPED = "+21366123"
UNSERVED = "+33612345678"


@pytest.fixture(scope="module")
def stacks(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Stack]]:
    """A router, and a second api process of it."""
    url, data = f"unix://{redis_server}?db=11", tmp_path_factory.mktemp("router") / "data"
    stack, second = Stack(url, data, SETTINGS), Stack(url, data, SETTINGS)
    try:
        stack.start()
        second.start_role("api")
        wait_for(second._is_ready, "the second api")
        yield stack, second
    finally:
        second.stop()
        stack.stop()


@pytest.fixture(scope="module")
def enrolled(stacks: tuple[Stack, Stack]) -> TestPhone:
    return stacks[0].phone("603010000000001")


@pytest.fixture
def phone(enrolled: TestPhone) -> Iterator[TestPhone]:
    """It is online, so that numbers of Algeria are served."""
    enrolled.ping()
    with enrolled.stays_online():
        yield enrolled


def send(stack: Stack, key: str, number: str) -> httpx.Response:
    return stack.http.post("/api/v1/send-otp", json={"phone": number}, headers={"Authorization": f"Bearer {key}"})


def refused_with(stack: Stack, key: str, number: str) -> tuple[int, bytes, list[str]]:
    """All of an answer that a client could tell apart by."""
    answer = send(stack, key, number)
    return answer.status_code, answer.content, sorted(answer.headers)


def pump(stack: Stack, key: str, prefix: str) -> int:
    """A run of numbers, until one is refused; answers at which."""
    places = iter(range(10_000))

    def is_refused() -> int:
        for place in (next(places) for _ in range(5)):
            if send(stack, key, f"{prefix}{place:04}").status_code == 503:
                return place
        return 0

    return int(wait_for(is_refused, f"numbers of {prefix} to be refused"))


def test_pumping_is_stopped(stacks: tuple[Stack, Stack], phone: TestPhone) -> None:
    """At every api process, for this prefix alone; clients hear what they hear of any number that no seed serves, operators the reason."""
    stack, _ = stacks
    account = stack.account()
    key = account["key"]
    wait_for(lambda: send(stack, key, "+213661000001").status_code == 200, "the seed to be seen")
    pump(stack, key, PUMPED)
    for api in stacks:
        wait_for(lambda api=api: send(api, key, f"{PUMPED}9999").status_code == 503, "both api processes to refuse")
        assert refused_with(api, key, UNSERVED) == refused_with(api, key, f"{PUMPED}9999")
        assert 200 == send(api, key, "+213661240000").status_code
    (block,) = stack.operator("GET", "/fraud/blocks")
    told = stack.http.post(
        "/operator/v1/messages", json={"account": account["id"], "phone": f"{PUMPED}9999"},
        headers={"Authorization": f"Bearer {stack.operator_token}"},
    )  # fmt: skip

    assert (PUMPED, "60301", "sequential", "router", True, True) == tuple(
        block[name] for name in ("prefix", "carrier", "reason", "by", "active", "refuses")
    )
    assert 503 == told.status_code
    assert f"{PUMPED} is blocked (sequential): {block['why']}" == told.json()["error"]
    assert PUMPED in [view["prefix"] for view in stack.operator("GET", "/fraud/prefixes", limit=5)]
    for api in stacks:
        assert value(f"{api.url}/metrics", "requests_refused_total", dialect="gatewire", reason="blocked") > 0
    timekeeper = f"http://127.0.0.1:{TIMEKEEPER_PORT}/metrics"
    wait_for(lambda: value(timekeeper, "prefixes_blocked", carrier="60301") == 1, "the gauge of the timekeeper")
    assert 1 == value(timekeeper, "prefix_blocks_total", reason="sequential")


def value(url: str, name: str, **labels: str) -> float:
    samples = [sample for family in text_string_to_metric_families(httpx.get(url, timeout=40).text) for sample in family.samples]
    return next(sample.value for sample in samples if sample.name == f"seedrouter_{name}" and sample.labels == labels)


def test_the_real_client_meets_its_ordinary_error(stacks: tuple[Stack, Stack], phone: TestPhone) -> None:
    """GateWire's SDK raises for a blocked number what it raises for one that no seed serves, word for word."""
    stack, _ = stacks
    stack.operator("POST", "/fraud/blocks", {"prefix": "+21366777", "why": "they pump"})
    sdk = GateWireClient(stack.account()["key"], base_url=f"{stack.url}/api/v1")
    caught = []
    for number in ("+213667770001", UNSERVED):
        with pytest.raises(GateWireException) as raised:
            sdk.dispatch(number)
        caught.append((raised.value.status_code, str(raised.value)))

    assert (503, "[503] No available devices.") == caught[0]
    assert caught[0] == caught[1]


def test_smsgate_tells_no_more(stacks: tuple[Stack, Stack], phone: TestPhone) -> None:
    """The whole submission is refused, as it is for a recipient that no seed serves: it goes to all of them or to none."""
    stack, _ = stacks
    stack.operator("POST", "/fraud/blocks", {"prefix": "+21366778", "why": "they pump"})
    stack.account(name="app", login="app", password="a password")
    answers = [
        stack.http.post(
            "/3rdparty/v1/messages", json={"textMessage": {"text": "hello"}, "phoneNumbers": ["+213661000009", number]},
            auth=("app", "a password"),
        )
        for number in ("+213667780001", UNSERVED)
    ]  # fmt: skip

    assert [503, 503] == [answer.status_code for answer in answers]
    assert answers[0].content == answers[1].content
    assert sorted(answers[0].headers) == sorted(answers[1].headers)


def test_other_countries_are_refused_for_good(stacks: tuple[Stack, Stack], phone: TestPhone) -> None:
    """422 and 400: to try again does not help, and the customer may know."""
    stack, _ = stacks
    key = stack.account(name="abroad", login="abroad", password="a password")["key"]
    single = send(stack, key, "+212661234567")
    many = stack.http.post(
        "/3rdparty/v1/messages", json={"textMessage": {"text": "hello"}, "phoneNumbers": ["+212661234567"]},
        auth=("abroad", "a password"),
    )  # fmt: skip

    assert (422, "phone: numbers of its country are not served here") == (single.status_code, single.json()["error"])
    assert 400 == many.status_code
    assert 'seedrouter_requests_refused_total{dialect="gatewire",reason="country"} 1.0' in stack.http.get("/metrics").text


def test_the_commands(stacks: tuple[Stack, Stack], phone: TestPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    """Block, look, lift: by hand, and by another process' api within its next look."""
    stack, second = stacks
    monkeypatch.setenv("SEEDROUTER_URL", stack.url)
    monkeypatch.setenv("SEEDROUTER_OPERATOR_TOKEN", stack.operator_token)
    key, number = stack.account()["key"], "+213665550001"
    runner = CliRunner()

    def run(*words: str) -> str:
        result = runner.invoke(app, ["fraud", *words])
        assert result.exit_code == 0, result.output
        return result.output

    assert "+21366555 is blocked until it is lifted." in run("block", "21366555", "--why", "we know them")
    wait_for(lambda: send(second, key, number).status_code == 503, "the other api to refuse")
    listed = json.loads(run("blocks", "--json"))
    assert "we know them" in run("blocks")
    assert "we know them" == next(block["why"] for block in listed if block["prefix"] == "+21366555")
    assert "+21366555 is free again." in run("lift", "+21366555")
    assert 200 == send(second, key, number).status_code, "nobody is refused by an old copy"
    assert "we know them" in run("blocks", "--all")
    assert {"prefix", "verdict", "conversion"} <= json.loads(run("prefixes", "--json"))[0].keys()
    assert "verdict" in run("prefixes")
    assert 1 == runner.invoke(app, ["fraud", "lift", "+21366555"]).exit_code


def test_blocks_survive(stacks: tuple[Stack, Stack], enrolled: TestPhone) -> None:
    """The api and the timekeeper are killed and begun anew: the first request is refused."""
    stack, second = stacks
    key = stack.account()["key"]
    stack.operator("POST", "/fraud/blocks", {"prefix": "+21366888", "seconds": 600})
    for role in ("api", "timekeeper"):
        stack.kill_role(role)
        stack.start_role(role)
    wait_for(stack._is_ready, "the api to be back")
    with enrolled.stays_online():
        wait_for(lambda: send(stack, key, "+213661000002").status_code == 200, "the seed to be seen")

        assert 503 == send(stack, key, "+213668880001").status_code
        assert 503 == send(second, key, "+213668880001").status_code
