"""Live figures over a real Redis: what several processes count adds up, and what Redis does not take waits."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from router.domain.errors import Invalid
from router.domain.lots import lot_of
from router.domain.message import HEARTBEAT, Attempt
from router.domain.statistics import FAILOVERS, FLOW, Counts, Family
from router.secrets import load_secrets
from router.services import flow
from router.services.statistics import Statistics
from router.services.wiring import running, wire
from router.settings import Settings
from router.store.store import Store
from router.tally import TALLY, Tally
from tests import servers
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import NOW, PHONE, SetClock, a_message, open_store

pytestmark = pytest.mark.anyio
MINUTE = int(NOW) // 60 * 60
HOUR = 3600


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    """Other tests count in this process too."""
    TALLY.take()
    yield
    TALLY.take()


def statistics_of(world: World, tally: Tally = TALLY) -> Statistics:
    """Of another process with each call: it remembers no answers."""
    return Statistics(world.store, world.clock, world.settings.families(), tally)


def keys_of(url: str) -> dict[str, int]:
    """All keys of the statistics, with their time to live."""
    with redis.Redis.from_url(url) as client:
        return {key.decode(): client.ttl(key) for key in client.scan_iter("stats:*")}


async def test_the_flow_of_messages(redis_url: str) -> None:
    """Twenty codes: nineteen sent, one of them by a second seed after the first failed; one expires; three come back."""
    world = World(redis_url, pace_seconds=0.1, retry_seed_seconds=60.0)
    account = await world.account()
    await world.seed()
    accepted = [await world.submit(account, f"+2136610000{n:02}") for n in range(20)]
    await world.dispatch()
    first, *others = [handed for _ in range(2) for handed in await world.fetch()]
    await world.report(first, "failed", error="RESULT_ERROR_NO_SERVICE")
    await world.seed(OTHER_IMSI)
    world.clock.advance(2.0)
    for handed in others[:18]:
        await world.report(handed, "sent")
    await world.dispatch()
    (again,) = await world.fetch(OTHER_IMSI)
    await world.report(again, "sent", OTHER_IMSI)
    codes = {handed.id: handed.text.split()[1] for handed in (again, *others)}
    for handed in others[:3]:
        await world.codes.verify(account, handed.id, codes[handed.id])
    world.clock.advance(1.0)
    statistics = statistics_of(world)
    await statistics.flush()
    minute = (await statistics.minutes(1))[0]
    (failover,) = await statistics.failovers(10)
    await world.time_passes(301.0)
    await statistics.flush()
    later = (await statistics_of(world).minutes(10))[-1].total()
    await world.close()

    assert 20 == len(accepted) == minute.total().accepted
    counts = minute.carriers["60301"]
    assert (20, 19, 19, 3) == (counts.dispatched, counts.sent, counts.codes_sent, counts.verified)
    assert (1, 0, 0) == (counts.failovers, counts.ambiguous, counts.expired)
    assert 3 / 19 == counts.conversion
    assert {5: 19} == {place: n for place, n in enumerate(counts.sent_within) if n}
    assert (first.id, IMSI, "60301", "failed", 1) == (failover.message, failover.seed, failover.carrier, failover.reason, failover.attempt)
    assert ("RESULT_ERROR_NO_SERVICE", NOW) == (failover.error, failover.at)
    assert "*" in failover.to
    assert PHONE not in failover.to
    assert 17 == later.expired


async def test_processes_add_up(world: World, second: World) -> None:
    """Whatever the order; what one did in the last minute counts there, whoever tells it when."""
    mine, theirs = Tally(), Tally()
    for tally, n in ((mine, 2), (theirs, 3)):
        tally.add(FLOW, "60301:accepted", n, at=NOW)
        tally.add(FLOW, "60301:sent", n)
        tally.note(FAILOVERS, b"\x80")
    world.clock.advance(60.0)
    await asyncio.gather(statistics_of(world, mine).flush(), statistics_of(second, theirs).flush())
    before, running = await statistics_of(world).minutes(2)

    assert (float(MINUTE), float(MINUTE + 60)) == (before.at, running.at)
    assert {"60301": Counts(accepted=5)} == before.carriers
    assert {"60301": Counts(sent=5)} == running.carriers
    assert not mine.take()


async def test_failovers_in_the_order_in_which_they_happened(world: World, second: World) -> None:
    """Processes tell a second's worth each, in whatever order: the newest comes first all the same, and a limit cuts the oldest."""
    for at in (NOW + 1, NOW + 2, NOW):
        ended = Attempt(number=1, seed=f"seed {at - NOW:.0f}", carrier="60301", state="silent", assigned_at=NOW, error="e" * 1000)
        flow.failed_over(a_message(), ended, at)
        await statistics_of(world).flush()
    found = await statistics_of(second).failovers(2)

    assert ["seed 2", "seed 1"] == [failover.seed for failover in found]
    assert "e" * 120 == found[0].error


