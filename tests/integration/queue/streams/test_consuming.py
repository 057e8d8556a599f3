"""Reading: in bulk, in order, never beyond the prefetch limit, through every way that kombu has."""

import threading
from typing import Any

import kombu
import pytest
from kombu import Consumer, Queue
from kombu.common import eventloop
from kombu.mixins import ConsumerMixin
from kombu.utils.scheduling import round_robin_cycle

from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, calls_of, drain, nothing_comes, take


class SecondFirst(round_robin_cycle):
    """An order of a program's own: the alphabet backwards."""

    def consume(self, n: int) -> list[str]:
        return sorted(self.items, reverse=True)[:n]


@pytest.mark.parametrize("prefetch", [1, 7, 100])
def test_never_beyond_the_prefetch_limit(connection: kombu.Connection, channel: Any, prefetch: int) -> None:
    """Without acknowledgements exactly that many come, from two queues together; each acknowledgement lets another come."""
    channel.publish_many("a", [b"1"] * 150)
    channel.publish_many("b", [b"2"] * 150)
    got: list[Any] = []
    consumer = Consumer(channel, [Queue("a"), Queue("b")], on_message=got.append, prefetch_count=prefetch)
    consumer.consume()
    drain(connection, lambda: len(got) > prefetch, 0.5)
    assert prefetch == len(got)
    state = channel.queue_state("a"), channel.queue_state("b")
    assert prefetch == sum(one.in_hands for one in state)
    got[0].ack()
    drain(connection, lambda: len(got) > prefetch + 1, 0.5)
    assert prefetch + 1 == len(got)


def test_a_read_brings_many(connection: kombu.Connection, channel: Any) -> None:
    """A thousand messages at prefetch 100 take about ten reads, acknowledgements included, not a thousand."""
    channel.publish_many("q", [b"%d" % number for number in range(1000)])
    got: list[Any] = []

    def handle(message: Any) -> None:
        message.ack()
        got.append(message)

    with Consumer(channel, [Queue("q")], on_message=handle, prefetch_count=100):
        connection.drain_events(timeout=5)
        before = calls_of(channel, "evalsha")
        drain(connection, lambda: len(got) >= 1000)
        used = calls_of(channel, "evalsha") - before

    assert list(range(1000)) == bodies(got)
    assert used < 60


def test_order_within_a_queue(connection: kombu.Connection, channel: Any) -> None:
    """First in, first out, at any prefetch, also with what was given back."""
    channel.publish_many("q", [b"%d" % number for number in range(30)])
    first = take(connection, channel, "q", 10)
    for message in first[::-1]:
        message.requeue()
    channel.basic_cancel(next(iter(channel._consumers)))
    again = take(connection, channel, "q", 30)

    assert list(range(10)) == bodies(first)
    assert list(range(30)) == bodies(again)


def test_queues_take_turns(connection: kombu.Connection, channel: Any) -> None:
    """Two full queues are both read from the start: neither waits for the other to be empty."""
    channel.publish_many("a", [b'"a"'] * 500)
    channel.publish_many("b", [b'"b"'] * 500)
    got: list[Any] = []

    def handle(message: Any) -> None:
        got.append(message.payload)
        message.ack()

    with Consumer(channel, [Queue("a"), Queue("b")], on_message=handle, prefetch_count=10):
        drain(connection, lambda: len(got) >= 100)

    assert abs(got.count("a") - got.count("b")) <= 10


@pytest.mark.parametrize("strategy", [SecondFirst, f"{SecondFirst.__module__}:SecondFirst"])
def test_the_order_of_queues_is_the_programs(connect: Connect, strategy: Any) -> None:
    """`queue_order_strategy` is a class or the path of one; what it puts first is read until the count is used up."""
    connection = connect(queue_order_strategy=strategy)
    channel = connection.channel()
    for queue in "abc":
        channel.publish_many(queue, [b'"%b"' % queue.encode()] * 4)
    got: list[Any] = []
    with Consumer(channel, [Queue(name) for name in "abc"], on_message=got.append, prefetch_count=10):
        connection.drain_events(timeout=5)

    assert ["c"] * 4 + ["b"] * 4 + ["a"] * 2 == bodies(got)


