"""Simulated phones with SMSGate's app against the real router: its roles as processes over a real Redis."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_flow import NUMBERS, send
from tests.stack import PATIENT, Stack
from workers.simulator.air import Sms, on_air_twice, read_ledger
from workers.simulator.fleet import Fleet, FleetOptions
from workers.simulator.smsgate.behaviour import AppBehaviour, AppTimes
from workers.simulator.smsgate.fleet import AppOptions

TIMES = AppTimes(retry_seconds=0.2, longest_retry_seconds=1.0, reconnect_seconds=0.3, report_tries=0)
GOOD = AppBehaviour(radio_seconds=0.05, times=TIMES)
TROUBLED = AppBehaviour(
    fail_rate=0.1,
    die_rate=0.08,
    dead_seconds=2.0,
    doze_rate=0.1,
    doze_seconds=4.0,
    offline_rate=0.1,
    offline_seconds=3.0,
    late_report_rate=0.2,
    late_report_seconds=1.0,
    repeat_report_rate=0.2,
    reorder_rate=0.2,
    delivered_rate=0.5,
    radio_seconds=0.1,
    radio_limit_parts=0,
    times=TIMES,
)
ENDS = {"sent", "verified", "failed", "expired", "cancelled"}
DEADLINE_SECONDS = 100.0

Story = Callable[[Fleet], Awaitable[None]]


@contextmanager
def started(redis_url: str, tmp_path: Path, **settings: str) -> Iterator[Stack]:
    usual = {
        "SEEDROUTER_PACE_SECONDS": "0.1",
        "SEEDROUTER_UNKNOWN_SKEW_SECONDS": "0.5",
        # With so many troubles and nothing new coming in, soon no seed is known to be good
    }
    stack = Stack(redis_url, tmp_path / "data", usual | settings)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def stack(redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    with started(redis_url, tmp_path, **PATIENT) as stack:
        yield stack


def run(stack: Stack, story: Story, behaviour: AppBehaviour, phones: dict[str, int]) -> list[Sms]:
    """A fleet of phones with two SIMs, on and streaming, for the story; returns what was on the air."""
    secrets = json.loads((stack.data / "secrets.json").read_text())
    options = FleetOptions(
        url=stack.url,
        operator_token="",
        ledger=stack.data / "air.jsonl",
        carriers={},
        apps=AppOptions(
            phones=phones, sims=2, private_token=secrets["mobile_private_token"], behaviour=behaviour, seed=5
        ),
    )

    async def play() -> None:
        async with Fleet(options) as fleet:
            await until(lambda: all(phone.is_streaming and phone.app.settings for phone in fleet.app_phones), "all phones on")
            await asyncio.sleep(1.0)  # the api has seen them by then
            await story(fleet)

    asyncio.run(play())
    return read_ledger(options.ledger)


async def until(is_so: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"waited {DEADLINE_SECONDS:.0f} s for {what}"
        await asyncio.sleep(0.05)


async def submit(stack: Stack, key: str, count: int) -> list[str]:
    """Codes to numbers of three carriers in turn."""
    numbers = [number.format(place) for place in range(count) for number in NUMBERS.values()][:count]
    return [await asyncio.to_thread(send, stack, key, number) for number in numbers]


async def ended(stack: Stack, ids: list[str]) -> dict[str, Any]:
    """The traces of all, when each has its end."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while True:
        traces = {id: await asyncio.to_thread(stack.trace, id) for id in ids}
        open_ones = [id for id, trace in traces.items() if trace["message"]["state"] not in ENDS]
        if not open_ones:
            return traces
        assert time.monotonic() < deadline, f"{len(open_ones)} have no end, {traces[open_ones[0]]}"
        await asyncio.sleep(0.3)


