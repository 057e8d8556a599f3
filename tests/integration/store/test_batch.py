import asyncio

import pytest
import redis.asyncio
from redis.exceptions import ResponseError

from router.domain.seed import Seed
from router.redis_link import connect, link
from router.store.redis import Batch, Funnel, StoreAway
from router.store.store import Store
from tests.integration.store.kit import a_message, ask

pytestmark = pytest.mark.anyio


async def test_answers_in_order(store: Store) -> None:
    batch = store.batch()
    places = [batch.add("SET", "{a}", "1"), batch.add("GET", "{a}"), batch.add("INCR", "{a}")]

    assert [0, 1, 2] == places
    assert [b"OK", b"1", 2] == await batch.run()


async def test_empty(store: Store) -> None:
    assert [] == await store.batch().run()


@pytest.mark.parametrize("alone", [True, False])
async def test_unknown_scripts_are_loaded(store: Store, alone: bool) -> None:
    """A server that was restarted has lost the scripts; the batch loads them, and its other commands are not carried out twice."""
    await store.redis.script_flush()
    message = a_message()
    batch = store.batch()
    if not alone:
        batch.add("INCR", "{counter}")
    place = store.messages.void(batch, message.id)
    if not alone:
        batch.add("INCR", "{counter}")
    answers = await batch.run()

    assert 1 == answers[place]
    assert alone or [1, 2] == [answers[0], answers[-1]]


async def test_first_error_is_raised_after_the_rest_was_done(store: Store) -> None:
    batch = store.batch()
    batch.add("SET", "{a}", "text")
    batch.add("INCR", "{a}")
    batch.add("SET", "{b}", "done")
    with pytest.raises(ResponseError):
        await batch.run()

    assert b"done" == await ask(store, lambda batch: batch.add("GET", "{b}"))


async def test_store_away() -> None:
    """Nobody listens: the caller hears that the store is away, with no address in the words."""
    client = connect("unix:///nonexistent/redis.sock?db=0")
    batch = Batch(Funnel([link(client)], link(client)))
    batch.add("GET", "a")
    batch.add("GET", "b")
    with pytest.raises(StoreAway, match=r"^the store cannot be reached: ConnectionError$"):
        await batch.run()
    await client.aclose()


async def test_concurrent_batches_get_their_own_answers(store: Store) -> None:
    """Tasks share round trips; each hears of its own commands, and of its own errors."""

    async def one(i: int) -> tuple[int, object]:
        batch = store.batch()
        batch.add("SET", f"{{{i}}}", "text" if i % 7 == 0 else i)
        place = batch.add("INCR", f"{{{i}}}")
        try:
            return i, (await batch.run())[place]
        except ResponseError:
            return i, None

    found = await asyncio.gather(*(one(i) for i in range(500)))

    assert [(i, None if i % 7 == 0 else i + 1) for i in range(500)] == found


async def test_a_cancelled_caller_disturbs_nobody(store: Store) -> None:
    async def one(i: int) -> object:
        return await ask(store, lambda batch: batch.add("ECHO", str(i)))

    tasks = [asyncio.create_task(one(i)) for i in range(50)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(i).encode() for i in range(1, 50, 2)] == answers[1::2]
    assert b"1" == await one(1)


async def test_time(store: Store) -> None:
    seconds, _ = await redis.asyncio.Redis.time(store.redis)

    assert abs(seconds - await store.time()) < 2


async def test_full_memory_is_told_as_away(store: Store) -> None:
    """Redis with `noeviction` and no room takes nothing now: that is a 503, not a fault of the request."""
    await ask(store, lambda batch: batch.add("CONFIG", "SET", "maxmemory-policy", "noeviction"))
    await ask(store, lambda batch: batch.add("CONFIG", "SET", "maxmemory", "1"))
    try:
        with pytest.raises(StoreAway):
            await ask(store, lambda batch: batch.add("SET", "k", "v"))
        with pytest.raises(StoreAway):
            await ask(store, lambda batch: store.seeds.ping(batch, Seed(id="603010000000001"), 1000.0, None))
    finally:
        await ask(store, lambda batch: batch.add("CONFIG", "SET", "maxmemory", "0"))

    assert await ask(store, lambda batch: batch.add("SET", "k", "v"))