async def test_gaps_are_minutes_too(world: World) -> None:
    """Oldest first, the running minute last, and none is missing."""
    TALLY.add(FLOW, "60302:accepted", at=NOW - 10 * 60)
    statistics = statistics_of(world)
    await statistics.flush()
    found = await statistics.minutes(30)

    assert [MINUTE - 60.0 * ago for ago in range(29, -1, -1)] == [minute.at for minute in found]
    assert [19] == [place for place, minute in enumerate(found) if minute.carriers]
    assert [minute.at for minute in found[-5:]] == [minute.at for minute in await statistics.minutes(5)]
    for wrong in (0, 1441):
        with pytest.raises(Invalid):
            await statistics.minutes(wrong)
        with pytest.raises(Invalid):
            await statistics.failovers(wrong)


async def test_what_is_old_goes(world: World, redis_url: str) -> None:
    """Each bucket is kept as its family says; of failovers the latest thousand."""
    tally = Tally()
    families = (*world.settings.families(), Family(name="prefix", width_seconds=600, keep_seconds=1200))
    statistics = Statistics(world.store, world.clock, families, tally)
    for _ in range(6):
        for _ in range(200):
            tally.note(FAILOVERS, b"an item")
        await statistics.flush()
    tally.add(FLOW, "60301:sent", at=NOW)
    tally.add("prefix", "+21366", 7, at=NOW + 599)
    tally.add("prefix", "+21366", at=NOW + 60)
    await statistics.flush()
    keys = keys_of(redis_url)
    start = int(NOW + 599) // 600 * 600
    found = await statistics.bucket("prefix", [NOW, NOW + 599])

    assert {f"stats:{{flow:{MINUTE}}}", f"stats:{{prefix:{start}}}", "stats:{failovers}"} <= set(keys)
    assert 25 * HOUR < keys[f"stats:{{flow:{MINUTE}}}"] <= 25 * HOUR + 60
    assert 1700 < keys[f"stats:{{prefix:{start}}}"] <= 1800
    assert 0 < keys["stats:{failovers}"] <= 25 * HOUR
    assert 8 == sum(bucket.get("+21366", 0) for bucket in found)
    with redis.Redis.from_url(redis_url) as client:
        assert 1000 == client.llen("stats:{failovers}")


async def test_redis_away(tmp_path: Path) -> None:
    """What was counted while Redis was killed is told when it is back: once, and under the minute in which it happened."""
    with servers.single(aof=True) as server:
        store = open_store(server.stock_url)
        clock, tally = SetClock(), Tally()
        statistics = Statistics(store, clock, Settings(_env_file=None).families(), tally)
        tally.add(FLOW, "60301:accepted", at=NOW)
        await statistics.flush()
        server.kill()
        tally.note(FAILOVERS, b"noted first")
        for second in range(130):
            clock.advance(1.0)
            tally.add(FLOW, "60301:accepted", at=clock.at)
            tally.add(FLOW, "60301:sent")
            if second % 20 == 0:
                await statistics.flush()
        tally.note(FAILOVERS, b"noted later")
        await statistics.flush()
        waiting = repr(tally)
        server.start()
        await statistics.flush()
        minutes = await statistics.minutes(4)
        latest = await store.statistics.latest(store.batch(), FAILOVERS, 10)
        await store.close()

    assert "2 notes" in waiting
    assert 131 == sum(minute.total().accepted for minute in minutes)
    assert 130 == sum(minute.total().sent for minute in minutes)
    assert 3 == sum(minute.total().accepted > 0 for minute in minutes)
    assert [b"noted later", b"noted first"] == latest
    assert not tally.take()


async def test_a_node_of_a_cluster_away() -> None:
    """What the other nodes took is not told again: every bucket, at whichever node, has what was counted, once."""
    with servers.cluster() as nodes:
        store = open_store(f"redis+cluster://{servers.HOST}:{nodes.servers[0].port},{servers.HOST}:{nodes.servers[1].port}")
        clock, tally = SetClock(), Tally()
        statistics = Statistics(store, clock, Settings(_env_file=None).families(), tally)
        await store.time()
        nodes.servers[2].kill()
        for ago in range(30):
            tally.add(FLOW, "60301:sent", at=NOW - 60.0 * ago)
        await statistics.flush()
        left = len(tally.take().sums) or None
        for ago in range(30):
            # As if nothing had been taken above: `take` emptied it
            tally.add(FLOW, "60302:sent", at=NOW - 60.0 * ago)
        await statistics.flush()
        nodes.servers[2].start()
        await _until_told(statistics, tally)
        minutes = await statistics.minutes(30)
        await store.close()
    told = sum(minute.carriers.get("60301", Counts()).sent for minute in minutes)

    assert left is not None
    assert 0 < left < 30
    assert 30 - left == told
    assert [1] * 30 == [minute.carriers["60302"].sent for minute in minutes]