def test_highest_priority_first(connect: Connect) -> None:
    """AMQP's direction: 9 before 0."""
    connection = connect(priority_steps=[0, 5, 9])
    channel = connection.channel()
    producer = kombu.Producer(channel)
    for priority in (0, 5, 9, 0, 5, 9):
        producer.publish(priority, routing_key="q", priority=priority)

    assert [9, 9, 5, 5, 0, 0] == bodies(take(connection, channel, "q", 6))


def test_the_lowest_priority_does_not_starve(connect: Connect) -> None:
    """While the highest never runs dry, every so many reads begin with the lowest."""
    connection = connect(priority_steps=[0, 9], lowest_first_every=5)
    channel = connection.channel()
    producer = kombu.Producer(channel)
    for number in range(100):
        producer.publish(number, routing_key="q", priority=9)
    for number in range(10):
        producer.publish(-number - 1, routing_key="q", priority=0)
    got: list[Any] = []

    def handle(message: Any) -> None:
        got.append(message.payload)
        message.ack()

    with Consumer(channel, [Queue("q")], on_message=handle, prefetch_count=1):
        drain(connection, lambda: len(got) >= 50)

    assert 10 == sum(number < 0 for number in got[:50])
    assert got[0] >= 0


def test_a_message_that_comes_later_wakes_the_consumer(connect: Connect) -> None:
    """A consumer that waits gets a message of any of its queues, without polling for it."""
    connection, publisher = connect(), connect()
    got: list[Any] = []
    with Consumer(connection.channel(), [Queue("a"), Queue("b")], on_message=got.append):
        assert nothing_comes(connection, 0.05)
        timer = threading.Timer(0.2, lambda: publisher.channel().publish_many("b", [b"1"]))
        timer.start()
        connection.drain_events(timeout=20)
        timer.join()

    assert [1] == bodies(got)


def test_get(channel: Any) -> None:
    """`basic.get` takes one, or says that there is none."""
    assert channel.basic_get("q") is None
    channel.publish_many("q", [b"1", b"2"])
    first, second = channel.basic_get("q"), channel.basic_get("q", no_ack=True)
    assert [1, 2] == bodies([first, second])
    assert channel.basic_get("q") is None
    first.ack()
    second.ack()  # nothing to do, and no error
    channel.flush_acks()
    assert (0, 0) == channel.queue_state("q")[1:3]


