"""What goes wrong around a phone with SMSGate's app, and how it tells of it afterwards."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import web
from msgspec.structs import replace

from tests.unit.simulator.fake_smsgate import FakeSmsgate
from tests.unit.simulator.smsgate_kit import QUICK, QUICK_TIMES, but, device_of, play
from tests.unit.simulator.stub_router import eventually
from tests.unit.simulator.test_smsgate_sending import names, offer, with_settings
from workers.simulator.smsgate.phone import AppPhone


def refuse_reports(request: web.Request) -> int | None:
    return 503 if (request.method, request.path.rpartition("/")[2]) == ("PATCH", "message") else None


def accept(request: web.Request) -> int | None:
    return None


def test_dozes_in_the_middle_of_everything(tmp_path: Path) -> None:
    """The stream stays open and hangs; what the router says meanwhile is heard afterwards."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        phone.doze()
        # What was on its way may still arrive
        await asyncio.sleep(0.3)
        calls = len(server.calls)
        server.give(device_of(phone), "a_1")
        await server.push(device_of(phone))
        await asyncio.sleep(0.2)

        assert (calls, 0) == (len(server.calls), phone.app.enqueued)
        assert 1 == len(server.streams[device_of(phone)])
        phone.wake()
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

        assert 1 == phone.app.streams

    assert ["a"] == names(play(story, tmp_path))


def test_a_lease_ends_while_it_dozes(tmp_path: Path) -> None:
    """Then the message is not sent any more. It dozes between the choice and the look at the clock here."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1", validUntil=time.time() + 0.3)
        await eventually(lambda: server.states("a_1") == ["Failed"])

    assert [] == names(play(story, tmp_path, but(doze_rate=1, doze_seconds=20.0), seed=_seed_of_doze(before=True)))


def test_dozes_before_it_reports(tmp_path: Path) -> None:
    """The message is on the air, and nobody hears of it until it wakes."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.sent_count == 1)
        await asyncio.sleep(0.1)

        assert [] == server.states("a_1")
        assert not phone.conditions.is_awake
        phone.wake()
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

    assert ["a"] == names(play(story, tmp_path, but(doze_rate=1, doze_seconds=600.0), seed=_seed_of_doze(before=False)))


def _seed_of_doze(*, before: bool) -> int:
    """A seed whose first message has a doze in that place; before, of less than 2 s and more than the lease."""
    import random

    from workers.simulator.smsgate.behaviour import draw_app_fate

    for seed in range(1000):
        fate = draw_app_fate(random.Random(seed), but(doze_rate=1, doze_seconds=20.0))
        assert fate.doze_seconds is not None
        if fate.dozes_before is before and (not before or 0.4 < fate.doze_seconds < 2.0) and (before or fate.doze_seconds > 5.0):
            return seed
    raise AssertionError("no such seed")


def test_loses_the_network_in_the_middle_of_the_stream(tmp_path: Path) -> None:
    """The stream breaks and is opened again afterwards, with a pull; reports wait, and use up none of their tries."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        phone.lose_network()
        await eventually(lambda: not phone.is_streaming and not server.streams[device_of(phone)])
        calls = len(server.calls)
        server.give(device_of(phone), "a_1")
        await asyncio.sleep(0.2)

        assert (calls, 1) == (len(server.calls), phone.app.stream_ends)
        phone.restore()
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

        assert (2, 0) == (phone.app.streams, phone.app.given_up)

    assert ["a"] == names(play(story, tmp_path))


def test_a_call_fails_that_is_under_way_when_the_network_goes(tmp_path: Path) -> None:
    """And comes again when it is back."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        server.can_answer.clear()
        server.give(device_of(phone), "a_1")
        calls = server.calls.count("GET message")
        await server.push(device_of(phone))
        await eventually(lambda: server.calls.count("GET message") > calls)
        failed = phone.app.failed_calls
        phone.lose_network(0.1)
        await eventually(lambda: phone.app.failed_calls >= failed + 2)
        server.can_answer.set()
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

    assert ["a"] == names(play(story, tmp_path))


def test_goes_offline_right_after_the_radio(tmp_path: Path) -> None:
    """The report is late by as long as that lasts."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.sent_count == 1 and not phone.conditions.is_connected)
        await asyncio.sleep(0.1)

        assert [] == server.states("a_1")
        assert phone.unanswered_count >= 1
        phone.restore()
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

    assert ["a"] == names(play(story, tmp_path, but(offline_rate=1, offline_seconds=1e6)))


def test_dies_between_the_radio_and_the_report(tmp_path: Path) -> None:
    """It comes back with its messages, says nothing by itself, and tells the truth when the router lists the message again."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.sent_count == 1 and not phone.alive)
        await eventually(lambda: not server.streams[device_of(phone)])
        listed, server.listed[device_of(phone)] = server.listed[device_of(phone)], []
        phone.revive()
        await eventually(lambda: phone.is_streaming and phone.app.updates)
        await asyncio.sleep(0.1)

        assert [] == server.states("a_1")
        server.listed[device_of(phone)] = listed
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1") == ["Sent"])

    assert ["a"] == names(play(story, tmp_path, but(die_rate=1)))


