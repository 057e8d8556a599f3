"""What a consumer tells of itself, and a publisher of consumers: for the metrics."""

import asyncio
import threading
from collections.abc import Mapping, Sequence

import pytest

from router.queue.broker import Broker
from router.queue.consumer import BatchConsumer, DeadReason
from router.queue.entries import Entry
from tests.integration.queue.kit import QueueServer, dead_letters, entries, publisher_of, until

pytestmark = pytest.mark.anyio
quick = pytest.mark.parametrize("server", ["streams", "redis"], indirect=True)
"""Brokers that start at once; RabbitMQ takes half a minute, and is asked about the rest of what consumers do in test_consumer.py."""


class Holding:
    """A consumer that holds what it has until it is let go."""

    def __init__(self, broker: Broker) -> None:
        self.redelivered: list[int] = []
        self.taken: list[str] = []
        self.go_on = asyncio.Event()
        self.consumer = BatchConsumer(
            broker, self._handle, prefetch=10, on_dead=lambda reason: None, on_redelivered=self.redelivered.append
        )

    async def _handle(self, found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        self.taken += [entry.id for entry in found]
        await self.go_on.wait()
        return {}


@quick
async def test_connected_while_it_consumes(broker: Broker, server: QueueServer) -> None:
    """Not before it is started, and no longer when it has stopped."""
    holding = Holding(broker)
    assert not holding.consumer.is_connected
    holding.consumer.start()
    await until(lambda: holding.consumer.is_connected, "the connection")
    await holding.consumer.stop()

    assert not holding.consumer.is_connected


@quick
async def test_given_out_again_is_counted_once(broker: Broker, server: QueueServer) -> None:
    """An entry that somebody had and left behind is counted as often as it is given out again; a new one never is."""
    publisher = publisher_of(server.url)
    publisher.start()
    try:
        await publisher.publish(entries(3))
        with broker.connect() as connection:
            channel = broker.open_channel(connection)
            left = await asyncio.to_thread(broker.lane_queues()[0](channel).get)
            assert left is not None
            channel.close()
        holding = Holding(broker)
        holding.go_on.set()
        holding.consumer.start()
        await until(lambda: len(holding.taken) == 3, "all entries")
        await holding.consumer.stop()
    finally:
        await publisher.stop()

    assert 1 == sum(holding.redelivered)
    assert [] == dead_letters(broker)


@pytest.mark.parametrize("server", ["streams"], indirect=True)
async def test_what_is_in_hands_is_seen(broker: Broker, server: QueueServer) -> None:
    """Streams tell what consumers have and have not acknowledged, lane by lane."""
    publisher = publisher_of(server.url)
    publisher.start()
    holding = Holding(broker)
    try:
        await publisher.publish(entries(4))
        holding.consumer.start()
        await until(lambda: publisher.lanes["otp"].in_hands == 4, "four in hands")
        assert 0 == publisher.lanes["otp"].depth == publisher.lanes["bulk"].in_hands
        holding.go_on.set()
        await until(lambda: publisher.lanes["otp"].in_hands == 0, "none in hands")
    finally:
        holding.go_on.set()
        await holding.consumer.stop()
        await publisher.stop()

    assert 4 == len(holding.taken)
    assert "consumer" not in {thread.name for thread in threading.enumerate()}
