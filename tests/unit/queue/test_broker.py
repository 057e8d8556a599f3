import pytest

from router.queue.broker import DEAD_QUEUE, Broker, kombu_url
from router.queue.entries import Entry, decode, encode
from router.queue.lanes import QUEUES, TURNS, LaneCycle, order_of_turn


@pytest.mark.parametrize(
    ("ours", "kombus"),
    [
        ("unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix:///a%20b/redis.sock?db=1&x=y", "redis+socket:///a%20b/redis.sock?virtual_host=1"),
        ("unix:///a b/redis.sock", "redis+socket:///a%20b/redis.sock?virtual_host=0"),
        ("unix:///a/redis.sock?", "redis+socket:///a/redis.sock?virtual_host=0"),
        ("redis://host:6379/2", "redis://host:6379/2"),
        ("rediss://user:word@host/0", "rediss://user:word@host/0"),
        ("amqp://guest:guest@host//", "amqp://guest:guest@host//"),
        ("memory://", "memory://"),
    ],
)
def test_kombu_url(ours: str, kombus: str) -> None:
    assert kombus == kombu_url(ours)
    assert kombus == Broker(ours).url


@pytest.mark.parametrize(
    ("url", "is_redis"), [("unix:///a.sock", True), ("redis://h/0", True), ("rediss://h/0", True), ("sentinel://h/0", True),
                          ("amqp://h//", False), ("memory://", False)],
)  # fmt: skip
def test_is_redis(url: str, is_redis: bool) -> None:
    """Only a Redis broker gets the options of kombu's Redis transport."""
    broker = Broker(url)

    assert is_redis == broker.is_redis
    assert is_redis == bool(broker.connect().transport_options)


def test_repr_hides_the_password() -> None:
    assert "word" not in repr(Broker("redis://user:word@host/0"))
    assert "word" not in repr(Broker("amqp://user:word@host//"))


def test_memory_broker() -> None:
    """Another broker than Redis: the depth, and no age."""
    broker = Broker("memory://")
    with broker.connect() as connection:
        channel = connection.channel()
        broker.declare(channel)
        connection.Producer(channel).publish(b"{}", routing_key=QUEUES["otp"])

        assert (1, None) == ((state := broker.lane_state(channel, "otp")).depth, state.oldest_at)
        assert 0 == broker.depth(channel, DEAD_QUEUE)


def test_entry() -> None:
    """An id, a lane, a time, and nothing else."""
    entry = Entry("wg_1", "bulk", 2.5)

    assert b'{"id":"wg_1","lane":"bulk","at":2.5}' == encode(entry)
    assert entry == decode(encode(entry))


# The lanes


def test_turns() -> None:
    """Of twenty turns bulk has one first, notifications three, codes the rest; each turn has all lanes, bulk last but in its own."""
    firsts = [order_of_turn(turn)[0] for turn in range(TURNS)]

    assert (16, 3, 1) == tuple(firsts.count(QUEUES[lane]) for lane in ("otp", "notification", "bulk"))
    assert {frozenset(QUEUES.values())} == {frozenset(order_of_turn(turn)) for turn in range(TURNS)}
    assert all(order_of_turn(turn)[-1] == QUEUES["bulk"] for turn in range(TURNS - 1))


def test_cycle() -> None:
    """kombu asks for the order before each message and tells the queue it came from: that is a turn."""
    cycle = LaneCycle(QUEUES.values())
    seen = []
    for _ in range(2 * TURNS):
        first, *_ = cycle.consume(3)
        seen.append(first)
        assert first == cycle.rotate(first)

    assert seen[:TURNS] == seen[TURNS:]
    assert 2 == seen.count(QUEUES["bulk"])


def test_cycle_of_some() -> None:
    """Only the active queues, as many as asked for; one that is no lane comes last."""
    cycle = LaneCycle(["other", QUEUES["bulk"]])

    assert [QUEUES["bulk"], "other"] == list(cycle.consume(10))
    assert [QUEUES["bulk"]] == list(cycle.consume(1))
    cycle.update([QUEUES["otp"]])
    assert [QUEUES["otp"]] == list(cycle.consume(3))
    assert [] == list(LaneCycle().consume(3))
