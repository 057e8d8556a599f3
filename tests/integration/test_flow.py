"""The main job through real processes: a message finds a phone of its carrier, moves when one fails, waits when there is none."""

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.stack import PATIENT, Stack, TestPhone, wait_for

MOBILIS, DJEZZY, OOREDOO = "60301", "60302", "60303"
NUMBERS = {MOBILIS: "+21366123{:04d}", DJEZZY: "+21377123{:04d}", OOREDOO: "+21355123{:04d}"}


NOT_FETCHED_ENDS = PATIENT | {"SEEDROUTER_PICKUP_SECONDS": "1"}
LEASE_ENDS = PATIENT | {"SEEDROUTER_LEASE_SECONDS": "4"}
RADIO_ENDS = PATIENT | {"SEEDROUTER_RADIO_SECONDS": "3"}


@pytest.fixture
def stack(request: pytest.FixtureRequest, redis_url: str, tmp_path: Path) -> Iterator[Stack]:
    """Its parameter, where there is one, is what ends soon."""
    stack = Stack(redis_url, tmp_path / "data", getattr(request, "param", PATIENT))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def send(stack: Stack, key: str, phone: str, **fields: str) -> str:
    answer = stack.http.post("/api/v1/send-otp", json={"phone": phone, **fields}, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["reference_id"])


def verify(stack: Stack, key: str, message_id: str, code: str) -> httpx.Response:
    body = {"reference_id": message_id, "code": code}
    return stack.http.post("/api/v1/verify-otp", json=body, headers={"Authorization": f"Bearer {key}"})


def send_by_hand(phone: TestPhone, message: dict[str, object]) -> None:
    """What a good phone does with one message."""
    assert phone.report(message, "radio") == {"accepted": 1, "stale": 0}
    assert phone.report(message, "sent") == {"accepted": 1, "stale": 0}


def test_each_carrier_gets_its_own_numbers(stack: Stack) -> None:
    """A seed of Mobilis gets the Mobilis numbers, and so on."""
    key = stack.account()["key"]
    phones = {carrier: stack.phone(f"{carrier}0000000001") for carrier in NUMBERS}
    time.sleep(0.8)
    sent = {carrier: {send(stack, key, NUMBERS[carrier].format(i)) for i in range(2)} for carrier in NUMBERS}
    got: dict[str, set[object]] = {carrier: set() for carrier in NUMBERS}
    with ExitStack() as online:
        for phone in phones.values():
            online.enter_context(phone.stays_online())

        def pull_all() -> bool:
            for carrier, phone in phones.items():
                for message in phone.pull():
                    send_by_hand(phone, message)
                    got[carrier].add(message["id"])
            return got == sent

        wait_for(pull_all, "every message at a phone of its carrier")

    assert sent == got


def test_without_its_carrier_a_message_waits_and_goes_out_when_a_seed_comes(stack: Stack) -> None:
    """With Mobilis' seeds gone a message waits, and is handed over within about a second of one coming online."""
    key = stack.account()["key"]
    djezzy = stack.phone(f"{DJEZZY}0000000001")
    with djezzy.stays_online():
        time.sleep(0.8)
        message_id = send(stack, key, NUMBERS[MOBILIS].format(1))
        wait_for(lambda: stack.trace(message_id)["parked_at"], "the message to be parked")
        assert djezzy.pull() == []
        mobilis = stack.phone(f"{MOBILIS}0000000001")
        (message,) = mobilis.pull(wait=10)
        send_by_hand(mobilis, message)
    trace = stack.trace(message_id)

    assert message["id"] == message_id
    assert trace["message"]["state"] == "sent"
    assert trace["attempts"][0]["seed"] == mobilis.imsi
    assert trace["parked_at"] is None


