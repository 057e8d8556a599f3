"""Reliability tests, from the first call to the choice of seeds that they tell on."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from router.domain.choosing import Chooser
from router.domain.directory import Directory
from router.domain.errors import Conflict, Invalid, LimitReached, NotFound
from router.domain.reliability import Probe
from router.domain.seed import Quota
from router.domain.selection import FailoverBudget
from router.services.dispatch import Dispatch
from router.services.fleet import FleetCopy
from router.services.outbox import Handed
from router.services.reliability import ACCOUNT, Reliability, TestResults
from router.settings import Settings
from router.store.reliability import Tests
from router.store.seeds import Seeds
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import PHONE, ask

pytestmark = pytest.mark.anyio
Make = Callable[..., Awaitable[World]]
NUMBER, OTHER_NUMBER = "+213661000011", "+213661000022"


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[Make]:
    """A world with these settings, with `IMSI` in it, and `OTHER_IMSI` where it is wanted."""
    worlds: list[World] = []

    async def made(*, other: bool = False, **settings: Any) -> World:
        world = World(redis_url, **settings)
        worlds.append(world)
        await world.seed(IMSI, msisdn=NUMBER)
        if other:
            await world.seed(OTHER_IMSI, msisdn=OTHER_NUMBER)
        world.clock.advance(1)
        return world

    yield made
    for world in worlds:
        await world.close()


def reliability_of(world: World) -> Reliability:
    return Reliability(world.store, world.queue, world.clock, world.rules, world.settings)


async def one_of(world: World, probe: Probe, imsi: str = IMSI) -> Probe:
    """How it stands."""
    return next(other for other in await reliability_of(world).tests(imsi) if other.id == probe.id)


async def stored(world: World, imsi: str = IMSI) -> list[str]:
    """What the store has of a seed's tests, without a look at them."""
    (tests,) = await Tests.load(world.store.batch(), [imsi])
    return [probe.status for probe in tests.history]


async def go_out(world: World, imsi: str = IMSI) -> Handed:
    """The probe comes to its seed."""
    await world.dispatch()
    (handed,) = await world.fetch(imsi)
    return handed


async def sent(world: World, imsi: str = IMSI) -> Handed:
    """The seed says that it has sent it."""
    handed = await go_out(world, imsi)
    assert 1 == await world.report(handed, "radio", imsi)
    assert 1 == await world.report(handed, "sent", imsi)
    # A copy of the fleet knows a change by its time
    world.clock.advance(0.1)
    return handed


async def test_a_probe_goes_through_its_seed(make: Make) -> None:
    """One SMS to another of our own seeds, through this one; its `sent` is the success, and the timekeeper finds it."""
    world = await make(other=True)
    probe = await reliability_of(world).start(IMSI)

    handed = await sent(world)
    assert [] == await world.fetch(OTHER_IMSI)
    assert OTHER_NUMBER == handed.to
    assert 1 == (await world.message(probe.message)).parts
    world.clock.advance(2)
    assert 1 == await world.timekeeping.run_tests()
    assert ["success"] == await stored(world)
    found = await one_of(world, probe)
    assert (probe.started_at, None, None) == (found.sent_at, found.received_at, found.routed_at)
    seen = await world.seen()
    assert (1.0, 1) == (seen.reliability, seen.probes)


async def test_nobody_pays_for_a_probe(make: Make) -> None:
    """No account is charged or counted, and nothing of it is left to be done when it is over."""
    world = await make()
    account = await world.account()
    probe = await reliability_of(world).start(IMSI)
    await sent(world)

    message = await world.message(probe.message)
    assert ("sent", ACCOUNT, 0, True, "relaysms") == (message.state, message.account, message.price, message.settled, message.dialect)
    assert None is await world.timer(probe.message)
    assert 1000 == await world.balance(account)
    assert [] == await ask(world.store, lambda batch: batch.add("KEYS", f"acct:*{ACCOUNT}*"))
    assert 0 == await world.timekeeping.confirm_admissions()


