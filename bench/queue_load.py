"""The load of `bench queue`, by kombu's public API alone: publishing and consuming so many entries, timed."""

import time
from collections.abc import Callable
from typing import Any

from kombu import Consumer, Producer

from bench.queue_brokers import PUBLISH, QUEUE, Side, body_of, queue

BATCH = 500
_PATIENCE_SECONDS = 60.0


def bodies(count: int) -> list[bytes]:
    """That many different entries."""
    now = time.time()
    return [body_of(f"01K0{i:022d}", now) for i in range(count)]


def publish_each(side: Side, count: int) -> float:
    """Entries per second, one after another."""

    def work(producer: Any, made: list[bytes]) -> None:
        for body in made:
            producer.publish(body, **PUBLISH)

    return _publish(side, count, work)


def publish_batches(side: Side, count: int, size: int = BATCH) -> float:
    """Entries per second by `Producer.batch`, `size` to a batch, each batch confirmed before the next begins."""

    def work(producer: Any, made: list[bytes]) -> None:
        for first in range(0, len(made), size):
            with producer.batch(size):
                for body in made[first : first + size]:
                    producer.publish(body, **PUBLISH)

    return _publish(side, count, work)


def publish_many(side: Side, count: int, size: int = BATCH) -> float | None:
    """Entries per second by the channel's `publish_many`; None where the transport has none."""
    with side.connect() as connection:
        if not hasattr(connection.channel(), "publish_many"):
            return None

    def work(producer: Any, made: list[bytes]) -> None:
        for first in range(0, len(made), size):
            producer.channel.publish_many(QUEUE, made[first : first + size], content_type="application/json", content_encoding="utf-8")

    return _publish(side, count, work)


def _publish(side: Side, count: int, work: Callable[[Any, list[bytes]], None]) -> float:
    made = bodies(count)
    with side.connect() as connection:
        channel = connection.channel()
        queue()(channel).declare()
        producer = Producer(channel)
        # The first opens what is opened once
        producer.publish(made[0], **PUBLISH)
        started = time.perf_counter()
        work(producer, made)
        return count / (time.perf_counter() - started)


def consume(side: Side, count: int, prefetch: int) -> float:
    """Entries per second taken and acknowledged, each as it comes, until the broker has the last acknowledgement.

    Raises RuntimeError where fewer than `count` come.
    """
    taken = 0

    def take(message: Any) -> None:
        nonlocal taken
        taken += 1
        message.ack()

    connection = side.connect()
    try:
        channel = connection.channel()
        queue()(channel).declare()
        started = time.perf_counter()
        deadline = started + _PATIENCE_SECONDS
        with Consumer(channel, [queue()], on_message=take, prefetch_count=prefetch):
            while taken < count:
                if time.perf_counter() > deadline:
                    raise RuntimeError(f"{side.name}: only {taken} of {count} entries came")
                connection.drain_events(timeout=_PATIENCE_SECONDS)
    finally:
        # What the transport still holds back is written by then, so closing is part of the time
        connection.release()
    return taken / (time.perf_counter() - started)
