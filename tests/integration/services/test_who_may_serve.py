"""Whose seeds serve whose messages, what a message may ask of a seed, and that nobody waits behind what others cannot have."""

from typing import Any

import pytest

from router.domain.message import Message
from router.domain.seed import Quota, Seed
from router.services.outbox import Report
from router.store.parking import EMPTY_SECONDS, Parking
from router.store.seeds import Seeds
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import NOW, a_message

pytestmark = pytest.mark.anyio
OURS, THEIRS = "ac_ours", "ac_theirs"
NO_QUOTA = Quota(half_hour=0, hour=0, day=0)
LIMIT_ERROR = "Send result: RESULT_ERROR_LIMIT_EXCEEDED (Failed because we reached the sending queue limit)"


async def phone(world: World, seed_id: str, *, online: bool = True, **fields: Any) -> Seed:
    """A SIM of a phone, as its registration enrols it."""
    device, _, sim = seed_id.partition(".")
    about: dict[str, Any] = {"device": device, "sim": int(sim), "carrier": "60301", "country": "DZ", "account": OURS, "quota": NO_QUOTA}
    seed = Seed(id=seed_id, **about | fields)
    world.clock.advance(1)
    batch = world.store.batch()
    Seeds.enrol(batch, seed, "hash", world.clock.at)
    await batch.run()
    if online:
        await come(world, seed)
    return seed


async def come(world: World, *seeds: Seed) -> None:
    """Signs of life, heard by everybody."""
    batch = world.store.batch()
    for seed in seeds:
        Seeds.touch(batch, seed.id, seed.pool, world.clock.at)
    await batch.run()
    await world.look()


async def record(world: World, count: int = 1, **fields: Any) -> list[Message]:
    """Accepted messages, each to a number of its own."""
    now = world.clock.at
    messages = [
        a_message(**{"account": OURS, "to": f"+2136611{i:05}", "created_at": now, "queued_at": now, "expires_at": now + 3600} | fields)
        for i in range(count)
    ]
    batch = world.store.batch()
    for message in messages:
        world.store.messages.create(batch, message, "text")
    await batch.run()
    return messages


async def dispatch(world: World, *messages: Message) -> None:
    await world.fleet.refresh()
    await world.dispatching.run([message.id for message in messages])


async def let_go(world: World) -> None:
    """As the dispatcher looks round."""
    await world.fleet.refresh()
    for lot, waiting in world.fleet.parked.items():
        if waiting and world.directory.ready(lot, world.clock.at):
            await world.dispatching.run_parked(lot, 100)


async def seed_of(world: World, message: Message) -> str:
    """Who has it; empty while it waits."""
    kept = await world.message(message.id)
    assert kept.state == ("dispatched" if kept.attempts else "pending")
    return kept.attempts[-1].seed if kept.attempts else ""


async def seeds_of(world: World, *messages: Message) -> list[str]:
    return [await seed_of(world, message) for message in messages]


async def test_own_phone(world: World) -> None:
    """It takes its account's messages before any shared seed, and nobody else's, whatever they wait for."""
    await phone(world, "own.1", shared=False, pace_seconds=1.0)
    (ours,), (theirs,) = await record(world), await record(world, account=THEIRS)
    bound = [*await record(world, account=THEIRS, only="own"), *await record(world, account=THEIRS, only=OURS)]
    await dispatch(world, theirs, *bound, ours)

    assert ["own.1", "", "", ""] == await seeds_of(world, ours, theirs, *bound)
    await world.seed()
    world.clock.advance(1)
    await let_go(world)
    assert [IMSI, "", ""] == await seeds_of(world, theirs, *bound)
    await dispatch(world, *(more := await record(world, 3)))
    assert ["own.1"] * 3 == await seeds_of(world, *more)


async def test_given_away_behind_its_back(world: World) -> None:
    """An operator's word that the copy has not heard of yet: nobody else's message goes there."""
    await world.seed()
    (theirs,), (ours,) = await record(world, account=THEIRS), await record(world)
    await world.fleet.refresh()
    await world.registry.change(IMSI, account=OURS, shared=False)
    await world.dispatching.run([theirs.id])

    assert "" == await seed_of(world, theirs)
    await world.dispatching.run([ours.id])
    assert [IMSI, ""] == await seeds_of(world, ours, theirs)
    assert 1 == (await world.seen()).in_flight


