import pytest

from router.domain.message import Message
from router.domain.seed import Quota
from router.services.inquiry import Inquiry
from router.store.parking import CLAIM_SECONDS, Parking
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import everything

pytestmark = pytest.mark.anyio
CAPACITY_ONE = {"pace_seconds": 8.0}


async def submitted(world: World, count: int = 1) -> list[Message]:
    account = await world.account()
    return [(await world.submit(account, f"+2136610000{i:02}")).message for i in range(count)]


async def parked(world: World) -> int:
    return (await Parking.counts(world.store.batch(), ["60301"]))["60301"]


async def test_chosen(world: World) -> None:
    """A place is taken, the attempt begun, and it says why this seed."""
    await world.seed()
    (message,) = await submitted(world)

    assert [] == await world.dispatch()
    kept = await world.message(message.id)
    assert ("dispatched", IMSI, "assigned") == (kept.state, kept.attempts[0].seed, kept.attempts[0].state)
    assert kept.attempts[0].why.startswith("score ")
    assert (1, (1, 1, 1)) == ((seen := await world.seen()).in_flight, seen.used)
    assert world.clock.at + world.rules.pickup_seconds == await world.timer(message.id)


async def test_why_it_waits(world: World) -> None:
    """Parked since the only seed is offline, which nobody had to look at; the journey tells it, later too, as the operator's trace does."""
    await world.seed()
    (message,) = await submitted(world)
    world.clock.advance(60)
    await world.look()
    await world.fleet.observe()
    await world.dispatch()
    waits = await world.message(message.id)
    await world.registry.ping(IMSI, "+213661999999", "seed")
    await world.look()
    await world.dispatching.run_parked("60301", 10)
    sent = await world.message(message.id)
    inquiry = Inquiry(world.store, world.transitions, world.clock, world.rules)
    trace = await inquiry.trace(message.id)

    assert ("pending", "no seed; passed over: 1 offline") == (waits.state, waits.parked_why)
    assert ("dispatched", "", waits.parked_why) == (sent.state, sent.parked_why, sent.attempts[0].parked_why)
    assert ["accepted", "parked", "assigned"] == [step.what for step in trace.journey]
    assert trace.journey[1].says.startswith("no seed; passed over: 1 offline")


async def test_unknown_messages(world: World) -> None:
    await world.seed()
    (message,) = await submitted(world)

    assert ["wg_none"] == await world.dispatching.run(["wg_none", message.id])


async def test_dispatched_once(world: World, second: World) -> None:
    """The same entry twice, in two dispatchers at once: one attempt, one place."""
    await world.seed()
    await world.seed(OTHER_IMSI)
    await second.look()
    (message,) = await submitted(world)
    (old,) = await second.store.messages.load(second.store.batch(), [message.id])
    assert old is not None
    await world.dispatch()
    await second.dispatching._dispatch([old])
    kept = await world.message(message.id)

    assert 1 == len(kept.attempts)
    assert 1 == (await world.seen(IMSI)).in_flight + (await world.seen(OTHER_IMSI)).in_flight


async def test_stale_copy(world: World, second: World) -> None:
    """This dispatcher's copy says that a seed has room; the store says no: another seed gets it."""
    await world.seed(**CAPACITY_ONE)
    await world.seed(OTHER_IMSI, **CAPACITY_ONE)
    await second.look()
    await submitted(world, 2)
    one, two = world.queue.drain()
    await world.dispatching.run([one])
    await second.dispatching.run([two])
    seeds = {(await world.message(id)).attempts[0].seed for id in (one, two)}

    assert {IMSI, OTHER_IMSI} == seeds
    assert (1, 1) == ((await world.seen(IMSI)).in_flight, (await world.seen(OTHER_IMSI)).in_flight)


@pytest.mark.parametrize("change", [{"enabled": False}, {"draining": True}])
async def test_disabled_behind_its_back(world: World, change: dict[str, bool]) -> None:
    """An operator's word that the copy has not heard of yet: nothing goes there."""
    await world.seed()
    (message,) = await submitted(world)
    await world.fleet.refresh()
    await world.registry.change(IMSI, **change)
    await world.dispatching.run(world.queue.drain())

    assert ("pending", []) == ((kept := await world.message(message.id)).state, list(kept.attempts))
    assert kept.parked_at == world.clock.at
    assert 0 == (await world.seen()).in_flight


