import asyncio

import pytest

from router.store.store import Store
from tests.integration.store.kit import NOW, ask

pytestmark = pytest.mark.anyio
HOLD = 10.0


async def claim(store: Store, now: float, limit: int = 100) -> list[str]:
    return await store.timers.claim(store.batch(), now, limit, HOLD)


async def put(store: Store, dues: dict[str, float | None]) -> None:
    batch = store.batch()
    for message_id, due in dues.items():
        store.timers.set(batch, message_id, due)
    await batch.run()


async def test_only_what_is_due(store: Store) -> None:
    await put(store, {"early": NOW - 1, "now": NOW, "late": NOW + 0.001})

    assert {"early", "now"} == set(await claim(store, NOW))
    assert 3 == await store.timers.count(store.batch())


async def test_set_replaces_and_clears(store: Store) -> None:
    """A message has one timer."""
    await put(store, {"a": NOW})
    await put(store, {"a": NOW + 5})

    assert NOW + 5 == await store.timers.next(store.batch())
    await put(store, {"a": None})
    assert await store.timers.next(store.batch()) is None
    assert 0 == await store.timers.count(store.batch())


async def test_claims_are_disjoint(store: Store) -> None:
    """However many timekeepers ask at once, each timer is in one pair of hands."""
    ids = {f"wg_{i}" for i in range(500)}
    await put(store, dict.fromkeys(ids, NOW))
    claimed = [i for found in await asyncio.gather(*(claim(store, NOW, 40) for _ in range(20))) for i in found]

    assert len(claimed) == len(set(claimed))
    assert ids == set(claimed)


async def test_a_claim_returns_after_its_hold(store: Store) -> None:
    """A timekeeper that dies with a timer in hand loses it to the next."""
    await put(store, {"a": NOW})

    assert ["a"] == await claim(store, NOW)
    assert [] == await claim(store, NOW + HOLD - 0.01)
    assert ["a"] == await claim(store, NOW + HOLD)


async def test_limit_is_per_shard_and_earliest_first(store: Store) -> None:
    await put(store, {f"wg_{i}": NOW - i for i in range(50)})
    found = await claim(store, NOW, 5)

    assert 10 == len(found)
    for shard in range(2):
        key = store.timers._key(shard)
        mine = [i for i in found if store.timers.key(i) == key]
        rest = await ask(store, lambda batch, key=key: batch.add("ZRANGE", key, 0, 0, "WITHSCORES"))
        assert max(NOW - int(i[3:]) for i in mine) < float(rest[1])
