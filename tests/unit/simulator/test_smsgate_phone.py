"""A phone with SMSGate's app over real sockets: who it is, its event stream, its pulls."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.unit.simulator.fake_smsgate import PRIVATE_TOKEN, FakeSmsgate
from tests.unit.simulator.smsgate_kit import QUICK, QUICK_TIMES, SIMS, but, device_of, play
from tests.unit.simulator.stub_router import eventually
from workers.simulator.air import Air
from workers.simulator.client import EnrolmentRefused
from workers.simulator.smsgate.client import with_code, with_password, with_private_token
from workers.simulator.smsgate.events import ServerEvent
from workers.simulator.smsgate.phone import AppPhone


def test_a_message_from_the_event_to_the_report(tmp_path: Path) -> None:
    """The event restarts the pull; the message goes out over the SIM that was asked for, and each state is reported."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and server.pulls)
        server.give(device_of(phone), "sg_01_1", simNumber=2)
        await server.push(device_of(phone))
        await eventually(lambda: server.states("sg_01_1")[-1:] == ["Sent"])

        # A report tells how it is when it leaves: the first may say Sent already
        assert set(server.states("sg_01_1")) <= {"Processed", "Sent"}
        assert {"phoneNumber": "+213661234567", "state": "Sent"} == server.last("sg_01_1")["recipients"][0]
        assert {"Pending", "Processed", "Sent"} == server.last("sg_01_1")["states"].keys()
        assert (1, 1, 1, 0) == (phone.counts.taken, phone.sent_count, phone.app.enqueued, phone.holding)
        assert [0, 1] == [counts.sent for _, counts in phone.counts_by_carrier]
        assert f"<AppPhone {phone.device_id} alive holding=0 sent=1>" == repr(phone)

    (sms,) = play(story, tmp_path)
    assert ("sg_01", 1, "device-00000000000001.2", "60302") == (sms.id, sms.attempt, sms.seed, sms.carrier)
    assert ("+213661234567", "Your code is 123456") == (sms.to, sms.text)


def test_tells_its_sims_and_keeps_its_name(tmp_path: Path) -> None:
    """The registration happens once; a start of the app is an update. What is told of SIMs is masked, as the app does it."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        first = phone.device_id
        phone.kill()
        phone.revive()
        await eventually(lambda: server.updates and phone.is_streaming)

        assert first == phone.device_id
        assert [f"{first}.1", f"{first}.2"] == phone.seeds
        assert ("ABCDEF", "secret-secret") == phone.login
        assert 1 == len(server.registered)
        assert [(1, "*********0001", "***ilis"), (2, "*********0002", "**ezzy")] == [
            (card["simNumber"], card["phoneNumber"], card["carrierName"]) for card in server.updates[0]["simCards"]
        ]
        assert (1, 1) == (phone.app.registrations, phone.app.updates)

    assert play(story, tmp_path) == []


def test_masks_what_it_tells_of_its_sims(tmp_path: Path) -> None:
    """Newer versions show the last four characters only."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        card = server.registered[0]["simCards"][1]

        assert ("*********0002", "**ezzy") == (card["phoneNumber"], card["carrierName"])
        assert 19 == len(card["iccid"])
        assert "*" * 15 == card["iccid"][:15]

    assert play(story, tmp_path, but(masks_sims=True)) == []


