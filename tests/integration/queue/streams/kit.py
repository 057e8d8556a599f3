"""What the tests of the transport say often."""

import time
from collections.abc import Callable
from typing import Any

import kombu
from kombu import Consumer, Queue


def drain(connection: kombu.Connection, until: Callable[[], object], seconds: float = 10.0) -> None:
    """Drains until the condition holds, or for at most so long."""
    deadline = time.monotonic() + seconds
    while not until() and time.monotonic() < deadline:
        try:
            connection.drain_events(timeout=0.05)
        except TimeoutError:
            continue


def take(connection: kombu.Connection, channel: Any, queue: str, number: int, seconds: float = 10.0, **options: Any) -> list[Any]:
    """That many messages, unsettled; fewer when they do not come in time. The consumer stays, so that they stay in hand."""
    got: list[Any] = []
    consumer = Consumer(channel, [Queue(queue)], on_message=got.append, **{"prefetch_count": number, **options})
    consumer.consume()
    drain(connection, lambda: len(got) >= number, seconds)
    return got


def nothing_comes(connection: kombu.Connection, seconds: float = 0.3) -> bool:
    """Whether a drain brings nothing."""
    try:
        connection.drain_events(timeout=seconds)
    except TimeoutError:
        return True
    return False


def bodies(messages: list[Any]) -> list[Any]:
    return [message.payload for message in messages]


def stream_length(channel: Any, queue: str, step: int = 0) -> int:
    return int(channel.link.call("XLEN", channel.connection.keys.stream(queue, step)))


def calls_of(channel: Any, command: str) -> int:
    """How often Redis has run a command since it started."""
    for line in channel.link.call("INFO", "commandstats").decode().splitlines():
        if line.startswith(f"cmdstat_{command}:"):
            return int(line.split("calls=")[1].split(",")[0])
    return 0
