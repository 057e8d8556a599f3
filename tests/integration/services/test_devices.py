"""Phones as devices: what they tell of themselves and their SIMs, over a real Redis."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
import redis
from msgspec import json

from router.domain.account import Account
from router.domain.device import NO_SIMS, Device, Sim
from router.domain.errors import LimitReached, NotFound, Unauthorized, Unavailable
from router.domain.phone_clock import Bounds
from router.domain.seed import Seed
from router.secrets import Sealer
from router.services.devices import Devices
from router.services.phone_settings import PhoneSettings
from router.store.redis import Batch
from tests.integration.services.world import World
from tests.integration.store.kit import NOW, ask, everything

pytestmark = pytest.mark.anyio
MOBILIS, DJEZZY, OOREDOO = "60301", "60302", "60303"
MOBILIS_SIM, DJEZZY_SIM = Sim(1, "0661000001"), Sim(2, carrier_name="Djezzy 4G")
UNKNOWN_SIM = Sim(1, carrier_name="No service")
A_CARD, ANOTHER_CARD = "8921301000000000001", "8921301000000000002"


async def register(world: World, account: Account, *sims: Sim, shared: bool = True) -> tuple[Device, str]:
    return await world.devices.register(account.id, shared=shared, name="phone", push_token="", sims=sims or (Sim(NO_SIMS),))


async def seeds(world: World, device: Device) -> dict[int, Seed]:
    return {seed.sim: seed for seed in (await world.devices.seeds_of([device])).values()}


async def fields(world: World, seed_id: str, *names: str) -> list[str]:
    answer = await ask(world.store, lambda batch: batch.add("HMGET", f"seed:{{{seed_id}}}", *names))
    return [(value or b"").decode() for value in answer]


# Registering


async def test_each_sim_is_a_seed_at_once(world: World) -> None:
    """Enrolled, with its carrier, in the pool that all accounts are served from, for the bearer of the phone's token."""
    account = await world.account()
    device, token = await register(world, account, MOBILIS_SIM, DJEZZY_SIM)

    found = await seeds(world, device)
    assert 21 == len(device.id)
    assert device == await world.devices.authenticate(token)
    assert (MOBILIS, "DZ", "+213661000001", True, True) == (
        found[1].carrier, found[1].country, found[1].msisdn, found[1].enrolled, found[1].is_dispatchable(),
    )  # fmt: skip
    assert [DJEZZY, DJEZZY, device.id, account.id, "smsgate"] == [
        found[2].carrier, found[2].pool, found[2].device, found[2].account, found[2].kind,
    ]  # fmt: skip
    assert [] == await world.phones.pull(device, 100, "lifo")
    await world.look()
    assert {MOBILIS: 1, DJEZZY: 1} == {carrier: world.directory.ready(carrier, world.clock.now()) for carrier in (MOBILIS, DJEZZY)}


async def test_a_phone_of_an_account_serves_that_one_only(world: World) -> None:
    """Else any customer could enrol a phone, and read other customers' codes."""
    account = await world.account()
    device, _ = await register(world, account, MOBILIS_SIM, shared=False)

    (seed,) = (await seeds(world, device)).values()
    assert (False, f"{MOBILIS}@{account.id}") == (seed.shared, seed.pool)


async def test_a_carrier_that_nobody_knows(world: World) -> None:
    """Such a SIM is enrolled and listed, and given nothing; so is the one that stands for a phone without SIMs."""
    account = await world.account()
    device, _ = await register(world, account, UNKNOWN_SIM)
    bare, _ = await register(world, account)

    found = [(await seeds(world, device))[1], (await seeds(world, bare))[0]]
    assert [(True, "", False)] * 2 == [(seed.enrolled, seed.carrier, seed.is_dispatchable()) for seed in found]
    assert (f"{bare.id}.0",) == bare.seed_ids


async def test_tokens(world: World, second: World) -> None:
    """Every process knows the phone by its token; a wrong one is nobody's."""
    device, token = await register(world, await world.account(), MOBILIS_SIM)

    assert device.id == (await second.devices.authenticate(token)).id
    for wrong in ("", "x", token + "x", device.token_hash):
        with pytest.raises(Unauthorized):
            await world.devices.authenticate(wrong)


