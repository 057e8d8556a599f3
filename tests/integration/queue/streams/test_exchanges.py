"""Named exchanges: routing, and what happens when their tables vanish."""

import logging
import time
from typing import Any

import kombu
import pytest
from kombu import Consumer, Exchange, Producer, Queue
from kombu.exceptions import ChannelError

from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import stream_length


def declare(channel: Any, kind: str, **queues: str) -> Exchange:
    exchange = Exchange("ex", type=kind)
    for name, routing_key in queues.items():
        Queue(name, exchange, routing_key=routing_key)(channel).declare()
    return exchange


@pytest.mark.parametrize(
    ("kind", "routing_key", "expected"),
    [
        ("direct", "one", {"a"}),
        ("direct", "none", set()),
        ("topic", "x.one", {"c"}),
        ("topic", "one", {"a", "c"}),
        ("fanout", "anything", {"a", "b", "c"}),
    ],
)
def test_routing(channel: Any, kind: str, routing_key: str, expected: set[str]) -> None:
    """Direct by the key, topic by the pattern, fanout to all."""
    exchange = declare(channel, kind, a="one", b="two", c="#.one" if kind == "topic" else "three")
    if kind == "topic":
        declare(channel, kind, c="one")
    Producer(channel, exchange).publish({"x": 1}, routing_key=routing_key)

    assert expected == {queue for queue in "abc" if stream_length(channel, queue)}


def test_the_exchange_is_told_to_the_consumer(connection: kombu.Connection, channel: Any) -> None:
    """`delivery_info` has the exchange and the routing key of the publisher, not the queue's name."""
    exchange = declare(channel, "direct", a="key")
    Producer(channel, exchange).publish({}, routing_key="key")
    message = channel.basic_get("a")

    assert ("ex", "key") == (message.delivery_info["exchange"], message.delivery_info["routing_key"])


def test_a_binding_made_elsewhere_is_seen(connect: Connect) -> None:
    """A publisher sees another connection's binding when its copy is old, which is soon."""
    publisher, consumer = connect(binding_cache_seconds=0.2).channel(), connect().channel()
    exchange = declare(publisher, "direct", a="key")
    producer = Producer(publisher, exchange)
    producer.publish({}, routing_key="key")
    declare(consumer, "direct", b="key")
    time.sleep(0.25)
    producer.publish({}, routing_key="key")

    assert (2, 1) == (stream_length(publisher, "a"), stream_length(publisher, "b"))


def test_an_exchange_that_is_not_there(channel: Any) -> None:
    """Publishing to it, binding to it and declaring it passively are errors."""
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.basic_publish(channel.prepare_message(b""), "missing", "key")
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.queue_bind("q", "missing", "key")
    with pytest.raises(ChannelError, match="NOT_FOUND"):
        channel.exchange_declare("missing", passive=True)


def test_an_exchange_declared_otherwise(connect: Connect) -> None:
    """Another type for the same name is refused, also from another connection."""
    connect().channel().exchange_declare("ex", "direct", durable=True)

    with pytest.raises(ChannelError, match="PRECONDITION_FAILED"):
        connect().channel().exchange_declare("ex", "topic", durable=True)


def test_vanished_tables_are_made_again(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """After a flush, the connection that bound the queues binds them again, and the message arrives."""
    channel = connect(binding_cache_seconds=0).channel()
    exchange = declare(channel, "direct", a="key")
    producer = Producer(channel, exchange)
    producer.publish({}, routing_key="key")
    forget(channel)
    with caplog.at_level(logging.WARNING):
        producer.publish({}, routing_key="key")

    assert 1 == stream_length(channel, "a")
    assert "was gone from Redis" in caplog.text


def test_vanished_bindings_of_others_are_an_error(connect: Connect) -> None:
    """A publisher that only knew of others' bindings never drops a message for a lost table."""
    publisher, consumer = connect(binding_cache_seconds=0).channel(), connect().channel()
    declare(consumer, "direct", a="key")
    exchange = declare(publisher, "direct")
    producer = Producer(publisher, exchange)
    producer.publish({}, routing_key="key")
    forget(publisher)

    with pytest.raises(ChannelError, match="NOT_FOUND"):
        producer.publish({}, routing_key="key")


def test_unroutable(channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A message for no queue is dropped as AMQP has it, but told once; with `mandatory` it is an error."""
    exchange = declare(channel, "direct", a="key")
    producer = Producer(channel, exchange)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            producer.publish({}, routing_key="nobody")
    with pytest.raises(ChannelError, match="NO_ROUTE"):
        producer.publish({}, routing_key="nobody", mandatory=True)

    assert 1 == caplog.text.count("no queue is bound")


def test_mandatory_with_a_handler(channel: Any) -> None:
    """`on_return` gets the message that no queue is bound for."""
    returned: list[Any] = []
    exchange = declare(channel, "direct", a="key")
    producer = Producer(channel, exchange, on_return=lambda *args: returned.append(args))
    producer.publish({"x": 1}, routing_key="nobody", mandatory=True)

    ((error, name, routing_key, _message),) = returned
    assert ("ex", "nobody") == (name, routing_key)
    assert "NO_ROUTE" in str(error)


def test_deleting(connect: Connect) -> None:
    """A deleted queue leaves every table; unbinding and deleting the exchange work across connections."""
    channel, other = connect(binding_cache_seconds=0).channel(), connect().channel()
    exchange = declare(channel, "direct", a="key", b="key")
    other.queue_delete("a")
    assert [("b", "ex", "key")] == list(channel.list_bindings())
    other.queue_unbind("b", "ex", "key")
    assert [] == list(channel.list_bindings())
    exchange(channel).delete()
    assert [] == channel.get_exchanges()


def test_a_temporary_queue_that_ended_is_not_made_again(connect: Connect) -> None:
    """Publishing to a binding whose temporary queue is gone makes no stream that would grow for ever, and removes the binding."""
    channel, publisher = connect().channel(), connect(binding_cache_seconds=60).channel()
    exchange = Exchange("ex", type="fanout")
    Queue("reply", exchange, auto_delete=True)(channel).declare()
    exchange(publisher).declare()
    producer = Producer(publisher, exchange)
    producer.publish({})
    assert 1 == stream_length(channel, "reply")
    channel.link.call("DEL", channel.connection.keys.stream("reply", 0))
    producer.publish({})

    assert 0 == channel.link.call("EXISTS", channel.connection.keys.stream("reply", 0))
    assert [] == list(connect().channel().list_bindings())


def test_batches_are_routed(connection: kombu.Connection, channel: Any) -> None:
    """A batch may hold messages for exchanges beside those for queues."""
    exchange = declare(channel, "fanout", a="", b="")
    got: list[Any] = []
    with Producer(channel, exchange) as producer, producer.batch():
        for number in range(10):
            producer.publish({"n": number})
    with Consumer(channel, [Queue("a"), Queue("b")], on_message=got.append):
        connection.drain_events(timeout=5)

    assert sorted([*range(10)] * 2) == sorted(message.payload["n"] for message in got)


def forget(channel: Any) -> None:
    """What a flush does to the keys of this test."""
    for key in channel.link.call("KEYS", channel.connection.keys.slot_key.replace(b"{", b"*").split(b"*")[0] + b"*"):
        channel.link.call("DEL", key)
