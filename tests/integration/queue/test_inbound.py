"""SMS that came in, on each broker: the exchange, the queue that is there from the start, its bound, and a broker that is away."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import kombu
import pytest

from router.domain.errors import Unavailable
from router.queue.broker import Broker
from router.queue.inbound import EXCHANGE, INBOUND_DEAD_QUEUE, INBOUND_QUEUE, Inbound, InboundPublisher, inbound_queue
from tests import rabbitmq
from tests.integration.queue.kit import OwnRedis, QueueServer, RabbitQueue, until
from tests.rabbitmq import RabbitMQ

pytestmark = pytest.mark.anyio


@pytest.fixture
def inbound_broker(server: QueueServer) -> Broker:
    """Without what another test has left."""
    if isinstance(server, RabbitQueue):
        with kombu.Connection(server.url) as connection:
            for queue in (INBOUND_QUEUE, INBOUND_DEAD_QUEUE):
                connection.channel().queue_delete(queue)
    return Broker(server.url)


@pytest.fixture
async def inbound(inbound_broker: Broker) -> AsyncIterator[InboundPublisher]:
    made = InboundPublisher(inbound_broker, 10)
    made.start()
    yield made
    await made.stop()


def some(count: int, key: str = "gmail") -> list[Inbound]:
    return [Inbound(key, json.dumps({"number": number}).encode()) for number in range(count)]


async def until_published(publisher: InboundPublisher, messages: list[Inbound]) -> None:
    """Told again while it is refused, as a forwarder would: a node that has just started has no leader for its queues yet."""
    for _ in range(100):
        try:
            return await publisher.publish(messages)
        except Unavailable:
            await asyncio.sleep(0.2)
    raise AssertionError("still refused")


def taken(broker: Broker, queue: kombu.Queue | None = None) -> list[tuple[str, Any]]:
    """Routing keys and bodies, as a program that declares the queue and takes from it would see them."""
    found: list[tuple[str, Any]] = []
    with broker.connect() as connection:
        bound = (queue or inbound_queue())(connection.channel())
        bound.declare()
        while (message := bound.get()) is not None:
            found.append((message.delivery_info["routing_key"], message.payload))
            message.ack()
    return found


async def test_on_the_queue_in_order(inbound: InboundPublisher, inbound_broker: Broker) -> None:
    """The body is JSON, the routing key the platform's."""
    await inbound.publish(some(2))
    await inbound.publish(some(1, "seeds.received"))

    assert [("gmail", {"number": 0}), ("gmail", {"number": 1}), ("seeds.received", {"number": 0})] == taken(inbound_broker)


@pytest.mark.parametrize("server", ["streams", "amqp"], indirect=True)
async def test_the_queue_is_there_before_the_first(inbound: InboundPublisher, inbound_broker: Broker) -> None:
    """Nobody has published: a consumer that only asks for the queue finds it. (kombu's own Redis transport has no empty queues.)"""

    def there() -> bool:
        with inbound_broker.connect() as connection:
            channel = connection.channel()
            try:
                return channel.queue_declare(INBOUND_QUEUE, passive=True) is not None
            except connection.channel_errors:
                return False

    await until(there, "the queue")

    assert [] == taken(inbound_broker)


async def test_others_bind_queues_of_their_own(inbound: InboundPublisher, inbound_broker: Broker) -> None:
    """By a platform's name; the queue of ours has everything all the same."""
    await inbound.publish(some(1, "twitter"))
    mine = kombu.Queue("my.gmail", kombu.Exchange(EXCHANGE, type="topic", durable=True), routing_key="gmail", durable=True)
    with inbound_broker.connect() as connection:
        mine(connection.channel()).declare()
    await asyncio.sleep(1.1)  # a copy of the bindings may be a second old
    await inbound.publish([*some(1, "gmail"), *some(1, "twitter")])

    assert ["gmail"] == [key for key, _ in taken(inbound_broker, mine)]
    assert ["twitter", "gmail", "twitter"] == [key for key, _ in taken(inbound_broker)]