def test_without_acknowledgement(connection: kombu.Connection, channel: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A consumer with `no_ack` leaves nothing in hands, is not bound by prefetch, and may call `ack` for nothing."""
    channel.publish_many("q", [b"1"] * 50)
    got: list[Any] = []
    with Consumer(channel, [Queue("q")], on_message=got.append, no_ack=True):
        drain(connection, lambda: len(got) >= 50)
        got[0].ack()
        channel.flush_acks()
        assert (0, 0) == channel.queue_state("q")[1:3]

    assert 50 == len(got)
    assert "unknown" not in caplog.text


def test_two_channels_of_a_connection(connection: kombu.Connection) -> None:
    """Each has its queue and its own prefetch limit; one drain serves both."""
    first, second = connection.channel(), connection.channel()
    first.publish_many("a", [b"1"] * 20)
    first.publish_many("b", [b"2"] * 20)
    got: dict[str, list[Any]] = {"a": [], "b": []}
    Consumer(first, [Queue("a")], on_message=got["a"].append, prefetch_count=3).consume()
    Consumer(second, [Queue("b")], on_message=got["b"].append, prefetch_count=5).consume()
    drain(connection, lambda: len(got["a"]) > 3 or len(got["b"]) > 5, 0.5)
    assert ([1] * 3, [2] * 5) == (bodies(got["a"]), bodies(got["b"]))
    first.publish_many("c", [b"3"])
    third = connection.channel()
    Consumer(third, [Queue("c")], on_message=got.setdefault("c", []).append).consume()
    connection.drain_events(timeout=5)
    assert [3] == bodies(got["c"])


def test_a_callback_that_raises_loses_nothing(connection: kombu.Connection, channel: Any) -> None:
    """The error comes out of the drain; what was read with that message is delivered next."""
    channel.publish_many("q", [b"%d" % number for number in range(5)])
    got: list[Any] = []

    def handle(message: Any) -> None:
        got.append(message.payload)
        if len(got) == 2:
            raise LookupError

    with Consumer(channel, [Queue("q")], on_message=handle, prefetch_count=5):
        with pytest.raises(LookupError):
            connection.drain_events(timeout=5)
        connection.drain_events(timeout=5)

    assert [0, 1, 2, 3, 4] == got


def test_simple_queue(connection: kombu.Connection) -> None:
    """kombu's SimpleQueue."""
    queue = connection.SimpleQueue("simple")
    for number in range(3):
        queue.put({"n": number}, headers={"h": number})
    assert 3 == queue.qsize()
    for number in range(3):
        message = queue.get(timeout=5)
        assert ({"n": number}, {"h": number}) == (message.payload, message.headers)
        message.ack()
    with pytest.raises(queue.Empty):
        queue.get(timeout=0.1)
    with pytest.raises(queue.Empty):
        queue.get_nowait()
    queue.close()


def test_eventloop(connection: kombu.Connection, channel: Any) -> None:
    """kombu's eventloop."""
    got: list[Any] = []
    channel.publish_many("q", [b"1"])
    with Consumer(channel, [Queue("q")], on_message=got.append):
        for _ in eventloop(connection, limit=3, timeout=0.1, ignore_timeouts=True):
            continue

    assert [1] == bodies(got)


def test_consumer_mixin(connect: Connect) -> None:
    """kombu's ConsumerMixin, callbacks and acknowledgements included."""

    class Worker(ConsumerMixin):
        def __init__(self) -> None:
            self.connection = connect()
            self.got: list[Any] = []

        def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
            return [consumer([Queue("q")], callbacks=[self.handle], prefetch_count=2)]

        def handle(self, body: Any, message: Any) -> None:
            self.got.append(body)
            message.ack()
            if len(self.got) == 10:
                self.should_stop = True

    connect().channel().publish_many("q", [b"%d" % number for number in range(10)])
    worker = Worker()
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    thread.join(20)

    assert list(range(10)) == worker.got
    assert (0, 0) == connect().channel().queue_state("q")[1:3]


def test_cancelling_gives_back_what_was_not_delivered(connect: Connect) -> None:
    """A cancelled consumer gets no more; what it has been given stays its own, the rest is for others."""
    connection, other = connect(), connect()
    channel = connection.channel()
    channel.publish_many("q", [b"%d" % number for number in range(4)])
    got: list[Any] = []
    consumer = Consumer(channel, [Queue("q")], on_message=lambda message: (got.append(message), consumer.cancel()), prefetch_count=4)
    consumer.consume()
    connection.drain_events(timeout=5)

    assert [0] == bodies(got)
    assert [1, 2, 3] == bodies(take(other, other.channel(), "q", 3))


def test_many_threads_lose_nothing(connect: Connect) -> None:
    """Threads with connections of their own publish and consume at once: each message once, each thread's in order."""
    got: list[Any] = []
    lock = threading.Lock()
    stop = threading.Event()

    def consume() -> None:
        with connect() as connection:
            def handle(message: Any) -> None:
                with lock:
                    got.append(message.payload)
                message.ack()

            with Consumer(connection.channel(), [Queue("q")], on_message=handle, prefetch_count=10):
                while not stop.is_set():
                    try:
                        connection.drain_events(timeout=0.1)
                    except TimeoutError:
                        continue

    def publish(name: int) -> None:
        with connect() as connection:
            producer = connection.Producer()
            for number in range(100):
                producer.publish([name, number], routing_key="q")

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    publishers = [threading.Thread(target=publish, args=(name,)) for name in range(3)]
    for thread in (*consumers, *publishers):
        thread.start()
    for thread in publishers:
        thread.join(30)
    deadline = threading.Event()
    for _ in range(200):
        if len(got) >= 300:
            break
        deadline.wait(0.05)
    stop.set()
    for thread in consumers:
        thread.join(30)

    assert sorted([name, number] for name in range(3) for number in range(100)) == sorted(got)
    assert (0, 0) == connect().channel().queue_state("q")[1:3]