@pytest.mark.parametrize("word", ["failed", "silence", "silence after the radio"])
async def test_a_probe_goes_out_once(make: Make, word: str) -> None:
    """A seed that fails has no second try, which would hide it, and no other seed takes over; the test ends by its time."""
    world = await make(other=True, failover_budget=10.0)
    probe = await reliability_of(world).start(IMSI)
    handed = await go_out(world)
    if word == "failed":
        assert 1 == await world.report(handed, "failed", error="no service")
    elif word != "silence":
        assert 1 == await world.report(handed, "radio")

    for _ in range(8):
        await world.time_passes(10)
        await world.dispatch()
        assert [] == await world.fetch(IMSI) + await world.fetch(OTHER_IMSI)
    message = await world.message(probe.message)
    assert ("failed", 1) == (message.state, len(message.attempts))
    assert "pending" == (await one_of(world, probe)).status
    world.clock.advance(600)
    assert 1 == await world.timekeeping.run_tests()
    assert ["timedout"] == await stored(world)
    assert (0.0, 1) == ((seen := await world.seen()).reliability, seen.probes)
    assert 0 == await world.timekeeping.run_tests()


async def test_a_late_sent_is_believed(make: Make) -> None:
    """A phone that was silent, and then tells that it sent, within the test's time."""
    world = await make()
    probe = await reliability_of(world).start(IMSI)
    handed = await go_out(world)
    await world.time_passes(30)
    assert "failed" == (await world.message(probe.message)).state

    await world.report(handed, "sent")
    assert "success" == (await one_of(world, probe)).status


async def test_an_arrival_counts_where_it_is_told(make: Make) -> None:
    """With `probe_arrival`, `sent` alone proves nothing; the receiver's word does, with its times."""
    world = await make(probe_number=PHONE, probe_arrival=True)
    probe = await reliability_of(world).start(IMSI)
    handed = await sent(world)
    assert PHONE == handed.to
    world.clock.advance(5)
    assert "pending" == (await one_of(world, probe)).status

    assert await reliability_of(world).received(f"{handed.text}\n", "0661 00 00 11", world.clock.at - 2)
    found = await one_of(world, probe)
    assert ("success", world.clock.at - 2, world.clock.at) == (found.status, found.received_at, found.routed_at)
    assert probe.started_at == found.sent_at
    assert 1.0 == (await world.seen()).reliability


async def test_lost_on_the_way(make: Make) -> None:
    """"Sent", and nobody got it."""
    world = await make(probe_number=PHONE, probe_arrival=True)
    await reliability_of(world).start(IMSI)
    await sent(world)
    world.clock.advance(600)

    assert 1 == await world.timekeeping.run_tests()
    assert ["timedout"] == await stored(world)
    assert (0.0, 0) == ((seen := await world.seen()).reliability, seen.failed)


async def test_what_is_no_probe(make: Make) -> None:
    """Other people's SMS, a probe's form with another token, and a test that is forgotten; a repeat is still known."""
    world = await make(probe_number=PHONE, probe_arrival=True)
    reliability = reliability_of(world)
    probe = await reliability.start(IMSI)
    handed = await sent(world)

    assert not await reliability.received("Your code is 123456", NUMBER)
    assert not await reliability.received(re.sub("[0-9a-f]{20}", "0" * 20, handed.text), NUMBER)
    assert not await reliability.received(handed.text[:-1], NUMBER)
    assert "pending" == (await one_of(world, probe)).status
    assert await reliability.received(handed.text, NUMBER)
    world.clock.advance(9)
    assert await reliability.received(handed.text, NUMBER)
    assert world.clock.at - 9 == (await one_of(world, probe)).routed_at


async def test_the_token_is_nowhere_in_the_clear(make: Make) -> None:
    """Who reads Redis' files cannot make up an arrival."""
    world = await make()
    await reliability_of(world).start(IMSI)
    keys = await ask(world.store, lambda batch: batch.add("KEYS", "*"))
    dumps = [await ask(world.store, lambda batch, key=key: batch.add("DUMP", key)) for key in keys]
    token = re.search("[0-9a-f]{20}$", (await go_out(world)).text)

    assert token is not None
    assert not [key for key, dump in zip(keys, dumps, strict=True) if token.group().encode() in key + (dump or b"")]


