"""The router's own message: through all of it, to a seed of its own, and nobody's traffic."""

from collections.abc import AsyncIterator

import pytest
import redis
from prometheus_client import REGISTRY

from router.domain.message import HEARTBEAT
from router.services.acceptance import Acceptance
from router.services.heartbeat import Heartbeat
from router.services.outbox import Outbox
from tests.integration.services.world import IMSI, World
from tests.integration.store.kit import everything

pytestmark = pytest.mark.anyio


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    world = World(redis_url)
    yield world
    await world.close()


def a_heart(world: World) -> Heartbeat:
    """Of one timekeeper."""
    acceptance = Acceptance(
        world.store, world.queue, world.transitions, world.accounts, world.presence, world.clock, world.rules, world.settings
    )
    outbox = Outbox(world.store, world.transitions, world.clock, world.rules, open_seeds=False)
    return Heartbeat(world.store, acceptance, outbox, world.clock, every_seconds=60.0, late_seconds=30.0)


async def turn(heart: Heartbeat) -> None:
    """Whatever the time by the machine's clock."""
    heart._turn_at = float("-inf")
    await heart.turn()


def results() -> dict[str, float]:
    names = ("arrived", "late", "failed")
    return {name: REGISTRY.get_sample_value("seedrouter_heartbeats_total", {"result": name}) or 0.0 for name in names}


def since(before: dict[str, float]) -> dict[str, float]:
    return {name: count - before[name] for name, count in results().items() if count != before[name]}


