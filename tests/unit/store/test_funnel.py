"""Concurrent tasks share round trips; each one gets its own answers, or its own failure. On an in-memory Redis, no server needed."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from router.domain.seed import Seed
from router.redis_link import Command
from router.store.redis import Batch, Funnel, StoreAway
from router.store.seeds import Seeds

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def redis() -> AsyncIterator[FakeAsyncRedis]:
    client = FakeAsyncRedis()
    yield client
    await client.aclose()


class Counted:
    """A link that counts its exchanges and loads, and can be cut off."""

    def __init__(self, redis: FakeAsyncRedis) -> None:
        self._redis = redis
        self.exchanges = 0
        self.loads = 0
        self.is_exchanging = False
        self.away = False

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        assert not self.is_exchanging, "one exchange at a time"
        self.exchanges += 1
        self.is_exchanging = True
        try:
            await asyncio.sleep(0)
            if self.away:
                raise RedisConnectionError("cut off")
            pipe = self._redis.pipeline(transaction=False)
            for command in commands:
                pipe.execute_command(*command)
            return list(await pipe.execute(raise_on_error=False))
        finally:
            self.is_exchanging = False

    async def load(self, script: str) -> None:
        self.loads += 1
        (answer,) = await self.exchange([("SCRIPT LOAD", script)])
        if isinstance(answer, Exception):
            raise answer

    async def close(self) -> None:
        """The fixture closes the client."""


def funnel_over(*links: Counted, loader: Counted) -> Funnel:
    return Funnel(links, loader)


def a_ping(funnel: Funnel, seed: int = 1) -> Batch:
    """A batch with a script in it."""
    batch = Batch(funnel)
    Seeds.ping(batch, Seed(id=f"60301{seed:010}", msisdn="+213661000001", carrier="60301", country="DZ"), 1000.0, None)
    return batch


async def push(funnel: Funnel, value: int) -> list[Any]:
    batch = Batch(funnel)
    batch.add("SET", f"k{value}", value)
    batch.add("GET", f"k{value}")
    return await batch.run()


async def test_a_hundred_at_once_share_a_few_round_trips(redis: FakeAsyncRedis) -> None:
    """Each gets its own answers all the same."""
    one, other = Counted(redis), Counted(redis)
    funnel = funnel_over(one, other, loader=Counted(redis))
    answers = await asyncio.gather(*(push(funnel, value) for value in range(100)))

    assert [b"%d" % value for value in range(100)] == [answer[1] for answer in answers]
    assert one.exchanges + other.exchanges <= 4


async def test_one_alone_waits_for_nobody(redis: FakeAsyncRedis) -> None:
    """One exchange, at once."""
    counted, loader = Counted(redis), Counted(redis)

    assert b"7" == (await push(funnel_over(counted, loader=loader), 7))[1]
    assert (1, 0) == (counted.exchanges, loader.exchanges)


async def test_a_failure_is_told_to_everybody_who_was_in_it(redis: FakeAsyncRedis) -> None:
    """And the next ones go through again."""
    links = [Counted(redis), Counted(redis)]
    funnel = funnel_over(*links, loader=Counted(redis))
    for link in links:
        link.away = True
    told = await asyncio.gather(*(push(funnel, value) for value in range(20)), return_exceptions=True)
    for link in links:
        link.away = False

    assert {StoreAway} == {type(error) for error in told}
    assert b"1" == (await push(funnel, 1))[1]


async def test_who_gave_up_takes_nobody_along(redis: FakeAsyncRedis) -> None:
    """A cancelled task's commands may be carried out; the others' answers are not shifted."""
    funnel = funnel_over(Counted(redis), loader=Counted(redis))
    tasks = [asyncio.create_task(push(funnel, value)) for value in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[3], asyncio.CancelledError)
    assert [b"%d" % v for v in range(10) if v != 3] == [a[1] for a in answers if not isinstance(a, BaseException)]


async def test_a_script_that_the_server_does_not_know_is_loaded(redis: FakeAsyncRedis) -> None:
    """A ping runs on a server that has just begun."""
    (answer,) = await a_ping(funnel_over(Counted(redis), loader=Counted(redis))).run()

    assert answer == [b"60301", b"0"]
    assert await redis.hget("seed:{603010000000001}", "lps") == b"1000.0"


async def test_a_hundred_who_miss_a_script_load_it_once(redis: FakeAsyncRedis) -> None:
    """Over the link that is there for it; each hears its own answer."""
    loader = Counted(redis)
    funnel = funnel_over(Counted(redis), Counted(redis), loader=loader)
    answers = await asyncio.gather(*(a_ping(funnel, seed).run() for seed in range(100)))

    assert [[[b"60301", b"0"]]] * 100 == answers
    assert 1 == loader.loads


async def test_a_load_that_fails_is_told_and_tried_again(redis: FakeAsyncRedis) -> None:
    loader = Counted(redis)
    funnel = funnel_over(Counted(redis), Counted(redis), loader=loader)
    loader.away = True
    told = await asyncio.gather(*(a_ping(funnel, seed).run() for seed in range(20)), return_exceptions=True)
    loader.away = False

    assert {StoreAway} == {type(error) for error in told}
    assert [[b"60301", b"0"]] == await a_ping(funnel).run()


async def test_who_gives_up_stops_no_load(redis: FakeAsyncRedis) -> None:
    """Two miss a script, and the one that asked for it first is cancelled: the other has its answer."""
    loader = Counted(redis)
    funnel = funnel_over(Counted(redis), Counted(redis), loader=loader)
    first, second = (asyncio.create_task(a_ping(funnel, seed).run()) for seed in range(2))
    for _ in range(1000):
        if loader.loads:
            break
        await asyncio.sleep(0)
    first.cancel()

    assert [[b"60301", b"0"]] == await asyncio.wait_for(second, 10)
    assert first.cancelled()
    assert 1 == loader.loads