async def test_where_probes_go(make: Make) -> None:
    """To the number that is set; else to an online seed of the same carrier that has a number; else to the SIM itself."""
    world = await make()
    await world.registry.enrol("603020000000001", msisdn="+213771000001")
    await world.registry.ping("603020000000001", "+213771000001", "seed")
    probe = await reliability_of(world).start(IMSI)
    assert NUMBER == (await world.message(probe.message)).to

    await world.seed(OTHER_IMSI, msisdn=OTHER_NUMBER)
    probe = await reliability_of(world).start(IMSI)
    assert OTHER_NUMBER == (await world.message(probe.message)).to

    world.settings.probe_number = PHONE
    probe = await reliability_of(world).start(IMSI)
    assert PHONE == (await world.message(probe.message)).to


async def test_no_number_to_send_to(make: Make) -> None:
    world = await make()
    await world.registry.change(IMSI, msisdn="sample_MSISDN")

    with pytest.raises(Invalid, match="probe_number"):
        await reliability_of(world).start(IMSI)
    assert [] == await stored(world)


async def test_who_can_be_tested(make: Make) -> None:
    """Enrolled seeds that may be given messages."""
    world = await make()
    await world.registry.ping(OTHER_IMSI, OTHER_NUMBER, "seed")

    for unknown in ("nobody", OTHER_IMSI):
        with pytest.raises(NotFound):
            await reliability_of(world).start(unknown)
    await world.registry.change(IMSI, enabled=False)
    with pytest.raises(Conflict):
        await reliability_of(world).start(IMSI)


async def test_a_seed_of_one_account_can_be_tested(make: Make) -> None:
    """Although it serves nobody else's messages."""
    world = await make()
    account = await world.account()
    await world.seed(OTHER_IMSI, msisdn=OTHER_NUMBER, account=account.id, shared=False)
    probe = await reliability_of(world).start(OTHER_IMSI)

    await sent(world, OTHER_IMSI)
    assert "success" == (await one_of(world, probe, OTHER_IMSI)).status
    assert 1000 == await world.balance(account)


async def test_a_phones_sim_can_be_tested(make: Make) -> None:
    """One with SMSGate's app, which tells afterwards what it did."""
    world = await make()
    device = await world.phone(await world.account(), NUMBER, shared=False)
    sim = f"{device.id}.1"
    probe = await reliability_of(world).start(sim)
    await world.dispatch()

    (listed,) = await world.phones.pull(device, 10, "lifo")
    assert listed.id.startswith(probe.message)
    assert [sim] == [attempt.seed for attempt in (await world.message(probe.message)).attempts]


async def test_so_many_an_hour(make: Make) -> None:
    """Whoever asks: beyond the bound nothing is sent."""
    world = await make(probes_per_hour=2)
    reliability = reliability_of(world)
    for _ in range(2):
        await reliability.start(IMSI)

    with pytest.raises(LimitReached):
        await reliability.start(IMSI)
    assert 2 == len(world.queue.entries)
    world.clock.advance(3601)
    await reliability.start(IMSI)
    assert 3 == len(await stored(world))


async def test_begun_by_many_at_once(make: Make) -> None:
    """Each is kept, none beyond the bound, no id twice."""
    world = await make(probes_per_hour=5)
    reliability = reliability_of(world)

    done = await asyncio.gather(*(reliability.start(IMSI) for _ in range(8)), return_exceptions=True)
    begun = [probe for probe in done if isinstance(probe, Probe)]
    assert 5 == len(begun) == len({probe.id for probe in begun})
    assert {LimitReached} == {type(error) for error in done if not isinstance(error, Probe)}
    assert 5 == len(await stored(world)) == len(world.queue.entries)


