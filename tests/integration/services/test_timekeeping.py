from typing import Any

import pytest

from router.domain.lifecycle import SETTLE_LATER_SECONDS
from router.queue.entries import LaneState
from router.services.transitions import Transitions
from router.store.listings import by_account, by_phone
from tests.integration.services.world import IMSI, OTHER_IMSI, PHONE, World
from tests.integration.store.kit import ask, everything, without_listings

pytestmark = pytest.mark.anyio


async def handed_over(world: World, **fields: Any):
    await world.seed()
    await world.submit(await world.account(**fields))
    await world.dispatch()
    (handed,) = await world.fetch()
    return handed


async def test_nothing_due(world: World) -> None:
    await world.seed()
    await world.submit(await world.account())

    assert 0 == await world.timekeeping.run_due()


async def test_a_lease_ends(world: World) -> None:
    """The lease and the margin pass without a word: another seed gets it, the silent one's record shows it."""
    handed = await handed_over(world)
    await world.time_passes(5.75)

    assert "dispatched" == (await world.message(handed.id)).state
    await world.time_passes(0.25)
    kept = await world.message(handed.id)
    assert ("pending", "silent") == (kept.state, kept.attempts[0].state)
    assert (0, 1) == ((seen := await world.seen()).in_flight, seen.consecutive_failures)
    assert [handed.id] == [entry.id for entry in world.queue.entries]
    await world.seed(OTHER_IMSI)
    await world.dispatch()
    assert [handed.id] == [h.id for h in await world.fetch(OTHER_IMSI)]
    assert 0 == await world.report(handed, "radio"), "the first seed may not send any more"


async def test_not_fetched(world: World) -> None:
    """It was never handed over: it moves at once, and the quota is given back."""
    await world.seed()
    message = (await world.submit(await world.account())).message
    await world.dispatch()
    await world.time_passes(3)

    assert ("pending", "unfetched") == ((kept := await world.message(message.id)).state, kept.attempts[0].state)
    assert (0, (0, 0, 0)) == ((seen := await world.seen()).in_flight, seen.used)
    assert [] == await world.fetch()


async def test_expiry_is_refunded_once(world: World, second: World) -> None:
    handed = await handed_over(world, balance=5)
    await world.report(handed, "failed")
    account = await world.admin.get((await world.message(handed.id)).account)
    await world.time_passes(300)

    kept = await world.message(handed.id)
    assert ("expired", True) == (kept.state, kept.settled)
    for keeper in (world, second):
        await keeper.time_passes(11)
    assert 5 == await world.balance(account)
    assert 0 == await world.store.timers.count(world.store.batch())


async def test_a_sent_code_expires_without_refund(world: World) -> None:
    handed = await handed_over(world)
    await world.report(handed, "sent")
    await world.time_passes(300)
    kept = await world.message(handed.id)

    assert ("expired", True) == (kept.state, kept.settled)
    assert 995 == await world.balance(await world.admin.get(kept.account))


async def test_orphan_is_published_again(world: World) -> None:
    """Its entry was lost: after 5 s, then after 10 more, …"""
    await world.seed()
    message = (await world.submit(await world.account())).message
    lost: list[list[str]] = []
    for seconds in (0, 4.9, 0.1, 5, 5, 15):
        world.queue.entries.clear()
        await world.time_passes(seconds)
        lost.append([entry.id for entry in world.queue.entries])

    assert [[], [], [message.id], [], [message.id], []] == lost
    await world.dispatching.run([message.id])
    assert "dispatched" == (await world.message(message.id)).state or (await world.message(message.id)).parked_at


async def test_what_waits_its_turn_is_not_published_again(world: World) -> None:
    """The head of its lane is older than it: the backlog is long, and its entry is in there."""
    await world.seed()
    message = (await world.submit(await world.account())).message
    world.queue.lanes["otp"] = LaneState(1000, world.clock.at - 60)
    world.queue.entries.clear()
    await world.time_passes(5)

    assert [] == world.queue.entries
    assert 1 == (await world.message(message.id)).republished
    world.queue.lanes["otp"] = LaneState(1000, world.clock.at + 3)
    await world.time_passes(10)
    assert [message.id] == world.queue.drain()


