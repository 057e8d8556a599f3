"""Messages come out as they went in, wherever the queue was made; batches are one command, and say when they failed."""

import datetime as dt
from typing import Any

import kombu
import pytest
from kombu import Producer, Queue
from kombu.exceptions import BatchPublishError, ChannelError

from tests import servers
from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, calls_of, stream_length, take


def test_everything_of_a_message_comes_out(connection: kombu.Connection, channel: Any) -> None:
    """Body, headers with rich types, and properties are the same at the other end."""
    when = dt.datetime(2026, 1, 2, 3, 4, 5)
    headers = {"n": 1, "when": when, "bytes": b"\xff\x00", "nested": {"a": [1, None]}}
    Producer(channel).publish(
        {"ü": [1, 2]}, routing_key="q", headers=headers, priority=3, expiration=60, correlation_id="c", reply_to="r", delivery_mode=1,
    )  # fmt: skip

    (message,) = take(connection, channel, "q", 1)

    assert {"ü": [1, 2]} == message.payload
    assert headers == message.headers
    assert ("application/json", "utf-8") == (message.content_type, message.content_encoding)
    assert (3, "60000", "c", "r", 1) == tuple(
        message.properties[name] for name in ("priority", "expiration", "correlation_id", "reply_to", "delivery_mode")
    )
    assert ("", "q", False) == tuple(message.delivery_info[name] for name in ("exchange", "routing_key", "redelivered"))


@pytest.mark.parametrize("options", [{"serializer": "pickle"}, {"compression": "gzip"}, {"serializer": "json", "compression": "bzip2"}])
def test_serializers_and_compression(connection: kombu.Connection, channel: Any, options: dict[str, Any]) -> None:
    """Any serializer and compression of kombu's works: bodies are bytes, stored as they are."""
    Producer(channel).publish({"a": "x" * 500}, routing_key="q", **options)

    (message,) = take(connection, channel, "q", 1, accept=["json", "pickle"])

    assert {"a": "x" * 500} == message.payload


def test_binary_body(connection: kombu.Connection, channel: Any) -> None:
    """Every byte survives, with no base64 between."""
    body = bytes(range(256))
    Producer(channel).publish(body, routing_key="q")

    (message,) = take(connection, channel, "q", 1)

    assert body == message.body
    assert ("application/data", "binary") == (message.content_type, message.content_encoding)


def test_a_queue_that_nobody_declared(connection: kombu.Connection, channel: Any) -> None:
    """What was published before anybody declared the queue is there for its first consumer."""
    Producer(channel).publish("early", routing_key="undeclared")

    assert ["early"] == bodies(take(connection, channel, "undeclared", 1))


def test_one_message_is_one_xadd(channel: Any) -> None:
    """A publish is one command and nothing else."""
    producer = Producer(channel)
    producer.publish({}, routing_key="q")
    before = calls_of(channel, "xadd"), calls_of(channel, "evalsha")
    for _ in range(5):
        producer.publish({}, routing_key="q")

    assert (before[0] + 5, before[1]) == (calls_of(channel, "xadd"), calls_of(channel, "evalsha"))


def test_a_batch_is_one_command(connection: kombu.Connection, channel: Any) -> None:
    """`Producer.batch` sends its messages together, in order, over several queues."""
    producer = Producer(channel)
    assert producer.supports_batch_publish
    producer.publish({}, routing_key="other")
    before = calls_of(channel, "evalsha")
    with producer.batch(1000):
        for number in range(300):
            producer.publish({"n": number}, routing_key="q")
        producer.publish({"n": "last"}, routing_key="other", headers={"h": 1})

    assert calls_of(channel, "evalsha") - before <= 1  # the first call of a script is an EVAL
    assert [{"n": number} for number in range(300)] == bodies(take(connection, channel, "q", 300))
    assert 2 == stream_length(channel, "other")


def test_a_batch_flushes_when_full(channel: Any) -> None:
    """Nothing waits for the end of a long batch, and `flush` sends at once."""
    producer = Producer(channel)
    with producer.batch(10) as batch:
        for _ in range(25):
            producer.publish({}, routing_key="q")
        assert 20 == stream_length(channel, "q")
        batch.flush()
        assert 25 == stream_length(channel, "q")


def test_a_batch_that_raises_sends_nothing_more(channel: Any) -> None:
    """An exception in the block drops what was not sent yet."""
    producer = Producer(channel)

    def fill() -> None:
        with producer.batch(100):
            producer.publish({}, routing_key="q")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fill()
    assert 0 == stream_length(channel, "q")


def test_a_batch_that_fails_says_so(connect: Connect) -> None:
    """When Redis dies in between, the batch is told to be uncertain, and stays unusable."""
    with servers.single() as server:
        channel = connect(server.url).channel()
        producer = Producer(channel)
        batch = channel.create_publish_batch(100)
        batch.publish(channel.prepare_message(b"x"), exchange="", routing_key="q")
        server.kill()
        with pytest.raises(BatchPublishError):
            batch.flush()
        with pytest.raises(BatchPublishError):
            batch.publish(channel.prepare_message(b"x"), exchange="", routing_key="q")
        with pytest.raises(BatchPublishError), producer.batch():
            producer.publish({}, routing_key="q")


def test_scripts_that_the_server_forgot(channel: Any) -> None:
    """SCRIPT FLUSH loses no message and doubles none."""
    producer = Producer(channel)
    for number in range(3):
        channel.link.call("SCRIPT FLUSH")
        with producer.batch():
            for _ in range(10):
                producer.publish({}, routing_key="q")
        assert 10 * (number + 1) == stream_length(channel, "q")


def test_publish_many(connection: kombu.Connection, channel: Any) -> None:
    """Ready bodies go a thousand a round trip, in order, with the headers of all."""
    ready = [b'{"n":%d}' % number for number in range(2500)]

    assert 2500 == channel.publish_many("q", ready, headers={"h": 1})
    got = take(connection, channel, "q", 2500)
    assert ready == [message.body for message in got]
    assert {"h": 1} == got[-1].headers
    assert got[0].payload == {"n": 0}


def test_memory_of_a_plain_message(channel: Any) -> None:
    """An entry with 60 bytes of JSON costs at most 150 bytes in Redis, all told."""
    channel.publish_many("q", [b"%060d" % number for number in range(20_000)])
    used = channel.link.call("MEMORY", "USAGE", channel.connection.keys.stream("q", 0), "SAMPLES", 0)

    assert 60 < used / 20_000 <= 150


@pytest.mark.parametrize("wrong", ["soon", [1]])
def test_a_delay_that_is_no_number(channel: Any, wrong: Any) -> None:
    """Refused, and nothing is published."""
    with pytest.raises(ChannelError):
        Producer(channel).publish({}, routing_key="q", headers={"x-delay": wrong})

    assert 0 == stream_length(channel, "q")


def test_priority_goes_to_its_step(connect: Connect) -> None:
    """A priority belongs to the highest step that is not above it."""
    channel = connect(priority_steps=[0, 3, 6]).channel()
    Queue("q")(channel).declare()
    for priority in (0, 2, 3, 5, 6, 9, 99, -1):
        Producer(channel).publish({}, routing_key="q", priority=priority)

    assert [3, 2, 3] == [stream_length(channel, "q", step) for step in (0, 3, 6)]
