from collections.abc import AsyncIterator, Iterator
from typing import cast

import pytest

from router.queue.broker import Broker
from router.queue.entries import QueuePublisher
from tests import rabbitmq
from tests.integration.queue.kit import OwnRedis, QueueServer, RabbitQueue, RedisQueue, StreamsQueue, publisher_of
from tests.rabbitmq import RabbitMQ

BROKERS = {"streams": "streams_queue", "redis": "redis_queue", "amqp": "rabbit_queue"}
"""Each broker that the common tests run against, and the fixture that makes its `QueueServer`."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=BROKERS)
def server(request: pytest.FixtureRequest) -> QueueServer:
    """An empty broker; the test runs once for each kind."""
    return cast("QueueServer", request.getfixturevalue(BROKERS[request.param]))


@pytest.fixture
def streams_queue(redis_url: str) -> StreamsQueue:
    return StreamsQueue(redis_url)


@pytest.fixture
def redis_queue(redis_url: str) -> RedisQueue:
    return RedisQueue(redis_url)


@pytest.fixture
def rabbit_queue(rabbit_node: RabbitMQ) -> RabbitQueue:
    queue = RabbitQueue(rabbit_node.url)
    queue.delete()
    return queue


@pytest.fixture(scope="session")
def rabbit_node() -> Iterator[RabbitMQ]:
    """This run's RabbitMQ, started by the first test that needs one. It takes some seconds."""
    with rabbitmq.running() as node:
        yield node


@pytest.fixture
def broker_url(server: QueueServer) -> str:
    return server.url


@pytest.fixture
def broker(broker_url: str) -> Broker:
    return Broker(broker_url)


@pytest.fixture
async def publisher(broker_url: str) -> AsyncIterator[QueuePublisher]:
    made = publisher_of(broker_url)
    made.start()
    yield made
    await made.stop()


@pytest.fixture
def own_redis() -> Iterator[OwnRedis]:
    server = OwnRedis()
    server.start()
    yield server
    server.close()
