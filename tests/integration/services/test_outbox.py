import pytest

from router.domain.errors import NotFound, RouterError, Unauthorized
from router.services.codes import CodeRefused
from router.services.outbox import Report
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import PHONE, ask, seal_forged

pytestmark = pytest.mark.anyio


async def reserved(world: World) -> str:
    """A message whose place at the seed is taken, and whose dispatcher has come no further. Answers its id."""
    await world.seed(pace_seconds=0.1)
    message = (await world.submit(await world.account())).message
    begin = world.dispatching._begin

    async def dies(taken: object) -> None:
        raise KeyboardInterrupt

    world.dispatching._begin = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await world.dispatch()
    world.dispatching._begin = begin  # type: ignore[method-assign]
    return message.id


async def test_authenticate(world: World) -> None:
    token = await world.seed()

    assert (await world.outbox.authenticate(IMSI, token)).carrier == "60301"
    for seed, given in ((IMSI, "wrong"), (IMSI, ""), ("nobody", token)):
        with pytest.raises((Unauthorized, NotFound)):
            await world.outbox.authenticate(seed, given)
    await world.registry.ping("pinged", "+213661000001", "seed")
    with pytest.raises(RouterError):
        await world.outbox.authenticate("pinged", "")


async def test_handed_over(world: World) -> None:
    """With its text, its lease from now, and once."""
    await world.seed()
    message = (await world.submit(await world.account())).message
    await world.dispatch()
    world.clock.advance(1)
    (handed,) = await world.fetch()

    assert (message.id, 1, PHONE, world.clock.at + 5) == (handed.id, handed.attempt, handed.to, handed.valid_until)
    assert handed.text.startswith("Code ")
    assert [] == await world.fetch()
    assert world.clock.at + 6.0 == await world.timer(message.id)
    assert world.clock.at == (await world.seen()).lps


async def test_a_lease_ends_with_its_message(world: World) -> None:
    """Invariant 4."""
    await world.seed()
    message = (await world.submit(await world.account())).message
    world.clock.advance(297)
    await world.seed()
    await world.dispatch()
    (handed,) = await world.fetch()

    assert message.expires_at == handed.valid_until == world.clock.at + 3


async def test_over_before_it_was_fetched(world: World) -> None:
    await world.seed()
    message = (await world.submit(await world.account())).message
    world.clock.advance(298)
    await world.seed()
    await world.dispatch()
    world.clock.advance(2)

    assert [] == await world.fetch()
    assert 0 == (await world.seen()).in_flight
    await world.timekeeping.run_due()
    assert ("expired", True) == ((kept := await world.message(message.id)).state, kept.settled)


async def test_reports(world: World) -> None:
    """Accepted, radio, sent, delivered: each counts once; what is said of others' attempts, or again, is stale and changes nothing."""
    await world.seed()
    await world.seed(OTHER_IMSI)
    await world.submit(await world.account())
    await world.dispatch()
    imsi = IMSI if await ask(world.store, lambda batch: world.store.seeds.waiting(batch, IMSI)) else OTHER_IMSI
    (handed,) = await world.fetch(imsi)
    other = OTHER_IMSI if imsi == IMSI else IMSI

    assert [0, 0] == [await world.report(handed, state, other) for state in ("sent", "failed")]
    for state in ("accepted", "radio", "sent", "delivered"):
        world.clock.advance(1)
        assert 1 == await world.report(handed, state, imsi)
    assert [0, 0, 0] == [await world.report(handed, state, imsi) for state in ("sent", "delivered", "failed")]
    kept = await world.message(handed.id)
    assert ("sent", world.clock.at - 1, world.clock.at) == (kept.state, kept.sent_at, kept.delivered_at)
    assert (0, 1) == ((seen := await world.seen(imsi)).in_flight, seen.sent)
    assert 3.0 == seen.seconds_to_sent
    accepted, stale = await world.outbox.report(imsi, "60301", [Report("wg_none", 1, "sent"), Report(handed.id, 2, "sent")])
    assert (0, 2) == (accepted, len(stale))


async def test_too_late_for_the_radio(world: World) -> None:
    """A seed that asks after its lease is told no."""
    await world.seed()
    await world.submit(await world.account())
    await world.dispatch()
    (handed,) = await world.fetch()
    world.clock.advance(8.1)

    assert 0 == await world.report(handed, "radio")


