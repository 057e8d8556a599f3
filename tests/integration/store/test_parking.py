import asyncio

import pytest
from msgspec.structs import replace

from router.domain.lots import lot_of
from router.store.parking import CLAIM_SECONDS, LotUse, Parking
from router.store.store import Store
from tests.integration.store.kit import NOW, a_message, ask, everything

pytestmark = pytest.mark.anyio
LOT = "60301"


async def park(store: Store, *messages) -> None:
    batch = store.batch()
    for message in messages:
        Parking.park(batch, message, NOW)
    await batch.run()


async def claim(store: Store, now: float = NOW, limit: int = 100) -> list[str]:
    return [i.decode() for i in await ask(store, lambda batch: Parking.claim(batch, LOT, now, limit))]


async def count(store: Store) -> int:
    return (await Parking.counts(store.batch(), [LOT]))[LOT]


async def test_lots(store: Store) -> None:
    """By carrier, or by country where no table knows the carrier."""
    known, unknown = a_message(), a_message(carrier="")
    await park(store, known, unknown)

    assert ["60301", "DZ"] == await Parking.lots(store.batch())
    assert ["60301", "DZ"] == [lot_of(known), lot_of(unknown)]
    assert {"60301": 1, "DZ": 1} == await Parking.counts(store.batch(), ["60301", "DZ"])


async def test_order_by_lane_and_age(store: Store) -> None:
    """A code goes before what waits, but not before a bulk message that has waited 300 s longer."""
    old_bulk = a_message(lane="bulk", kind="sms", created_at=NOW - 301)
    bulk = a_message(lane="bulk", kind="sms", created_at=NOW - 298)
    notification = a_message(lane="notification", kind="sms", created_at=NOW - 29)
    code = a_message()
    await park(store, bulk, code, notification, old_bulk)

    assert [m.id for m in (old_bulk, code, notification, bulk)] == await claim(store)


async def test_claims_are_disjoint(store: Store) -> None:
    messages = [a_message() for _ in range(100)]
    await park(store, *messages)
    claimed = [i for found in await asyncio.gather(*(claim(store, limit=9) for _ in range(12))) for i in found]

    assert sorted(m.id for m in messages) == sorted(claimed)
    assert 100 == await count(store), "claimed ones still wait"


async def test_a_dead_dispatchers_claims_go_back_to_their_places(store: Store) -> None:
    """Before anything that came later."""
    old, older = a_message(created_at=NOW - 1), a_message(created_at=NOW - 2)
    await park(store, old, older)

    assert [older.id, old.id] == await claim(store)
    newer = a_message()
    await park(store, newer)
    assert [newer.id] == await claim(store, NOW + CLAIM_SECONDS - 0.01)
    assert [older.id, old.id] == await claim(store, NOW + CLAIM_SECONDS)
    assert [newer.id] == await claim(store, NOW + 2 * CLAIM_SECONDS - 0.01)


@pytest.mark.parametrize("how", ["leave", "forget"])
async def test_leave_and_forget(store: Store, redis_url: str, how: str) -> None:
    """Nothing is left behind, claimed or not."""
    claimed, waiting = a_message(created_at=NOW - 1), a_message()
    await park(store, claimed, waiting)
    await claim(store, limit=1)
    batch = store.batch()
    for message in (claimed, waiting):
        if how == "leave":
            Parking.leave(batch, message)
        else:
            Parking.forget(batch, LOT, message.id)
    await batch.run()

    assert 0 == await count(store)
    assert {"lots": {b"60301"}} == everything(redis_url)


async def test_special_lots(store: Store, redis_url: str) -> None:
    """What asks for something special does not stand in the way of what any seed could take."""
    plain, bound = a_message(), a_message(only="a-phone", sim=2, created_at=NOW - 9)
    second, own = a_message(sim=2, created_at=NOW - 9), a_message(account="ac_own", created_at=NOW - 9)
    await park(store, plain, bound, second)
    await ask(store, lambda batch: Parking.park(batch, own, NOW, own=True))
    lots = ["60301", "60301#2", "60301@ac_own", "@a-phone#2"]

    assert [plain.id] == await claim(store)
    assert lots == await Parking.lots(store.batch())
    assert dict.fromkeys(lots, 1) == await Parking.counts(store.batch(), lots)
    for message in (plain, bound, second, own):
        await ask(store, lambda batch, m=message: Parking.leave(batch, m))
    assert dict.fromkeys(lots, 0) == await Parking.counts(store.batch(), lots)
    assert {"lots", "lots:{special}"} == set(everything(redis_url))


@pytest.mark.parametrize("own", [True, False])
async def test_parked_again_elsewhere(store: Store, redis_url: str, own: bool) -> None:
    """Its account's first phone came while it waited, or the last one went: it waits in one lot, not in two."""
    message = a_message()
    here, there = lot_of(message, own=own), lot_of(message, own=not own)
    await ask(store, lambda batch: Parking.park(batch, message, NOW, own=own))
    await ask(store, lambda batch: Parking.claim(batch, here, NOW, 9))
    await ask(store, lambda batch: Parking.park(batch, replace(message, parked_at=NOW), NOW + 1, own=not own))

    assert {here: 0, there: 1} == await Parking.counts(store.batch(), [here, there])
    assert {"lots", "lots:{special}", f"parked:{{{there}}}"} == set(everything(redis_url))


async def test_special_lots_are_dropped(store: Store) -> None:
    """Unless a message has come since somebody looked; those of carriers stay."""
    await park(store, a_message(), a_message(sim=1))
    before = await Parking.uses(store.batch())
    assert [LotUse("60301"), LotUse("60301#1", NOW)] == before
    await ask(store, lambda batch: Parking.park(batch, a_message(sim=1), NOW + 1))
    for lot in before:
        await ask(store, lambda batch, old=lot: Parking.drop(batch, old))

    assert [LotUse("60301"), LotUse("60301#1", NOW + 1)] == await Parking.uses(store.batch())
    await ask(store, lambda batch: Parking.drop(batch, LotUse("60301#1", NOW + 1)))
    assert ["60301"] == await Parking.lots(store.batch())


async def test_parked_again(store: Store, redis_url: str) -> None:
    """A claim that was given back by parking again: one place, no claim."""
    message = a_message()
    await park(store, message)
    await claim(store)
    await park(store, message)

    assert {"lots", "parked:{60301}"} == set(everything(redis_url))
    assert [message.id] == await claim(store)
