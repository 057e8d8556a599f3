"""Who holds what: nothing comes again while its owner lives, and all of it when the owner is dead."""

import json
import logging
import os
import signal
import time
from typing import Any

import kombu
import pytest
from kombu import Consumer, Queue

from tests import servers
from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, drain, nothing_comes, stream_length, take
from tests.integration.queue.streams.processes import WAIT_SECONDS, worker
from tests.servers import wait_until


def options_of(connection: kombu.Connection) -> dict[str, Any]:
    return dict(connection.transport_options)


def test_what_a_killed_consumer_held_comes_again(connect: Connect, streams_server: servers.Server) -> None:
    """kill -9 with messages in hand: another consumer gets them, once, and is told that they were delivered before."""
    connection = connect(visibility_timeout=1)
    channel = connection.channel()
    channel.publish_many("q", [b"%d" % number for number in range(20)])
    with worker(streams_server.url, options_of(connection), "q", 10, "hold") as held:
        first = held.read(10)
        held.process.kill()
        held.process.wait(WAIT_SECONDS)
    got = take(connection, channel, "q", 20, 30)

    assert [str(number) for number in range(10)] == first
    assert list(range(20)) == sorted(bodies(got))
    again = [message.payload for message in got if message.delivery_info["redelivered"]]
    assert list(range(10)) == sorted(again)
    assert {1} == {message.headers["x-delivery-count"] for message in got if message.delivery_info["redelivered"]}
    for message in got:
        message.ack()
    channel.flush_acks()
    assert 0 == stream_length(channel, "q")


def test_many_kills_lose_nothing(connect: Connect, streams_server: servers.Server) -> None:
    """Consumers are killed again and again in the middle of their work: every message is handled, and nothing stays behind."""
    connection = connect(visibility_timeout=1, ack_flush_interval=0.05)
    channel = connection.channel()
    channel.publish_many("q", [b"%d" % number for number in range(4000)])
    handled: list[str] = []
    for _ in range(6):
        with worker(streams_server.url, options_of(connection), "q", 50, "ack") as killed:
            handled += killed.read(100)
            killed.process.kill()
            killed.process.wait(WAIT_SECONDS)
            killed.reader.join(WAIT_SECONDS)
            while not killed.lines.empty():
                handled.append(killed.lines.get())
    got: list[Any] = []

    def handle(message: Any) -> None:
        got.append(message.payload)
        message.ack()

    with Consumer(channel, [Queue("q")], on_message=handle, prefetch_count=100):
        drain(connection, lambda: set(map(int, handled)) | set(got) == set(range(4000)), 60)
        drain(connection, lambda: stream_length(channel, "q") == 0, 20)
    channel.flush_acks()

    assert set(range(4000)) == set(map(int, handled)) | set(got)
    assert 0 == stream_length(channel, "q")
    # A kill costs at most what was acknowledged and not sent, or in hand: the prefetch twice
    assert len(handled) + len(got) - 4000 <= 6 * 2 * 50


def test_long_work_is_not_delivered_again(connect: Connect) -> None:
    """While the owner lives, work may take longer than the visibility timeout, whatever its thread does."""
    owner, other = connect(visibility_timeout=3), connect(visibility_timeout=3)
    channel = owner.channel()
    channel.publish_many("q", [b"1"] * 3)
    got = take(owner, channel, "q", 3)
    more: list[Any] = []
    with Consumer(other.channel(), [Queue("q")], on_message=more.append):
        drain(other, lambda: more, 8)
    assert [] == more
    for message in got:
        message.ack()
    channel.flush_acks()
    assert 0 == stream_length(channel, "q")


def test_what_was_read_and_not_delivered_is_leased_too(connect: Connect) -> None:
    """A callback that takes long keeps the rest of its batch from being delivered elsewhere."""
    owner, other = connect(visibility_timeout=3), connect(visibility_timeout=3)
    channel = owner.channel()
    channel.publish_many("q", [b"1"] * 3)
    stolen: list[Any] = []
    mine: list[Any] = []
    second = Consumer(other.channel(), [Queue("q")], on_message=stolen.append)
    second.consume()

    def handle(message: Any) -> None:
        mine.append(message)
        if len(mine) == 1:
            drain(other, lambda: stolen, 5)

    with Consumer(channel, [Queue("q")], on_message=handle, prefetch_count=3):
        drain(owner, lambda: len(mine) >= 3, 20)

    assert (3, 0) == (len(mine), len(stolen))