async def test_parked_and_let_go(world: World) -> None:
    """Without a seed it waits in its carrier's lot, without republishing; with the first seed that appears it goes."""
    await world.seed("603020000000001")
    (message,) = await submitted(world)
    await world.dispatch()
    kept = await world.message(message.id)

    assert ("pending", world.clock.at) == (kept.state, kept.parked_at)
    assert 1 == await parked(world)
    assert kept.expires_at == await world.timer(message.id)
    assert (1, 1) == await world.dispatching.run_parked("60301", 10)
    assert 1 == await parked(world)
    world.clock.advance(1)
    await world.seed()
    assert {"60301": 1} == world.fleet.parked
    assert (1, 0) == await world.dispatching.run_parked("60301", 10)
    assert ("dispatched", None) == ((kept := await world.message(message.id)).state, kept.parked_at)
    assert 0 == await parked(world)
    assert (0, 0) == await world.dispatching.run_parked("60301", 10)


async def test_never_more_than_there_is_room_for(world: World) -> None:
    """One seed with room for one: the others wait, and go one by one as it reports."""
    await world.seed(**CAPACITY_ONE)
    messages = await submitted(world, 3)
    world.clock.advance(0.5)
    await world.dispatch()

    assert (1, 2) == ((await world.seen()).in_flight, await parked(world))
    for left in (1, 0):
        (handed,) = await world.fetch()
        await world.report(handed, "sent")
        world.clock.advance(0.5)
        await world.fleet.refresh()
        assert left == (await world.dispatching.run_parked("60301", 10))[1]
        assert (1, left) == ((await world.seen()).in_flight, await parked(world))
    assert ["sent", "sent", "dispatched"] == sorted([(await world.message(m.id)).state for m in messages], reverse=True)


async def test_quota_of_the_seed(world: World) -> None:
    """Parts, not messages; what does not fit waits."""
    await world.seed(quota=Quota(half_hour=3, hour=0, day=0))
    account = await world.account()
    long = (await world.submit(account, text="ж" * 202)).message
    short = (await world.submit(account, text="short")).message
    await world.dispatch()

    assert 4 == long.parts
    assert ("pending", "dispatched") == ((await world.message(long.id)).state, (await world.message(short.id)).state)


