import asyncio
from typing import Any

import pytest

from router.domain.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    Invalid,
    LimitReached,
    NoSeedAvailable,
    RouterError,
    Unauthorized,
    Unavailable,
)
from router.services.acceptance import Acceptance
from router.store.redis import StoreAway
from tests.integration.services.world import IMSI, World, limits
from tests.integration.store.kit import PHONE, everything, without_listings

pytestmark = pytest.mark.anyio


class Crash(BaseException):
    """The process is gone: nothing that it would have done after this is done."""


def wallet_and_counts(redis_url: str, account_id: str) -> dict[str, Any]:
    found = without_listings(everything(redis_url))
    return {key: value for key, value in found.items() if key.startswith(f"acct:{{{account_id}}}")}


async def test_accepted(world: World) -> None:
    """Charged, recorded with a timer, on the queue: then the caller hears yes."""
    await world.seed()
    account = await world.account()
    accepted = await world.submit(account)

    assert not accepted.replayed
    assert accepted.message == await world.message(accepted.message.id)
    assert ("pending", "60301", PHONE, 5) == (
        accepted.message.state, accepted.message.carrier, accepted.message.to, accepted.message.price,
    )  # fmt: skip
    assert [accepted.message.id] == world.queue.drain()
    assert 995 == await world.balance(account)
    assert world.clock.at + world.rules.republish_seconds == await world.timer(accepted.message.id)


async def test_a_price_of_zero(world: World) -> None:
    """The default price: nothing is charged, and all the rest works."""
    await world.seed()
    account = await world.account(balance=0, price=0)
    accepted = await world.submit(account)
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "failed")

    assert 0 == await world.balance(account)
    assert "pending" == (await world.message(accepted.message.id)).state


# Refusals


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"phone": "12"}, Invalid),
        ({"phone": "+213210000000"}, Invalid),
        ({"template_key": "none"}, Invalid),
        ({"text": " "}, Invalid),
        ({"text": "x" * 1601}, Invalid),
        ({"text": "half \ud83d"}, Invalid),
        ({"idempotency_key": "k" * 256}, Invalid),
        ({"phone": "+213770000001"}, None),
        ({"phone": "+212661000001"}, NoSeedAvailable),
    ],
)
async def test_refused(world: World, redis_url: str, fields: dict[str, Any], error: type[RouterError] | None) -> None:
    """Nothing is charged, counted or kept. (By default a seed of any carrier of the country is enough to wait for the right one.)"""
    await world.seed()
    account = await world.account()
    before = everything(redis_url)
    if error is None:
        assert (await world.submit(account, **fields)).message.carrier == "60302"
        return
    with pytest.raises(error):
        await world.submit(account, **fields)

    assert before == everything(redis_url)
    assert [] == world.queue.entries


async def test_limits_and_money(world: World) -> None:
    await world.seed()
    account = await world.account(balance=7, limits=limits(daily=1))
    await world.submit(account)
    with pytest.raises(LimitReached) as reached:
        await world.submit(account)

    assert ("daily", 1, 86400 - 12800) == (reached.value.limit, reached.value.maximum, reached.value.retry_after_seconds)
    await world.admin.change(account.id, limits=limits(daily=0))
    with pytest.raises(InsufficientBalance):
        await world.submit(account)
    assert 2 == await world.balance(account)


async def test_full_queue(world: World, redis_url: str) -> None:
    await world.seed()
    account = await world.account()
    world.queue.depth = world.settings.max_queue_length
    before = everything(redis_url)
    with pytest.raises(Unavailable) as full:
        await world.submit(account)

    assert 5 == full.value.retry_after_seconds
    assert before == everything(redis_url)


async def test_changes_are_taken_up(world: World) -> None:
    """The copy of the account in hand is old: admission finds out, and the new word holds."""
    await world.seed()
    account = await world.account()
    await world.admin.change(account.id, price=7)

    assert 7 == (await world.submit(account)).message.price
    await world.admin.change(account.id, otp_enabled=False)
    with pytest.raises(Forbidden):
        await world.submit(account)
    assert "sms" == (await world.submit(account, text="plain")).message.kind


async def test_revoked_key(world: World) -> None:
    await world.seed()
    account = await world.account()
    (key,) = await world.admin.keys(account.id)
    await world.admin.revoke_key(account.id, key.id)
    with pytest.raises(Unauthorized):
        await world.submit(account)

    assert 1000 == await world.balance(account)


# Twice is once


async def test_same_key_same_message(world: World) -> None:
    await world.seed()
    account = await world.account()
    first = await world.submit(account, idempotency_key="k")
    again = await world.submit(account, idempotency_key="k")

    assert (True, first.message.id) == (again.replayed, again.message.id)
    assert [first.message.id] == world.queue.drain()
    assert 995 == await world.balance(account)
    with pytest.raises(Conflict):
        await world.submit(account, "+213661000002", idempotency_key="k")


