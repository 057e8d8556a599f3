"""Acknowledging, rejecting, requeueing, expiring: a stream holds exactly what is not acknowledged, and nothing goes without a word."""

import logging
import threading
import time
from typing import Any

import kombu
import pytest
from kombu import Exchange, Producer, Queue

from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, nothing_comes, stream_length, take
from tests.servers import wait_until


def test_the_length_is_what_is_not_acknowledged(connection: kombu.Connection, channel: Any) -> None:
    """Whatever the order of acknowledgements, after a flush the stream is as long as what is left."""
    channel.publish_many("q", [b"1"] * 40)
    got = take(connection, channel, "q", 40)
    for number, message in enumerate(got[::2]):
        message.ack()
        if number % 5 == 0:
            channel.flush_acks()
            assert 40 - number - 1 == stream_length(channel, "q")
    channel.flush_acks()
    assert 20 == stream_length(channel, "q")
    assert (0, 20) == channel.queue_state("q")[1:3]


def test_acknowledgements_go_with_the_next_read(connect: Connect) -> None:
    """No command of their own: the read that follows takes them along."""
    connection = connect(ack_flush_interval=60)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 3)
    for message in take(connection, channel, "q", 3):
        message.ack()
    assert 3 == stream_length(channel, "q")
    assert nothing_comes(connection, 0.01)
    assert 0 == stream_length(channel, "q")


def test_acknowledgements_go_after_a_moment(connect: Connect) -> None:
    """Also of a consumer that does not read again."""
    connection = connect(ack_flush_interval=0.05)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 3)
    for message in take(connection, channel, "q", 3):
        message.ack()

    wait_until(lambda: stream_length(channel, "q") == 0, "the keeper sends them")


def test_acknowledgements_go_when_there_are_many(connect: Connect) -> None:
    """At `ack_batch_size` they are sent at once."""
    connection = connect(ack_flush_interval=60, ack_batch_size=10)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 15)
    for message in take(connection, channel, "q", 15):
        message.ack()

    assert 5 == stream_length(channel, "q")


def test_acknowledgements_go_when_the_connection_is_closed(connect: Connect) -> None:
    """Closing loses none."""
    connection = connect(ack_flush_interval=60)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 3)
    for message in take(connection, channel, "q", 3):
        message.ack()
    connection.release()

    assert 0 == stream_length(connect().channel(), "q")


def test_multiple(connection: kombu.Connection, channel: Any) -> None:
    """AMQP's `multiple` takes all that was delivered before along."""
    channel.publish_many("q", [b"%d" % number for number in range(5)])
    got = take(connection, channel, "q", 5)
    got[2].ack(multiple=True)
    channel.flush_acks()

    assert 2 == stream_length(channel, "q")
    got[3].ack()
    got[4].ack()


def test_acknowledging_twice(connection: kombu.Connection, channel: Any) -> None:
    """A message that is settled cannot be settled again."""
    channel.publish_many("q", [b"1"])
    (message,) = take(connection, channel, "q", 1)
    message.ack()
    with pytest.raises(message.MessageStateError):
        message.ack()
    with pytest.raises(message.MessageStateError):
        message.reject()


def test_acknowledging_in_another_thread(connection: kombu.Connection, channel: Any) -> None:
    """The consuming thread, which waits for room, goes on at once."""
    channel.publish_many("q", [b"1", b"2"])
    (first,) = take(connection, channel, "q", 1)
    timer = threading.Timer(0.2, first.ack)
    timer.start()
    connection.drain_events(timeout=20)
    timer.join()

    assert (0, 1) == channel.queue_state("q")[1:3]


