import asyncio
import time
from collections.abc import Sequence

import pytest
import redis

from router.domain.errors import Unavailable
from router.queue import publisher as module
from router.queue.broker import Broker
from router.queue.entries import Entry, QueuePublisher
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.publisher import BatchingPublisher
from router.queue.redis_streams import StreamPublisher
from router.redis_link import Link
from tests.integration.queue.kit import OwnRedis, QueueServer, RedisQueue, StreamsQueue, entries, publisher_of, until

pytestmark = pytest.mark.anyio
redis_only = pytest.mark.parametrize("server", ["redis"], indirect=True)
by_thread = pytest.mark.parametrize("server", ["redis", "amqp"], indirect=True)
"""Brokers that kombu publishes to: `BatchingPublisher`."""
either_redis = pytest.mark.parametrize("kind", [RedisQueue, StreamsQueue])


async def test_confirmed_when_it_is_there(publisher: QueuePublisher, server: QueueServer) -> None:
    for count in range(1, 20):
        await publisher.publish(entries(1))
        assert count == server.length()


async def test_each_lane_has_its_queue(publisher: QueuePublisher, server: QueueServer) -> None:
    await publisher.publish([*entries(3, "otp"), *entries(2, "bulk"), *entries(1, "notification")])

    assert [3, 1, 2] == [server.length(lane) for lane in QUEUES]


async def test_nothing_to_publish(broker: Broker) -> None:
    """Needs no queue."""
    await asyncio.wait_for(BatchingPublisher(broker).publish([]), 1)


async def test_more_than_one_pipeline(publisher: QueuePublisher, server: QueueServer) -> None:
    await publisher.publish(entries(1201))

    assert 1201 == server.length()