async def test_from_owner_to_owner(world: World) -> None:
    """With its owner a seed changes its list; a ping finds it there; given back to all it serves all."""
    await world.seed(pace_seconds=1.0)
    for account, shared, pool in ((OURS, False, "60301@ac_ours"), (THEIRS, False, "60301@ac_theirs"), (THEIRS, True, "60301")):
        world.clock.advance(1)
        await world.registry.change(IMSI, account=account, shared=shared)
        await world.registry.ping(IMSI, "+213661999999", "seed")
        listed = [pool for pool in await Seeds.carriers(world.store.batch()) if await listed_in(world, pool)]
        assert [pool] == listed
        await world.look()
        (ours,), (theirs,) = await record(world), await record(world, account=THEIRS)
        await dispatch(world, ours, theirs)
        assert [shared or account == OURS, shared or account == THEIRS] == [s == IMSI for s in await seeds_of(world, ours, theirs)]
        for message in (ours, theirs):
            await let_end(world, message)


async def listed_in(world: World, pool: str) -> list[bytes]:
    batch = world.store.batch()
    place = Seeds.pinged_since(batch, pool, 0.0)
    return (await batch.run())[place]


async def let_end(world: World, message: Message) -> None:
    """The seed is free again."""
    pool = (await world.seen()).pool
    for handed in await world.outbox.fetch(IMSI, pool, 10):
        await world.outbox.report(IMSI, pool, [Report(handed.id, handed.attempt, "sent")])
    batch = world.store.batch()
    Parking.leave(batch, await world.message(message.id))
    await batch.run()
    world.clock.advance(1)


async def test_a_carrier_that_nobody_knew(world: World) -> None:
    """A SIM whose phone does not tell its carrier serves what is bound to it, and everybody once an operator has said it."""
    seed = await phone(world, "d.1", carrier="", country="")
    (any_one,), (bound,) = await record(world), await record(world, only="d")
    await dispatch(world, any_one, bound)

    assert ["", "d.1"] == await seeds_of(world, any_one, bound)
    world.clock.advance(1)
    changed = await world.registry.change("d.1", carrier="60301")
    assert ("60301", "DZ", "60301") == (changed.carrier, changed.country, changed.pool)
    assert [] == await listed_in(world, seed.pool)
    await come(world, changed)
    world.clock.advance(1)
    await world.registry.change("d.1", pace_seconds=0.5)
    await let_go(world)
    assert "d.1" == await seed_of(world, any_one)


async def test_nobody_waits_behind_a_phone(world: World) -> None:
    """150 messages that wait for one SIM, one phone, or for what no seed here can do; what any seed can take goes past them."""
    full = await phone(world, "d.2", pace_seconds=8.0)
    free = await phone(world, "d.1")
    away = await phone(world, "e.1", online=False)
    stuck = [
        *await record(world, 150, only="d", sim=2, created_at=NOW - 9), *await record(world, 150, sim=2, created_at=NOW - 9),
        *await record(world, 150, only="e", created_at=NOW - 9), *await record(world, 150, sim=3, data_port=9, created_at=NOW - 9),
    ]  # fmt: skip
    await dispatch(world, *stuck)
    waiting = dict(world.fleet.parked)
    (bound,), (any_one,) = await record(world, only="d", sim=1), await record(world)
    data = await record(world, data_port=9)
    await world.registry.change("d.1", draining=True)
    world.clock.advance(1)
    await dispatch(world, bound, any_one, *data)
    assert ["", "", ""] == await seeds_of(world, bound, any_one, *data)

    world.clock.advance(1)
    await world.registry.change("d.1", draining=False, pace_seconds=0.5)
    await come(world, free, full)
    await let_go(world)
    assert ["d.1", "d.1", "d.1"] == await seeds_of(world, bound, any_one, *data)
    assert {} == waiting
    lots = {lot: count for lot, count in (await counts(world)).items() if count}
    assert {"60301#2": 150, "60301#3": 150, "@d#2": 149, "@e": 150} == lots
    await come(world, away)
    await let_go(world)
    # Of equals in age the order is that of their ids
    assert {"", "e.1"} == set(await seeds_of(world, *stuck[300:450]))


async def counts(world: World) -> dict[str, int]:
    return await Parking.counts(world.store.batch(), await Parking.lots(world.store.batch()))


