"""How a phone with SMSGate's app sends: order, pace, limits, times, SIMs and cancelling."""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.unit.simulator.fake_smsgate import FakeSmsgate, stamp
from tests.unit.simulator.smsgate_kit import QUICK, QUICK_TIMES, but, device_of, play
from tests.unit.simulator.stub_router import eventually
from workers.simulator.air import Sms
from workers.simulator.smsgate.phone import AppPhone


async def offer(server: FakeSmsgate, phone: AppPhone, *ids: str, **fields: Any) -> None:
    """List messages, and say so."""
    await eventually(lambda: phone.is_streaming and phone.app.settings)
    server.give(device_of(phone), *ids, **fields)
    await server.push(device_of(phone))


LONG_MINUTE = msgspec.structs.replace(QUICK_TIMES, minute_seconds=3.0)
"""What is urgent, or cancelled, has time to come while the others wait."""


def with_settings(**messages: Any) -> Any:
    def prepare(server: FakeSmsgate) -> None:
        server.settings = {"messages": messages}

    return prepare


def names(ledger: list[Sms]) -> list[str]:
    return [sms.id for sms in ledger]


@pytest.mark.parametrize(("order", "expected"), [("LIFO", ["c", "b", "a"]), ("FIFO", ["a", "b", "c"])])
def test_newest_or_oldest_first(tmp_path: Path, order: str, expected: list[str]) -> None:
    """By the time at which the router says that the message was made; a higher priority goes before both."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.order == order)
        await offer(server, phone, "a_1", "b_1", "c_1")
        server.give(device_of(phone), "urgent_1", priority=1)
        await eventually(lambda: phone.sent_count >= 3)
        await server.push(device_of(phone))
        await eventually(lambda: phone.sent_count == 4)

    ledger = names(play(story, tmp_path, prepare=with_settings(processing_order=order)))
    assert [name for name in ledger if name != "urgent"] == expected


def test_priority_goes_first(tmp_path: Path) -> None:
    """Whatever the order is."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        server.give(device_of(phone), "low_1", priority=-5)
        server.give(device_of(phone), "high_1", priority=5)
        server.give(device_of(phone), "plain_1")
        await server.push(device_of(phone))
        await eventually(lambda: phone.sent_count == 3)

    assert ["high", "plain", "low"] == names(play(story, tmp_path))


def test_rests_after_a_message(tmp_path: Path) -> None:
    """Whole seconds between the two bounds. An urgent one does not wait for that, interrupts it, and has no rest after it."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.interval_seconds == (1, 1))
        await offer(server, phone, "a_1", "b_1", "c_1")
        await eventually(lambda: phone.sent_count == 1)
        await offer(server, phone, "now_1", priority=100)
        await eventually(lambda: phone.sent_count == 4)

    ledger = play(story, tmp_path, prepare=with_settings(send_interval_min=1, send_interval_max=1))
    assert ["c", "now", "b", "a"] == names(ledger)
    assert ledger[3].at - ledger[2].at >= 0.99


def test_only_the_first_of_several_urgent_ones_has_leave(tmp_path: Path) -> None:
    """The app lets a run of them wait like others."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.interval_seconds == (1, 1))
        await offer(server, phone, "a_1", "b_1", "c_1", priority=100)
        await eventually(lambda: phone.sent_count == 3)

    ledger = play(story, tmp_path, prepare=with_settings(send_interval_min=1, send_interval_max=1))
    assert ledger[2].at - ledger[1].at >= 0.99


def test_obeys_the_limit(tmp_path: Path) -> None:
    """So many messages in a period, and then a whole period's pause; urgent ones go past it. A minute lasts 3 s here."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.limit_value == 2)
        await offer(server, phone, "a_1", "b_1", "c_1", "d_1")
        await eventually(lambda: phone.sent_count == 2)
        await offer(server, phone, "now_1", priority=127)
        await eventually(lambda: phone.sent_count == 5)

    ledger = play(story, tmp_path, but(times=LONG_MINUTE), prepare=with_settings(limit_period="PerMinute", limit_value=2))
    assert ["d", "c", "now", "b"] == names(ledger)[:4]
    assert ledger[3].at - ledger[2].at >= LONG_MINUTE.minute_seconds


def test_a_message_that_waits_for_the_limit_can_be_cancelled(tmp_path: Path) -> None:
    """It is in the worker's hand by then, and is not sent for all that."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.limit_value == 1)
        await offer(server, phone, "a_1", "b_1")
        await eventually(lambda: phone.sent_count == 1)
        await server.push(device_of(phone), "MessageCancelled", '{"messageId":"a_1"}')
        await eventually(lambda: server.states("a_1") == ["Cancelled"])
        await offer(server, phone, "c_1")
        await eventually(lambda: phone.sent_count == 2)

        assert ["Cancelled"] == server.states("a_1")

    one_a_minute = with_settings(limit_period="PerMinute", limit_value=1)
    assert ["b", "c"] == names(play(story, tmp_path, but(times=LONG_MINUTE), prepare=one_a_minute))