async def test_full_is_refused_and_nothing_is_dropped(inbound: InboundPublisher, inbound_broker: Broker) -> None:
    """Each publish whole or not at all; there is room again when somebody has taken some."""
    await inbound.publish(some(8))
    with pytest.raises(Unavailable) as refused:
        await inbound.publish(some(3))
    await inbound.publish(some(2))
    first = taken(inbound_broker)
    await inbound.publish(some(3))

    assert 10 == len(first)
    assert "full" in str(refused.value)
    assert 60 == refused.value.retry_after_seconds
    assert 3 == len(taken(inbound_broker))


async def test_many_at_once(inbound_broker: Broker) -> None:
    """What comes together goes in batches; everybody hears of their own."""
    made = InboundPublisher(inbound_broker, 1000)
    made.start()
    try:
        await asyncio.gather(*(made.publish(some(1, f"p{number}")) for number in range(300)))
    finally:
        await made.stop()

    assert sorted(f"p{number}" for number in range(300)) == sorted(key for key, _ in taken(inbound_broker))


async def test_without_a_queue_nothing_is_published(inbound_broker: Broker) -> None:
    """The bound 0: webhooks alone hear of it."""
    made = InboundPublisher(inbound_broker, 0)
    made.start()
    await made.publish(some(3))
    await made.stop()

    assert [] == taken(inbound_broker)


async def test_stopped_takes_no_more(inbound: InboundPublisher) -> None:
    await inbound.stop()

    with pytest.raises(Unavailable):
        await inbound.publish(some(1))


async def test_redis_away(own_redis: OwnRedis) -> None:
    """Refused while it is away; published when it is back, by the same process; a Redis that was emptied meanwhile too."""
    broker = Broker(own_redis.url)
    made = InboundPublisher(broker, 10)
    made.start()
    await made.publish(some(1, "before"))
    own_redis.stop()
    with pytest.raises(Unavailable):
        await made.publish(some(1, "away"))
    own_redis.start()
    await made.publish(some(1, "after"))
    found = [key for key, _ in taken(broker)]
    with broker.connect() as connection:
        connection.channel().link.call("FLUSHALL")
    await made.publish(some(1, "emptied"))
    await made.stop()

    assert ["before", "after"] == found
    assert ["emptied"] == [key for key, _ in taken(broker)]


@pytest.fixture
def own_node() -> Iterator[RabbitMQ]:
    """One that a test kills."""
    with rabbitmq.running() as node:
        yield node


async def test_rabbitmq_away(own_node: RabbitMQ) -> None:
    """The same; what was confirmed before it was killed is there afterwards."""
    broker = Broker(own_node.url)
    made = InboundPublisher(broker, 10)
    made.start()
    await made.publish(some(1, "before"))
    await own_node.queues_are_written()
    await asyncio.to_thread(own_node.kill)
    with pytest.raises(Unavailable):
        await made.publish(some(1, "away"))
    await asyncio.to_thread(own_node.start)
    await until_published(made, some(1, "after"))
    await made.stop()

    assert ["before", "after"] == sorted({key for key, _ in taken(broker)}, reverse=True)


async def test_rabbitmq_refuses_an_exchange_of_another_kind(rabbit_queue: RabbitQueue) -> None:
    """Somebody else's `inbound`: told to the caller, nothing is dropped."""
    with kombu.Connection(rabbit_queue.url) as connection:
        channel = connection.channel()
        channel.exchange_delete(EXCHANGE)
        channel.exchange_declare(EXCHANGE, type="fanout", durable=True)
        made = InboundPublisher(Broker(rabbit_queue.url), 10)
        made.start()
        with pytest.raises(Unavailable) as refused:
            await made.publish(some(1))
        await made.stop()
        channel.exchange_delete(EXCHANGE)

    assert "PreconditionFailed" in str(refused.value)
