"""What only RabbitMQ does, or does in another way than Redis."""

import asyncio
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import kombu
import pytest

from bench.ports import free_port
from router.domain.errors import Unavailable
from router.queue import consumer as consumer_module
from router.queue import rabbitmq as module
from router.queue.broker import DELIVERY_LIMIT, Broker
from router.queue.consumer import DeadReason
from router.queue.entries import Entry, encode
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.publisher import BatchingPublisher
from router.store.redis import StoreAway
from tests import rabbitmq
from tests.integration.queue.kit import Collecting, RabbitQueue, dead_letters, entries, until
from tests.rabbitmq import RabbitMQ

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(rabbit_queue: RabbitQueue) -> RabbitQueue:
    """No other broker here."""
    return rabbit_queue


@pytest.fixture
def own_node() -> Iterator[RabbitMQ]:
    """A node of one test, which may be killed and started again with what it had."""
    with rabbitmq.running() as node:
        yield node


def put(url: str, body: bytes, lane: str = "otp") -> None:
    with kombu.Connection(url) as connection:
        connection.Producer().publish(body, routing_key=QUEUES[lane], content_type="application/json", content_encoding="utf-8")  # type: ignore[index]


# Declaring


async def test_the_queues_are_quorum_queues(publisher: BatchingPublisher, rabbit_node: RabbitMQ) -> None:
    """Durable, with a delivery limit and the dead-letter queue behind them; and the broker keeps a dead letter until that has it."""
    await publisher.publish(entries(1))
    found = json.loads(rabbit_node.control("list_queues", "name", "type", "durable", "arguments", "--formatter", "json"))
    by_name = {queue["name"]: queue for queue in found}

    assert {*QUEUES.values(), DEAD_QUEUE} == set(by_name)
    assert {("quorum", True)} == {(queue["type"], queue["durable"]) for queue in found}
    arguments = dict(tuple(argument[::2]) if isinstance(argument, list) else argument for argument in _pairs(by_name[QUEUES["otp"]]))
    assert (DELIVERY_LIMIT, "", DEAD_QUEUE) == tuple(
        arguments[f"x-{name}"] for name in ("delivery-limit", "dead-letter-exchange", "dead-letter-routing-key")
    )
    assert ("at-least-once", "reject-publish") == (arguments["x-dead-letter-strategy"], arguments["x-overflow"])


def _pairs(queue: dict[str, object]) -> list[object]:
    arguments = queue["arguments"]
    return list(arguments.items()) if isinstance(arguments, dict) else list(arguments)  # type: ignore[call-overload]


async def test_a_queue_that_is_deleted_is_made_again(publisher: BatchingPublisher, rabbit_queue: RabbitQueue) -> None:
    """RabbitMQ confirms what has no queue as well: such a message comes back, and is put on the queue that was made again."""
    await publisher.publish(entries(1))
    rabbit_queue.delete()
    await publisher.publish(entries(3))

    assert 3 == rabbit_queue.length()


async def test_looking_at_a_queue_that_is_deleted(broker: Broker, server: RabbitQueue) -> None:
    """Asking for it closes the channel; it is open again, and the queues are there."""
    with broker.connect() as connection:
        channel = broker.open_channel(connection)
        server.delete()

        assert 0 == broker.depth(channel, DEAD_QUEUE)
        assert 0 == broker.lane_state(channel, "otp").depth
        connection.Producer(channel).publish(b"x", routing_key=QUEUES["otp"])
        assert 1 == broker.lane_state(channel, "otp").depth


# Confirms