async def test_a_late_sent_counts(world: World) -> None:
    """The lease was over and the message moved on; then the first seed says that it had sent it. The second is not asked any more."""
    await world.seed()
    message = (await world.submit(await world.account())).message
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.time_passes(10)
    assert "pending" == (await world.message(message.id)).state
    await world.seed(OTHER_IMSI)
    await world.dispatch()

    assert 1 == await world.report(handed, "sent")
    kept = await world.message(message.id)
    assert ("sent", ["sent", "withdrawn"]) == (kept.state, [attempt.state for attempt in kept.attempts])
    assert [] == await world.fetch(OTHER_IMSI)
    assert (0, 0) == ((await world.seen(IMSI)).in_flight, (await world.seen(OTHER_IMSI)).in_flight)


# Slips without an attempt


async def test_early_slip_is_put_back(world: World) -> None:
    """The seed is quicker than the dispatcher: its place is kept, and the next fetch brings the message."""
    message_id = await reserved(world)

    assert [] == await world.fetch()
    assert 1 == (await world.seen()).in_flight
    assert 1 == await ask(world.store, lambda batch: world.store.seeds.waiting(batch, IMSI))
    await world.dispatching.run([message_id])
    assert [message_id] == [handed.id for handed in await world.fetch()]
    assert 1 == (await world.seen()).in_flight


async def test_slip_of_a_dead_dispatcher_is_freed(world: World) -> None:
    """Its message still waits after so long: the place is free again, and the message finds its way by its timer."""
    message_id = await reserved(world)
    world.clock.advance(5)

    assert [] == await world.fetch()
    assert (0, (0, 0, 0)) == ((seen := await world.seen()).in_flight, seen.used)
    await world.timekeeping.run_due()
    assert [message_id] == world.queue.drain()
    await world.dispatching.run([message_id])
    assert [message_id] == [handed.id for handed in await world.fetch()]


async def test_stale_slip_is_freed(world: World) -> None:
    """Of a message that has ended meanwhile."""
    message_id = await reserved(world)
    await world.timekeeping._transitions.apply([_cancel(message_id)])

    assert 1 == (await world.seen()).in_flight
    assert [] == await world.fetch()
    assert (0, (0, 0, 0)) == ((seen := await world.seen()).in_flight, seen.used)


async def test_slip_of_a_record_that_is_gone(world: World) -> None:
    message_id = await reserved(world)
    await ask(world.store, lambda batch: batch.add("DEL", world.store.messages.key(message_id)))

    assert [] == await world.fetch()
    assert 0 == (await world.seen()).in_flight


async def test_what_cannot_be_opened_is_not_handed_over(world: World) -> None:
    """Another seal key was given: no lease begins, the place is free, and the message waits for its time."""
    message_id = await reserved(world)
    await world.dispatching.run([message_id])
    await seal_forged(world.store, message_id)

    assert [] == await world.fetch()
    assert 0 == (await world.seen()).in_flight


def _cancel(message_id: str):
    from functools import partial

    from router.domain import lifecycle
    from router.services.transitions import Step

    return Step(message_id, partial(lifecycle.cancel, reason="test"))


# Codes


async def test_verify(world: World) -> None:
    """The right code, once; a stranger's account cannot."""
    await world.seed()
    account, stranger = await world.account(), await world.account(key="sk_test_stranger")
    message = (await world.submit(account)).message
    await world.dispatch()
    (handed,) = await world.fetch()
    code = handed.text.removeprefix("Code ")
    for who, id, given, refusal in (
        (stranger, message.id, code, "wrong"), (account, "wg_none", code, "wrong"), (account, message.id, "000", "wrong"),
    ):  # fmt: skip
        with pytest.raises(CodeRefused, match=refusal):
            await world.codes.verify(who, id, given)
    verified = await world.codes.verify(account, message.id, f" {code} ")

    assert "verified" == verified.state
    assert 4 == verified.tries_left
    with pytest.raises(CodeRefused, match="used"):
        await world.codes.verify(account, message.id, code)
    assert 1 == await world.report(handed, "sent"), "its timestamps are still taken"
    assert ("verified", True) == ((kept := await world.message(message.id)).state, kept.settled)
    assert 995 == await world.balance(account)


async def test_tries_are_counted_in_a_race(world: World) -> None:
    """Five tries in all, however many come at once."""
    import asyncio

    await world.seed()
    account = await world.account()
    message = (await world.submit(account)).message
    await world.dispatch()
    (handed,) = await world.fetch()
    guesses = await asyncio.gather(*(world.codes.verify(account, message.id, "0") for _ in range(5)), return_exceptions=True)

    assert all(isinstance(guess, CodeRefused) for guess in guesses)
    assert 0 == (await world.message(message.id)).tries_left
    with pytest.raises(CodeRefused, match="wrong"):
        await world.codes.verify(account, message.id, handed.text.removeprefix("Code "))
