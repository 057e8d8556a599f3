"""Dead letters on kombu's transport in memory, which has nothing of Redis or RabbitMQ: looked at, put back, dropped."""

import pytest
from kombu import Producer

from router.domain.errors import NotFound
from router.queue.broker import Broker
from router.queue.burial import publish
from router.queue.dead_letters import drop, look, replay, replay_all
from router.queue.entries import Entry, decode, encode
from router.queue.lanes import QUEUES


def test_all_of_it() -> None:
    broker = Broker("memory://")
    with broker.connect() as connection:
        channel = broker.open_channel(connection)
        # One memory for all tests of a process
        for queue in (*Broker.lane_queues(), Broker.dead_queue()):
            queue(channel).purge()
        producer = Producer(channel)
        for number in range(4):
            headers = {"reason": "error", "queue": QUEUES["otp"], "at": float(number), "deaths": 1}
            publish(producer, encode(Entry(f"wg_{number}", "otp", 1.0)), headers)
    first = look(broker, 2, latest=False)
    latest = look(broker, 1)

    assert (4, ["wg_0", "wg_1"], ["wg_3"]) == (
        first.count, [letter.message_id for letter in first.letters], [letter.message_id for letter in latest.letters],
    )  # fmt: skip
    drop(broker, first.letters[0].id)
    replay(broker, first.letters[1].id, 9.0)
    with pytest.raises(NotFound):
        drop(broker, first.letters[0].id)
    done = replay_all(broker, 9.0)
    assert (2, 0) == (done.replayed, done.left)
    with broker.connect() as connection:
        lane = Broker.lane_queues()[0](connection.channel())
        back = [decode(message.body) for message in iter(lambda: lane.get(no_ack=True), None)]
    assert {Entry(f"wg_{number}", "otp", 9.0) for number in (1, 2, 3)} == set(back)