async def test_racing_with_one_key(world: World, second: World) -> None:
    """Of two processes with the same request, one accepts; the other answers with the same message, or asks to come again."""
    await world.seed()
    await second.look()
    account = await world.account()
    results = await asyncio.gather(
        *(each.submit(account, idempotency_key="k") for each in (world, second) * 5), return_exceptions=True
    )
    accepted = [result for result in results if not isinstance(result, BaseException)]

    assert all(isinstance(result, Unavailable) for result in results if isinstance(result, BaseException))
    assert 1 == sum(not result.replayed for result in accepted)
    assert 1 == len({result.message.id for result in accepted})
    assert 1 == len(world.queue.drain())
    assert 995 == await world.balance(account)
    assert (await world.submit(account, idempotency_key="k")).replayed


async def test_racing_for_the_last_money(world: World, second: World) -> None:
    await world.seed()
    await second.look()
    account = await world.account(balance=5)
    results = await asyncio.gather(
        *(each.submit(account, f"+2136610000{i:02}") for i, each in enumerate((world, second) * 5)), return_exceptions=True
    )

    assert 9 == sum(isinstance(result, InsufficientBalance) for result in results)
    assert 0 == await world.balance(account)
    assert 1 == len(world.queue.drain())


# An older code


async def test_a_newer_code_replaces_the_older(world: World) -> None:
    await world.seed()
    account = await world.account()
    older = (await world.submit(account)).message
    newer = (await world.submit(account)).message

    replaced = await world.message(older.id)
    assert ("cancelled", "replaced by a newer code") == (replaced.state, replaced.reason)
    assert "pending" == (await world.message(newer.id)).state
    assert 995 == await world.balance(account), "the older one is given back"


async def test_a_sent_older_code_ends(world: World) -> None:
    """It was paid for and it is no more good."""
    await world.seed()
    account = await world.account()
    older = (await world.submit(account)).message
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "sent")
    await world.submit(account)

    assert "expired" == (await world.message(older.id)).state
    assert 990 == await world.balance(account)


async def test_a_verified_older_code_stays(world: World) -> None:
    """Nothing is left to replace: it stays as it ended, and nothing is given back for it."""
    await world.seed()
    account = await world.account(text="{code}")
    older = (await world.submit(account)).message
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "sent")
    await world.codes.verify(account, older.id, handed.text)
    ended = await world.message(older.id)
    newer = (await world.submit(account)).message

    assert "verified" == ended.state
    assert ended == await world.message(older.id)
    assert "pending" == (await world.message(newer.id)).state
    assert 990 == await world.balance(account)


@pytest.mark.parametrize("phone_hourly", [0, 9])
async def test_a_plain_message_hides_no_older_code(world: World, phone_hourly: int) -> None:
    """The code before the plain SMS is the one that the next code replaces; the plain SMS is not touched."""
    await world.seed()
    account = await world.account(limits=limits(phone_hourly=phone_hourly))
    older = (await world.submit(account)).message
    world.clock.advance(1)
    plain = (await world.submit(account, text="plain")).message
    world.clock.advance(1)
    newer = (await world.submit(account)).message

    assert ["cancelled", "pending", "pending"] == [(await world.message(each.id)).state for each in (older, plain, newer)]
    assert 990 == await world.balance(account)


async def test_fifty_codes_one_after_the_other(world: World) -> None:
    """Each replaces the one before, and none but the last is left open."""
    await world.seed()
    account = await world.account()
    sent: list[str] = []
    for _ in range(50):
        sent.append((await world.submit(account)).message.id)
        world.clock.advance(0.1)

    assert ["cancelled"] * 49 + ["pending"] == [(await world.message(id)).state for id in sent]
    assert 995 == await world.balance(account)


async def test_what_replaces_nothing(world: World, redis_url: str) -> None:
    """Another phone, another account, a plain SMS; or the setting says so."""
    await world.seed()
    account, stranger = await world.account(), await world.account(key="sk_test_another")
    first = (await world.submit(account)).message
    await world.submit(account, "+213661000002")
    await world.submit(stranger, key="sk_test_another")
    await world.submit(account, text="plain")

    assert "pending" == (await world.message(first.id)).state
    lax = World(redis_url, clock=world.clock, queue=world.queue, replace_older_code=False)
    await lax.look()
    await lax.submit(account)
    assert "pending" == (await world.message(first.id)).state
    await lax.close()


# Portability


async def test_a_ported_number(world: World) -> None:
    """The table stands above the prefix, until the entry is removed."""
    await world.seed()
    account = await world.account()
    batch = world.store.batch()
    world.store.portability.put(batch, {PHONE: "60303"})
    await batch.run()
    await world.look()

    assert "60303" == (await world.submit(account)).message.carrier
    batch = world.store.batch()
    world.store.portability.put(batch, {PHONE: ""})
    await batch.run()
    assert "60301" == (await world.submit(account)).message.carrier


