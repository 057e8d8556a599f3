"""Seeds that ping and that nobody has enrolled: bounded, and forgotten."""

import pytest

from router.domain.errors import NotFound, Unavailable
from tests.integration.services.world import World

pytestmark = pytest.mark.anyio


async def names(world: World) -> set[str]:
    return {seed.id for seed in await world.registry.every()}


async def test_guests_are_bounded(redis_url: str) -> None:
    """Beyond the bound a new one is refused; those that are there go on, and enrolling makes room."""
    world = World(redis_url, max_guests=2)
    await world.registry.ping("one", "+213661000001", "seed")
    await world.registry.ping("two", "+213661000002", "seed")
    with pytest.raises(Unavailable, match="enrolled"):
        await world.registry.ping("three", "+213661000003", "seed")
    await world.registry.ping("one", "+213661000001", "seed")
    await world.registry.enrol("one")
    await world.registry.ping("three", "+213661000003", "seed")

    assert {"one", "two", "three"} == await names(world)
    await world.close()


async def test_guests_are_forgotten_and_enrolled_seeds_are_not(redis_url: str) -> None:
    """An hour after its last ping a guest is gone from every list; an enrolled seed stays, offline."""
    world = World(redis_url)
    await world.registry.ping("guest", "+213661000001", "seed")
    await world.registry.ping("member", "+213661000002", "seed")
    await world.registry.enrol("member")
    world.clock.advance(3601)
    await world.timekeeping.tidy(3600)

    assert {"member"} == await names(world)
    assert await world.store.redis.ttl("seed:{member}") == -1
    assert 0 < await world.store.redis.ttl("seed:{guest}") <= 3600
    assert [b"member"] == await world.store.redis.zrange("online:60301", 0, -1)
    assert [] == await world.store.redis.zrange("seeds:guests", 0, -1)
    await world.store.redis.delete("seed:{guest}")
    with pytest.raises(NotFound):
        await world.registry.get("guest")
    await world.close()


async def test_guests_do_not_hide_the_seeds_that_may_send(world: World) -> None:
    """However many ping for a carrier without being enrolled: they are listed as online, and dispatch does not read them."""
    await world.seed()
    for number in range(40):
        await world.registry.ping(f"60301111111{number:04d}", "+213661000001", "seed")
    await world.look()

    assert 41 == len(await world.registry.online())
    assert world.presence.serves("60301", "DZ")
    assert 1 == len(world.directory)


async def test_a_guest_that_is_enrolled_is_found_at_once(world: World) -> None:
    """It has pinged before: no second ping is needed."""
    await world.registry.ping("603010000000009", "+213661000009", "seed")
    await world.registry.enrol("603010000000009")
    await world.look()

    assert 1 == len(world.directory)
    assert world.presence.serves("60301", "DZ")
