from functools import partial

import pytest
from msgspec.structs import replace

from router.domain import lifecycle
from router.domain.errors import NotFound, Unavailable
from router.domain.lifecycle import Decision, Stale
from router.domain.message import Message
from router.queue.entries import Entry
from router.services.transitions import Step
from tests.integration.services.world import IMSI, World
from tests.integration.store.kit import ask

pytestmark = pytest.mark.anyio


def hand_over(world: World, message_id: str) -> Step:
    return Step(message_id, lambda m, now: lifecycle.hand_over(m, 1, IMSI, now, world.rules))


def report(world: World, message_id: str, state: str) -> Step:
    return Step(message_id, lambda m, now: lifecycle.report(m, 1, IMSI, state, now, world.rules))  # type: ignore[arg-type]


def cancel(message_id: str) -> Step:
    return Step(message_id, partial(lifecycle.cancel, reason="test"))


async def dispatched(world: World, price: int = 5) -> Message:
    await world.seed()
    accepted = await world.submit(await world.account(price=price))
    await world.dispatch()
    return await world.message(accepted.message.id)


async def test_steps_of_one_message_in_order(world: World) -> None:
    """A fetch and two reports in one batch: each step sees what the one before it made; others go beside them."""
    message = await dispatched(world)
    other = (await world.submit(await world.account(key="sk_test_2"), "+213661000002", key="sk_test_2")).message
    steps = [hand_over(world, message.id), cancel(other.id), *(report(world, message.id, state) for state in ("radio", "sent", "sent"))]
    done = await world.transitions.apply(steps)

    assert ["handed", None, "radio", "sent", "sent"] == [
        d.after.attempts[0].state if d.after is not None and d.after.attempts else None for d in done
    ]
    assert [None, None, None, None, Stale] == [d.error and type(d.error) for d in done]
    assert "cancelled" == (await world.message(other.id)).state
    assert ("sent", 5) == ((kept := await world.message(message.id)).state, kept.price)


async def test_not_found(world: World) -> None:
    message = await dispatched(world)
    gone, found = await world.transitions.apply([cancel("wg_none"), cancel(message.id)])

    assert isinstance(gone.error, NotFound)
    assert found.error is None


async def test_refused_by_the_domain(world: World) -> None:
    """Nothing changes, the timer neither."""
    message = await dispatched(world)
    before = await world.timer(message.id)
    (done,) = await world.transitions.apply([report(world, message.id, "sent")])

    assert isinstance(done.error, Stale)
    assert message == await world.message(message.id)
    assert before == await world.timer(message.id)


async def test_lost_race_is_asked_again(world: World, second: World) -> None:
    """The decision that was made on an old version is made anew, on what is true by now."""
    message = await dispatched(world)
    (old,) = await world.store.messages.load(world.store.batch(), [message.id])
    await second.transitions.apply([hand_over(second, message.id)])
    asked_on: list[str] = []

    def decide(message: Message, now: float) -> Decision:
        asked_on.append(message.attempts[0].state)
        return lifecycle.cancel(message, now, "test")

    (done,) = await world.transitions.apply([Step(message.id, decide, old)])

    assert ["assigned", "handed"] == asked_on
    assert done.error is None
    kept = await world.message(message.id)
    assert ("cancelled", "handed") == (kept.state, kept.attempts[0].state)


async def test_gives_up_after_too_many_races(world: World, second: World) -> None:
    """Somebody else is always first: the caller hears that it could not be done, and nothing of it was."""
    message = await dispatched(world)
    rounds = 0

    (stored,) = await world.store.messages.load(world.store.batch(), [message.id])
    commit = world.transitions._commit

    async def late(*arguments: object) -> object:
        nonlocal rounds
        rounds += 1
        await second.transitions.apply([Step(message.id, lambda m, now: Decision(replace(m, tries_left=m.tries_left + 1)))])
        return await commit(*arguments)  # type: ignore[arg-type]

    world.transitions._commit = late  # type: ignore[method-assign]
    (done,) = await world.transitions.apply([Step(message.id, cancel(message.id).decide, stored)])

    assert isinstance(done.error, Unavailable)
    assert 8 == rounds
    assert "dispatched" == (await world.message(message.id)).state
    assert 995 == int(await ask(world.store, lambda batch: world.store.accounts.balance(batch, message.account)))