async def test_a_token_is_nowhere_in_redis(world: World, redis_url: str) -> None:
    """Only its hash."""
    _, token = await register(world, await world.account(), MOBILIS_SIM)

    assert token not in repr(everything(redis_url))


async def test_as_many_as_an_account_may_have(redis_url: str) -> None:
    """Also where they come at once; the refused ones leave nothing."""
    world = World(redis_url, max_devices_per_account=3)
    account = await world.account()
    results = await asyncio.gather(*(register(world, account, MOBILIS_SIM) for _ in range(8)), return_exceptions=True)

    assert 5 == sum(isinstance(result, LimitReached) for result in results)
    assert 3 == len(await world.devices.list(account.id)) == len(await world.devices.every())
    assert 3 == len(await world.registry.every())
    await world.close()


# SIMs that change


async def test_patched_sims(world: World) -> None:
    """A new one is enrolled, one that is gone is given nothing and comes back enabled; the phone's list follows."""
    account = await world.account()
    device, token = await register(world, account, MOBILIS_SIM)
    device = await world.devices.update(device, sims=(DJEZZY_SIM,))

    first = await world.registry.get(f"{device.id}.1")
    assert (False, True) == (first.enabled, first.enrolled)
    assert DJEZZY == (await seeds(world, device))[2].carrier
    assert (f"{device.id}.2",) == (await world.devices.authenticate(token)).seed_ids

    device = await world.devices.update(device, sims=(MOBILIS_SIM, DJEZZY_SIM))
    assert [True, True] == [seed.is_dispatchable() for seed in (await seeds(world, device)).values()]
    assert () == device.gone


async def test_dispatchers_hear_of_it(world: World) -> None:
    """A SIM that is gone is out of the dispatcher's copy with its next look."""
    account = await world.account()
    device = await world.phone(account, "+213661000001")
    assert 1 == world.directory.ready(MOBILIS, world.clock.now())

    world.clock.advance(1)
    await world.devices.update(device, sims=(DJEZZY_SIM,))
    await world.look()
    assert 0 == world.directory.ready(MOBILIS, world.clock.now())


async def test_an_operators_disable_stays(world: World) -> None:
    """Whether the SIM goes and comes back, or another card comes."""
    device, _ = await register(world, await world.account(), Sim(1, iccid=A_CARD))
    await world.registry.change(f"{device.id}.1", enabled=False)
    device = await world.devices.update(device, sims=(Sim(NO_SIMS),))
    device = await world.devices.update(device, sims=(Sim(1, iccid=ANOTHER_CARD),))

    assert not (await seeds(world, device))[1].enabled


async def test_an_operators_carrier_stands_above_the_phones_word(world: World) -> None:
    """Over a wrong one and over none; until another card is in the slot."""
    account = await world.account()
    device, _ = await register(world, account, Sim(1, carrier_name="Mobilis", iccid="8921300000000000001"), Sim(2))
    await world.registry.change(f"{device.id}.1", carrier=OOREDOO)
    await world.registry.change(f"{device.id}.2", carrier=DJEZZY)
    device = await world.devices.update(
        device, sims=(Sim(1, carrier_name="Djezzy", iccid="8921300000000000001"), Sim(2, carrier_name="Mobilis"))
    )

    assert [OOREDOO, DJEZZY] == [seed.carrier for seed in (await seeds(world, device)).values()]
    device = await world.devices.update(device, sims=(Sim(1, carrier_name="Djezzy", iccid="8921300000000000002"),))
    assert DJEZZY == (await seeds(world, device))[1].carrier