def test_comes_back_by_itself(tmp_path: Path) -> None:
    """After a while, if it dies for a while only."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.sent_count == 1)
        await eventually(lambda: phone.alive and phone.app.updates and server.states("a_1"))

        assert {"Sent"} == set(server.states("a_1"))

    assert ["a"] == names(play(story, tmp_path, but(die_rate=1, dead_seconds=0.05)))


def test_a_killed_app_keeps_its_messages(tmp_path: Path) -> None:
    """It loses its stream at once; what was pending is sent when it is on again, and what was to be said is said."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.settings.interval_seconds == (1, 1))
        server.refuses = refuse_reports
        await offer(server, phone, "a_1", "b_1")
        await eventually(lambda: phone.sent_count == 1)
        phone.kill()

        assert (False, 1) == (phone.alive, phone.holding)
        await eventually(lambda: not server.streams[device_of(phone)])
        server.listed.clear()
        server.refuses = accept
        phone.revive()
        await eventually(lambda: server.states("b_1")[-1:] == ["Sent"] and server.states("a_1")[-1:] == ["Sent"])

    assert ["b", "a"] == names(play(story, tmp_path, prepare=with_settings(send_interval_min=1, send_interval_max=1)))


def test_a_killed_app_may_forget_what_it_had_to_say(tmp_path: Path) -> None:
    """The result of the radio as well: it says Processed for ever, and only when asked."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.refuses = refuse_reports
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.sent_count == 1 and server.calls.count("PATCH message") >= 1)
        phone.kill(forgets=True)
        server.refuses = accept
        listed = server.listed.pop(device_of(phone))
        phone.revive()
        await eventually(lambda: phone.is_streaming and phone.app.updates)
        await asyncio.sleep(0.1)

        assert [] == server.states("a_1")
        server.listed[device_of(phone)] = listed
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1") == ["Processed"])

    assert ["a"] == names(play(story, tmp_path, but(lost_result_rate=1)))
    (tmp_path / "air.jsonl").unlink()
    assert ["a"] == names(play(story, tmp_path, but(radio_seconds=600.0)))


def test_a_result_that_never_comes(tmp_path: Path) -> None:
    """The message stays Processed."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1") == ["Processed"])
        await asyncio.sleep(0.1)

        assert ["Processed"] == server.states("a_1")

    assert ["a"] == names(play(story, tmp_path, but(lost_result_rate=1)))


def test_a_slow_radio(tmp_path: Path) -> None:
    """Processed first, Sent long after; the app sends others meanwhile."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1") == ["Processed"])
        await offer(server, phone, "b_1")
        await eventually(lambda: server.states("b_1")[:1] == ["Processed"])

        assert ["Processed"] == server.states("a_1")

    assert ["a", "b"] == names(play(story, tmp_path, but(radio_seconds=60.0)))


def test_what_the_radio_will_say_is_said_at_a_power_off_in_order(tmp_path: Path) -> None:
    """So that the end of a simulation leaves no doubt."""
    told: list[str] = []

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1") == ["Processed"])
        phone.switch_off()
        await eventually(lambda: phone.unanswered_count == 0)
        told.extend(server.states("a_1"))

    assert ["a"] == names(play(story, tmp_path, but(radio_seconds=600.0)))
    assert ["Processed", "Sent"] == told


def test_a_failing_radio_says_why(tmp_path: Path) -> None:
    """And nothing is on the air."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, *(f"m{number}_1" for number in range(12)))
        await eventually(lambda: all(server.states(f"m{number}_1")[-1:] == ["Failed"] for number in range(12)))

        errors = {server.last(f"m{number}_1")["recipients"][0]["error"] for number in range(12)}
        assert {"Send result: RESULT_ERROR_GENERIC_FAILURE", "Send result: RESULT_ERROR_NO_SERVICE"} == errors
        assert (12, 0) == (phone.counts.failed, phone.counts.sent)

    assert play(story, tmp_path, but(fail_rate=1)) == []