async def test_a_batch_waits_once(publisher: BatchingPublisher, server: RabbitQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is written before the confirms are waited for, and they are waited for together."""
    await publisher.publish(entries(1))
    waits: list[int] = []
    wait = module.Channel.wait_for_confirms

    def counted(channel: module.Channel) -> None:
        waits.append(len(channel._unconfirmed))
        wait(channel)

    monkeypatch.setattr(module.Channel, "wait_for_confirms", counted)
    await publisher.publish(entries(300))

    assert 1 == len(waits)
    assert waits[0] > 1
    assert 301 == server.length()


async def test_refused_by_the_broker(publisher: BatchingPublisher, server: RabbitQueue, rabbit_node: RabbitMQ) -> None:
    """A full queue's nack is told to the caller, who hears nothing of the broker's name or place."""
    rabbit_node.control("set_policy", "full", f"^{QUEUES['bulk']}$", '{"max-length":5}', "--apply-to", "queues")
    try:
        with pytest.raises(Unavailable, match="refused") as refused:
            await _publish_often(publisher)
        await publisher.publish(entries(5))
    finally:
        rabbit_node.control("clear_policy", "full")

    assert "127.0.0.1" not in str(refused.value)
    assert 5 == server.length()


async def _publish_often(publisher: BatchingPublisher) -> None:
    for _ in range(200):
        await publisher.publish(entries(5, "bulk"))


async def test_a_broker_that_stands_still(
    publisher: BatchingPublisher, rabbit_node: RabbitMQ, server: RabbitQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No confirm, no yes: each caller is told within a bounded time, and once the broker goes on, so does the publisher."""
    await publisher.publish(entries(1))
    monkeypatch.setattr(module, "CONFIRM_SECONDS", 0.5)
    with rabbit_node.silent():
        results = await asyncio.wait_for(
            asyncio.gather(*(publisher.publish([entry]) for entry in entries(10)), return_exceptions=True), 60
        )

    assert {Unavailable} == {type(result) for result in results}
    monkeypatch.setattr(module, "CONFIRM_SECONDS", 10.0)
    await publisher.publish(entries(1, "bulk"))
    assert 1 == server.length("bulk")


async def test_numbers_of_confirms() -> None:
    """Several at once, one by one, late ones of an abandoned batch, and nacks."""
    channel = object.__new__(module.Channel)
    channel._unconfirmed, channel._failure = dict.fromkeys(range(4, 10)), None
    channel._acked(3, multiple=True)
    channel._nacked(2, multiple=False)

    assert ([4, 5, 6, 7, 8, 9], None) == (list(channel._unconfirmed), channel._failure)
    channel._acked(8, multiple=False)
    channel._acked(6, multiple=True)
    assert ([7, 9], None) == (list(channel._unconfirmed), channel._failure)
    channel._nacked(9, multiple=True)
    assert [] == list(channel._unconfirmed)
    assert channel._failure


# Poison


async def test_the_delivery_limit(publisher: BatchingPublisher, broker: Broker, server: RabbitQueue) -> None:
    """What comes back each time it is given out, as if it killed its consumers, ends on the dead-letter queue by the broker's doing."""
    await publisher.publish(entries(1))
    for _ in range(DELIVERY_LIMIT + 1):
        with kombu.Connection(server.url) as connection:
            queue = kombu.Queue(QUEUES["otp"], channel=connection.channel())
            await until(lambda queue=queue: queue.get(), "the entry, never acknowledged")  # type: ignore[misc]
    found = await until(lambda: dead_letters(broker), "the dead letter")

    assert [encode(entries(1)[0])] == [body for body, _ in found]
    assert (QUEUES["otp"], "delivery_limit") == (found[0][1]["x-death"][0]["queue"], found[0][1]["x-death"][0]["reason"])
    assert 0 == server.left()


async def test_waiting_for_the_store_counts_no_delivery(
    publisher: BatchingPublisher, broker: Broker, server: RabbitQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is tried, an entry is not buried because the store was away for long."""
    monkeypatch.setattr(consumer_module, "_PAUSE_SECONDS", 0.01)
    tries = 0

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        nonlocal tries
        tries += 1
        if tries <= 2 * DELIVERY_LIMIT:
            raise StoreAway(ConnectionError())
        return {}

    await publisher.publish(entries(5))
    async with Collecting(broker, work) as collecting:
        await until(lambda: len(collecting.taken) == 5, "all entries")

    assert [] == dead_letters(broker)
    assert 0 == server.left()


# Restarts


@pytest.mark.timeout(240)
async def test_killed_under_load(own_node: RabbitMQ) -> None:
    """kill -9 of the node: what was confirmed is taken, who was not confirmed was told, and all find back by themselves."""
    broker = Broker(own_node.url)
    publisher = BatchingPublisher(broker)
    publisher.start()
    confirmed: set[str] = set()
    refused: set[str] = set()
    going = True

    async def submit(lane: str) -> None:
        number = 0
        while going:
            entry = Entry(f"wg_{lane}_{number:06}", lane, 1.0)  # type: ignore[arg-type]
            try:
                await publisher.publish([entry])
                confirmed.add(entry.id)
            except Unavailable:
                refused.add(entry.id)
                await asyncio.sleep(0.05)
            number += 1
            await asyncio.sleep(0.001)

    async with Collecting(broker, prefetch=20) as collecting:
        submitters = [asyncio.create_task(submit(lane)) for lane in QUEUES]
        await until(lambda: len(collecting.taken) > 200, "some to go through")
        await asyncio.to_thread(own_node.kill)
        before = len(confirmed)
        await until(lambda: refused, "somebody to be told")
        await asyncio.to_thread(own_node.start)
        await until(lambda: len(confirmed) > before + 200, "some more to go through", 90)
        going = False
        await asyncio.gather(*submitters)
        await until(lambda: confirmed <= set(collecting.taken), "all that was confirmed", 90)
    await publisher.stop()

    assert refused
    assert set(collecting.taken) <= confirmed | refused
    assert 0 == RabbitQueue(own_node.url).left()


@pytest.mark.timeout(120)
async def test_confirmed_is_on_disk(own_node: RabbitMQ) -> None:
    """kill -9 right after the confirm: after the restart everything is there."""
    publisher = BatchingPublisher(Broker(own_node.url))
    publisher.start()
    await publisher.publish(entries(1, "bulk"))
    await own_node.queues_are_written()
    await publisher.publish(entries(500))
    await asyncio.to_thread(own_node.kill)
    await asyncio.to_thread(own_node.start)
    await publisher.stop()

    queue = RabbitQueue(own_node.url)
    await until(lambda: queue.length() >= 500, "the queue to be read from disk", 90)
    assert 500 == queue.length()


async def test_nobody_there() -> None:
    publisher = BatchingPublisher(Broker(f"amqp://guest:guest@127.0.0.1:{free_port()}//"))
    publisher.start()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(publisher.publish(entries(1)), 20)
    await publisher.stop()


async def test_the_next_node_of_the_cluster(rabbit_queue: RabbitQueue) -> None:
    """Several URLs: one node that is away costs nobody an entry."""
    broker = Broker(f"amqp://guest:guest@127.0.0.1:{free_port()}//;{rabbit_queue.url}")
    publisher = BatchingPublisher(broker)
    publisher.start()
    await publisher.publish(entries(5))
    async with Collecting(broker) as collecting:
        await until(lambda: len(collecting.taken) == 5, "the consumer to find the node")
    await publisher.stop()

    assert 0 == rabbit_queue.left()


# A broker in need


@pytest.mark.timeout(120)
async def test_an_alarm_of_the_broker(rabbit_node: RabbitMQ, broker: Broker, server: RabbitQueue) -> None:
    """Short of memory it reads from no publisher: callers hear why, soon, over one connection; consumers go on; then all is as before."""
    publisher = BatchingPublisher(broker)
    publisher.start()
    await publisher.publish(entries(10))
    await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        started = time.monotonic()
        results = [result for _ in range(20) for result in await _publish_ten(publisher)]
        took = time.monotonic() - started
        async with Collecting(broker) as collecting:
            await until(lambda: len(collecting.taken) >= 10, "what was there before")
        connections = (await asyncio.to_thread(rabbit_node.control, "list_connections", "pid")).count("<")
    finally:
        await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1GB")

    assert {Unavailable} == {type(result) for result in results}
    assert {"the queue takes no new messages: its broker is short of memory or disk"} == {str(result) for result in results}
    assert took < 4 * module.CONFIRM_SECONDS
    assert connections <= 2
    await until(lambda: publisher.depth >= 1, "the publisher to see the queue again")
    await publisher.publish(entries(1, "bulk"))
    assert 1 == server.length("bulk")
    await publisher.stop()


async def _publish_ten(publisher: BatchingPublisher) -> list[BaseException | None]:
    return await asyncio.gather(*(publisher.publish([entry]) for entry in entries(10)), return_exceptions=True)


@pytest.mark.timeout(120)
async def test_nothing_is_buried_while_the_broker_takes_nothing(rabbit_node: RabbitMQ, broker: Broker, server: RabbitQueue) -> None:
    """Bad entries, more than a prefetch, wait in hand for the alarm to end; those behind them go on; then they are buried."""
    with broker.connect() as connection:
        broker.open_channel(connection)
    for _ in range(12):
        put(server.url, b"not json")
    for entry in entries(3):
        put(server.url, encode(entry))
    await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1MB")
    async with Collecting(broker, prefetch=10) as collecting:
        try:
            await until(lambda: len(collecting.taken) == 3, "those behind them")

            assert [] == collecting.dead
        finally:
            await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1GB")
        await until(lambda: collecting.dead, "the burial")

    assert 12 == len(collecting.dead)
    assert {b"not json"} == {body for body, _ in dead_letters(broker)}
    assert 0 == server.left()


async def test_stopping_while_blocked(rabbit_node: RabbitMQ, broker: Broker) -> None:
    """It does not wait for an answer to its farewell."""
    publisher = BatchingPublisher(broker)
    publisher.start()
    await publisher.publish(entries(1))
    await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(Unavailable):
            await publisher.publish(entries(1))
        started = time.monotonic()
        await publisher.stop()
        took = time.monotonic() - started
    finally:
        await asyncio.to_thread(rabbit_node.control, "set_vm_memory_high_watermark", "absolute", "1GB")

    assert not publisher._mailbox._thread.is_alive()
    assert took < module.CONFIRM_SECONDS


# Who may


async def test_the_permissions_that_are_needed(rabbit_node: RabbitMQ, rabbit_queue: RabbitQueue) -> None:
    """Those that docs/brokers.md tells to give are enough, for all that we do."""
    page = (Path(__file__).parents[3] / "docs" / "brokers.md").read_text()
    told = re.search(r"set_permissions -p seedrouter seedrouter '([^']+)' '([^']+)' '([^']+)'", page)
    assert told is not None
    rabbit_node.control("add_user", "limited", "word")
    rabbit_node.control("set_permissions", "limited", *told.groups())
    broker = Broker(rabbit_queue.url.replace("guest:guest", "limited:word"))
    publisher = BatchingPublisher(broker)
    publisher.start()

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        return {"wg_bulk_0000": "unknown_message"}

    await publisher.publish([*entries(3), *entries(1, "bulk")])
    async with Collecting(broker, work) as collecting:
        await until(lambda: len(collecting.taken) == 4 and collecting.dead, "all entries")
    await publisher.stop()

    assert 0 == rabbit_queue.left()
    assert ["unknown_message"] == [headers["reason"] for _, headers in dead_letters(broker)]


# TLS


async def test_tls(rabbit_node: RabbitMQ, server: RabbitQueue) -> None:
    """By a certificate that is known, for the right name."""
    broker = Broker(f"amqps://guest:guest@localhost:{rabbit_node.tls_port}//?ssl_ca_certs={rabbit_node.certificate}")
    publisher = BatchingPublisher(broker)
    publisher.start()
    await publisher.publish(entries(2))
    await publisher.stop()
    async with Collecting(broker) as collecting:
        await until(lambda: len(collecting.taken) == 2, "the entries")

    assert 0 == server.left()


@pytest.mark.parametrize("host_and_query", ["localhost:{port}//", "127.0.0.1:{port}//?ssl_ca_certs={certificate}"])
async def test_tls_with_a_certificate_of_somebody_else(rabbit_node: RabbitMQ, host_and_query: str) -> None:
    """Neither an unknown certificate nor one for another name is taken."""
    place = host_and_query.format(port=rabbit_node.tls_port, certificate=rabbit_node.certificate)
    with Broker(f"amqps://guest:guest@{place}").connect() as connection, pytest.raises(OSError, match=r"(?i)certificate"):
        connection.connect()


@pytest.mark.parametrize(
    "url",
    ["amqp://host//?prefetch=5", "amqp://host//?ssl_ca_certs=/a", "amqps://host//?ssl_cert_reqs=maybe", "amqp://a//;amqp://b//?x=1",
     "amqp://host//?heartbeat=often"],
)  # fmt: skip
async def test_options_that_nobody_knows(url: str) -> None:
    """They are told at once, not ignored."""
    with pytest.raises(ValueError):
        Broker(url)