def test_another_carrier_serves_when_the_setting_allows(redis_url: str, tmp_path: Path) -> None:
    """cross_carrier: a Djezzy seed sends to a Mobilis number, and the trace says so."""
    stack = Stack(redis_url, tmp_path / "data", PATIENT | {"SEEDROUTER_CROSS_CARRIER": "true"})
    try:
        stack.start()
        key = stack.account()["key"]
        djezzy = stack.phone(f"{DJEZZY}0000000001")
        with djezzy.stays_online():
            time.sleep(0.8)
            message_id = send(stack, key, NUMBERS[MOBILIS].format(1))
            (message,) = djezzy.pull(wait=10)

        assert message_id == message["id"]
        assert "another carrier" in stack.trace(message_id)["attempts"][0]["why"]
    finally:
        stack.stop()


@pytest.mark.parametrize("stack", [LEASE_ENDS], indirect=True)
def test_a_silent_phone_loses_the_message_after_its_lease(stack: Stack) -> None:
    """A phone takes a message and goes silent: another sends it after the lease; the first one is told no."""
    key = stack.account()["key"]
    first = stack.phone(f"{MOBILIS}0000000001")
    time.sleep(0.8)
    message_id = send(stack, key, NUMBERS[MOBILIS].format(2))
    (held,) = first.pull(wait=10)
    second = stack.phone(f"{MOBILIS}0000000002")
    with second.stays_online():
        (moved,) = second.pull(wait=20)
        too_late = first.report(held, "radio")
        send_by_hand(second, moved)
    attempts = stack.trace(message_id)["attempts"]

    assert too_late["stale"] == 1
    assert [attempt["state"] for attempt in attempts] == ["silent", "sent"]
    assert attempts[1]["handed_at"] >= attempts[0]["lease_until"]
    assert stack.trace(message_id)["message"]["state"] == "sent"


@pytest.mark.parametrize("stack", [NOT_FETCHED_ENDS], indirect=True)
def test_a_phone_that_never_fetches_loses_the_message_sooner(stack: Stack) -> None:
    """What was never handed over moves after the pickup time, without waiting for a lease."""
    key = stack.account()["key"]
    stack.phone(f"{MOBILIS}0000000001")
    time.sleep(0.8)
    message_id = send(stack, key, NUMBERS[MOBILIS].format(3))
    wait_for(lambda: stack.trace(message_id)["attempts"], "a first attempt")
    second = stack.phone(f"{MOBILIS}0000000002")
    with second.stays_online():
        (moved,) = second.pull(wait=20)
        send_by_hand(second, moved)

    assert [attempt["state"] for attempt in stack.trace(message_id)["attempts"]] == ["unfetched", "sent"]


def test_a_reported_failure_moves_it_at_once_and_attempts_are_used_up(redis_url: str, tmp_path: Path) -> None:
    """Failed: another seed has it at once; when the attempts are used up it fails with the last reason and is refunded once."""
    stack = Stack(redis_url, tmp_path / "data", PATIENT | {"SEEDROUTER_MAX_ATTEMPTS": "3"})
    try:
        stack.start()
        account = stack.account(balance=100, price=40)
        phones = {imsi: stack.phone(imsi) for imsi in (f"{MOBILIS}000000000{i}" for i in range(4))}
        with ExitStack() as online:
            for phone in phones.values():
                online.enter_context(phone.stays_online())
            time.sleep(0.8)
            message_id = send(stack, account["key"], NUMBERS[MOBILIS].format(4))
            for attempt in range(1, 4):
                wait_for(lambda n=attempt: len(stack.trace(message_id)["attempts"]) == n, f"attempt {attempt}")  # type: ignore[misc]
                phone = phones[stack.trace(message_id)["attempts"][-1]["seed"]]
                (message,) = phone.pull(wait=5)
                phone.report(message, "failed", f"no signal {attempt}")
            trace = stack.wait_for_state(message_id, "failed")
            wait_for(lambda: stack.trace(message_id)["settled"], "the refund")
        balance = stack.operator("GET", f"/accounts/{account['id']}")["balance"]

        assert trace["message"]["reason"] == "no signal 3"
        assert len({attempt["seed"] for attempt in trace["attempts"]}) == 3
        assert balance == 100
    finally:
        stack.stop()