def test_without_permission_it_tells_no_sims(tmp_path: Path) -> None:
    """Its one seed is number 0."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        assert "simCards" not in server.registered[0]
        assert [f"{phone.device_id}.0"] == phone.seeds
        server.give(device_of(phone), "a_1")
        await server.push(device_of(phone))
        await eventually(lambda: phone.is_streaming)
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

    (sms,) = play(story, tmp_path, but(tells_sims=False))
    assert "device-00000000000001.0" == sms.seed


@pytest.mark.parametrize("credentials", [with_password("login", "password"), with_code("123456")])
def test_registers_with_a_password_or_a_code(tmp_path: Path, credentials: str) -> None:
    """As another phone of an account."""

    async def run() -> None:
        async with FakeSmsgate() as server:
            server.credentials = {"Basic bG9naW46cGFzc3dvcmQ=", "Code 123456"}
            with Air(tmp_path / "air.jsonl") as air:
                phone = AppPhone(SIMS, air, QUICK, random.Random(1))
                assert server.session is not None
                phone.start(server.session, server.url, credentials, "/mobile/v1")
                await phone.wait_registered()
                await eventually(lambda: phone.is_streaming)
                phone.kill()

                assert await phone.wait_silent() == 0
                assert "device-00000000000001" == phone.device_id

    asyncio.run(run())


def test_a_refused_registration_is_told(tmp_path: Path) -> None:
    """And the phone goes on trying, until it is let in."""

    async def run() -> None:
        async with FakeSmsgate() as server:
            with Air(tmp_path / "air.jsonl") as air:
                phone = AppPhone(SIMS, air, QUICK, random.Random(1))
                assert server.session is not None
                phone.start(server.session, server.url, with_private_token("wrong"))
                with pytest.raises(EnrolmentRefused, match="refused the registration"):
                    await phone.wait_registered()
                server.credentials.add("Bearer wrong")
                await eventually(lambda: phone.device_id is not None)
                phone.kill()

                assert await phone.wait_silent() == 0
                assert phone.app.refusals >= 1

    asyncio.run(run())


def test_registers_when_the_server_is_back(tmp_path: Path) -> None:
    """With growing pauses."""

    async def run() -> None:
        async with FakeSmsgate() as server:
            server.is_down = True
            with Air(tmp_path / "air.jsonl") as air:
                phone = AppPhone(SIMS, air, QUICK, random.Random(1))
                assert server.session is not None
                phone.start(server.session, server.url, with_private_token(PRIVATE_TOKEN))
                await eventually(lambda: phone.app.failed_calls >= 3)
                server.is_down = False
                await phone.wait_registered()
                phone.kill()
                await phone.wait_silent()

    asyncio.run(run())


@pytest.mark.parametrize("path", ["device", "message", "events"])
def test_a_refused_token_is_a_new_registration(tmp_path: Path, path: str) -> None:
    """Whichever call tells it; one new device comes of it, however many calls are refused. The stream is of the new one."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        old = device_of(phone)
        server.tokens.clear()
        if path == "device":
            phone.kill()
            phone.revive()
        elif path == "message":
            await server.push(old)
        else:
            server.cut_streams(old)
        await eventually(lambda: phone.device_id not in (None, old) and server.streams[device_of(phone)])
        server.give(device_of(phone), "a_1")
        await server.push(device_of(phone))
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])

        assert 2 == len(server.registered)

    (sms,) = play(story, tmp_path)
    assert "device-00000000000002.1" == sms.seed


def test_some_versions_wait_for_their_next_start(tmp_path: Path) -> None:
    """Then a refused token is an error like others."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming)
        server.tokens.clear()
        await server.push(device_of(phone))
        await eventually(lambda: phone.app.refusals >= 3)

        assert 1 == phone.app.registrations
        phone.kill()
        phone.revive()
        await eventually(lambda: phone.app.registrations == 2)

    assert play(story, tmp_path, but(registers_at_any_refusal=False)) == []


def test_pulls_at_each_connect_and_event(tmp_path: Path) -> None:
    """The order is that of the settings, newest first without any."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.pulls)
        pulls = phone.app.pulls
        server.cut_streams(device_of(phone))
        await eventually(lambda: phone.app.streams == 2 and phone.app.pulls > pulls)
        pulls = phone.app.pulls
        server.settings = {"messages": {"processing_order": "FIFO"}}
        await server.push(device_of(phone), "SettingsUpdated")
        await eventually(lambda: phone.settings.order == "FIFO")
        await server.push(device_of(phone))
        await eventually(lambda: phone.app.pulls > pulls)

        assert ("lifo", "fifo") == (server.pulls[0][1], server.pulls[-1][1])

    assert play(story, tmp_path) == []