async def test_what_an_operator_has_said_in_so_many_words(world: World) -> None:
    """It stands even where it was what the phone had said, or what was so already."""
    device, _ = await register(world, await world.account(), Sim(1, carrier_name="Ooredoo", iccid="8921300000000000001"), DJEZZY_SIM)
    device = await world.devices.update(device, sims=(Sim(1, carrier_name="Ooredoo", iccid="8921300000000000001"),))
    batch = world.store.batch()
    batch.add("HSET", f"seed:{{{device.id}.1}}", "carrier", OOREDOO, "carrier_by", "operator")
    batch.add("HSET", f"seed:{{{device.id}.2}}", "enabled", "0", "disabled_by", "operator")
    await batch.run()
    device = await world.devices.update(device, sims=(Sim(1, carrier_name="Mobilis", iccid="8921300000000000001"), DJEZZY_SIM))

    found = await seeds(world, device)
    assert (OOREDOO, True) == (found[1].carrier, found[1].enabled)
    assert not found[2].enabled


async def test_an_operator_changes_whom_a_sim_serves(world: World, redis_url: str) -> None:
    """When its carrier becomes known later, it is listed where the operator has put it."""
    account = await world.account()
    device, _ = await register(world, account, UNKNOWN_SIM)
    assert [] == await world.phones.pull(device, 100, "lifo")
    await world.registry.change(f"{device.id}.1", shared=False, account=account.id)
    await world.devices.update(device, sims=(Sim(1, "0770000001"),))

    listed = {key for key, members in everything(redis_url).items() if key.startswith("online:") and members}
    assert {f"online:{DJEZZY}@{account.id}"} == listed


async def test_a_carrier_that_becomes_known(world: World, redis_url: str) -> None:
    """The phone got its permission only later: the seed serves from then on, and is listed under its carrier."""
    device, _ = await register(world, await world.account(), UNKNOWN_SIM)
    assert [] == await world.phones.pull(device, 100, "lifo")
    device = await world.devices.update(device, sims=(Sim(1, "0770000001", "No service"),))
    await world.look()

    assert (DJEZZY, True) == ((seed := (await seeds(world, device))[1]).carrier, seed.is_dispatchable())
    assert 1 == world.directory.ready(DJEZZY, world.clock.now())
    assert {f"online:{DJEZZY}": [(f"{device.id}.1".encode(), NOW)]} == {
        key: listed for key, listed in everything(redis_url).items() if key.startswith("online:")
    }


async def learned(world: World, seed_id: str) -> None:
    """As if the seed had sent, failed and used its quotas."""
    batch = world.store.batch()
    record = {"bad": "3.0", "outcomes": "4.0", "consecutive_failures": "2", "failed_at": repr(NOW), "sent": "7"}
    batch.add("HSET", f"seed:{{{seed_id}}}", *[item for pair in record.items() for item in pair])
    batch.add("HSET", f"quota:{{{seed_id}}}", f"m{int(NOW // 60)}", 25, f"h{int(NOW // 3600)}", 25)
    await batch.run()


@pytest.mark.parametrize(
    ("before", "after", "is_another"),
    [
        (Sim(1, iccid=A_CARD), Sim(1, iccid=ANOTHER_CARD), True),
        (Sim(1, "0661000001"), Sim(1, "0661000002"), True),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="Djezzy"), True),
        (Sim(1, iccid=A_CARD), Sim(1, iccid=A_CARD, carrier_name="Orange F"), False),
        (Sim(1, carrier_name="Mobilis"), Sim(1, carrier_name="Tunisie Telecom"), False),
        (Sim(1, carrier_name="Mobilis"), Sim(1), False),
    ],
)
async def test_another_card_in_the_slot(world: World, before: Sim, after: Sim, is_another: bool) -> None:
    """What was learned of the old card is not held against the new one, nor are its quotas; the same card keeps them."""
    device, _ = await register(world, await world.account(), before)
    seed_id = f"{device.id}.1"
    await learned(world, seed_id)
    device = await world.devices.update(device, sims=(after,))

    seed = await world.registry.get(seed_id)
    expected = (0, (0, 0, 0), 0) if is_another else (2, (25, 25, 25), 7)
    assert expected == (seed.consecutive_failures, seed.used, seed.sent)
    assert seed.enrolled
    assert seed.carrier == (MOBILIS if not is_another or after.carrier_name == "" else DJEZZY)