def test_an_acknowledged_entry_that_is_gone_is_told(connection: kombu.Connection, channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody deleted it: not an error, not silence."""
    channel.publish_many("q", [b"1"])
    (message,) = take(connection, channel, "q", 1)
    channel.link.call("XDEL", channel.connection.keys.stream("q", 0), message.entry.id)
    message.ack()
    with caplog.at_level(logging.WARNING):
        channel.flush_acks()

    assert "1 of 1 acknowledged messages were not in" in caplog.text


def test_requeue(connection: kombu.Connection, channel: Any) -> None:
    """It comes again, before what is behind it, marked and counted; nothing is copied."""
    channel.publish_many("q", [b"1", b"2"])
    (first,) = take(connection, channel, "q", 1)
    first.requeue()
    assert 2 == stream_length(channel, "q")
    assert (2, 0) == channel.queue_state("q")[1:3]
    again = channel.basic_get("q")

    assert 1 == again.payload
    assert again.delivery_info["redelivered"]
    assert 1 == again.headers["x-delivery-count"]
    again.reject(requeue=True)
    assert 2 == channel.basic_get("q").headers["x-delivery-count"]


def test_recover(connection: kombu.Connection, channel: Any) -> None:
    """`basic.recover` gives back all that is in hand."""
    channel.publish_many("q", [b"1", b"2"])
    take(connection, channel, "q", 2)
    channel.basic_recover(requeue=True)

    assert (2, 0) == channel.queue_state("q")[1:3]


def test_rejected_without_a_dead_letter_exchange(connection: kombu.Connection, channel: Any) -> None:
    """Dropped, as AMQP has it."""
    channel.publish_many("q", [b"1"])
    take(connection, channel, "q", 1)[0].reject()
    channel.flush_acks()

    assert 0 == stream_length(channel, "q")
    assert not channel.queue_state("q.dead").exists


@pytest.mark.parametrize("exchange", ["", "dlx"])
def test_rejected_with_a_dead_letter_exchange(connection: kombu.Connection, channel: Any, exchange: str) -> None:
    """It goes where the queue's arguments say, in RabbitMQ's words, with RabbitMQ's headers."""
    if exchange:
        Queue("graves", Exchange(exchange, type="direct"), routing_key="graves")(channel).declare()
    arguments = {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "graves"}
    Queue("q", queue_arguments=arguments)(channel).declare()
    Producer(channel).publish({"a": 1}, routing_key="q", headers={"mine": 1}, correlation_id="c")
    channel.basic_get("q").reject()
    dead = channel.basic_get("graves")

    assert ({"a": 1}, 1, "c") == (dead.payload, dead.headers["mine"], dead.properties["correlation_id"])
    (death,) = dead.headers["x-death"]
    assert ("rejected", "q", 1, ["q"]) == (death["reason"], death["queue"], death["count"], death["routing-keys"])
    assert abs(death["time"] - time.time()) < 3600
    assert ("rejected", "q") == (dead.headers["x-first-death-reason"], dead.headers["x-first-death-queue"])
    assert 0 == stream_length(channel, "q")


@pytest.mark.parametrize("exchange", ["", "there"])
def test_a_dead_letter_exchange_that_leads_nowhere(channel: Any, exchange: str) -> None:
    """An exchange that is missing, or has no binding, costs no message: it goes to `<queue>.dead`."""
    if exchange:
        Exchange(exchange, type="direct")(channel).declare()
    Queue("q", queue_arguments={"x-dead-letter-exchange": exchange or "missing", "x-dead-letter-routing-key": "k"})(channel).declare()
    channel.publish_many("q", [b"1"])
    channel.basic_get("q").reject()

    assert "rejected" == channel.basic_get("q.dead").headers["x-first-death-reason"]


def test_a_second_death_is_counted(channel: Any) -> None:
    """Going round once more raises the count of the same queue and reason."""
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    Queue("q", queue_arguments=arguments)(channel).declare()
    channel.publish_many("q", [b"1"])
    for _ in range(3):
        channel.basic_get("q").reject()
    (death,) = channel.basic_get("q").headers["x-death"]

    assert 3 == death["count"]


def test_the_arguments_of_another_connection_hold(connect: Connect) -> None:
    """A consumer that did not declare the queue obeys how it was declared."""
    declaring, consuming = connect().channel(), connect().channel()
    Queue("q", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "graves"})(declaring).declare()
    consuming.publish_many("q", [b"1"])
    consuming.basic_get("q").reject()

    assert 1 == stream_length(declaring, "graves")