def test_an_event_restarts_the_pull(tmp_path: Path) -> None:
    """The one that is under way is abandoned, and what it would have brought is not taken."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.pulls)
        server.can_answer.clear()
        calls = server.calls.count("GET message")
        await server.push(device_of(phone))
        await eventually(lambda: server.calls.count("GET message") == calls + 1)
        abandoned = phone.app.abandoned_pulls
        server.give(device_of(phone), "a_1")
        await server.push(device_of(phone))
        await eventually(lambda: server.calls.count("GET message") == calls + 2)
        server.can_answer.set()
        await eventually(lambda: phone.sent_count == 1)

        assert abandoned + 1 == phone.app.abandoned_pulls

    assert ["a"] == [sms.id for sms in play(story, tmp_path)]


def test_pulls_each_so_often_without_events(tmp_path: Path) -> None:
    """By its own worker; and where the settings say so, by its ping."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.app.pulls >= 3)

        assert 0 == phone.app.enqueued

    assert play(story, tmp_path, but(times=replace(QUICK_TIMES, poll_seconds=0.05))) == []
    assert play(story, tmp_path, prepare=_ping_each_second) == []


def _ping_each_second(server: FakeSmsgate) -> None:
    server.settings = {"ping": {"interval_seconds": 1}, "gateway": {"notification_channel": "SSE_ONLY"}}


def test_takes_every_kind_of_event(tmp_path: Path) -> None:
    """Names that it does not know, and comments, do no harm; pieces may be of any size."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        heard: list[tuple[AppPhone, ServerEvent]] = []
        phone.on_event = lambda who, event: heard.append((who, event))
        await eventually(lambda: phone.is_streaming and (phone.app.settings, phone.app.webhooks) == (1, 1))
        device = device_of(phone)
        await server.push(device, "WebhooksUpdated")
        await server.push(device, "SettingsUpdated")
        await server.push(device, "MessagesExportRequested", '{"since":"2026-01-01T00:00:00.000Z"}')
        await server.push(device, "Unheard")
        await server.push(device, "MessageCancelled", "null")
        await server.push(device, "MessageCancelled", '{"messageId":"unknown"}')
        for piece in (b"event: Messa", b"geEnqueued\r\ndata", b": null\r\n", b"\r", b"\n:keepalive\n\n", b"event: NoData\n\n"):
            await server.write(device, piece)
        await eventually(lambda: phone.app.enqueued == 1 and phone.app.webhooks == 2 and phone.app.settings == 2)

        assert (1, 2, 1, 1) == (phone.app.exports, phone.app.odd_events, phone.app.cancels, phone.app.cannot_cancel)
        assert ["WebhooksUpdated", "SettingsUpdated", "MessagesExportRequested", "Unheard"] == [event.name for _, event in heard[:4]]
        assert all(who is phone for who, _ in heard)

    assert play(story, tmp_path) == []


def test_a_stream_that_goes_silent_is_opened_again(tmp_path: Path) -> None:
    """Without keepalives the app takes it for broken."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.app.streams >= 3)

    assert play(story, tmp_path, but(times=replace(QUICK_TIMES, silence_seconds=0.1))) == []


def test_a_stream_that_ends_in_order(tmp_path: Path) -> None:
    """Is opened again; but some versions of the app do not, and live by their other pulls until they are started again."""

    async def again(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming)
        server.end_streams(device_of(phone))
        await eventually(lambda: phone.app.streams == 2 and phone.is_streaming)

    async def not_again(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.settings)
        server.end_streams(device_of(phone))
        await eventually(lambda: phone.app.stream_ends == 1)
        pulls = phone.app.pulls
        await eventually(lambda: phone.app.pulls >= pulls + 2)

        assert (1, False) == (phone.app.streams, phone.is_streaming)
        phone.kill()
        phone.revive()
        await eventually(lambda: phone.is_streaming)

    often = replace(QUICK_TIMES, poll_seconds=0.05)
    assert play(again, tmp_path) == []
    assert play(not_again, tmp_path, but(reopens_ended_stream=False, times=often)) == []


