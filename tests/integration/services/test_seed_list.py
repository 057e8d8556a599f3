"""The list of seeds, over a real Redis."""

from typing import Any

import pytest
import redis

from router.domain.errors import Invalid
from router.domain.seed import Quota
from router.services.seed_list import SEED_SORTS, SeedList, SeedQuery
from tests.integration.services.world import World
from tests.integration.store.kit import CallsSeen

pytestmark = pytest.mark.anyio
MANY = 10_000
SHOWN = 50


@pytest.fixture
async def seeds(world: World) -> SeedList:
    return SeedList(world.store, world.clock, world.rules)


async def ids(seeds: SeedList, **asked: Any) -> list[str]:
    return [row.seed.imsi for row in (await seeds.page(SeedQuery(**asked))).rows]


async def test_states_words_and_order(world: World, seeds: SeedList) -> None:
    """Each state is counted, whatever state is asked for; words are found in ids and numbers; each column can be sorted by."""
    await world.seed("603010000000001", msisdn="+213661000001")
    await world.seed("603020000000002", msisdn="+213770000002", quota=Quota(half_hour=10, hour=0, day=0, recipients=0))
    await world.registry.change("603020000000002", draining=True)
    await world.registry.enrol("603030000000003")
    await world.registry.change("603030000000003", enabled=False)
    await world.registry.enrol("603030000000004")
    page = await seeds.page(SeedQuery(state="draining"))

    assert ["603020000000002"] == [row.seed.imsi for row in page.rows]
    assert ["draining"] == [row.state for row in page.rows]
    assert {"online": 1, "draining": 1, "disabled": 1, "offline": 1} == {state: n for state, n in page.states.items() if n}
    assert {"60301": "Mobilis", "60302": "Djezzy", "60303": "Ooredoo"} == page.carriers
    assert ["603020000000002"] == await ids(seeds, words="0770 00 00 02")
    assert ["603020000000002"] == await ids(seeds, words="+213770000002")
    assert ["603030000000003", "603030000000004"] == await ids(seeds, words="60303")
    assert ["603030000000004"] == await ids(seeds, carrier="60303", state="offline")
    for sort in SEED_SORTS:
        up, down = await ids(seeds, sort=sort), await ids(seeds, sort=sort, descending=True)
        assert up == down[::-1]
        assert 4 == len(set(up))
    assert "603030000000003" == (await ids(seeds, sort="state", descending=True))[0]


@pytest.mark.parametrize("asked", [{"limit": 0}, {"limit": 201}, {"offset": -1}])
async def test_refused(seeds: SeedList, asked: dict[str, int]) -> None:
    with pytest.raises(Invalid):
        await seeds.page(SeedQuery(**asked))


async def test_cost_for_ten_thousand(seeds: SeedList, calls: CallsSeen, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fleet is read once for everybody who looks for a while; each page reads but what it shows."""
    monkeypatch.setattr("router.services.seed_list._KEPT_SECONDS", 3600.0)
    with redis.Redis.from_url(redis_url) as client:
        pipe = client.pipeline(transaction=False)
        for number in range(MANY):
            imsi = f"60301{number:010d}"
            pipe.hset(f"seed:{{{imsi}}}", mapping={"enrolled": "1", "enabled": "1", "carrier": "60301", "sent": str(number)})
            pipe.zadd("seeds:all", {imsi: number})
        pipe.execute()
    first = await seeds.page(SeedQuery(limit=SHOWN, offset=MANY - 10))
    read = len(calls.calls)
    pages = [await seeds.page(SeedQuery(limit=SHOWN, offset=SHOWN * place)) for place in range(4)]

    assert (MANY, 10) == (first.total, len(first.rows))
    assert MANY + 10 == read
    assert 4 * SHOWN == len(calls.calls) - read
    assert 4 * SHOWN == len({row.seed.imsi for page in pages for row in page.rows})
    seeds.forget()
    await seeds.page(SeedQuery(limit=1))
    assert len(calls.calls) - read >= MANY


async def test_rows_are_as_of_now(world: World, seeds: SeedList, monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone that has died since the fleet was read is shown offline at once, though it is counted so a little later."""
    monkeypatch.setattr("router.services.seed_list._KEPT_SECONDS", 3600.0)
    await world.seed()
    await seeds.page(SeedQuery())
    world.clock.advance(60)
    page = await seeds.page(SeedQuery())

    assert ["offline"] == [row.state for row in page.rows]
    assert 1 == page.states["online"]