async def test_told_by_many_at_once(make: Make) -> None:
    """Arrivals, looks and timekeepers at the same moment: nothing is lost."""
    world = await make(probe_number=PHONE, probe_arrival=True)
    reliability = reliability_of(world)
    texts = []
    for _ in range(4):
        await reliability.start(IMSI)
        texts.append((await sent(world)).text)
    world.clock.advance(2)

    await asyncio.gather(
        *(reliability.received(text, NUMBER) for text in texts), *(reliability.tests(IMSI) for _ in range(3)),
        *(TestResults(world.store, world.clock, world.rules).run_due() for _ in range(3)),
    )  # fmt: skip
    assert ["success"] * 4 == await stored(world)
    assert (1.0, 4) == ((seen := await world.seen()).reliability, seen.probes)


async def test_an_offline_seed_has_the_tests_time(make: Make) -> None:
    """Its probe waits for it alone, in a lot of its own."""
    world = await make(other=True)
    world.clock.advance(60)
    await world.registry.ping(OTHER_IMSI, OTHER_NUMBER, "seed")
    probe = await reliability_of(world).start(IMSI)
    await world.dispatch()
    assert [] == await world.fetch(OTHER_IMSI)
    await world.fleet.refresh()
    assert 1 == world.fleet.parked[f"@={IMSI}"]
    assert 0 == world.directory.ready(f"@={IMSI}", world.clock.at)

    await world.registry.ping(IMSI, NUMBER, "seed")
    await world.fleet.refresh()
    assert 1 == world.directory.ready(f"@={IMSI}", world.clock.at)
    assert (1, 0) == await world.dispatching.run_parked(f"@={IMSI}", 10)
    assert [probe.message] == [handed.id for handed in await world.fetch(IMSI)]


async def test_never_came_online(make: Make) -> None:
    """The SMS is over with its test: nothing goes out later."""
    world = await make()
    world.clock.advance(60)
    probe = await reliability_of(world).start(IMSI)
    await world.dispatch()
    world.clock.advance(600)
    await world.timekeeping.run_due()
    await world.timekeeping.run_tests()

    assert ["timedout"] == await stored(world)
    message = await world.message(probe.message)
    assert ("expired", ()) == (message.state, message.attempts)
    assert None is await world.timer(probe.message)


async def test_the_queue_is_away(make: Make) -> None:
    """The probe is recorded, and goes when the queue is back."""
    world = await make()
    world.queue.away = True
    await reliability_of(world).start(IMSI)
    world.queue.away = False
    await world.time_passes(6)

    await sent(world)
    world.clock.advance(1)
    await world.timekeeping.run_tests()
    assert ["success"] == await stored(world)


async def test_a_timekeeper_dies_with_a_test_in_hand(make: Make) -> None:
    """Another one looks when the claim is over."""
    world = await make()
    await reliability_of(world).start(IMSI)
    await sent(world)
    world.clock.advance(1)
    assert [IMSI] == await Tests.claim(world.store.batch(), world.clock.at, 10, world.clock.at + 10)
    assert 0 == await world.timekeeping.run_tests()

    world.clock.advance(10)
    assert 1 == await world.timekeeping.run_tests()
    assert ["success"] == await stored(world)


async def test_a_test_that_begins_while_another_is_looked_at(make: Make) -> None:
    """Its own look is not forgotten with that one's."""
    world = await make()
    now = world.clock.at
    await ask(world.store, lambda batch: Tests.look_at(batch, IMSI, now))
    assert [IMSI] == await Tests.claim(world.store.batch(), now, 10, now + 10)
    await reliability_of(world).start(IMSI)

    assert 0 == await ask(world.store, lambda batch: Tests.looked(batch, IMSI, now + 10, None))
    assert now + 1 == float(await ask(world.store, lambda batch: batch.add("ZSCORE", "tests:due:{all}", IMSI)))


async def test_an_unreadable_history_begins_anew(make: Make) -> None:
    """Of another version, say: it holds up nobody."""
    world = await make()
    await ask(world.store, lambda batch: batch.add("SET", Tests.key(IMSI), b"\x93nonsense"))

    await reliability_of(world).start(IMSI)
    assert ["pending"] == await stored(world)