async def test_own_phones_messages_wait_by_themselves(world: World) -> None:
    """150 messages of others wait for their carrier, where no shared seed is; those of an account go to its own phone."""
    own = await phone(world, "own.1", shared=False, online=False)
    await come(world, own)
    world.clock.advance(60)
    theirs = await record(world, 150, account=THEIRS)
    (ours,) = await record(world)
    await dispatch(world, *theirs, ours)
    assert {"60301": 150, "60301@ac_ours": 1} == await counts(world)
    await come(world, own)
    await let_go(world)

    assert "own.1" == await seed_of(world, ours)
    assert {"60301": 150, "60301@ac_ours": 0} == await counts(world)
    await world.seed(pace_seconds=0.01)
    await let_go(world)
    assert {"60301": 50, "60301@ac_ours": 0} == await counts(world)


async def test_the_first_phone_comes_while_messages_wait(world: World) -> None:
    """They go there from the lot of all, and wait in one lot only."""
    waiting = await record(world, 3)
    await dispatch(world, *waiting)
    await phone(world, "own.1", shared=False, pace_seconds=8.0)
    await world.dispatching.run_parked("60301", 100)

    assert 1 == (await seeds_of(world, *waiting)).count("own.1")
    assert {"60301": 0, "60301@ac_ours": 2} == await counts(world)


async def test_empty_lots_of_phones_are_forgotten(world: World) -> None:
    """There may be one for each phone; the dispatcher asks for each lot's size again and again."""
    d = await phone(world, "d.1", online=False)
    first, second = *await record(world, only="d"), *await record(world, only="gone")
    await dispatch(world, first, second)
    await come(world, d)
    await let_go(world)
    world.clock.advance(EMPTY_SECONDS + 1)
    await world.fleet.refresh()

    assert "d.1" == await seed_of(world, first)
    assert {"@gone": 1} == await counts(world)


async def test_who_is_there_for_whom(world: World) -> None:
    """A message is accepted where a seed that may serve it is online: another account's own phone is none."""
    await phone(world, "own.1", shared=False)

    assert world.presence.serves("60301", "DZ", OURS)
    assert not world.presence.serves("60301", "DZ", THEIRS)
    assert not world.presence.serves("60301", "DZ")
    assert world.presence.serves("60301", "DZ", THEIRS, only="a-phone"), "it waits for its phone"
    world.clock.advance(60)
    assert not world.presence.serves("60301", "DZ", OURS)
    await world.seed()
    assert world.presence.serves("60302", "DZ", THEIRS)


# Limits of a SIM


async def test_too_fast(world: World) -> None:
    """The message moves to another seed; the first rests, comes back by itself, and its record shows no failure."""
    await world.seed()
    (message,) = await record(world)
    await dispatch(world, message)
    (handed,) = await world.fetch()
    world.clock.advance(1)
    await world.report(handed, "failed", error=LIMIT_ERROR)
    seen = await world.seen()

    assert (5.0, 0, 0.0, 0) == (seen.rest_seconds, seen.consecutive_failures, seen.bad, seen.failed)
    assert [message.id] == world.queue.drain()
    await world.seed(OTHER_IMSI)
    others = await record(world, 4)
    await dispatch(world, message, *others)
    assert {OTHER_IMSI, ""} == set(await seeds_of(world, *others)) | {(await world.message(message.id)).attempts[-1].seed, ""}
    assert IMSI not in await seeds_of(world, *others)
    world.clock.advance(5)
    await come(world, await world.seen())
    await world.registry.change(OTHER_IMSI, enabled=False)
    later = await record(world, 2)
    await dispatch(world, *later)
    assert ["", IMSI] == sorted(await seeds_of(world, *later))


async def test_recipients_of_the_month(world: World) -> None:
    """When a SIM has had as many recipients as it may, others wait for another SIM."""
    await world.seed(quota=Quota(half_hour=0, recipients=2), pace_seconds=0.5)
    messages = await record(world, 3)
    await dispatch(world, *messages)

    assert [IMSI, IMSI, ""] == sorted(await seeds_of(world, *messages), reverse=True)
    assert 2 == (await world.seen()).recipients_used
    await world.seed(OTHER_IMSI)
    await let_go(world)
    assert [OTHER_IMSI, IMSI, IMSI] == sorted(await seeds_of(world, *messages), reverse=True)