# Crash points


@pytest.mark.parametrize("key", ["", "k"])
async def test_queue_away(world: World, redis_url: str, key: str) -> None:
    """The message is withdrawn and nothing is counted for it; the same request is accepted when the queue is back."""
    await world.seed()
    account = await world.account(limits=limits(daily=1, hourly=1, phone_hourly=1))
    before = wallet_and_counts(redis_url, account.id)
    world.queue.away = True
    with pytest.raises(Unavailable):
        await world.submit(account, idempotency_key=key)

    assert before == wallet_and_counts(redis_url, account.id)
    (message_id,) = [k[5:-1] for k in everything(redis_url) if k.startswith("msg:")]
    assert "cancelled" == (await world.message(message_id)).state
    assert await world.timer(message_id) is None
    world.queue.away = False
    accepted = await world.submit(account, idempotency_key=key)
    assert not accepted.replayed
    assert "pending" == accepted.message.state
    assert 995 == await world.balance(account)


async def test_queue_away_keeps_the_older_code(world: World) -> None:
    """The caller heard no: the code that they have is still good, and the next accepted one replaces it."""
    await world.seed()
    account = await world.account()
    older = (await world.submit(account)).message
    world.queue.away = True
    with pytest.raises(Unavailable):
        await world.submit(account)

    assert "pending" == (await world.message(older.id)).state
    world.queue.away = False
    await world.submit(account)
    assert "cancelled" == (await world.message(older.id)).state


async def test_queue_away_but_entry_kept(world: World) -> None:
    """The entry that is on the queue after all finds a withdrawn message."""
    await world.seed()
    account = await world.account()
    world.queue.away = world.queue.but_kept = True
    with pytest.raises(Unavailable):
        await world.submit(account)

    assert [] == await world.dispatch()
    assert [] == await world.fetch()
    assert 1000 == await world.balance(account)


@pytest.mark.parametrize("step", ["_ported", "_admit", "_record", "_publish", "_replace"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [Crash(), StoreAway(ConnectionError())])
async def test_crash_points(
    world: World, second: World, redis_url: str, monkeypatch: pytest.MonkeyPatch, step: str, after: bool, error: BaseException
) -> None:
    """Whichever step a process dies before or after: what others find is a message that ends, or no trace of one; money adds up."""
    await world.seed()
    await second.look()
    account = await world.account(balance=10, limits=limits(daily=9, hourly=9, phone_hourly=9))
    older = (await world.submit(account)).message
    await world.dispatch()
    before = wallet_and_counts(redis_url, account.id)
    real = getattr(Acceptance, step)

    async def dies(*arguments: Any) -> Any:
        if after:
            await real(*arguments)
        raise error

    monkeypatch.setattr(Acceptance, step, dies)
    with pytest.raises(type(error)):
        await world.submit(account, idempotency_key="k")
    monkeypatch.undo()

    second.clock.advance(31)
    await second.registry.ping(IMSI, "+213661999999", "seed")
    await second.timekeeping.confirm_admissions()
    await second.timekeeping.run_due()
    newer = [k[5:-1] for k in everything(redis_url) if k.startswith("msg:") and older.id not in k]
    recorded = step in ("_publish", "_replace") or (step == "_record" and after)
    if not recorded:
        stored = await second.store.messages.load(second.store.batch(), newer)
        assert [None] * len(newer) == stored
        after_undo = wallet_and_counts(redis_url, account.id)
        unconfirmed = f"acct:{{{account.id}}}:unconfirmed"
        before.pop(unconfirmed, None)
        assert before == after_undo
        return
    (message_id,) = newer
    await second.dispatch()
    assert (await second.message(message_id)).state in ("pending", "dispatched")
    second.clock.advance(400)
    for _ in range(3):
        await second.timekeeping.run_due()
        second.clock.advance(11)
    for id in (older.id, message_id):
        assert ("expired", True) == ((message := await second.message(id)).state, message.settled) or message.state == "cancelled"
    assert 10 == await second.balance(account)


async def test_too_slow_to_record(world: World, second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between charge and record half a minute passes: the admission is undone, and the late record is refused."""
    await world.seed()
    account = await world.account()
    real = Acceptance._record

    async def slow(*arguments: Any) -> None:
        world.clock.advance(31)
        await second.timekeeping.confirm_admissions()
        await real(*arguments)

    monkeypatch.setattr(Acceptance, "_record", slow)
    with pytest.raises(Unavailable):
        await world.submit(account, idempotency_key="k")

    assert [] == world.queue.entries
    assert 1000 == await world.balance(account)
    monkeypatch.undo()
    await world.seed()
    assert not (await world.submit(account, idempotency_key="k")).replayed
