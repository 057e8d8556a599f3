"""A fleet of simulated phones and a strict router."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.simulator.stub_router import OPERATOR_TOKEN, StubRouter, eventually
from workers.simulator.air import on_air_twice, read_ledger
from workers.simulator.behaviour import Behaviour
from workers.simulator.client import EnrolmentRefused
from workers.simulator.fleet import Fleet, FleetOptions, FleetReport, run_fleet

QUICK = Behaviour(pace_seconds=0.0)


def options(router: StubRouter, tmp_path: Path, **changes: object) -> FleetOptions:
    given = {"url": router.url, "operator_token": OPERATOR_TOKEN, "ledger": tmp_path / "air.jsonl", "behaviour": QUICK, **changes}
    return FleetOptions(**given)  # type: ignore[arg-type]


async def give_everybody(router: StubRouter, fleet: Fleet, rounds: int) -> int:
    for number in range(rounds):
        for phone in fleet.phones:
            await router.give(phone.imsi, f"{phone.imsi}-{number}")
    return rounds * len(fleet.phones)


def test_a_fleet_enrols_sends_and_ends_in_order(tmp_path: Path) -> None:
    """A hundred phones; every message once on the air, and reported."""

    async def run() -> FleetReport:
        async with StubRouter() as router:
            async with Fleet(options(router, tmp_path, count=100)) as fleet:
                assert [phone.imsi for phone in fleet.phones] == [str(one["imsi"]) for one in router.enrolments]
                assert fleet.alive_count == 100
                count = await give_everybody(router, fleet, 5)
                await eventually(lambda: fleet.sent_count == count)
                report = await fleet.stop()

            assert count == len({told.id for told in router.of_state("sent")})
            return report

    report = asyncio.run(run())

    ledger = read_ledger(tmp_path / "air.jsonl")
    assert len(ledger) == 500
    assert on_air_twice(ledger) == {}
    assert (report.phones, report.alive, report.totals.sent, report.undelivered_reports) == (100, 0, 500, 0)
    assert {carrier: counts.sent for carrier, counts in report.by_carrier.items()} == {"60301": 210, "60302": 170, "60303": 120}


def test_enrolment_tells_pace_and_quota(tmp_path: Path) -> None:
    """No limit by default; the pace is the behaviour's."""

    async def run() -> list[dict[str, object]]:
        async with StubRouter() as router:
            quick = Behaviour(pace_seconds=0.25)
            async with Fleet(options(router, tmp_path, carriers={"60302": 1}, first_number=7, behaviour=quick)):
                return router.enrolments

    assert asyncio.run(run()) == [
        {
            "imsi": "603020000000007",
            "msisdn": "+213770000007",
            "carrier": "60302",
            "pace_seconds": 0.25,
            "quota": {"half_hour": 0, "hour": 0, "day": 0},
        }
    ]


def test_enrolment_waits_for_the_router(tmp_path: Path) -> None:
    """It may come up after the fleet."""

    async def run() -> None:
        async with StubRouter() as router:
            router.is_down = True
            starting = asyncio.create_task(run_until_started(router))
            await eventually(lambda: router.calls >= 3)
            router.is_down = False

            assert await starting == 3

    async def run_until_started(router: StubRouter) -> int:
        async with Fleet(options(router, tmp_path)) as fleet:
            return fleet.alive_count

    asyncio.run(run())


def test_a_wrong_operator_token_is_said_at_once(tmp_path: Path) -> None:
    """And the token is not shown."""

    async def run() -> None:
        async with StubRouter() as router:
            with pytest.raises(EnrolmentRefused, match="401") as refusal:
                await run_fleet(options(router, tmp_path, operator_token="wrong"), asyncio.Event())

            assert "wrong" not in str(refusal.value)

    asyncio.run(run())


def test_stop_delivers_the_reports(tmp_path: Path) -> None:
    """Late ones too, and after an outage; what is held is given back."""

    async def run() -> FleetReport:
        async with StubRouter() as router:
            late = Behaviour(pace_seconds=60.0, late_report_rate=1, late_report_seconds=600)
            fleet = Fleet(options(router, tmp_path, count=10, behaviour=late, stop_seconds=20.0))
            await fleet.start()
            await give_everybody(router, fleet, 3)
            await eventually(lambda: fleet.sent_count == 10 and fleet.holding == 20)
            router.is_down = True
            stopping = asyncio.create_task(fleet.stop())
            await asyncio.sleep(0.5)

            assert not stopping.done()
            router.is_down = False
            report = await stopping

            assert (len(router.of_state("sent")), len(router.of_state("cancelled"))) == (10, 20)
            return report

    report = asyncio.run(run())

    assert (report.totals.sent, report.totals.cancelled, report.undelivered_reports) == (10, 20, 0)