def test_phones_register_and_send(stack: Stack) -> None:
    """Each SIM is a seed of its carrier; each message is on the air once, over a SIM of its recipient's carrier."""
    key = stack.account()["key"]
    ids: list[str] = []

    async def story(fleet: Fleet) -> None:
        ids.extend(await submit(stack, key, 24))
        traces = await ended(stack, ids)

        assert {"sent"} == {trace["message"]["state"] for trace in traces.values()}
        seeds = await asyncio.to_thread(stack.operator, "GET", "/seeds")
        assert {seed for phone in fleet.app_phones for seed in phone.seeds} == {seed["imsi"] for seed in seeds}

    ledger = run(stack, story, GOOD, {"60301": 1, "60302": 1, "60303": 1})
    assert sorted(ids) == sorted(sms.id for sms in ledger)
    assert {"+21366": "60301", "+21377": "60302", "+21355": "60303"} == {sms.to[:6]: sms.carrier for sms in ledger}


def test_phones_come_back_when_the_api_was_killed(stack: Stack) -> None:
    """Their streams are opened again, and they are still who they were."""
    key = stack.account()["key"]

    async def story(fleet: Fleet) -> None:
        before = [phone.device_id for phone in fleet.app_phones]
        await asyncio.to_thread(stack.kill_role, "api")
        await until(lambda: not any(phone.is_streaming for phone in fleet.app_phones), "the streams to break")
        stack.start_role("api")
        await until(lambda: all(phone.is_streaming for phone in fleet.app_phones), "the streams to be open again")
        await asyncio.sleep(1.0)
        await ended(stack, await submit(stack, key, 6))

        assert before == [phone.device_id for phone in fleet.app_phones]

    assert 6 == len(run(stack, story, GOOD, {"60301": 1, "60302": 1, "60303": 1}))


def test_a_removed_phone_registers_anew(stack: Stack) -> None:
    """Its token is refused, and it gets another name."""

    async def story(fleet: Fleet) -> None:
        (phone,) = fleet.app_phones
        old, (login, password) = phone.device_id, phone.login
        assert password is not None
        answer = await asyncio.to_thread(stack.http.delete, f"/3rdparty/v1/devices/{old}", auth=(login, password))
        assert 204 == answer.status_code, answer.text
        phone.break_stream()
        await until(lambda: phone.device_id not in (None, old) and phone.is_streaming, "another name")

        assert 2 == phone.app.registrations

    assert [] == run(stack, story, GOOD, {"60302": 1})


@pytest.mark.timeout(300)
@pytest.mark.parametrize("silence", ["resend", "account"])
def test_nothing_is_lost_or_sent_twice_in_silence(redis_url: str, tmp_path: Path, silence: str) -> None:
    """Phones that doze past their leases, lose the network, die after the radio, report late, twice and out of order.

    Nothing is on the air outside its lease. Whatever was on the air twice has an attempt whose outcome nobody knew when it moved, and
    where the account decides about those (it waits), nothing is. Whatever is said to be sent was on the air.
    """
    found: dict[str, Any] = {}
    with started(redis_url, tmp_path, SEEDROUTER_SILENCE=silence) as stack:
        key = stack.account()["key"]

        async def story(fleet: Fleet) -> None:
            found.update(await ended(stack, await submit(stack, key, 60)))

        ledger = run(stack, story, TROUBLED, {"60301": 4, "60302": 4, "60303": 4})
    attempts = {(id, attempt["number"]): attempt for id, trace in found.items() for attempt in trace["attempts"]}
    unknown = {id for (id, _), attempt in attempts.items() if attempt["state"] == "ambiguous" or "ambiguous" in (attempt["error"] or "")}
    sent = {id for id, trace in found.items() if trace["message"]["state"] == "sent"}

    assert 60 == len(found)
    assert set() == {sms.id for sms in ledger if sms.at > attempts[sms.id, sms.attempt]["lease_until"] + 0.01}
    assert set() == on_air_twice(ledger).keys() - (unknown if silence == "resend" else set())
    assert set() == sent - {sms.id for sms in ledger}
    assert sent