async def test_lost_race_leaves_the_winners_timer(world: World, second: World) -> None:
    """Two dispatchers had the same message. One has begun an attempt; the other, which knows of no seed, comes too late to park it: the
    timer must still be the attempt's, or nobody would miss a seed that does not fetch, until the message is over.
    """
    await world.seed()
    accepted = await world.submit(await world.account())
    (old,) = await second.store.messages.load(second.store.batch(), [accepted.message.id])
    await world.dispatch()
    pickup = world.clock.at + world.rules.pickup_seconds

    assert pickup == await world.timer(accepted.message.id)
    (done,) = await second.transitions.apply([Step(accepted.message.id, lifecycle.park, old)])
    assert isinstance(done.error, Stale)
    assert pickup == await world.timer(accepted.message.id)


async def test_effects_of_an_end(world: World) -> None:
    """The seed's place is free, the wallet settled once, the text erased, the timer gone."""
    message = await dispatched(world)

    assert 1 == (await world.seen()).in_flight
    for _ in range(2):
        await world.transitions.apply([cancel(message.id)])
    assert 0 == (await world.seen()).in_flight
    balance = int(await ask(world.store, lambda batch: world.store.accounts.balance(batch, message.account)))
    assert 1000 == balance
    assert (await world.message(message.id)).settled
    assert await world.timer(message.id) is None
    (stored,) = await world.store.messages.load(world.store.batch(), [message.id])
    assert stored is not None
    assert stored.sealed_text is None


async def test_settled_only_when_no_seed_could_send(world: World) -> None:
    """A cancelled message that a seed holds: the money comes back when the seed says so, or its time is over."""
    message = await dispatched(world)
    (handed,) = await world.fetch()
    await world.transitions.apply([cancel(message.id)])
    account = await world.admin.get(message.account)

    assert 995 == await world.balance(account)
    assert not (await world.message(message.id)).settled
    assert 1 == await world.report(handed, "cancelled")
    assert 1000 == await world.balance(account)
    assert (await world.message(message.id)).settled


async def test_sent_although_cancelled_is_paid(world: World) -> None:
    message = await dispatched(world)
    (handed,) = await world.fetch()
    await world.transitions.apply([cancel(message.id)])
    await world.report(handed, "sent")
    kept = await world.message(message.id)

    assert ("cancelled", True, world.clock.at) == (kept.state, kept.settled, kept.sent_at)
    assert 995 == await world.balance(await world.admin.get(message.account))


async def test_failover_is_published(world: World) -> None:
    """With the time of its failover; the failed seed's place is free by then."""
    message = await dispatched(world)
    (handed,) = await world.fetch()
    world.clock.advance(1)
    await world.report(handed, "failed", error="no credit")

    assert [Entry(message.id, "otp", world.clock.at)] == world.queue.entries
    assert (0, 1) == ((seen := await world.seen()).in_flight, seen.failed)
    assert ("pending", "no credit") == ((kept := await world.message(message.id)).state, kept.reason)


async def test_failover_while_the_queue_is_away(world: World) -> None:
    """The decision stands; the caller hears of the queue; the timekeeper publishes it later."""
    message = await dispatched(world)
    (handed,) = await world.fetch()
    world.queue.away = True
    with pytest.raises(Unavailable):
        await world.report(handed, "failed")

    assert "pending" == (await world.message(message.id)).state
    world.queue.away = False
    await world.time_passes(world.rules.republish_seconds)
    assert [message.id] == world.queue.drain()