async def _until_told(statistics: Statistics, tally: Tally) -> None:
    """Flushes until Redis has all of it."""
    for _ in range(100):
        await statistics.flush()
        if "<Tally 0 sums" in repr(tally):
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"not told within 20 s: {tally}")


async def test_what_redis_refuses_for_good_is_lost_and_the_rest_is_not(world: World, redis_url: str) -> None:
    """A key of another type: nothing is told twice, the loop goes on."""
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"stats:{{flow:{MINUTE}}}", "no hash")
    TALLY.add(FLOW, "60301:sent", at=NOW)
    TALLY.add(FLOW, "60301:sent", at=NOW - 60)
    TALLY.add("nobody's", "field", at=NOW)
    statistics = statistics_of(world)
    await statistics.flush()
    (before,) = await statistics.bucket(FLOW, [NOW - 60])

    assert {"60301:sent": 1} == before
    assert not TALLY.take()


async def test_carriers_as_a_dispatcher_tells(world: World) -> None:
    """Seeds from its copy of the fleet, waiting messages by lot, counts of the hour; without any dispatcher only the counts."""
    TALLY.add(FLOW, "60302:dispatched", 7, at=NOW)
    TALLY.add(FLOW, "60302:failovers", 3, at=NOW)
    await statistics_of(world).flush()
    (alone,) = await statistics_of(world).carriers()
    await world.seed()
    await world.registry.enrol(OTHER_IMSI)
    mobile = a_message(carrier="60302")
    parked = {lot_of(mobile): 4, lot_of(mobile, own=True): 1, "DZ": 2, "60303": 0, f"@={HEARTBEAT}": 9}
    await world.fleet.observe()
    await statistics_of(world).tell_fleet(world.fleet.tallies, parked)
    world.clock.advance(30.0)
    unknown, mobilis, djezzy = await statistics_of(world).carriers()

    assert ("60302", "Djezzy", 0, None) == (alone.carrier, alone.carrier_name, alone.online, alone.as_of)
    assert 0.3 == alone.failed_over
    assert ("", 2, 0) == (unknown.carrier, unknown.parked, unknown.online)
    assert ("60301", 1, 1, 0, 0) == (mobilis.carrier, mobilis.online, mobilis.ready, mobilis.parked, mobilis.in_flight)
    assert 1 + world.rules.lease_seconds * world.rules.lease_fill // world.rules.pace_seconds == mobilis.room
    assert ("60302", 5, 3, NOW) == (djezzy.carrier, djezzy.parked, djezzy.hour.failovers, djezzy.as_of)


async def test_who_asks_often_shares_answers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles and `top` ask every second or two; Redis is not asked for each of them."""
    monkeypatch.setattr("router.services.statistics._ANSWERS_KEPT_SECONDS", 3600.0)
    statistics, asked = statistics_of(world), []
    read = Statistics._read_minutes

    async def watched(self: Statistics, last: int) -> Any:
        asked.append(last)
        return await read(self, last)

    monkeypatch.setattr(Statistics, "_read_minutes", watched)
    await asyncio.gather(*(statistics.minutes(60) for _ in range(20)))
    await statistics.minutes(30)

    assert [60] == asked


async def test_a_role_tells_once_a_second_and_at_its_end(redis_url: str, tmp_path: Path) -> None:
    """What was counted in the last moment before a role stops is not lost."""
    settings = Settings(_env_file=None, redis_url=redis_url, data=tmp_path)
    wiring = wire(settings, load_secrets(tmp_path, {}))
    async with running(wiring):
        TALLY.add(FLOW, "60301:accepted")
        for _ in range(100):
            if (await wiring.statistics.bucket(FLOW, [wiring.clock.now() - 60, wiring.clock.now()])) != [{}, {}]:
                break
            await asyncio.sleep(0.1)
        TALLY.add(FLOW, "60301:accepted")
    store: Store = open_store(redis_url)
    now = wiring.clock.now()
    found = await store.statistics.buckets(store.batch(), FLOW, [int(at) // 60 * 60 for at in (now - 120, now - 60, now)])
    await store.close()

    assert 2 == sum(bucket.get("60301:accepted", 0) for bucket in found)