async def test_another_card_after_a_while_without_one(world: World) -> None:
    """What was in the slot is not forgotten while it is empty."""
    device, _ = await register(world, await world.account(), Sim(1, iccid=A_CARD), Sim(2, "0770000001"))
    for sims in ((Sim(2, "0770000001"),), (Sim(1, iccid=ANOTHER_CARD), Sim(2, "0770000001"))):
        await learned(world, f"{device.id}.1")
        device = await world.devices.update(device, sims=sims)

    assert 0 == (await seeds(world, device))[1].sent
    assert 0 == (await seeds(world, device))[2].sent


# Crashes


class _Crash(Exception):
    """Where the process would have died."""


@contextlib.contextmanager
def dies_after(monkeypatch: pytest.MonkeyPatch, runs: int) -> Iterator[None]:
    """So many batches are sent, and no more."""
    left = runs
    real = Batch.run

    async def run(self: Batch) -> list[object]:
        nonlocal left
        if left == 0:
            raise _Crash
        left -= 1
        return await real(self)

    with monkeypatch.context() as patched:
        patched.setattr(Batch, "run", run)
        yield


async def at_each_step(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], after: Callable[[], object]) -> int:
    """Lets `act` die after each of its steps, and looks at what is left each time; answers how many steps there are."""
    for steps in range(30):
        try:
            with dies_after(monkeypatch, steps):
                await act()  # type: ignore[misc]
        except _Crash:
            await after()  # type: ignore[misc]
        else:
            return steps
    raise AssertionError("it never ends")