def traffic() -> dict[str, float]:
    """All counters of messages."""
    return {
        f"{sample.name}{sample.labels}": sample.value
        for family in REGISTRY.collect()
        if family.name.startswith(("seedrouter_messages_", "seedrouter_attempts", "seedrouter_choices", "seedrouter_codes"))
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


async def test_it_goes_through_all_of_it(world: World) -> None:
    """Accepted, queued, dispatched, fetched, reported, settled: without a phone, and nobody's traffic."""
    heart, before, counted = a_heart(world), results(), traffic()
    await turn(heart)
    assert heart.beat.is_open
    assert [heart.beat.message] == [entry.id for entry in world.queue.entries]
    assert [] == await world.dispatch()
    assert "dispatched" == (await world.message(heart.beat.message)).state
    world.clock.advance(0.5)
    await turn(heart)

    message = await world.message(heart.beat.message)
    assert ("sent", True, HEARTBEAT) == (message.state, message.settled, message.attempts[0].seed)
    assert message.attempts[0].radio_at is not None
    assert {"arrived": 1} == since(before)
    assert 0.5 == pytest.approx(heart.beat.seconds)
    assert heart.beat.arrived_at == REGISTRY.get_sample_value("seedrouter_heartbeat_arrived_timestamp_seconds")
    assert counted == traffic()
    assert await world.timer(heart.beat.message) is None
    assert 0 == (await world.seen(HEARTBEAT)).in_flight


async def test_the_next_one_has_its_time(world: World) -> None:
    """One each minute, however often it is looked."""
    heart = a_heart(world)
    await turn(heart)
    first = heart.beat.message
    await world.dispatch()
    await turn(heart)
    world.clock.advance(59.0)
    await turn(heart)
    assert first == heart.beat.message
    world.clock.advance(1.5)
    await turn(heart)

    assert first != heart.beat.message
    assert heart.beat.is_open


async def test_one_timekeeper_beats_and_another_takes_over(world: World, redis_url: str) -> None:
    """What is under way when it dies goes on: the other fetches it and says what became of it, once."""
    first, second, before = a_heart(world), a_heart(world), results()
    await turn(first)
    await turn(second)
    assert 1 == len(world.queue.entries)
    await world.dispatch()
    await turn(second)
    assert second.beat.is_open
    with redis.Redis.from_url(redis_url) as client:
        # As after its time: the first one was killed
        assert 1 == client.delete("heartbeat:{beat}:lead")
    await turn(second)
    assert {"arrived": 1} == since(before)
    await turn(first)

    assert {"arrived": 1} == since(before)
    assert first.beat == second.beat


async def test_it_leaves_its_place(world: World) -> None:
    """One that stops in order keeps nobody waiting."""
    first, second = a_heart(world), a_heart(world)
    await turn(first)
    await first.leave()
    await world.dispatch()
    await turn(second)

    assert not second.beat.is_open


async def test_late(world: World) -> None:
    """It arrived, but not in time."""
    heart, before = a_heart(world), results()
    await turn(heart)
    world.clock.advance(31.0)
    await world.dispatch()
    await turn(heart)

    assert {"late": 1} == since(before)
    assert 31.0 == pytest.approx(heart.beat.seconds)


async def test_it_fails_where_nobody_dispatches(world: World) -> None:
    """Its time ends as any message's does; the next one goes out all the same, and its way is not the worse for it."""
    heart, before = a_heart(world), results()
    await turn(heart)
    world.clock.advance(61.0)
    await turn(heart)
    assert {} == since(before)
    await world.timekeeping.run_due()
    await turn(heart)
    assert {"failed": 1} == since(before)
    assert 0.0 == heart.beat.arrived_at
    await turn(heart)
    await world.dispatch()
    await turn(heart)

    assert {"failed": 1, "arrived": 1} == since(before)


async def test_it_fails_where_the_queue_is_away(world: World) -> None:
    """The timekeeper goes on; what was not accepted never arrives."""
    heart, before = a_heart(world), results()
    world.queue.away = True
    await turn(heart)
    world.queue.away = False
    await turn(heart)

    assert {"failed": 1} == since(before)


async def test_a_seed_that_was_left_in_a_bad_state_is_well_again(world: World) -> None:
    """Attempts that went silent trip its breaker; the next heartbeat does not wait for its pause."""
    heart, before = a_heart(world), results()
    for _ in range(3):
        await turn(heart)
        await world.dispatch()
        # It was fetched by a timekeeper that died with it
        assert 1 == len(await heart._outbox.fetch(HEARTBEAT, "00101@~heartbeat", 10))
        world.clock.advance(66.0)
        await world.timekeeping.run_due()
        await turn(heart)
    assert {"failed": 3} == since(before)
    await turn(heart)
    await world.dispatch()
    await turn(heart)

    assert {"failed": 3, "arrived": 1} == since(before)


async def test_nobody_sees_it(world: World) -> None:
    """It is in no list of seeds, accounts or messages, opens no door where no phone is online, and its seed has nobody else's messages."""
    account = await world.account()
    heart = a_heart(world)
    await turn(heart)
    await world.dispatch()
    await world.look()

    assert [] == await world.registry.online()
    assert [] == await world.registry.every()
    assert not world.presence.serves("60301", "DZ")
    assert not world.presence.serves("", "")
    assert [account.id] == await world.store.accounts.all_ids(world.store.batch())
    await world.seed()
    accepted = await world.submit(account)
    await world.dispatch()

    assert [IMSI] == [attempt.seed for attempt in (await world.message(accepted.message.id)).attempts]


async def test_its_history_does_not_grow(world: World, redis_url: str) -> None:
    """After many there are as many keys as after a few, but for the records, which go by themselves within the hour."""
    heart = a_heart(world)

    async def keys_after(beats: int) -> set[str]:
        for _ in range(beats):
            await turn(heart)
            await world.dispatch()
            await turn(heart)
            world.clock.advance(61.0)
        return {key for key in everything(redis_url) if not key.startswith(("msg:", "acct:{~heartbeat}:day", "acct:{~heartbeat}:hour"))}

    first = await keys_after(2)

    assert first == await keys_after(4)
    with redis.Redis.from_url(redis_url) as client:
        assert all(0 < client.pttl(key) <= 3_600_000 for key in client.scan_iter("msg:*"))
        assert 1 >= client.zcard("timers:{0}")
