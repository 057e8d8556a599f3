"""Concurrent tasks share round trips; each one gets its own answers, or its own failure. On an in-memory Redis, no server needed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fakeredis import FakeAsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from router.domain.seed import Seed
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
    """A client that counts its pipelines, and can be cut off."""

    def __init__(self, redis: FakeAsyncRedis) -> None:
        self._redis = redis
        self.pipelines = 0
        self.away = False

    def pipeline(self, *, transaction: bool) -> Any:
        assert transaction is False
        self.pipelines += 1
        pipe = self._redis.pipeline(transaction=False)
        if self.away:

            async def execute(*, raise_on_error: bool) -> list[Any]:
                await asyncio.sleep(0)
                raise RedisConnectionError("cut off")

            pipe.execute = execute
        return pipe


async def push(funnel: Funnel, value: int) -> list[Any]:
    batch = Batch(funnel)
    batch.add("SET", f"k{value}", value)
    batch.add("GET", f"k{value}")
    return await batch.run()


async def test_a_hundred_at_once_share_a_few_round_trips(redis: FakeAsyncRedis) -> None:
    """Each gets its own answers all the same."""
    counted = Counted(redis)
    funnel = Funnel(counted)  # type: ignore[arg-type]
    answers = await asyncio.gather(*(push(funnel, value) for value in range(100)))

    assert [b"%d" % value for value in range(100)] == [answer[1] for answer in answers]
    assert counted.pipelines <= 4


async def test_one_alone_waits_for_nobody(redis: FakeAsyncRedis) -> None:
    """One pipeline, at once."""
    counted = Counted(redis)

    assert b"7" == (await push(Funnel(counted), 7))[1]  # type: ignore[arg-type]
    assert counted.pipelines == 1


async def test_a_failure_is_told_to_everybody_who_was_in_it(redis: FakeAsyncRedis) -> None:
    """And the next ones go through again."""
    counted = Counted(redis)
    funnel = Funnel(counted)  # type: ignore[arg-type]
    counted.away = True
    told = await asyncio.gather(*(push(funnel, value) for value in range(20)), return_exceptions=True)
    counted.away = False

    assert {StoreAway} == {type(error) for error in told}
    assert b"1" == (await push(funnel, 1))[1]


async def test_who_gave_up_takes_nobody_along(redis: FakeAsyncRedis) -> None:
    """A cancelled task's commands may be carried out; the others' answers are not shifted."""
    funnel = Funnel(redis)
    tasks = [asyncio.create_task(push(funnel, value)) for value in range(10)]
    await asyncio.sleep(0)
    tasks[3].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)

    assert isinstance(answers[3], asyncio.CancelledError)
    assert [b"%d" % v for v in range(10) if v != 3] == [a[1] for a in answers if not isinstance(a, BaseException)]


async def test_a_script_that_the_server_does_not_know_is_loaded(redis: FakeAsyncRedis) -> None:
    """A ping runs on a server that has just begun."""
    batch = Batch(Funnel(redis))
    Seeds.ping(batch, Seed(id="603010000000001", msisdn="+213661000001", carrier="60301", country="DZ"), 1000.0, None)
    (answer,) = await batch.run()

    assert answer == [b"60301", b"0"]
    assert await redis.hget("seed:{603010000000001}", "lps") == b"1000.0"