async def test_a_seed_that_was_forgotten_does_not_come_back(make: Make) -> None:
    world = await make()
    (tests,) = await Tests.load(world.store.batch(), ["nobody"])
    probe = Probe(id=1, message="rt_1", started_at=1.0, deadline=2.0, needs_arrival=False)

    score = reliability_score(world, probe)
    assert 0 == await ask(world.store, lambda batch: Tests.commit(batch, tests, (probe,), score))
    assert 0 == await ask(world.store, lambda batch: batch.add("EXISTS", Seeds.key("nobody"), Tests.key("nobody")))


def reliability_score(world: World, *probes: Probe) -> Any:
    from router.domain import reliability

    return reliability.score(probes, world.rules)


@pytest.mark.parametrize("wrong", [{"probes_kept": 5, "probes_counted": 5}, {"probes_kept": 10}, {"probe_number": "0661000001"}])
def test_settings_that_contradict_each_other(wrong: dict[str, Any]) -> None:
    """What counts for the bound or for the share must be kept; and a number is one, in E.164."""
    with pytest.raises(ValueError, match=r"probes_kept|probe_number"):
        Settings(_env_file=None, **wrong)


class Rivals:
    """Two equal seeds, and a dispatcher whose dice are known."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.directory = Directory(world.rules, random.Random(7))
        self.fleet = FleetCopy(world.store, self.directory, world.clock, world.rules)
        chooser = Chooser(self.directory, FailoverBudget(world.rules), world.rules)
        self.dispatching = Dispatch(world.store, world.transitions, chooser, world.clock)

    async def work(self, account: Any, messages: int) -> Counter[str]:
        """Six at a time, where each seed has room for five; both send whatever they get. Answers how many each had."""
        had: Counter[str] = Counter()
        for _ in range(messages // 6):
            for _ in range(6):
                await self.world.submit(account, text="news", lane="notification")
            await self.fleet.refresh()
            await self.dispatching.run(self.world.queue.drain())
            for imsi in (IMSI, OTHER_IMSI):
                for handed in await self.world.fetch(imsi):
                    had[imsi] += 1
                    await self.world.report(handed, "radio", imsi)
                    await self.world.report(handed, "sent", imsi)
            self.world.clock.advance(1)
            for imsi in (IMSI, OTHER_IMSI):
                await self.world.registry.ping(imsi, NUMBER, "seed")
        return had


async def test_a_seed_that_loses_every_third_probe_gets_less_traffic(redis_url: str) -> None:
    """It says "sent" each time, so nothing but its tests tells; its rival, equal in all else, gets what it does not."""
    world = World(redis_url, probe_number=PHONE, probe_arrival=True, probes_per_hour=20, price=0, pace_seconds=1.0)
    try:
        account = await world.account()
        for imsi, number in ((IMSI, NUMBER), (OTHER_IMSI, OTHER_NUMBER)):
            await world.seed(imsi, msisdn=number, quota=Quota(half_hour=0, hour=0, day=0))
        rivals = Rivals(world)
        before = await rivals.work(account, 120)

        reliability = reliability_of(world)
        for turn in range(12):
            for imsi in (IMSI, OTHER_IMSI):
                await reliability.start(imsi)
                handed = await sent(world, imsi)
                if imsi == OTHER_IMSI or turn % 3:
                    assert await reliability.received(handed.text, NUMBER)
        world.clock.advance(600)
        await world.timekeeping.run_tests()
        for imsi in (IMSI, OTHER_IMSI):
            await world.registry.ping(imsi, NUMBER, "seed")
        lossy, good = await world.seen(IMSI), await world.seen(OTHER_IMSI)
        after = await rivals.work(account, 300)

        assert 0.35 < before[IMSI] / before.total() < 0.65
        assert ("0.67", "1.00") == (f"{lossy.reliability:.2f}", f"{good.reliability:.2f}")
        assert 270 < after.total() <= 304
        assert 0 < after[IMSI] < 0.7 * after[OTHER_IMSI]
        assert lossy.failure_share() == pytest.approx(good.failure_share(), abs=0.02)
    finally:
        await world.close()