@pytest.mark.parametrize("server", ["streams"], indirect=True)
async def test_concurrent_callers_share_exchanges(publisher: StreamPublisher, server: QueueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes while an exchange is on its way goes out in the next; each caller's entry is there when it hears so."""
    sizes: list[int] = []
    send = publisher._send

    async def counted(to: Link, found: Sequence[Entry]) -> Exception | None:
        sizes.append(len(found))
        return await send(to, found)

    monkeypatch.setattr(publisher, "_send", counted)
    await asyncio.gather(*(publisher.publish([entry]) for entry in entries(200)))

    assert 200 == sum(sizes) == server.length()
    assert len(sizes) <= 4


@pytest.mark.parametrize("server", ["streams"], indirect=True)
async def test_a_failure_is_told_to_each(publisher: StreamPublisher, server: QueueServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody whose entries were in the exchange, and nobody after it."""

    async def broken(to: Link, found: Sequence[Entry]) -> Exception | None:
        return ConnectionError("cut off")

    with monkeypatch.context() as patched:
        patched.setattr(publisher, "_send", broken)
        told = await asyncio.gather(*(publisher.publish([entry]) for entry in entries(20)), return_exceptions=True)
    await publisher.publish(entries(1))

    assert [Unavailable] * 20 == [type(error) for error in told]
    assert 1 == server.length()


@by_thread
async def test_concurrent_callers_share_batches(
    publisher: QueuePublisher, server: QueueServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes while the thread is busy goes together; each caller's entries are there when it hears so."""
    sizes: list[int] = []
    publish = BatchingPublisher._publish

    def counted(publisher: BatchingPublisher, found: Sequence[Entry]) -> None:
        sizes.append(len(found))
        time.sleep(0.02)
        publish(publisher, found)

    monkeypatch.setattr(BatchingPublisher, "_publish", counted)
    await asyncio.gather(*(publisher.publish([entry]) for entry in entries(200)))

    assert 200 == sum(sizes) == server.length()
    assert len(sizes) <= 10


@redis_only
async def test_a_batch_is_one_round_trip(publisher: QueuePublisher, redis_url: str) -> None:
    """kombu's batches are used: a hundred entries do not cost a hundred exchanges."""
    await publisher.publish(entries(1))

    def reads() -> int:
        with redis.Redis.from_url(redis_url) as client:
            return int(client.info("stats")["total_reads_processed"])

    before = reads()
    await publisher.publish(entries(100))
    assert reads() - before < 40


async def test_a_cancelled_caller_disturbs_nobody(publisher: QueuePublisher, server: QueueServer) -> None:
    tasks = [asyncio.create_task(publisher.publish([entry])) for entry in entries(20)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [None] * 19 == results[1:]
    assert server.length() >= 19


async def test_stop_sends_what_is_left(server: QueueServer) -> None:
    publisher = publisher_of(server.url)
    publisher.start()
    tasks = [asyncio.create_task(publisher.publish([entry])) for entry in entries(50)]
    await asyncio.sleep(0)
    await publisher.stop()
    await asyncio.wait_for(asyncio.gather(*tasks), 5)

    assert 50 == server.length()


@either_redis
async def test_redis_stopped(own_redis: OwnRedis, kind: type[RedisQueue | StreamsQueue]) -> None:
    """Each caller hears it, soon, and that it may come again; when Redis is back, so is the publisher, and what was confirmed is there."""
    queue = kind(own_redis.url)
    publisher = publisher_of(queue.url)
    publisher.start()
    await publisher.publish(entries(3))
    own_redis.stop()
    results = await asyncio.wait_for(
        asyncio.gather(*(publisher.publish([entry]) for entry in entries(10)), return_exceptions=True), 20
    )

    assert [Unavailable] * 10 == [type(result) for result in results]
    assert all("unix" not in str(result) and "/" not in str(result) for result in results)
    own_redis.start()
    await publisher.publish(entries(2))
    assert 5 == queue.length()
    await publisher.stop()


@either_redis
async def test_no_redis_at_all(kind: type[RedisQueue | StreamsQueue]) -> None:
    publisher = publisher_of(kind("unix:///nonexistent/redis.sock").url)
    publisher.start()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(publisher.publish(entries(1)), 20)
    await publisher.stop()


async def test_sees_how_full_the_lanes_are(publisher: QueuePublisher, broker: Broker, server: QueueServer) -> None:
    """About once a second: depth, when the oldest was put there (where the broker can tell), and the dead letters."""
    await publisher.publish([*entries(3, "otp", at=500.0), *entries(2, "bulk", at=700.0)])
    with broker.connect() as connection:
        connection.Producer(connection.channel()).publish(b"x", routing_key=DEAD_QUEUE)
    await until(lambda: publisher.depth == 5 and publisher.dead_letters == 1, "the publisher to look")

    assert [3, 0, 2] == [state.depth for state in publisher.lanes.values()]
    otp, notification, bulk = (state.oldest_at for state in publisher.lanes.values())
    assert server.is_oldest(otp, 500.0)
    assert notification is None
    assert server.is_oldest(bulk, 700.0)


@by_thread
async def test_sees_the_lanes_while_it_is_busy(publisher: QueuePublisher, monkeypatch: pytest.MonkeyPatch) -> None:
    """The look is not put off for ever by a steady stream."""
    monkeypatch.setattr(module, "_LOOK_EVERY_SECONDS", 0.1)
    for entry in entries(300):
        await publisher.publish([entry])

    assert publisher.depth > 0 or await until(lambda: publisher.depth, "a look")


@by_thread
@pytest.mark.parametrize("body", [b"not json", b"\xff\xfe", b"{}"])
async def test_lane_state_behind_a_poisoned_head(broker: Broker, publisher: QueuePublisher, body: bytes) -> None:
    """An entry that cannot be read has no age; the depth is told all the same."""
    with broker.connect() as connection:
        channel = connection.channel()
        broker.declare(channel)
        connection.Producer(channel).publish(
            body, routing_key=QUEUES["otp"], content_type="application/octet-stream", content_encoding="binary"
        )
        await publisher.publish(entries(1))

        assert (2, None) == ((state := broker.lane_state(channel, "otp")).depth, state.oldest_at)


@redis_only
async def test_lane_state_behind_what_is_no_envelope(broker: Broker, publisher: QueuePublisher, redis_url: str) -> None:
    """Not even kombu put it there."""
    with redis.Redis.from_url(redis_url) as client, broker.connect() as connection:
        channel = connection.channel()
        broker.declare(channel)
        for raw in (b"\xffrubbish", b"[]", b'{"body": 1}'):
            client.delete(f"queue:{QUEUES['otp']}")
            client.lpush(f"queue:{QUEUES['otp']}", raw)
            assert (1, None) == ((state := broker.lane_state(channel, "otp")).depth, state.oldest_at)


@redis_only
async def test_no_keys_outside_the_prefix(publisher: QueuePublisher, redis_url: str) -> None:
    await publisher.publish(entries(2))
    with redis.Redis.from_url(redis_url) as client:
        assert all(key.startswith(b"queue:") for key in client.scan_iter())


@either_redis
async def test_another_database(own_redis: OwnRedis, kind: type[RedisQueue | StreamsQueue]) -> None:
    queue = kind(own_redis.url.replace("db=0", "db=3"))
    publisher = publisher_of(queue.url)
    publisher.start()
    await publisher.publish(entries(2))
    await publisher.stop()

    assert (2, 0) == (queue.length(), kind(own_redis.url).length())
