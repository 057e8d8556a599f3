"""Submissions of many recipients: all or nothing, once, and told as one."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from router.domain.account import Account, KeyCredential
from router.domain.device import Sim
from router.domain.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    Invalid,
    LimitReached,
    NoSeedAvailable,
    NotFound,
    Unauthorized,
    Unavailable,
)
from router.domain.message import Message
from router.domain.submission_request import NewSubmission
from router.services.acceptance import Acceptance
from router.services.devices import Devices
from router.services.submission_list import Page, Query, SubmissionList
from router.services.submissions import Submissions, Told
from router.store.accounts import hash_key
from router.store.redis import StoreAway
from tests.integration.services.world import IMSI, KEY, Queue, World, limits
from tests.integration.store.kit import PHONE, CallsSeen, ask, everything, without_listings

pytestmark = pytest.mark.anyio

PHONES = tuple(f"+2136610001{place:02}" for place in range(5))
"""Of Mobilis, as the world's seed is."""


class Crash(BaseException):
    """The process is gone: nothing that it would have done after this is done."""


class App:
    """What an application does, at one process of the router."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.devices = Devices(world.store, world.clock, world.rules, world.settings)
        self.submissions = Submissions(
            world.store, world.submitting.acceptance, world.transitions, self.devices, world.clock, world.rules
        )
        self.list = SubmissionList(world.store, self.submissions, world.clock)

    async def send(self, account: Account, *phones: str, key: str = "", api_key: str = KEY, **fields: Any) -> Told:
        asked = NewSubmission(**{"recipients": phones or PHONES, "body": "a text"} | fields)
        return await self.submissions.submit(account, KeyCredential(hash_key(api_key)), asked, key)

    async def get(self, account: Account, submission_id: str) -> Told:
        return await self.submissions.get(account, submission_id)

    async def find(self, account: Account, **fields: Any) -> Page:
        return await self.list.find(account, Query(**fields))

    async def messages(self, told: Told) -> list[Message]:
        return [await self.world.message(message_id) for message_id in told.view.submission.messages]


@pytest.fixture
async def app(world: World) -> App:
    """With a seed that has room for all of them, and the time of the store: the entries of a list bear that."""
    world.clock.at = await world.store.time()
    await world.seed(pace_seconds=0.02)
    return App(world)


@pytest.fixture
async def other(app: App, second: World) -> App:
    """The same at another process."""
    await second.look()
    return App(second)


async def online(world: World) -> None:
    """The seed is heard of again, and that is seen."""
    await world.registry.ping(IMSI, "+213661999999", "seed")
    await world.look()


def kept(redis_url: str, account_id: str) -> dict[str, Any]:
    """All that stands in the account's name, but its list of messages, whose readers pass over what has no record."""
    found = without_listings(everything(redis_url))
    empty = f"acct:{{{account_id}}}:submissions"
    return {key: value for key, value in found.items() if key.startswith(f"acct:{{{account_id}}}") and not (key == empty and not value)}


def states(told: Told) -> list[str]:
    return [recipient.state for recipient in told.view.recipients]


def ids(page: Page) -> list[str]:
    return [told.view.submission.id for told in page.submissions]


async def test_accepted(app: App, world: World, redis_url: str) -> None:
    """Every recipient is charged, recorded with a timer, and on the queue; the answer says so."""
    account = await world.account()
    told = await app.send(account, id="mine")
    messages = await app.messages(told)

    assert ("mine", "Pending", ["Pending"] * 5) == (told.view.submission.id, told.view.state, states(told))
    assert list(PHONES) == [message.to for message in messages] == [recipient.phone for recipient in told.view.recipients]
    assert [("mine", place) for place in range(5)] == [(message.submission, message.place) for message in messages]
    assert {("smsgate", "sms", "60301", "notification", 5)} == {(m.dialect, m.kind, m.carrier, m.lane, m.price) for m in messages}
    assert list(told.view.submission.messages) == world.queue.drain()
    assert 1000 - 25 == await world.balance(account)
    assert {world.clock.at + world.rules.republish_seconds} == {await world.timer(message.id) for message in messages}
    assert told == await app.get(account, "mine")