@pytest.mark.parametrize(("arguments", "options", "limit"), [({"x-delivery-limit": 2}, {}, 2), ({}, {"delivery_limit": 3}, 3)])
def test_delivery_limit(
    connect: Connect, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any], options: dict[str, Any], limit: int
) -> None:
    """After so many redeliveries a message goes to `<queue>.dead`, with its reason, and the next one is delivered."""
    connection = connect(**options)
    channel = connection.channel()
    Queue("q", queue_arguments=arguments)(channel).declare()
    channel.publish_many("q", [b'"poison"'])
    for _ in range(limit + 1):
        channel.basic_get("q").requeue()
    channel.publish_many("q", [b'"good"'])
    with caplog.at_level(logging.WARNING):
        assert "good" == channel.basic_get("q").payload
    dead = channel.basic_get("q.dead")

    assert "poison" == dead.payload
    assert "delivery_limit" == dead.headers["x-first-death-reason"]
    assert not dead.delivery_info["redelivered"]
    assert "delivery_limit" in caplog.text


def test_no_delivery_limit(channel: Any) -> None:
    """Below 0 there is none."""
    Queue("q", queue_arguments={"x-delivery-limit": -1})(channel).declare()
    channel.publish_many("q", [b"1"])
    for _ in range(30):
        channel.basic_get("q").requeue()

    assert 30 == channel.basic_get("q").headers["x-delivery-count"]


@pytest.mark.parametrize("by", ["expiration", "x-message-ttl"])
@pytest.mark.parametrize("dead_letters", [False, True])
def test_expired(channel: Any, by: str, dead_letters: bool) -> None:
    """A message past its time is not delivered: dropped, or a dead letter; one within its time is."""
    arguments: dict[str, Any] = {"x-message-ttl": 2000} if by == "x-message-ttl" else {}
    if dead_letters:
        arguments |= {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "graves"}
    Queue("q", queue_arguments=arguments)(channel).declare()
    Producer(channel).publish("late", routing_key="q", expiration=0.1 if by == "expiration" else None)
    time.sleep(0.3 if by == "expiration" else 2.2)
    Producer(channel).publish("good", routing_key="q", expiration=60)
    message = channel.basic_get("q")
    channel.flush_acks()

    assert message is not None
    assert "good" == message.payload
    assert 1 == stream_length(channel, "q")
    assert int(dead_letters) == stream_length(channel, "graves")
    if dead_letters:
        dead = channel.basic_get("graves")
        assert ("expired", None) == (dead.headers["x-first-death-reason"], dead.properties.get("expiration"))


def test_an_entry_that_cannot_be_read(connection: kombu.Connection, channel: Any) -> None:
    """What something else wrote into the stream goes to `<queue>.dead`, and holds up nobody."""
    key = channel.connection.keys.stream("q", 0)
    channel.link.call("XADD", key, "*", "m", "{not json", "b", "body")
    channel.link.call("XADD", key, "*", "m", "[]", "b", "body")
    channel.publish_many("q", [b"1"])

    assert [1] == bodies(take(connection, channel, "q", 1))
    dead = channel.basic_get("q.dead")
    assert (b"body", "undecodable") == (dead.body, dead.headers["x-first-death-reason"])
    assert 2 == stream_length(channel, "q.dead")


def test_acknowledging_a_message_of_a_closed_channel(connect: Connect) -> None:
    """The work was done, the connection was lost and made again: the acknowledgement still counts."""
    first = connect()
    channel = first.channel()
    channel.publish_many("q", [b"1"])
    (message,) = take(first, channel, "q", 1)
    channel.qos.forget()  # as if the server had not been there when the channel was closed
    channel.qos.append(message, message.delivery_tag)
    channel.connection.gone = True
    first.release()
    message.ack()
    second = connect()
    other = second.channel()
    other.flush_acks()

    assert 0 == stream_length(other, "q")


def test_rejecting_a_message_of_a_closed_channel(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Told, and no error: somebody else gets it."""
    first = connect()
    channel = first.channel()
    channel.publish_many("q", [b"1"])
    (message,) = take(first, channel, "q", 1)
    first.release()
    channel.qos.append(message, message.delivery_tag)
    message.requeue()
    second = connect()

    assert "closed channel" in caplog.text
    assert [1] == bodies(take(second, second.channel(), "q", 1))