async def test_cancelled_between_reserve_and_begin(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reservation is released, its quota too, and the seed has nothing to fetch."""
    await world.seed()
    (message,) = await submitted(world)
    begin = world.dispatching._begin

    async def late(taken: object) -> None:
        await world.transitions.apply([world_cancel(message.id)])
        await begin(taken)  # type: ignore[arg-type]

    monkeypatch.setattr(world.dispatching, "_begin", late)
    await world.dispatch()

    assert ("cancelled", ()) == ((kept := await world.message(message.id)).state, kept.attempts)
    assert (0, (0, 0, 0)) == ((seen := await world.seen()).in_flight, seen.used)
    assert [] == await world.fetch()


def world_cancel(message_id: str):
    from functools import partial

    from router.domain import lifecycle
    from router.services.transitions import Step

    return Step(message_id, partial(lifecycle.cancel, reason="test"))


async def test_cancelled_while_parked(world: World, redis_url: str) -> None:
    """It leaves its lot at once; and where it ended in the hands of a dispatcher, with that."""
    await world.seed("603020000000001")
    first, second = await submitted(world, 2)
    await world.dispatch()
    await world.transitions.apply([world_cancel(first.id)])

    assert 1 == await parked(world)
    batch = world.store.batch()
    Parking.claim(batch, "60301", world.clock.at, 10)
    await batch.run()
    await world.transitions.apply([world_cancel(second.id)])
    world.clock.advance(CLAIM_SECONDS)
    assert (0, 0) == await world.dispatching.run_parked("60301", 10)
    assert 0 == await parked(world)
    assert not [key for key in everything(redis_url) if key.startswith("parked:")]


async def test_a_dispatcher_dies_with_parked_messages_in_hand(world: World, second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.seed("603020000000001")
    (message,) = await submitted(world)
    await world.dispatch()
    await world.seed()
    await second.look()

    async def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(world.dispatching, "_dispatch", dies)
    with pytest.raises(KeyboardInterrupt):
        await world.dispatching.run_parked("60301", 10)

    assert (0, 0) == await second.dispatching.run_parked("60301", 10)
    world.clock.advance(CLAIM_SECONDS)
    assert (1, 0) == await second.dispatching.run_parked("60301", 10)
    assert "dispatched" == (await world.message(message.id)).state


async def test_not_to_the_seed_that_failed(world: World) -> None:
    await world.seed()
    (message,) = await submitted(world)
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "failed")
    world.clock.advance(0.1)
    await world.seed(OTHER_IMSI)
    await world.dispatch()

    assert [IMSI, OTHER_IMSI] == [attempt.seed for attempt in (await world.message(message.id)).attempts]


# The copy of the fleet


async def test_fleet_copy(world: World) -> None:
    """Hears of pings, of what operators change, of what reports change, and of seeds that move to another carrier."""
    await world.seed()
    known = world.directory.get(IMSI)
    assert known is not None
    assert (1, "60301") == (len(world.directory), known.carrier)
    world.clock.advance(1)
    await world.registry.change(IMSI, carrier="60302", draining=True)
    await world.fleet.refresh()
    known = world.directory.get(IMSI)
    assert known is not None
    assert ("60302", True) == (known.carrier, known.draining)
    assert 0 == world.directory.ready("60301", world.clock.at)
    world.clock.advance(1)
    await world.registry.change(IMSI, draining=False)
    await world.fleet.refresh()
    assert 1 == world.directory.ready("60302", world.clock.at)
    world.clock.advance(30)
    await world.registry.ping(IMSI, "+213661999999", "seed")
    await world.fleet.refresh()
    assert world.directory.get(IMSI).lps == world.clock.at  # type: ignore[union-attr]


async def test_refresh_reads_what_changed_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the fleet is: of a ready seed that was only heard of the time is noted; one that changed is read."""
    for i in range(5):
        await world.seed(f"60301000000000{i}")
    loaded: list[str] = []
    load = world.store.seeds.load

    async def counted(batch: object, ids: list[str], now: float) -> object:
        loaded.extend(ids)
        return await load(batch, ids, now)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store.seeds, "load", counted)
    world.clock.advance(1)
    await world.fleet.refresh()
    assert [] == loaded
    world.clock.advance(1)
    await world.registry.ping("603010000000003", "+213661999999", "seed")
    await world.fleet.refresh()
    assert [] == loaded
    assert {f"60301000000000{i}": world.clock.at - (0 if i == 3 else 2) for i in range(5)} == {
        seed.id: seed.lps for seed in world.directory.seeds()
    }
    await world.registry.change("603010000000003", draining=True)
    loaded.clear()
    await world.fleet.refresh()
    assert ["603010000000003"] == loaded
    loaded.clear()
    world.clock.advance(3)
    await world.registry.ping("603010000000003", "+213661999999", "seed")
    await world.fleet.refresh()
    assert ["603010000000003"] == loaded, "it is not ready, so its ping has it read again"


async def test_what_a_seed_sent_long_ago_counts_no_more(world: World) -> None:
    """A seed that is only heard of is read again once a minute while it has used some of its quota: its window moves on."""
    await world.seed(quota=Quota(half_hour=3, hour=0, day=0))
    account = await world.account()
    two_parts = "\u0646" * 100
    first = (await world.submit(account, text=two_parts)).message
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "sent")
    for _ in range(40):
        world.clock.advance(60)
        await world.registry.ping(IMSI, "+213661999999", "seed")
        await world.fleet.refresh()
    await world.presence.look()
    second = (await world.submit(account, "+213661000002", text=two_parts)).message
    await world.dispatch()

    assert 2 == first.parts
    assert "dispatched" == (await world.message(second.id)).state