def test_stop_ends_without_the_router(tmp_path: Path) -> None:
    """What could not be said is counted."""

    async def run() -> FleetReport:
        async with StubRouter() as router:
            late = Behaviour(pace_seconds=0.0, late_report_rate=1, late_report_seconds=600)
            fleet = Fleet(options(router, tmp_path, behaviour=late, stop_seconds=0.3))
            await fleet.start()
            await give_everybody(router, fleet, 2)
            await eventually(lambda: fleet.sent_count == 6)
            await router.close()
            return await fleet.stop()

    assert asyncio.run(run()).undelivered_reports == 6


def test_some_are_killed_and_revived(tmp_path: Path) -> None:
    """Of one carrier, by chance that can be repeated; nobody else is touched."""

    async def run() -> set[str]:
        async with StubRouter() as router, Fleet(options(router, tmp_path, count=20, seed=9)) as fleet:
            killed = fleet.kill(4, carrier="60301")

            assert {"60301"} == {phone.carrier for phone in killed}
            assert len(killed) == 4
            assert fleet.alive_count == 16
            others = fleet.kill(100, carrier="60303")

            assert len(others) == 5
            for phone in killed + others:
                await router.sees_off(phone.imsi)
            await give_everybody(router, fleet, 1)
            await eventually(lambda: fleet.sent_count == 11)
            fleet.revive(killed)
            await eventually(lambda: fleet.sent_count == 15)
            fleet.revive()
            await eventually(lambda: fleet.sent_count == 20)
            return {phone.imsi for phone in killed}

    assert asyncio.run(run()) == asyncio.run(run())


def test_run_fleet_runs_until_it_is_told(tmp_path: Path) -> None:
    """And tells what came of it."""

    async def run() -> FleetReport:
        async with StubRouter() as router:
            stop = asyncio.Event()
            started: list[Fleet] = []
            running = asyncio.create_task(run_fleet(options(router, tmp_path, count=5), stop, started.append))
            await eventually(lambda: started)
            await give_everybody(router, started[0], 2)
            await eventually(lambda: started[0].sent_count == 10)
            stop.set()
            return await running

    assert asyncio.run(run()).totals.sent == 10


def test_run_fleet_can_be_stopped_before_it_has_started(tmp_path: Path) -> None:
    """The router never answers, and nobody has to wait for that."""

    async def run() -> FleetReport:
        async with StubRouter() as router:
            router.is_down = True
            stop = asyncio.Event()
            running = asyncio.create_task(run_fleet(options(router, tmp_path), stop))
            await eventually(lambda: router.calls)
            stop.set()
            return await running

    assert asyncio.run(run()).alive == 0


def test_bad_phones_break_nothing(tmp_path: Path) -> None:
    """All sorts of behaviour at once: nothing is sent without a permission, nor twice (the router of this test is strict)."""

    async def run() -> None:
        async with StubRouter() as router:
            bad = Behaviour(
                pace_seconds=0.01,
                order="lifo",
                fail_rate=0.1,
                die_after_send_rate=0.02,
                silent_rate=0.1,
                doze_rate=0.1,
                doze_seconds=0.2,
                late_report_rate=0.2,
                late_report_seconds=0.3,
                repeat_report_rate=0.2,
                delivered_rate=0.5,
                clock_offset_seconds=90,
            )
            async with Fleet(options(router, tmp_path, count=30, behaviour=bad, wait_seconds=0.5)) as fleet:
                for number in range(20):
                    for phone in fleet.phones:
                        await router.give(phone.imsi, f"{phone.imsi}-{number}", lease_seconds=2.0)
                    await asyncio.sleep(0.05)
                await eventually(lambda: all(phone.holding == 0 for phone in fleet.phones))
                report = await fleet.stop()

            assert report.undelivered_reports == 0
            assert report.totals.sent > 100
            died = report.totals.sent - len({told.id for told in router.of_state("sent")})
            assert died >= 0

    asyncio.run(run())

    assert on_air_twice(read_ledger(tmp_path / "air.jsonl")) == {}