def test_a_stopped_owner_loses_its_lease(connect: Connect, streams_server: servers.Server) -> None:
    """A process that is stopped (SIGSTOP) cannot renew: another consumer gets its messages."""
    connection = connect(visibility_timeout=1)
    channel = connection.channel()
    channel.publish_many("q", [b"1"])
    with worker(streams_server.url, options_of(connection), "q", 1, "hold") as held:
        held.read(1)
        os.kill(held.process.pid, signal.SIGSTOP)
        got = take(connection, channel, "q", 1, 30)
        os.kill(held.process.pid, signal.SIGCONT)
        time.sleep(1)
        assert [1] == bodies(got)
        assert 1 == len(channel.connection.in_hand())
        got[0].ack()
        channel.flush_acks()
    assert 0 == stream_length(channel, "q")


def test_a_lost_lease_is_told(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """An owner whose entries another consumer took over says so; its late acknowledgement removes them."""
    owner, thief = connect(visibility_timeout=0.6), connect()
    channel = owner.channel()
    channel.publish_many("q", [b"1"])
    (message,) = take(owner, channel, "q", 1)
    key = channel.connection.keys.stream("q", 0)
    with caplog.at_level(logging.WARNING):
        thief.channel().link.call("XCLAIM", key, "kombu", "thief", 0, message.entry.id)
        wait_until(lambda: "leased to another consumer" in caplog.text, "the keeper notices")
    message.ack()
    channel.flush_acks()

    assert 0 == stream_length(channel, "q")


def test_no_lease_for_longer_than_the_timeout_is_told(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Redis was away for so long that messages may come twice: the log says for how long."""
    with servers.single(aof=True) as server:
        connection = connect(server.url, visibility_timeout=0.6, socket_connect_timeout=1)
        channel = connection.channel()
        channel.publish_many("q", [b"1"])
        take(connection, channel, "q", 1)
        with caplog.at_level(logging.WARNING):
            server.kill()
            wait_until(lambda: "cannot be renewed" in caplog.text, "the keeper notices")
            time.sleep(1)
            server.start()
            wait_until(lambda: "longer than visibility_timeout" in caplog.text, "the keeper tells")


def test_a_closed_connection_gives_back_at_once(connect: Connect) -> None:
    """Long before the lease would end, in order, counted as delivered."""
    owner, other = connect(visibility_timeout=3600), connect(visibility_timeout=3600)
    channel = owner.channel()
    channel.publish_many("q", [b"%d" % number for number in range(6)])
    take(owner, channel, "q", 3)
    owner.release()
    got = take(other, other.channel(), "q", 6)

    assert list(range(6)) == bodies(got)
    assert [True] * 3 + [False] * 3 == [message.delivery_info["redelivered"] for message in got]


def test_sigterm_sends_the_acknowledgements(connect: Connect, streams_server: servers.Server) -> None:
    """A program without a handler of its own ends by the signal, as it would have, but its acknowledgements are sent."""
    connection = connect(ack_flush_interval=3600)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 5)
    with worker(streams_server.url, options_of(connection), "q", 5, "ack-and-sleep") as ended:
        assert ["1"] * 5 + ["sleeping"] == ended.read(6)
        assert 5 == stream_length(channel, "q")
        ended.process.terminate()

        assert -signal.SIGTERM == ended.process.wait(WAIT_SECONDS)
    assert 0 == stream_length(channel, "q")


def test_the_end_of_the_program_sends_the_acknowledgements(connect: Connect, streams_server: servers.Server) -> None:
    """Also without closing the connection."""
    connection = connect(ack_flush_interval=3600)
    channel = connection.channel()
    channel.publish_many("q", [b"1"] * 5)
    with worker(streams_server.url, options_of(connection), "q", 5, "exit") as ended:
        ended.read(5)

        assert 0 == ended.process.wait(WAIT_SECONDS)
    assert 0 == stream_length(channel, "q")


def test_a_handler_of_the_program_stays() -> None:
    """A program that handles SIGTERM itself is left alone."""
    from router.queue.streams import lifecycle

    before = signal.getsignal(signal.SIGTERM)
    handler: Any = lambda number, frame: None  # noqa: E731
    signal.signal(signal.SIGTERM, handler)
    try:
        lifecycle.handle_sigterm()
        assert handler is signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)


def test_dead_consumers_leave_the_group(connect: Connect, streams_server: servers.Server) -> None:
    """One that holds nothing, and was silent for long, is removed; one that holds something, or lives, is not."""
    connection = connect(dead_consumer_seconds=1, visibility_timeout=2)
    channel = connection.channel()
    channel.publish_many("q", [b"1"])
    key = channel.connection.keys.stream("q", 0)
    channel.link.call("XGROUP", "CREATE", key, "kombu", "0")
    entry = channel.link.call("XREADGROUP", "GROUP", "kombu", "dead-with-one", "COUNT", 1, "STREAMS", key, ">")[0][1][0][0]
    channel.link.call("XGROUP", "CREATECONSUMER", key, "kombu", "dead")
    with Consumer(channel, [Queue("q")], on_message=lambda _: None):
        channel.link.call("XCLAIM", key, "kombu", "dead-with-one", 0, entry, "IDLE", 0, "JUSTID")
        wait_until(lambda: b"dead" not in consumers(channel, key), "it is removed")
        names = consumers(channel, key)

    assert {b"dead-with-one", channel.connection.consumer_name.encode()} == names
    assert 1 == stream_length(channel, "q")


def test_a_closed_connection_leaves_the_group(connect: Connect) -> None:
    """No consumer stays behind."""
    connection, other = connect(), connect().channel()
    other.publish_many("q", [b"1"])
    take(connection, connection.channel(), "q", 1)
    connection.release()

    assert consumers(other, other.connection.keys.stream("q", 0)) <= {b"~released"}


def test_a_fork_is_another_consumer(connect: Connect, streams_server: servers.Server) -> None:
    """The child of a fork takes nothing of its parent's: not its connections, not its messages, and it can work on its own."""
    connection = connect(visibility_timeout=1)
    channel = connection.channel()
    channel.publish_many("q", [b"1", b"2"])
    (mine,) = take(connection, channel, "q", 1)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        message = channel.basic_get("q")
        told = {"body": message.payload, "held": len(channel.held()), "consumer": channel.connection.consumer_name}
        message.ack()
        channel.flush_acks()
        os.write(write_end, json.dumps(told).encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        told = json.loads(pipe.read())
    os.waitpid(child, 0)

    assert (2, 1) == (told["body"], told["held"])
    assert told["consumer"] != channel.connection.consumer_name
    time.sleep(1.5)
    assert (0, 1) == channel.queue_state("q")[1:3]
    mine.ack()
    channel.flush_acks()
    assert 0 == stream_length(channel, "q")


def test_a_forgotten_connection_does_not_hold_for_ever(connect: Connect, streams_server: servers.Server) -> None:
    """A connection that was dropped without being closed renews nothing any more."""
    import gc

    other = connect(visibility_timeout=0.8)
    channel = other.channel()
    channel.publish_many("q", [b"1"])
    forgotten = kombu.Connection(streams_server.url, transport_options=options_of(other))
    assert 1 == len(take(forgotten, forgotten.channel(), "q", 1))
    del forgotten
    gc.collect()

    assert [1] == bodies(take(other, channel, "q", 1, 20))
    assert nothing_comes(other)


def consumers(channel: Any, key: bytes) -> set[bytes]:
    return {dict(zip(row[::2], row[1::2], strict=True))[b"name"] for row in channel.link.call("XINFO", "CONSUMERS", key, "kombu")}