def test_what_is_no_stream_is_tried_again(tmp_path: Path) -> None:
    """A status, or another kind of answer."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: server.calls.count("GET events") >= 3)

        assert 0 == phone.app.streams
        server.refuses = lambda request: None
        await eventually(lambda: phone.is_streaming)

    def refuse(status: int) -> Any:
        def prepare(server: FakeSmsgate) -> None:
            server.refuses = lambda request: status if request.path.endswith("/events") else None

        return prepare

    assert play(story, tmp_path, prepare=refuse(503)) == []
    assert play(story, tmp_path, prepare=refuse(200)) == []


def test_settings_that_it_does_not_understand_are_no_settings(tmp_path: Path) -> None:
    """The app throws on them, and asks again."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: server.calls.count("GET settings") >= 2)

        assert 0 == phone.app.settings
        server.settings = {"messages": {"limit_period": "PerHour", "limit_value": 5.0, "unknown": []}}
        await eventually(lambda: phone.app.settings)

        assert (60.0, 5) == (phone.settings.limit_minutes, phone.settings.limit_value)

    def prepare(server: FakeSmsgate) -> None:
        server.settings = {"messages": {"limit_period": "PerFortnight"}}

    assert play(story, tmp_path, prepare=prepare) == []


def test_a_known_id_is_told_again_and_never_sent_again(tmp_path: Path) -> None:
    """Also after the app was killed; another attempt is another id."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        server.drops_reported = False
        await eventually(lambda: phone.is_streaming)
        device = device_of(phone)
        server.give(device, "a_1")
        await server.push(device)
        await eventually(lambda: server.states("a_1")[-1:] == ["Sent"])
        phone.kill()
        phone.revive()
        await eventually(lambda: phone.app.repeated and phone.is_streaming)
        told = len(server.states("a_1"))
        await server.push(device)
        await eventually(lambda: len(server.states("a_1")) > told)

        assert "Sent" == server.states("a_1")[-1]
        server.give(device, "a_2")
        await server.push(device)
        await eventually(lambda: server.states("a_2")[-1:] == ["Sent"])

    assert [("a", 1), ("a", 2)] == [(sms.id, sms.attempt) for sms in play(story, tmp_path)]


def test_a_listing_that_it_cannot_read_brings_nothing(tmp_path: Path) -> None:
    """One bad message is thrown away; a list of another shape is a failed call."""

    async def story(server: FakeSmsgate, phone: AppPhone) -> None:
        await eventually(lambda: phone.is_streaming and phone.app.pulls)
        device = device_of(phone)
        server.give(device, "bad_1", validUntil="tomorrow")
        server.give(device, "worse_1", textMessage=None, message=None)
        server.give(device, "good_1")
        await server.push(device)
        await eventually(lambda: server.states("good_1")[-1:] == ["Sent"])

        assert 2 == phone.app.unreadable
        failed = phone.app.failed_calls
        server.listed[device] = [{"identity": "x"}]
        await server.push(device)
        await eventually(lambda: phone.app.failed_calls >= failed + 2)

    assert ["good"] == [sms.id for sms in play(story, tmp_path)]


def test_a_phone_that_was_never_started_is_nothing(tmp_path: Path) -> None:
    """It has no name yet, and its switch does nothing."""

    async def run() -> None:
        with Air(tmp_path / "air.jsonl") as air:
            phone = AppPhone(SIMS, air)
            phone.revive()
            phone.kill()
            phone.switch_off()
            phone.break_stream()

            assert (None, "", [], False) == (phone.device_id, phone.token, phone.seeds, phone.alive)
            assert await phone.wait_silent() == 0
            with pytest.raises(RuntimeError):
                await phone.wait_registered()

    asyncio.run(run())
