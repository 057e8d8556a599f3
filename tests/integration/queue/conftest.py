from collections.abc import AsyncIterator, Iterator

import pytest

from router.queue.broker import Broker
from router.queue.publisher import BatchingPublisher
from tests.integration.queue.kit import OwnRedis


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def broker(redis_url: str) -> Broker:
    return Broker(redis_url)


@pytest.fixture
async def publisher(broker: Broker) -> AsyncIterator[BatchingPublisher]:
    made = BatchingPublisher(broker)
    made.start()
    yield made
    await made.stop()


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    server = OwnRedis()
    server.start()
    yield server
    server.close()