def test_obeys_valid_until(tmp_path: Path) -> None:
    """Right before it would be sent: what waited too long behind others fails."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.interval_seconds == (3, 3))
        await offer(server, phone, "old_1", validUntil=time.time() - 1)
        await eventually(lambda: server.states("old_1") == ["Failed"])
        await offer(server, phone, "late_1", "soon_1", validUntil=time.time() + 2.8)
        await eventually(lambda: server.states("late_1") == ["Failed"])

        assert "TTL expired" == server.last("late_1")["recipients"][0]["error"]
        assert (2, 2) == (phone.app.expired, phone.counts.failed)

    assert ["soon"] == names(play(story, tmp_path, prepare=with_settings(send_interval_min=3, send_interval_max=3)))


@pytest.mark.parametrize(("ahead", "expected"), [(-600.0, ["short", "long"]), (0.0, ["long"]), (600.0, [])])
def test_obeys_valid_until_by_its_own_clock(tmp_path: Path, ahead: float, expected: list[str]) -> None:
    """A clock that is behind keeps a lease for too long, and one that is ahead has none."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "short_1", validUntil=time.time() - 1)
        await eventually(lambda: server.states("short_1"))
        await offer(server, phone, "long_1", validUntil=time.time() + 300)
        await eventually(lambda: server.states("long_1")[-1:] and phone.holding == 0)

    assert expected == names(play(story, tmp_path, but(clock_offset_seconds=ahead)))


def test_the_clock_can_be_set(tmp_path: Path) -> None:
    """From then on its times and its leases are another matter."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1", validUntil=time.time() + 30)
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])
        phone.set_clock(3600)
        await offer(server, phone, "b_1", validUntil=time.time() + 30)
        await eventually(lambda: server.states("b_1") == ["Failed"])

        assert server.last("b_1")["states"]["Failed"][:13] != server.last("a_1")["states"]["Sent"][:13]

    assert ["a"] == names(play(story, tmp_path))


def test_six_digits_of_fraction_are_minutes_too_many(tmp_path: Path) -> None:
    """The app takes them for milliseconds: such a lease ends up to 17 minutes late. Three digits are right."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        ended = int(time.time()) - 60 + 0.5
        await offer(server, phone, "three_1", validUntil=stamp(ended, 3))
        await offer(server, phone, "six_1", validUntil=stamp(ended, 6))
        await eventually(lambda: server.states("three_1") == ["Failed"] and server.states("six_1")[-1:] == ["Sent"])

    assert ["six"] == names(play(story, tmp_path))


def test_waits_for_its_time(tmp_path: Path) -> None:
    """`scheduleAt`, by the phone's clock; others do not wait for it."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "later_1", scheduleAt=time.time() + 2, priority=50)
        await offer(server, phone, "now_1")
        await eventually(lambda: phone.sent_count == 2)

    assert ["now", "later"] == names(play(story, tmp_path))


def test_a_missing_sim_is_a_failure(tmp_path: Path) -> None:
    """With the app's words."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1", simNumber=3)
        await eventually(lambda: server.states("a_1") == ["Failed"])

        assert "Can't send message: SIM 3 not found" == server.last("a_1")["recipients"][0]["error"]

    assert play(story, tmp_path) == []


@pytest.mark.parametrize(("mode", "expected"), [("OSDefault", {"1"}), ("RoundRobin", {"1", "2"}), ("Random", {"1", "2"})])
def test_without_a_sim_number_the_settings_choose(tmp_path: Path, mode: str, expected: set[str]) -> None:
    """The first SIM, by default."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.sim_selection == mode)
        await offer(server, phone, *(f"m{number}_1" for number in range(8)))
        await eventually(lambda: phone.sent_count == 8)

    ledger = play(story, tmp_path, prepare=with_settings(sim_selection_mode=mode))
    assert expected == {sms.seed[-1] for sms in ledger}


def test_sends_data_and_many_recipients(tmp_path: Path) -> None:
    """A data message stays base64 in the ledger; each recipient is an SMS; the old field for the text will do."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(
            server, phone, "data_1", textMessage=None, message=None, dataMessage={"data": "SGVsbG8=", "port": 53739}
        )
        await offer(server, phone, "old_1", textMessage=None, phoneNumbers=["+213661000001", "+213661000002"])
        await eventually(lambda: server.states("data_1")[-1:] == server.states("old_1")[-1:] == ["Sent"])

        assert 2 == len(server.last("old_1")["recipients"])

    ledger = play(story, tmp_path)
    assert {("data", "SGVsbG8="), ("old", "Your code is 123456")} == {(sms.id, sms.text) for sms in ledger}
    assert 3 == len(ledger)


