"""Declaring, counting, emptying, deleting; temporary queues; delayed messages."""

import time
from typing import Any

import kombu
import pytest
from kombu import Consumer, Producer, Queue
from kombu.exceptions import ChannelError

from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, drain, nothing_comes, stream_length, take
from tests.servers import wait_until


def test_passive(connection: kombu.Connection, channel: Any) -> None:
    """A queue that is not there is AMQP's 404; one that is there tells how many wait."""
    with pytest.raises(ChannelError) as raised:
        channel.queue_declare("q", passive=True)
    assert 404 == int(raised.value.reply_code)
    assert not isinstance(raised.value, connection.connection_errors)
    Queue("q")(channel).declare()
    channel.publish_many("q", [b"1"] * 3)
    assert ("q", 3, 0) == tuple(channel.queue_declare("q", passive=True))


def test_declared_again(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Without arguments a queue keeps those it has; with others it takes them, and that is told."""
    first, second, third = (connect().channel() for _ in range(3))
    Queue("q", queue_arguments={"x-delivery-limit": 1})(first).declare()
    Queue("q")(second).declare()
    assert {"x-delivery-limit": 1} == second.arguments_of("q") == third.arguments_of("q")
    Queue("q", queue_arguments={"x-delivery-limit": 2})(second).declare()
    assert "from now on" in caplog.text
    Queue("q")(third).declare()
    assert {"x-delivery-limit": 2} == third.arguments_of("q")


def test_a_queue_with_a_made_up_name(channel: Any) -> None:
    """Declared without a name, it gets one."""
    name = channel.queue_declare("").queue

    assert name.startswith("amq.gen-")
    assert channel.queue_state(name).exists


def test_size_is_what_waits(connect: Connect) -> None:
    """Over all priorities; not what is in hands; what was given back waits."""
    connection = connect(priority_steps=[0, 5])
    channel = connection.channel()
    producer = Producer(channel)
    for number in range(10):
        producer.publish(number, routing_key="q", priority=5 * (number % 2))
    assert 10 == channel._size("q")
    got = take(connection, channel, "q", 4)
    assert (6, 4) == channel.queue_state("q")[1:3]
    got[0].requeue()
    assert (7, 3) == channel.queue_state("q")[1:3]
    got[1].ack()
    channel.flush_acks()
    assert (7, 2) == channel.queue_state("q")[1:3]


def test_the_oldest(connection: kombu.Connection, channel: Any) -> None:
    """Since when the oldest waiting message waits: not one in hands, but one that was given back."""
    assert channel.queue_state("q").oldest_at is None
    channel.publish_many("q", [b"1"])
    time.sleep(0.05)
    channel.publish_many("q", [b"2"])
    first = channel.queue_state("q").oldest_at
    (message,) = take(connection, channel, "q", 1)
    second = channel.queue_state("q").oldest_at
    message.requeue()

    assert abs(first - time.time()) < 3600
    assert second - first >= 0.04
    assert first == channel.queue_state("q").oldest_at


def test_purge_leaves_what_is_in_hands(connection: kombu.Connection, channel: Any) -> None:
    """What waits goes, given back or delayed included; what is being worked on stays, and can be acknowledged."""
    channel.publish_many("q", [b"1"] * 2500)
    got = take(connection, channel, "q", 3)
    got[0].requeue()
    Producer(channel).publish({}, routing_key="q", headers={"x-delay": 60_000})

    assert 2499 == channel.queue_purge("q")
    assert (True, 0, 2, 0, None) == tuple(channel.queue_state("q"))
    assert 2 == stream_length(channel, "q")
    got[1].ack()
    got[2].ack()
    channel.flush_acks()
    assert 0 == stream_length(channel, "q")
    channel.publish_many("q", [b"2"])
    assert [2] == bodies(take(connection, channel, "q", 1))


def test_purging_a_queue_that_is_not_there(channel: Any) -> None:
    """Nothing goes, and nothing is made."""
    assert 0 == channel.queue_purge("q")
    assert not channel.queue_state("q").exists


def test_delete(channel: Any) -> None:
    """With its messages, of all kinds; it can refuse when it is not empty."""
    Queue("q")(channel).declare()
    channel.publish_many("q", [b"1"])
    Producer(channel).publish({}, routing_key="q", headers={"x-delay": 60_000})
    with pytest.raises(ChannelError, match="not empty"):
        channel.queue_delete("q", if_empty=True)

    assert 1 == channel.queue_delete("q")
    assert (False, 0, 0, 0, None) == tuple(channel.queue_state("q"))


def test_deleting_a_queue_that_is_used(connect: Connect) -> None:
    """With `if_unused` a consumer of any connection keeps it; after it has gone, it can go."""
    channel, other = connect().channel(), connect()
    Queue("q")(channel).declare()
    with Consumer(other.channel(), [Queue("q")], on_message=lambda _: None):
        assert nothing_comes(other, 0.05)
        with pytest.raises(ChannelError, match="in use"):
            channel.queue_delete("q", if_unused=True)
    other.release()
    channel.queue_delete("q", if_unused=True)

    assert not channel.queue_state("q").exists


def test_auto_delete(connect: Connect) -> None:
    """It goes with its last consumer, not before."""
    first, second, channel = connect(), connect(), connect().channel()
    queue = Queue("q", auto_delete=True)
    one = Consumer(first.channel(), [queue], on_message=lambda _: None)
    two = Consumer(second.channel(), [queue], on_message=lambda _: None)
    one.consume()
    two.consume()
    assert nothing_comes(first, 0.05)
    assert nothing_comes(second, 0.05)
    one.cancel()
    assert channel.queue_state("q").exists
    two.cancel()
    assert not channel.queue_state("q").exists


def test_exclusive(connect: Connect) -> None:
    """It goes with its connection."""
    connection, channel = connect(), connect().channel()
    Queue("q", exclusive=True)(connection.channel()).declare()
    assert channel.queue_state("q").exists
    connection.release()
    assert not channel.queue_state("q").exists


def test_a_temporary_queue_does_not_stay_for_ever(connect: Connect) -> None:
    """When its process dies it ends by itself; while there is a consumer it lives on."""
    connection = connect(temporary_queue_expires=5, visibility_timeout=0.6)
    channel = connection.channel()
    Queue("left", auto_delete=True)(channel).declare()
    other = connect(temporary_queue_expires=1, visibility_timeout=60)
    Queue("dead", exclusive=True)(other.channel()).declare()
    with Consumer(channel, [Queue("left", auto_delete=True)], on_message=lambda _: None):
        wait_until(lambda: not channel.queue_state("dead").exists, "nobody keeps it")
        drain(connection, lambda: False, 6)
        assert channel.queue_state("left").exists


def test_delayed(connection: kombu.Connection, channel: Any) -> None:
    """A message with `x-delay` comes when it is due, in the order of due times, and is counted apart until then."""
    producer, began = Producer(channel), time.monotonic()
    producer.publish("late", routing_key="q", headers={"x-delay": 900})
    with producer.batch():
        producer.publish("soon", routing_key="q", headers={"x-delay": "300"})
        producer.publish("now", routing_key="q", headers={"x-delay": 0})
    assert (1, 0, 2) == channel.queue_state("q")[1:4]
    got = take(connection, channel, "q", 3)

    assert ["now", "soon", "late"] == bodies(got)
    assert time.monotonic() - began >= 0.85
    assert (0, 3, 0) == channel.queue_state("q")[1:4]


def test_delayed_keeps_its_priority_and_order(connect: Connect) -> None:
    """Messages of one delay keep their order; each goes to its priority's stream."""
    connection = connect(priority_steps=[0, 9])
    channel = connection.channel()
    producer = Producer(channel)
    for number in range(5):
        producer.publish(number, routing_key="q", headers={"x-delay": 100}, priority=0)
    producer.publish("first", routing_key="q", headers={"x-delay": 100}, priority=9, correlation_id="c")
    time.sleep(0.3)
    messages = [channel.basic_get("q") for _ in range(6)]

    assert ["first", 0, 1, 2, 3, 4] == bodies(messages)
    assert "c" == messages[0].properties["correlation_id"]


def test_delayed_does_not_wait_for_a_reader(connect: Connect) -> None:
    """A consumer that waits in a read is woken when a message becomes due."""
    connection = connect()
    channel = connection.channel()
    Producer(channel).publish(1, routing_key="q", headers={"x-delay": 400})

    assert [1] == bodies(take(connection, channel, "q", 1))


def test_expiration_counts_from_the_queue(channel: Any) -> None:
    """A delayed message's time to live begins when it is on the queue."""
    Producer(channel).publish(1, routing_key="q", headers={"x-delay": 1600}, expiration=1.5)
    got: list[Any] = []
    wait_until(lambda: (got.append(channel.basic_get("q")), got[-1])[1] is not None, "it is due, and not over")

    assert 1 == got[-1].payload