async def test_an_id_of_ours(app: App, world: World) -> None:
    """21 characters that a path can hold, where the client says none."""
    account = await world.account()
    made = [(await app.send(account, PHONE)).view.submission.id for _ in range(20)]

    assert 20 == len(set(made))
    assert {21} == {len(each) for each in made}
    assert all(character.isalnum() or character in "-_" for each in made for character in each)


async def test_what_the_client_said_is_kept(app: App, world: World) -> None:
    """For the phone, and for the choice of one."""
    account = await world.account()
    told = await app.send(
        account, PHONE, body="AAAA", data_port=1234, sim=2, delivery_report=False, priority=-5, ttl_seconds=60,
    )  # fmt: skip
    (message,) = await app.messages(told)

    assert (1234, 2, False, -5, "bulk") == (message.data_port, message.sim, message.delivery_report, message.priority, message.lane)
    assert world.clock.at + 60 == message.expires_at
    assert 1234 == told.data_port


async def test_as_many_round_trips_as_one(app: App, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred recipients are admitted, recorded and queued in as many exchanges as one is."""
    account = await world.account(balance=100_000)
    trips = 0
    send = world.store._funnel.send

    async def counted(commands: Any) -> Any:
        nonlocal trips
        trips += 1
        return await send(commands)

    await app.send(account, PHONE)
    monkeypatch.setattr(world.store._funnel, "send", counted)
    await app.send(account, PHONE)
    of_one, trips = trips, 0
    await app.send(account, *(f"+21366100{place:04}" for place in range(100)))

    assert of_one == trips
    assert trips <= 2


# Refusals


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"recipients": (PHONE, "12")}, Invalid),
        ({"recipients": (PHONE, PHONE)}, Invalid),
        ({"body": ""}, Invalid),
        ({"ttl_seconds": 1}, Invalid),
        ({"device": "x" * 21}, Invalid),
        ({"encrypted": True}, Invalid),
        ({"recipients": (PHONE, "+212661000001")}, NoSeedAvailable),
        ({"key": "k" * 256}, Invalid),
    ],
)
async def test_refused_as_a_whole(
    app: App, world: World, redis_url: str, fields: dict[str, Any], error: type[Exception]
) -> None:
    """Nothing is charged, counted or kept, whichever recipient was wrong."""
    account = await world.account()
    before = everything(redis_url)
    with pytest.raises(error):
        await app.send(account, **fields)

    assert before == everything(redis_url)
    assert [] == world.queue.entries


async def test_limits_and_money(app: App, world: World, redis_url: str) -> None:
    """All of them have to be within what is left; just enough is enough."""
    account = await world.account(balance=30, limits=limits(daily=6, hourly=7, phone_hourly=2))
    told = await app.send(account)

    assert "Pending" == told.view.state
    before = kept(redis_url, account.id)
    with pytest.raises(LimitReached, match="daily"):
        await app.send(account, *PHONES[:2])
    await world.admin.change(account.id, limits=limits(daily=0))
    with pytest.raises(LimitReached, match="hourly"):
        await app.send(account, *PHONES[:3])
    await world.admin.change(account.id, limits=limits(hourly=0))
    with pytest.raises(InsufficientBalance):
        await app.send(account, *PHONES[:2])
    await app.send(account, PHONES[0])
    with pytest.raises(LimitReached, match="phone"):
        await app.send(account, PHONES[1], PHONES[0])
    assert 0 == await world.balance(account)
    charges = f"acct:{{{account.id}}}:charges"
    assert 6 == len(kept(redis_url, account.id)[charges])
    assert before[charges].items() < kept(redis_url, account.id)[charges].items()


async def test_changes_are_taken_up(app: App, world: World) -> None:
    """Admission finds out that the copy of the account in hand is old."""
    account = await world.account()
    await world.admin.change(account.id, price=7)

    assert {7} == {message.price for message in await app.messages(await app.send(account))}
    assert 1000 - 35 == await world.balance(account)
    await world.admin.change(account.id, enabled=False)
    with pytest.raises(Forbidden):
        await app.send(account)
    await world.admin.change(account.id, enabled=True)
    (key,) = await world.admin.keys(account.id)
    await world.admin.revoke_key(account.id, key.id)
    with pytest.raises(Unauthorized):
        await app.send(account)


async def test_full_queue(app: App, world: World, redis_url: str) -> None:
    account = await world.account()
    world.queue.depth = world.settings.max_queue_length
    before = everything(redis_url)
    with pytest.raises(Unavailable):
        await app.send(account)

    assert before == everything(redis_url)


async def test_hidden_recipients_are_counted_too(app: App, world: World) -> None:
    """By phone, also where nobody may look at it; what they are written with cannot hurt the counting."""
    account = await world.account(limits=limits(phone_hourly=1))
    await app.send(account, "a|b\\0c", "}x{", skip_phone_validation=True)
    with pytest.raises(LimitReached):
        await app.send(account, "}x{", skip_phone_validation=True)
    world.queue.away = True
    with pytest.raises(Unavailable):
        await app.send(account, "a|b|c", "|", skip_phone_validation=True)

    world.queue.away = False
    assert ["Pending"] * 2 == states(await app.send(account, "a|b|c", "|", skip_phone_validation=True))
    assert 1000 - 20 == await world.balance(account)


# Devices


async def registered(app: App, account: Account, **fields: Any) -> str:
    about: dict[str, Any] = {"shared": False, "name": "phone", "push_token": "", "sims": (Sim(1, carrier_name="Mobilis"),)}
    device, _ = await app.devices.register(account.id, **about | fields)
    return device.id


async def test_a_device_of_the_account(app: App, world: World) -> None:
    """It alone is to send, and needs not be online; nobody else's can be asked for."""
    account, stranger = await world.account(), await world.account(key="sk_test_another")
    mine, theirs = await registered(app, account), await registered(app, stranger)
    told = await app.send(account, PHONE, device=mine)
    (message,) = await app.messages(told)

    assert (mine, mine) == (message.only, told.view.device)
    with pytest.raises(Invalid, match="no such device"):
        await app.send(account, PHONE, device=theirs)
    assert (await app.messages(await app.send(account, "+212661000001", device=mine)))[0].only == mine


async def test_active_within(app: App, world: World) -> None:
    """A device that was asked for must have been heard of; without one every seed that serves has been."""
    account = await world.account()
    device = await registered(app, account)
    world.clock.advance(3601)
    await online(world)
    with pytest.raises(Invalid, match="not active"):
        await app.send(account, PHONE, device=device, device_active_within_hours=1)

    assert "Pending" == (await app.send(account, PHONE, device=device, device_active_within_hours=2)).view.state
    assert "Pending" == (await app.send(account, PHONE, device_active_within_hours=1)).view.state
    with pytest.raises(Invalid, match="not active"):
        await app.send(account, PHONE, device=device, device_active_within_hours=1)


async def test_a_ciphertext_goes_to_the_accounts_own_phones(app: App, world: World) -> None:
    """Only they have the passphrase."""
    account = await world.account()
    await registered(app, account)
    told = await app.send(account, "$aes-256-cbc/pbkdf2-sha1$i=1$c2FsdA==$eA==", body="$aes$…", encrypted=True)
    (message,) = await app.messages(told)

    assert (account.id, True, "") == (message.only, message.encrypted, message.carrier)
    assert told.view.submission.encrypted


# Once


async def test_an_id_is_taken_as_long_as_it_is_known(app: App, world: World) -> None:
    """By whatever was accepted with it; another account's ids are its own."""
    account, stranger = await world.account(), await world.account(key="sk_test_another")
    await app.send(account, id="mine")
    for body in ("a text", "another"):
        with pytest.raises(Conflict, match=r"^message with the same ID already exists$"):
            await app.send(account, id="mine", body=body)

    assert "Pending" == (await app.send(stranger, id="mine", api_key="sk_test_another")).view.state
    assert 1000 - 25 == await world.balance(account)
    assert 10 == len(world.queue.drain())


async def test_an_idempotency_key(app: App, world: World) -> None:
    """The same request is answered with the same submission, its present state; another request is refused."""
    account = await world.account()
    first = await app.send(account, key="k")
    again = await app.send(account, key="k")

    assert first == again
    assert 5 == len(world.queue.drain())
    for fields in ({"body": "another"}, {"ttl_seconds": 60}, {"id": "mine"}, {"recipients": PHONES[:2]}):
        with pytest.raises(Conflict, match="idempotency key"):
            await app.send(account, key="k", **fields)
    with pytest.raises(Conflict):
        await world.submit(account, idempotency_key="k")
    assert 1000 - 25 == await world.balance(account)
    with_id = await app.send(account, key="another", id="mine")
    assert with_id == await app.send(account, key="another", id="mine")


@pytest.mark.parametrize("fields", [{"id": "mine"}, {"key": "k"}, {"id": "mine", "key": "k"}])
async def test_racing(app: App, other: App, world: World, fields: dict[str, Any]) -> None:
    """Of two processes with the same id or key, at the same time, one accepts; the others hear of that one, or to come again."""
    account = await world.account()
    results = await asyncio.gather(*(each.send(account, **fields) for each in (app, other) * 10), return_exceptions=True)
    told = [result for result in results if isinstance(result, Told)]
    refused = [result for result in results if not isinstance(result, Told)]

    assert 1 == len({each.view.submission.messages for each in told})
    assert "key" in fields or 1 == len(told)
    assert all(isinstance(result, Unavailable if "key" in fields else (Unavailable, Conflict)) for result in refused)
    assert 5 == len(world.queue.drain())
    assert 1000 - 25 == await world.balance(account)
    assert (1, told[0].view.submission.id) == ((page := await app.find(account)).total, ids(page)[0])


async def test_racing_with_different_bodies(app: App, other: App, world: World) -> None:
    """One of them is accepted, whole."""
    account = await world.account()
    results = await asyncio.gather(
        *(each.send(account, id="mine", body=f"text {place}") for place, each in enumerate((app, other) * 10)), return_exceptions=True
    )
    told = [result for result in results if isinstance(result, Told)]

    assert 1 == len(told)
    assert 5 == len(world.queue.drain())
    assert told[0].view == (await app.get(account, "mine")).view


async def test_racing_for_the_last_money(app: App, other: App, world: World) -> None:
    """Nobody is admitted in part."""
    account = await world.account(balance=60)
    results = await asyncio.gather(*(each.send(account) for each in (app, other) * 5), return_exceptions=True)

    assert 8 == sum(isinstance(result, InsufficientBalance) for result in results)
    assert 10 == await world.balance(account)
    assert 10 == len(world.queue.drain())


# Crash points


@pytest.mark.parametrize("fields", [{}, {"id": "mine"}, {"key": "k"}, {"id": "mine", "key": "k"}])
async def test_queue_away(app: App, world: World, redis_url: str, fields: dict[str, Any]) -> None:
    """All of them are withdrawn, nothing is counted, no webhook hears of it; the same request is accepted when the queue is back."""
    account = await world.account(limits=limits(daily=5, hourly=5, phone_hourly=1))
    before = kept(redis_url, account.id)
    world.queue.away = True
    with pytest.raises(Unavailable):
        await app.send(account, **fields)

    withdrawn = [key[5:-1] for key in everything(redis_url) if key.startswith("msg:")]
    assert before == kept(redis_url, account.id)
    assert {("cancelled", ("sms:cancelled",))} == {((m := await world.message(id)).state, m.told) for id in withdrawn}
    assert {None} == {await world.timer(message_id) for message_id in withdrawn}
    assert 0 == (await app.find(account)).total
    if "id" in fields:
        with pytest.raises(NotFound):
            await app.get(account, "mine")
    world.queue.away = False
    assert ["Pending"] * 5 == states(await app.send(account, **fields))
    assert 1000 - 25 == await world.balance(account)


async def test_queue_away_but_entries_kept_and_gone_too_far(app: App, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What went out cannot be withdrawn: then the whole is accepted, and each recipient is told what became of it."""
    account = await world.account()

    async def published(entries: Sequence[Any]) -> None:
        world.queue.entries += entries[:1]
        await world.dispatch()
        (handed,) = await world.fetch()
        await world.report(handed, "sent")
        raise Unavailable("the queue cannot be reached")

    monkeypatch.setattr(Queue, "publish", lambda _, entries: published(entries))
    await app.send(account, *PHONES[:2], id="mine")
    told = await app.get(account, "mine")

    assert ["Sent", "Cancelled"] == states(told)
    assert 1000 - 5 == await world.balance(account)


@pytest.mark.parametrize("step", ["_ported", "_admit", "_record", "_publish"])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("error", [Crash(), StoreAway(ConnectionError())])
@pytest.mark.parametrize("fields", [{}, {"id": "mine"}, {"key": "k"}])
async def test_crash_points(
    app: App, other: App, redis_url: str, monkeypatch: pytest.MonkeyPatch, step: str, after: bool, error: BaseException,
    fields: dict[str, Any],
) -> None:  # fmt: skip
    """Whichever step a process dies before or after: others find a submission whose messages end, or no trace of one; money adds up."""
    world, second = app.world, other.world
    account = await world.account(balance=25, limits=limits(daily=5, hourly=5, phone_hourly=1))
    before = kept(redis_url, account.id)
    real = getattr(Acceptance, step)

    async def dies(*arguments: Any) -> Any:
        if after:
            await real(*arguments)
        raise error

    monkeypatch.setattr(Acceptance, step, dies)
    with pytest.raises(type(error)):
        await app.send(account, **fields)
    monkeypatch.undo()

    admitted = step in ("_record", "_publish") or (step == "_admit" and after)
    recorded = step == "_publish" or (step == "_record" and after)
    if admitted and not recorded and fields:
        with pytest.raises(Unavailable, match="being accepted"):
            await other.send(account, **fields)
    second.clock.advance(31)
    await online(second)
    await second.timekeeping.confirm_admissions()
    await second.timekeeping.run_due()
    if not recorded:
        unconfirmed = f"acct:{{{account.id}}}:unconfirmed"
        assert before == {key: value for key, value in kept(redis_url, account.id).items() if key != unconfirmed}
        assert ["Pending"] * 5 == states(await other.send(account, **fields))
        assert 0 == await second.balance(account)
        return
    if fields.get("id"):
        with pytest.raises(Conflict):
            await other.send(account, **fields)
    elif fields:
        assert ["Pending"] * 5 == states(await other.send(account, **fields))
    page = await other.find(account)
    assert 1 == page.total
    await second.dispatch()
    second.clock.advance(4000)
    for _ in range(3):
        await second.timekeeping.run_due()
        second.clock.advance(11)
    (told,) = (await other.find(account)).submissions
    assert ["Failed"] * 5 == states(told)
    assert 25 == await second.balance(account)


@pytest.mark.parametrize("error", [Crash(), StoreAway(ConnectionError())])
async def test_a_crash_in_the_middle_of_the_records(
    app: App, other: App, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """Those that are recorded are sent, the others are given back; which is which is told, to whoever asks again too."""
    world, second = app.world, other.world
    account = await world.account()
    create = world.store.messages.create

    def only_some(batch: Any, message: Message, body: str) -> int:
        return create(batch, message, body) if message.place in (1, 3) else batch.add("TIME")

    monkeypatch.setattr(world.store.messages, "create", only_some)
    monkeypatch.setattr(Acceptance, "_publish", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(type(error)):
        await app.send(account, id="mine", key="k")
    monkeypatch.undo()
    world.store.messages.create = create  # type: ignore[method-assign]
    assert ["Pending"] * 5 == states(await other.get(account, "mine"))
    second.clock.advance(61)
    await online(second)
    await second.timekeeping.confirm_admissions()
    await second.timekeeping.run_due()
    await second.dispatch()
    for handed in await second.fetch():
        await second.report(handed, "sent")

    told = await other.send(account, id="mine", key="k")
    assert ["Failed", "Sent", "Failed", "Sent", "Failed"] == states(told)
    assert 1000 - 10 == await second.balance(account)
    with pytest.raises(Conflict):
        await other.send(account, id="mine")


async def test_too_slow_to_record(app: App, other: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between charge and record half a minute passes: the admission is undone, and the late records are refused."""
    world, second = app.world, other.world
    account = await world.account()
    real = Acceptance._record

    async def slow(*arguments: Any) -> None:
        world.clock.advance(31)
        await second.timekeeping.confirm_admissions()
        await real(*arguments)

    monkeypatch.setattr(Acceptance, "_record", slow)
    with pytest.raises(Unavailable):
        await app.send(account, id="mine", key="k")

    assert [] == world.queue.entries
    assert 1000 == await world.balance(account)
    monkeypatch.undo()
    await world.seed()
    assert ["Pending"] * 5 == states(await app.send(account, id="mine", key="k"))


async def test_too_slow_to_record_some(app: App, other: App, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timekeeper had got at some of them only: the rest is withdrawn, and nothing is left of the whole."""
    world = app.world
    account = await world.account()
    before = kept(redis_url, account.id)
    real = Acceptance._record

    async def half_voided(acceptance: Acceptance, plan: Any) -> None:
        for draft in plan.drafts[:2]:
            await ask(world.store, lambda batch, draft=draft: world.store.messages.void(batch, draft.message.id))
        await real(acceptance, plan)

    monkeypatch.setattr(Acceptance, "_record", half_voided)
    with pytest.raises(Unavailable):
        await app.send(account, id="mine")
    monkeypatch.undo()
    world.clock.advance(31)
    await other.world.timekeeping.confirm_admissions()

    assert before == kept(redis_url, account.id)
    assert [] == world.queue.entries


# What becomes of it


async def test_states(app: App, world: World) -> None:
    """Recipient by recipient, and in sum."""
    account = await world.account()
    told = await app.send(account, *PHONES[:2], id="mine")
    await world.dispatch()
    assert "Pending" == (await app.get(account, "mine")).view.state
    first, later = await world.fetch()
    await world.report(first, "radio")
    assert ["Processed", "Pending"] == states(await app.get(account, "mine"))
    await world.report(later, "radio")
    assert "Processed" == (await app.get(account, "mine")).view.state
    world.clock.advance(1)
    await world.report(first, "sent")
    await world.report(later, "delivered")
    told = await app.get(account, "mine")

    assert (["Sent", "Delivered"], "Sent", True) == (states(told), told.view.state, told.is_hashed)
    assert {"Pending", "Processed", "Sent"} == set(told.view.states)
    await world.report(first, "delivered")
    assert "Delivered" == (await app.get(account, "mine")).view.state


async def test_scheduled(app: App, world: World) -> None:
    """It is recorded and not queued, until its time has come."""
    account = await world.account()
    told = await app.send(account, schedule_at=world.clock.at + 100, ttl_seconds=200)

    assert [] == world.queue.entries
    assert {world.clock.at + 100} == {await world.timer(message.id) for message in await app.messages(told)}
    await world.time_passes(99)
    assert [] == world.queue.entries
    await world.time_passes(2)
    assert set(told.view.submission.messages) == set(world.queue.drain())


async def test_cancelled(app: App, world: World) -> None:
    """What no phone has yet is withdrawn and given back; a second time there is nothing left to withdraw."""
    account = await world.account()
    await app.send(account, id="mine")
    told = await app.submissions.cancel(account, "mine")

    assert ("Cancelled", ["Cancelled"] * 5, True) == (told.view.state, states(told), told.is_hashed)
    assert 1000 == await world.balance(account)
    with pytest.raises(Conflict, match="not pending"):
        await app.submissions.cancel(account, "mine")
    with pytest.raises(NotFound, match=r"^message not found$"):
        await app.submissions.cancel(account, "unknown")


async def test_cancelling(app: App, world: World) -> None:
    """A phone has it: it is cancelled when the phone says so, and if it was sent all the same, that is told."""
    account = await world.account()
    await app.send(account, *PHONES[:3], id="mine")
    await world.dispatch()
    first, second, third = await world.fetch()
    await world.report(third, "radio")
    told = await app.submissions.cancel(account, "mine")

    assert ["Cancelling", "Cancelling", "Processed"] == states(told)
    assert "Cancelling" == told.view.state
    await world.report(first, "cancelled")
    await world.report(second, "sent")
    await world.report(third, "sent")
    assert ["Cancelled", "Sent", "Sent"] == states(await app.get(account, "mine"))
    assert 1000 - 10 == await world.balance(account)
    with pytest.raises(Conflict):
        await app.submissions.cancel(account, "mine")


async def test_another_accounts(app: App, world: World) -> None:
    """Nobody finds out that it exists."""
    account, stranger = await world.account(), await world.account(key="sk_test_another")
    await app.send(account, id="mine")
    with pytest.raises(NotFound):
        await app.get(stranger, "mine")
    with pytest.raises(NotFound):
        await app.submissions.cancel(stranger, "mine")

    assert 0 == (await app.find(stranger)).total
    assert ["Pending"] * 5 == states(await app.get(account, "mine"))


async def test_the_text_is_there_until_it_is_erased(app: App, world: World) -> None:
    """Only in lists, and only where it was asked for; as long as one recipient's phone may need it."""
    account = await world.account()
    await app.send(account, PHONES[0], body="secret", id="mine")
    with_text = await app.find(account, with_body=True)

    assert ["secret"] == [told.body for told in with_text.submissions]
    assert [None] == [told.body for told in (await app.find(account)).submissions]
    await world.dispatch()
    (handed,) = await world.fetch()
    await world.report(handed, "sent")
    (told,) = (await app.find(account, with_body=True)).submissions
    assert (None, True) == (told.body, told.is_hashed)


# Lists


async def test_a_list_in_pages(app: App, world: World) -> None:
    """Newest first, or oldest first; the total does not depend on the page."""
    account = await world.account(balance=10_000)
    made = [(await app.send(account, PHONES[0])).view.submission.id for _ in range(7)]

    assert (7, made[::-1]) == ((page := await app.find(account)).total, ids(page))
    assert made[1:4] == ids(await app.find(account, newest_first=False, offset=1, limit=3))
    assert (7, []) == ((page := await app.find(account, offset=7)).total, ids(page))
    for wrong in ({"limit": 0}, {"limit": 101}, {"offset": -1}):
        with pytest.raises(Invalid):
            await app.find(account, **wrong)


async def test_a_list_by_time(app: App, world: World) -> None:
    """Both ends included."""
    account = await world.account()
    times, made = [], []
    for _ in range(4):
        await world.seed()
        times.append(world.clock.at)
        made.append((await app.send(account, PHONES[0])).view.submission.id)
        world.clock.advance(1)

    assert made[1:3] == ids(await app.find(account, since=times[1], until=times[2], newest_first=False))
    assert made[2:] == ids(await app.find(account, since=times[1] + 0.002, newest_first=False))
    assert made[:1] == ids(await app.find(account, until=times[1] - 0.002))
    assert 0 == (await app.find(account, since=times[3] + 100)).total


async def test_a_list_by_state_and_device(app: App, world: World) -> None:
    account = await world.account(balance=10_000)
    device = await registered(app, account)
    made = [(await app.send(account, PHONES[0], device=device if place % 2 else "")).view.submission.id for place in range(6)]
    for each in made[:3]:
        await app.submissions.cancel(account, each)

    assert (3, made[2::-1]) == ((page := await app.find(account, state="Cancelled")).total, ids(page))
    assert (3, [made[4]]) == ((page := await app.find(account, state="Pending", limit=1, offset=1)).total, ids(page))
    assert made[5::-2] == ids(await app.find(account, device=device))
    assert [made[1]] == ids(await app.find(account, device=device, state="Cancelled"))
    assert (0, []) == ((page := await app.find(account, state="Sent")).total, ids(page))


async def test_a_list_over_many_pages(app: App, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page after page, whatever the size of one, each entry once."""
    monkeypatch.setattr("router.store.submissions._PAGE", 3)
    account = await world.account(balance=10_000)
    made = [(await app.send(account, PHONES[0])).view.submission.id for _ in range(10)]

    assert made == ids(await app.find(account, newest_first=False))
    assert made[5:1:-1] == ids(await app.find(account, offset=4, limit=4))
    assert made == ids(await app.find(account, newest_first=False, state="Pending"))


async def test_what_is_gone_is_not_listed(app: App, world: World) -> None:
    """Its entry may stand a while longer than its record."""
    account = await world.account()
    await app.send(account, PHONES[0], ttl_seconds=5)
    await world.seed()
    lasting = await app.send(account, PHONES[0], ttl_seconds=3000)
    world.clock.advance(5 + 600)

    assert (1, [lasting.view.submission.id]) == ((page := await app.find(account)).total, ids(page))


async def test_one_hash_tag_per_script(app: App, world: World, calls: CallsSeen) -> None:
    """Seen by the fixture for every test here: a Redis Cluster can hold it all."""
    account = await world.account()
    await app.send(account, id="mine", key="k")

    assert "submission_admit" in calls.names


async def test_the_list_does_not_outlive_what_it_lists(app: App, world: World) -> None:
    """Forgotten also where nobody submits any more."""
    account = await world.account()
    await app.send(account, PHONES[0])
    key = f"acct:{{{account.id}}}:submissions"
    turns = 40
    for _ in range(turns):
        await world.timekeeping.tidy(3600)
    young = await world.store.redis.exists(key)
    world.clock.advance(600 + world.rules.longest_seconds + 60)
    for _ in range(turns):
        await world.timekeeping.tidy(3600)

    assert [1, 0] == [young, await world.store.redis.exists(key)]