async def test_a_crash_while_registering(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can be a phone that had no answer; what was begun can be looked at and deleted, and the next try is whole."""
    account = await world.account()

    async def act() -> None:
        await register(world, account, MOBILIS_SIM)

    async def after() -> None:
        for left in await world.devices.every():
            await world.devices.delete(left.id)
        assert [] == [seed for seed in await world.registry.every() if seed.is_dispatchable()]

    assert 4 < await at_each_step(monkeypatch, act, after)
    assert 1 == len(await world.devices.list(account.id))


async def test_a_crash_while_sims_change(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The app repeats what was not answered, and all is as if nothing had been."""
    device, _ = await register(world, await world.account(), Sim(1, iccid=A_CARD), DJEZZY_SIM)
    changed = (Sim(1, iccid=ANOTHER_CARD), Sim(3, "0550000001"))

    async def act() -> None:
        await world.devices.update(device, sims=changed)

    async def after() -> None:
        again = await world.devices.update(device, sims=changed)
        found = await world.registry.every()
        assert {1: (MOBILIS, True), 2: (DJEZZY, False), 3: (OOREDOO, True)} == {seed.sim: (seed.carrier, seed.enabled) for seed in found}
        assert changed == again.sims
        await world.devices.update(device, sims=(Sim(1, iccid=A_CARD), DJEZZY_SIM))

    assert 3 < await at_each_step(monkeypatch, act, after)


async def test_a_crash_while_deleting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token is void first; it can be deleted again until nothing is left."""
    device, token = await register(world, await world.account(), MOBILIS_SIM)
    steps = 0

    async def act() -> None:
        await world.devices.delete(device.id)

    async def after() -> None:
        nonlocal steps
        steps += 1
        world.devices._known.clear()
        if steps > 3:
            with pytest.raises(Unauthorized):
                await world.devices.authenticate(token)

    assert 4 < await at_each_step(monkeypatch, act, after)
    assert [] == list(await world.devices.every())


# Deleting


async def test_deleted(world: World, second: World) -> None:
    """Its token is void, its seeds are nobody's, and what waits for them is not handed over even by a process that has a copy of it."""
    account = await world.account()
    device = await world.phone(account, "+213661000001")
    message = (await world.submit(account)).message
    await world.dispatch()
    world.clock.advance(1)
    await second.devices.update(device, push_token="known here")  # as an api process that has just heard of it
    await world.devices.delete(device.id, account.id)

    with pytest.raises(Unauthorized):
        await second.phones.pull(device, 100, "lifo")
    assert [] == list(await world.devices.list(account.id))
    assert not (seed := await world.registry.get(f"{device.id}.1")).enrolled
    assert not seed.enabled
    await world.look()
    assert 0 == world.directory.ready(MOBILIS, world.clock.now())
    # Nobody had it, so it moves as soon as its time for being fetched is over
    world.clock.advance(world.rules.pickup_seconds + 1)
    await world.timekeeping.run_due()
    assert "pending" == (await world.message(message.id)).state
    with pytest.raises(NotFound):
        await world.devices.delete(device.id)


async def test_a_phone_of_another_account_is_not_there(world: World) -> None:
    account = await world.account()
    other = await world.account(key="sk_test_other")
    device, _ = await register(world, account, MOBILIS_SIM)

    for call in (world.devices.get, world.devices.delete):
        with pytest.raises(NotFound):
            await call(device.id, other.id)
    assert [device.id] == [found.id for found in await world.devices.list(account.id)]
    assert [] == list(await world.devices.list(other.id))


async def test_late_words_do_not_bring_a_deleted_phone_back(world: World, redis_url: str) -> None:
    """What a process does that has not heard of it yet leaves nothing behind."""
    device, _ = await register(world, await world.account(), MOBILIS_SIM)
    await world.devices.delete(device.id)
    batch = world.store.batch()
    world.devices.seen(batch, device, NOW)
    world.devices.learn(batch, device, told_at=NOW, handed_at=NOW - 1, received_at=NOW)
    await batch.run()
    with pytest.raises(Unauthorized):
        await world.devices.update(device, sims=(DJEZZY_SIM,))

    assert [] == list(await world.devices.every())
    assert [] == list(await world.devices.list(device.account))
    assert [] == [key for key in everything(redis_url) if key.startswith("device")]
    assert [] == [seed for seed in await world.registry.every() if seed.is_dispatchable()]


async def test_deleted_after_its_sims_were_put(world: World, second: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change of SIMs comes to nothing, and takes back what it has done already."""
    device, _ = await register(world, await world.account(), MOBILIS_SIM)
    put_sims = world.devices._put_sims

    async def put_and_lose(after: Device, before: tuple[Sim, ...]) -> None:
        await second.devices.delete(device.id)
        await put_sims(after, before)

    monkeypatch.setattr(world.devices, "_put_sims", put_and_lose)
    with pytest.raises(Unauthorized):
        await world.devices.update(device, sims=(DJEZZY_SIM, Sim(3, "0551000001")))

    assert [] == [seed.id for seed in await world.registry.every() if seed.enrolled]


async def test_deleted_while_its_sims_change(world: World, second: World) -> None:
    """Whichever is first, no seed of it stays enrolled."""
    device, _ = await register(world, await world.account(), MOBILIS_SIM)
    results = await asyncio.gather(
        world.devices.update(device, sims=(DJEZZY_SIM, MOBILIS_SIM)), second.devices.delete(device.id), return_exceptions=True
    )

    assert [] == [error for error in results if isinstance(error, Exception) and not isinstance(error, Unauthorized)]
    assert [] == [seed.id for seed in await world.registry.every() if seed.enrolled]


# What is learned of it


async def test_its_clock(world: World, second: World) -> None:
    """Each report bounds the offset, and every process hears of it."""
    device, token = await register(world, await world.account(), MOBILIS_SIM)
    assert Bounds() == (await second.devices.get(device.id)).clock

    batch = world.store.batch()
    after = world.devices.learn(batch, device, told_at=NOW + 5, handed_at=NOW - 2, received_at=NOW)
    await batch.run()
    assert Bounds(5, 7, NOW) == after.clock == (await second.devices.get(device.id)).clock
    assert after.clock == (await world.devices.authenticate(token)).clock


async def test_last_seen(world: World) -> None:
    device, _ = await register(world, await world.account(), MOBILIS_SIM)
    world.clock.advance(60)
    batch = world.store.batch()
    world.devices.seen(batch, device, world.clock.now())
    await batch.run()

    assert NOW + 60 == (await world.devices.get(device.id)).last_seen


# News


async def test_news(world: World, redis_url: str) -> None:
    """To one phone, or to all of an account and to no other."""
    account, other = await world.account(), await world.account(key="sk_test_other")
    first, second = [(await register(world, account, MOBILIS_SIM))[0] for _ in range(2)]
    await register(world, other, MOBILIS_SIM)
    with redis.Redis.from_url(redis_url) as client, client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("phones")
        listener.get_message(timeout=5)
        await world.devices.notify(first.id, "MessageCancelled", {"messageId": "x"})
        await world.devices.notify_account(account.id, "SettingsUpdated")
        heard = [json.decode(listener.get_message(timeout=5)["data"]) for _ in range(3)]

        assert {"device": first.id, "event": "MessageCancelled", "data": {"messageId": "x"}} == heard[0]
        assert {(first.id, "SettingsUpdated", None), (second.id, "SettingsUpdated", None)} == {
            (told["device"], told["event"], told["data"]) for told in heard[1:]
        }
        assert None is listener.get_message(timeout=0.2)


# Settings


def settings_of(world: World) -> PhoneSettings:
    return PhoneSettings(world.store, world.devices, world.rules)


async def test_settings(world: World, redis_url: str) -> None:
    """Defaults, and over them what was set; sealed at rest; the passphrase is for phones only."""
    settings = settings_of(world)
    account = await world.account()
    assert {"gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": 10}} == await settings.of(account.id)

    await settings.patch(account.id, {"encryption": {"passphrase": "a passphrase"}, "ping": {"interval_seconds": 7}})
    shown = await settings.patch(account.id, {"webhooks": {"signing_key": "a signing key"}})
    assert shown == await settings.shown(account.id)
    assert {
        "gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": 7}, "webhooks": {"signing_key": "a signing key"},
    } == shown  # fmt: skip
    assert shown | {"encryption": {"passphrase": "a passphrase"}} == await settings.of(account.id)
    stored = repr(everything(redis_url))
    assert "a passphrase" not in stored
    assert "a signing key" not in stored


async def test_one_signing_key(world: World, second: World) -> None:
    """However many ask at once, in several processes; and it stays."""
    account = await world.account()
    asked = [settings_of(where).ensure_signing_key(account.id) for where in (world, second) for _ in range(5)]
    keys = set(await asyncio.gather(*asked))

    assert 1 == len(keys)
    assert 43 == len(min(keys))
    assert keys == {await settings_of(second).ensure_signing_key(account.id)}
    assert keys == {(await settings_of(world).of(account.id))["webhooks"]["signing_key"]}


async def test_changes_at_once_are_all_kept(world: World, second: World) -> None:
    account = await world.account()
    changes = [{"ping": {"interval_seconds": 9}}, {"logs": {"lifetime_days": 3}}, {"messages": {"limit_value": 5}}]
    places = (world, second, world)
    await asyncio.gather(*(settings_of(where).patch(account.id, change) for where, change in zip(places, changes, strict=True)))

    kept = await settings_of(world).of(account.id)
    assert (9, 3, 5) == (kept["ping"]["interval_seconds"], kept["logs"]["lifetime_days"], kept["messages"]["limit_value"])


async def test_settings_that_cannot_be_opened(world: World) -> None:
    """Another seal key was given: phones hear the defaults, and the account can set them anew."""
    account = await world.account()
    settings = settings_of(world)
    await settings.patch(account.id, {"ping": {"interval_seconds": 7}})
    world.store.phone_settings._sealer = Sealer(bytes(32))

    assert 10 == (await settings.of(account.id))["ping"]["interval_seconds"]
    await settings.patch(account.id, {"ping": {"interval_seconds": 8}})
    assert 8 == (await settings.of(account.id))["ping"]["interval_seconds"]


async def test_the_store_is_away(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone hears 503 then, never 401: it would register anew."""
    _, token = await register(world, await world.account(), MOBILIS_SIM)
    world.devices._known.clear()

    async def away(_: Batch) -> list[object]:
        raise Unavailable("the store cannot be reached")

    monkeypatch.setattr(Batch, "run", away)
    with pytest.raises(Unavailable):
        await Devices(world.store, world.clock, world.rules, world.settings).authenticate(token)
