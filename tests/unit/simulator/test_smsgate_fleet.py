"""Fleets of phones that run SMSGate's app."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from router.domain.errors import Invalid
from tests.unit.simulator.fake_smsgate import PRIVATE_TOKEN, FakeSmsgate
from tests.unit.simulator.smsgate_kit import QUICK, but, device_of
from tests.unit.simulator.stub_router import OPERATOR_TOKEN, StubRouter, eventually
from workers.simulator.air import on_air_twice, read_ledger
from workers.simulator.behaviour import Behaviour
from workers.simulator.client import EnrolmentRefused
from workers.simulator.fleet import Fleet, FleetOptions, FleetReport
from workers.simulator.smsgate.fleet import AppOptions


def options(server: FakeSmsgate | StubRouter, tmp_path: Path, **apps: Any) -> FleetOptions:
    given = AppOptions(**{"phones": {"60301": 20, "60302": 10}, "private_token": PRIVATE_TOKEN, "behaviour": QUICK} | apps)
    return FleetOptions(url=server.url, operator_token=OPERATOR_TOKEN, ledger=tmp_path / "air.jsonl", carriers={}, apps=given)


def test_a_fleet_registers_sends_and_ends_in_order(tmp_path: Path) -> None:
    """Thirty phones with two SIMs each; every message once on the air, and reported."""

    async def run() -> FleetReport:
        async with FakeSmsgate() as server:
            async with Fleet(options(server, tmp_path, sims=2)) as fleet:
                await eventually(lambda: all(phone.is_streaming for phone in fleet.app_phones))
                for number in range(5):
                    for phone in fleet.app_phones:
                        server.give(device_of(phone), f"{phone.name}-{number}_1", simNumber=number % 2 + 1)
                        await server.push(device_of(phone))
                await eventually(lambda: fleet.sent_count == 150)

                assert (30, 30, []) == (fleet.alive_count, len(server.registered), fleet.phones)
                assert "<Fleet 30/30 alive sent=150>" == repr(fleet)
            report = fleet.report()

        assert 150 == len({told["id"] for told in server.told if told["state"] == "Sent"})
        return report

    report = asyncio.run(run())

    ledger = read_ledger(tmp_path / "air.jsonl")
    assert (150, {}) == (len(ledger), on_air_twice(ledger))
    assert 60 == len({sms.seed for sms in ledger})
    assert (30, 0, 150, 0) == (report.phones, report.alive, report.totals.sent, report.undelivered_reports)
    assert {"60301": 80, "60302": 70} == {carrier: counts.sent for carrier, counts in report.by_carrier.items()}
    assert report.apps is not None
    assert (30, 30) == (report.apps.registrations, report.apps.streams)


def test_a_fleet_may_have_both_kinds(tmp_path: Path) -> None:
    """They share the ledger; killing and reviving is for both."""

    async def run() -> None:
        async with FakeSmsgate() as server, StubRouter() as router:
            both = options(router, tmp_path, phones={"60303": 3})
            fleet = Fleet(
                FleetOptions(
                    url=router.url,
                    operator_token=OPERATOR_TOKEN,
                    ledger=both.ledger,
                    count=3,
                    behaviour=Behaviour(pace_seconds=0.0),
                    wait_seconds=0.2,
                    apps=both.apps,
                )
            )
            assert fleet.options.apps is not None
            starting = asyncio.create_task(fleet.start())
            await eventually(lambda: len(router.enrolments) == 3)
            starting.cancel()
            # The two protocols have a server each here: these phones are sent to the other one
            for phone in fleet.app_phones:
                phone.kill()
                await phone.wait_silent()
                assert fleet._session is not None
                phone.start(fleet._session, server.url, f"Bearer {PRIVATE_TOKEN}")
            await eventually(lambda: all(phone.is_streaming for phone in fleet.app_phones))
            await router.give(fleet.phones[0].imsi, "seed-message")
            server.give(device_of(fleet.app_phones[0]), "app-message_1")
            await server.push(device_of(fleet.app_phones[0]))
            await eventually(lambda: fleet.sent_count == 2)

            assert 6 == fleet.alive_count
            assert 6 == len(fleet.kill(10))
            assert 0 == fleet.alive_count
            fleet.revive()
            await eventually(lambda: fleet.alive_count == 6)
            report = await fleet.stop()

            assert (6, 2) == (report.phones, report.totals.sent)
            assert 0 == fleet.holding

    asyncio.run(run())
    assert {"seed-message", "app-message"} == {sms.id for sms in read_ledger(tmp_path / "air.jsonl")}


def test_a_fleet_that_is_not_let_in_says_so(tmp_path: Path) -> None:
    """At once; it may be the wrong token."""

    async def run() -> None:
        async with FakeSmsgate() as server:
            with pytest.raises(EnrolmentRefused, match="refused the registration"):
                async with Fleet(options(server, tmp_path, private_token="wrong")):
                    pass

    asyncio.run(run())


def test_counts_what_the_router_was_not_told(tmp_path: Path) -> None:
    """Also of phones that are dead, and only once however often the fleet is stopped."""

    async def run() -> FleetReport:
        async with FakeSmsgate() as server:
            fleet = Fleet(options(server, tmp_path, phones={"60301": 1}, behaviour=but(offline_rate=1, offline_seconds=1e6)))
            async with fleet:
                (phone,) = fleet.app_phones
                await eventually(lambda: phone.is_streaming)
                server.give(device_of(phone), "a_1")
                await server.push(device_of(phone))
                await eventually(lambda: phone.unanswered_count == 2)
                phone.kill()
                await fleet.stop()
            return fleet.report()

    assert 2 == asyncio.run(run()).undelivered_reports


def test_a_phone_has_three_sims_at_most(tmp_path: Path) -> None:
    """More is a mistake of the caller's."""
    with pytest.raises(Invalid):
        Fleet(FleetOptions(url="", operator_token="", ledger=tmp_path / "air", carriers={}, apps=AppOptions(phones={"60301": 1}, sims=4)))