async def test_parked_ones_are_left_alone(world: World) -> None:
    await world.seed("603020000000001")
    message = (await world.submit(await world.account())).message
    await world.dispatch()
    for _ in range(5):
        await world.time_passes(20)

    assert [] == world.queue.entries
    await world.time_passes(200)
    assert "expired" == (await world.message(message.id)).state


@pytest.mark.parametrize(("policy", "state"), [("wait", "dispatched"), ("resend", "pending"), ("fail", "failed")])
async def test_ambiguous(world: World, policy: str, state: str) -> None:
    """Given to the radio, then silence: the account's policy decides, and a resend is published."""
    handed = await handed_over(world, ambiguous_policy=policy)
    await world.report(handed, "radio")
    await world.time_passes(30)
    kept = await world.message(handed.id)

    assert (state, "ambiguous") == (kept.state, kept.attempts[0].state)
    assert 0 == (await world.seen()).in_flight
    assert (policy == "resend") == bool(world.queue.entries)
    await world.time_passes(300)
    kept = await world.message(handed.id)
    assert kept.settled
    assert 1000 == await world.balance(await world.admin.get(kept.account))


async def test_died_before_settling(world: World, second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process ends a message and dies before the wallet hears of it: the timekeeper settles it, once, and frees the place."""
    handed = await handed_over(world)
    await world.report(handed, "sent")
    other = (await world.submit(await world.admin.get((await world.message(handed.id)).account), "+213661000002")).message
    account = await world.admin.get(other.account)

    async def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Transitions, "_follow", dies)
        from functools import partial

        from router.domain import lifecycle
        from router.services.transitions import Step

        with pytest.raises(KeyboardInterrupt):
            await world.transitions.apply([Step(other.id, partial(lifecycle.cancel, reason="test"))])
    assert 990 == await world.balance(account)
    assert not (await world.message(other.id)).settled
    await second.time_passes(SETTLE_LATER_SECONDS)
    assert 995 == await world.balance(account)
    assert (await world.message(other.id)).settled
    await second.time_passes(60)
    assert 995 == await world.balance(account)


async def test_two_timekeepers(world: World, second: World) -> None:
    """At the same moment: each message fails over once."""
    import asyncio

    await world.seed(pace_seconds=0.1)
    account = await world.account()
    for i in range(10):
        await world.submit(account, f"+2136610000{i:02}")
    await world.dispatch()

    assert 10 == len(await world.fetch())
    world.clock.advance(10)
    looked = await asyncio.gather(world.timekeeping.run_due(), second.timekeeping.run_due())
    assert 10 == sum(looked)
    assert 10 == len(world.queue.entries)
    assert (0, 10) == ((seen := await world.seen()).in_flight, seen.failed)


async def test_a_timer_without_a_record_goes(world: World) -> None:
    await ask(world.store, lambda batch: world.store.timers.set(batch, "wg_none", world.clock.at))
    await world.timekeeping.run_due()

    assert 0 == await world.store.timers.count(world.store.batch())


# Admissions


async def test_confirmed_with_the_next(world: World) -> None:
    """Who records a message confirms with it the admissions of those before: one at a time is left for the timekeeper."""
    await world.seed()
    account, other = await world.account(), await world.account(key="sk_test_another")
    ids = [account.id, other.id]

    async def waiting() -> list[str]:
        found = await world.store.accounts.unconfirmed(world.store.batch(), ids, world.clock.at, 10)
        return [item.message_id for item in found]

    first = (await world.submit(account)).message
    assert [first.id] == await waiting()
    second = (await world.submit(other, key="sk_test_another")).message
    assert [second.id] == await waiting()
    third = (await world.submit(account, "+213661000002")).message
    assert [third.id] == await waiting()


async def test_how_many_admissions_were_looked_at(world: World) -> None:
    """So that the caller knows when there is nothing left to look at."""
    await world.seed()
    await world.submit(await world.account())
    world.clock.advance(30)

    assert [1, 0] == [await world.timekeeping.confirm_admissions() for _ in range(2)]


async def test_confirmed(world: World) -> None:
    """An admission whose record is there needs no more watching, and nothing is undone."""
    await world.seed()
    account = await world.account()
    message = (await world.submit(account)).message
    await world.timekeeping.confirm_admissions()
    assert 1 == len(await world.store.accounts.unconfirmed(world.store.batch(), [account.id], world.clock.at, 10))
    world.clock.advance(30)
    await world.timekeeping.confirm_admissions()

    assert [] == await world.store.accounts.unconfirmed(world.store.batch(), [account.id], world.clock.at, 10)
    assert ("pending", 995) == ((await world.message(message.id)).state, await world.balance(account))


async def test_unrecorded_admission_is_undone(world: World, second: World, redis_url: str) -> None:
    """The api died between charge and record: all is as before, and a writer that was only slow comes too late."""
    await world.seed()
    account = await world.account()
    before = everything(redis_url)
    draft = await world.charge_alone(account, idempotency_key="k")
    assert 995 == await world.balance(account)
    world.clock.advance(29.9)
    await second.timekeeping.confirm_admissions()
    assert 995 == await world.balance(account), "it may be on its way"
    world.clock.advance(0.1)
    for keeper in (world, second, second):
        await keeper.timekeeping.confirm_admissions()

    tombstone = world.store.messages.key(draft.message.id)
    assert before | {tombstone: b"0:0:"} == without_listings(everything(redis_url))
    assert await ask(world.store, lambda batch: world.store.messages.create(batch, draft.message, draft.body)) is None


async def test_died_while_undoing(world: World, second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tombstone stands, the charge too: the next timekeeper goes on."""
    await world.seed()
    account = await world.account()
    await world.charge_alone(account)
    world.clock.advance(30)
    with monkeypatch.context() as patch:
        patch.setattr(world.store.accounts, "undo", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            await world.timekeeping.confirm_admissions()
    assert 995 == await world.balance(account)
    await second.timekeeping.confirm_admissions()
    assert 1000 == await world.balance(account)


async def test_tidy_and_observe(world: World) -> None:
    await world.seed()
    await world.submit(await world.account())
    world.clock.advance(601)
    await world.timekeeping.tidy(3600)
    await world.timekeeping.observe()

    assert [] == await ask(world.store, lambda batch: world.store.seeds.changed_since(batch, 0.0))
    assert IMSI == (await world.registry.every())[0].id


@pytest.mark.parametrize("record", [b"1:0:\x91\xa1x", b'1:0:{"from":"the future"}', b"1:99:", b"one:0:", b"who wrote this?"])
async def test_a_record_that_cannot_be_read_holds_up_nobody(world: World, record: bytes) -> None:
    """It keeps its timer, for a version that can read it; the others that are due with it are handled."""
    account = await world.account()
    await world.seed()
    broken = (await world.submit(account, "+213661000001")).message.id
    good = (await world.submit(account, "+213661000002")).message.id
    await ask(world.store, lambda batch: batch.add("SET", world.store.messages.key(broken), record, "KEEPTTL"))
    world.clock.advance(301)
    await world.timekeeping.run_due()

    (stored,) = await world.store.messages.load(world.store.batch(), [good])
    assert stored is not None
    assert "expired" == stored.message.state
    assert 1 == await world.store.timers.count(world.store.batch())


async def test_lists_do_not_outlive_their_messages(world: World) -> None:
    """A phone's number is forgotten with its last record, also where nobody submits any more; an account's list as well."""
    world.clock.at = await world.store.time()  # a list's entries bear Redis' own
    await world.seed()
    account = await world.account()
    await world.submit(account)
    kept = [by_phone(PHONE), by_account(account.id)]
    for _ in range(40):
        await world.timekeeping.tidy(3600)
    young = [await world.store.redis.exists(key) for key in kept]
    world.clock.advance(600 + world.rules.longest_seconds + 60)
    for _ in range(40):
        await world.timekeeping.tidy(3600)

    assert [[1, 1], [0, 0]] == [young, [await world.store.redis.exists(key) for key in kept]]