def test_reports_until_it_is_heard(tmp_path: Path) -> None:
    """A report says where the message is when it goes out, not what it was to say first."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.refuses = refuse_reports
        await offer(server, phone, "a_1")
        await eventually(lambda: server.calls.count("PATCH message") >= 4)
        server.refuses = accept
        await eventually(lambda: phone.unanswered_count == 0)

        assert ["Sent", "Sent"] == server.states("a_1")

    assert ["a"] == names(play(story, tmp_path))


def test_gives_a_report_up_after_so_many_tries(tmp_path: Path) -> None:
    """The router hears of it by listing the message again."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.refuses = refuse_reports
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.app.given_up == 2 and phone.unanswered_count == 0)
        server.refuses = accept

        assert [] == server.states("a_1")
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1") == ["Sent"])

    assert ["a"] == names(play(story, tmp_path, but(times=replace(QUICK_TIMES, report_tries=3))))


def test_reports_late_twice_and_out_of_order(tmp_path: Path) -> None:
    """Each as a behaviour of its own."""

    async def late(server: FakeSmsgate, phone: AppPhone) -> None:
        began = time.monotonic()
        await offer(server, phone, "late_1")
        await eventually(lambda: server.states("late_1")[-1:] == ["Sent"])

        assert time.monotonic() - began >= 0.3

    async def twice(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "twice_1")
        await eventually(lambda: server.states("twice_1")[-2:] == ["Sent", "Sent"])

    async def reordered(server: FakeSmsgate, phone: AppPhone) -> None:
        await offer(server, phone, "order_1")
        await eventually(lambda: server.states("order_1") == ["Sent", "Processed"])

        assert {"Pending", "Processed"} == server.last("order_1")["states"].keys()

    assert ["late"] == names(play(late, tmp_path, but(late_report_rate=1, late_report_seconds=0.3)))
    assert ["late", "twice"] == names(play(twice, tmp_path, but(repeat_report_rate=1)))
    assert ["late", "twice", "order"] == names(play(reordered, tmp_path, but(reorder_rate=1)))


def test_a_call_for_each_report_or_for_several(tmp_path: Path) -> None:
    """The app makes one for each."""
    batches: list[int] = []

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.refuses = refuse_reports
        await offer(server, phone, *(f"m{number}_1" for number in range(10)))
        await eventually(lambda: phone.sent_count == 10)
        # While it dozes, all that it has to say again becomes due
        phone.doze()
        await asyncio.sleep(1.0)
        server.refuses = accept
        phone.wake()
        await eventually(lambda: phone.unanswered_count == 0)
        batches.append(max(server.batches))

    assert 10 == len(play(story, tmp_path))
    assert 20 == len(play(story, tmp_path, but(reports_at_once=50)))
    assert 1 == batches[0]
    assert 1 < batches[1] <= 50


def test_unsaid_reports_are_counted_at_the_end(tmp_path: Path) -> None:
    """A router that never answers is left with a number."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.refuses = refuse_reports
        await offer(server, phone, "a_1")
        await eventually(lambda: phone.unanswered_count == 2)
        phone.switch_off()

        assert await phone.wait_silent(0.2) == 2

    assert ["a"] == names(play(story, tmp_path, but(times=replace(QUICK_TIMES, report_tries=0)), left=2))


def test_the_server_restarts(tmp_path: Path) -> None:
    """All connections are cut; the phone finds back by itself."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming)
        await server.close()
        await eventually(lambda: not phone.is_streaming and phone.app.failed_calls >= 1)
        await server.open()
        await offer(server, phone, "a_1")
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

    assert ["a"] == names(play(story, tmp_path))


@pytest.mark.parametrize("end", ["kill", "switch_off"])
def test_a_phone_that_was_never_let_in_can_be_switched_off(tmp_path: Path, end: str) -> None:
    """It has nothing to say."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.is_down = True
        phone.kill()
        phone.revive()
        getattr(phone, end)()
        phone.revive()
        server.is_down = False
        await eventually(lambda: phone.is_streaming)
        phone.revive()

        assert 1 == len(server.registered)

    assert play(story, tmp_path) == []


def test_the_same_seed_is_the_same_behaviour(tmp_path: Path) -> None:
    """Which messages fail depends on the randomness that the phone was given, and on nothing else."""
    failed: list[set[str]] = []

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        ids = [f"m{number}_1" for number in range(20)]
        await offer(server, phone, *ids)
        await eventually(lambda: all(server.states(id)[-1:] in (["Sent"], ["Failed"]) for id in ids))
        failed.append({id for id in ids if server.states(id)[-1] == "Failed"})

    troubled = but(QUICK, fail_rate=0.4)
    for seed in (3, 3, 4):
        play(story, tmp_path, troubled, seed=seed)
    assert failed[0] == failed[1] != failed[2]