def test_no_room_waits_and_goes_out_when_there_is_some(redis_url: str, tmp_path: Path) -> None:
    """A seed with room for one gets one; the second message waits until the first is sent."""
    stack = Stack(redis_url, tmp_path / "data", PATIENT | {"SEEDROUTER_LEASE_SECONDS": "6"})
    try:
        stack.start()
        key = stack.account()["key"]
        phone = stack.phone(f"{MOBILIS}0000000001", pace_seconds=6)
        with phone.stays_online():
            time.sleep(0.8)
            ids = [send(stack, key, NUMBERS[MOBILIS].format(i)) for i in (5, 6)]
            (first,) = phone.pull(wait=5)
            wait_for(lambda: sum(stack.trace(i)["parked_at"] is not None for i in ids) == 1, "the other one to wait")
            assert phone.pull() == []
            send_by_hand(phone, first)
            (second,) = phone.pull(wait=10)
            send_by_hand(phone, second)

        assert set(ids) == {first["id"], second["id"]}
    finally:
        stack.stop()


def test_what_never_goes_out_expires_and_is_refunded_once(stack: Stack) -> None:
    """No seed comes: the message expires, and the account has its money back."""
    account = stack.account(balance=100, price=40)
    template = {"text": "{code}", "code_seconds": 30, "default": True}
    stack.operator("PUT", f"/accounts/{account['id']}/templates/short", template)
    djezzy = stack.phone(f"{DJEZZY}0000000001")
    with djezzy.stays_online():
        time.sleep(0.8)
        message_id = send(stack, account["key"], NUMBERS[MOBILIS].format(7))
        assert stack.operator("GET", f"/accounts/{account['id']}")["balance"] == 60
        trace = stack.wait_for_state(message_id, "expired", seconds=45)
        wait_for(lambda: stack.trace(message_id)["settled"], "the refund")

    assert trace["attempts"] == []
    assert stack.operator("GET", f"/accounts/{account['id']}")["balance"] == 100
    assert stack.trace(message_id)["message"]["reason"].startswith("its time ended before a seed sent it")


@pytest.mark.parametrize("stack", [RADIO_ENDS], indirect=True)
def test_radio_then_silence_is_ambiguous_and_never_resent_silently(stack: Stack) -> None:
    """A phone asks for the radio and dies: nobody else sends it; the code still verifies, for it may have gone out."""
    key = stack.account()["key"]
    first = stack.phone(f"{MOBILIS}0000000001")
    time.sleep(0.8)
    message_id = send(stack, key, NUMBERS[MOBILIS].format(8))
    (message,) = first.pull(wait=10)
    assert first.report(message, "radio")["accepted"] == 1
    second = stack.phone(f"{MOBILIS}0000000002")
    with second.stays_online():
        wait_for(lambda: stack.trace(message_id)["attempts"][0]["state"] == "ambiguous", "the attempt to be ambiguous")
        nothing = second.pull(wait=2)
    code = re.search(r"\d{6}", str(message["text"]))
    assert code is not None
    answer = verify(stack, key, message_id, code.group())

    assert nothing == []
    assert answer.status_code == 200
    assert stack.state(message_id) == "verified"


def test_the_log_and_the_metrics_tell_no_secret(stack: Stack) -> None:
    """No text, no code, no whole number in a log or a metric (invariant 6)."""
    key = stack.account()["key"]
    phone = stack.phone(f"{MOBILIS}0000000001")
    time.sleep(0.8)
    number = NUMBERS[MOBILIS].format(9)
    message_id = send(stack, key, number)
    (message,) = phone.pull(wait=10)
    send_by_hand(phone, message)
    stack.wait_for_state(message_id, "sent")
    told = "".join(stack.log(role) for role in ("api", "dispatcher", "timekeeper")) + stack.http.get("/metrics").text
    code = re.search(r"\d{6}", str(message["text"]))

    assert message_id in told
    assert number not in told
    assert str(message["text"]) not in told
    assert code is not None
    assert code.group() not in re.sub(r"\d+\.\d+|wg_\w+|\d{7,}", "", told)