def test_cancels_what_is_pending(tmp_path: Path) -> None:
    """By the event, or because the list says so."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.interval_seconds == (60, 60))
        await offer(server, phone, "a_1", "b_1", "c_1")
        await eventually(lambda: phone.sent_count == 1 and phone.holding == 2)
        await server.push(device_of(phone), "MessageCancelled", '{"messageId":"b_1"}')
        await eventually(lambda: server.states("b_1") == ["Cancelled"])
        server.listed[device_of(phone)][0]["state"] = "Cancelling"
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1") == ["Cancelled"])

        assert (2, 0, 1) == (phone.counts.cancelled, phone.holding, phone.app.cancels)

    assert ["c"] == names(play(story, tmp_path, prepare=with_settings(send_interval_min=60, send_interval_max=60)))


def test_says_nothing_of_what_it_cannot_cancel(tmp_path: Path) -> None:
    """As the app does; a behaviour for those that do say it."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.drops_reported = False
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])
        told = len(server.told)
        server.listed[device_of(phone)][0]["state"] = "Cancelling"
        server.give(device_of(phone), "unknown_1", state="Cancelling")
        await server.push(device_of(phone))
        await eventually(lambda: phone.app.cannot_cancel == 2 and phone.unanswered_count == 0)

        assert told + phone.behaviour.tells_what_it_cannot_cancel == len(server.told)
        assert "Sent" == server.states("a_1")[-1]
        assert [] == server.states("unknown_1")

    assert ["a"] == names(play(story, tmp_path))
    (tmp_path / "air.jsonl").unlink()
    assert ["a"] == names(play(story, tmp_path, but(tells_what_it_cannot_cancel=True)))


def test_takes_nothing_that_is_not_pending(tmp_path: Path) -> None:
    """A list may hold other states, which are no orders."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        for state in ("Cancelled", "Processed", "Sent", "Delivered", "Failed"):
            server.give(device_of(phone), f"{state}_1", state=state)
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

        assert 1 == phone.counts.taken

    assert ["a"] == names(play(story, tmp_path))


def test_android_limits_the_parts_of_each_sim(tmp_path: Path) -> None:
    """Three parts in ten minutes here; more are refused by the radio, and another SIM has a count of its own."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "two_1", text="x" * 200)
        await eventually(lambda: server.states("two_1")[-1:] == ["Sent"])
        await offer(server, phone, "again_1", text="x" * 200)
        await eventually(lambda: server.states("again_1")[-1:] == ["Failed"])
        await offer(server, phone, "other_1", text="x" * 200, simNumber=2)
        await eventually(lambda: server.states("other_1")[-1:] == ["Sent"])

        assert "Send result: RESULT_ERROR_LIMIT_EXCEEDED" == server.last("again_1")["recipients"][0]["error"]

    assert ["two", "other"] == names(play(story, tmp_path, but(radio_limit_parts=3, radio_limit_seconds=600.0)))


def test_androids_limit_is_of_the_last_while(tmp_path: Path) -> None:
    """What was sent before counts no more."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "two_1", text="x" * 200)
        await eventually(lambda: server.states("two_1")[-1:] == ["Sent"])
        await asyncio.sleep(1.0)
        await offer(server, phone, "after_1", text="x" * 200)
        await eventually(lambda: server.states("after_1")[-1:] == ["Sent"])

    assert ["two", "after"] == names(play(story, tmp_path, but(radio_limit_parts=3, radio_limit_seconds=1.0)))


def test_delivery_reports_where_they_are_wanted(tmp_path: Path) -> None:
    """And where the network gives them."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "wanted_1")
        await offer(server, phone, "unwanted_1", withDeliveryReport=False)
        await eventually(lambda: server.states("wanted_1")[-1:] == ["Delivered"] and server.states("unwanted_1")[-1:] == ["Sent"])

        assert {"Pending", "Processed", "Sent", "Delivered"} == server.last("wanted_1")["states"].keys()

    assert {"wanted", "unwanted"} == set(names(play(story, tmp_path, but(QUICK, delivered_rate=1))))
