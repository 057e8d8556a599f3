import pytest

from router.queue.broker import DEAD_QUEUE, Broker, kombu_url
from router.queue.entries import Entry, decode, encode
from router.queue.lanes import QUEUES, TURNS, LaneCycle, order_of_turn
from router.queue.redis_streams import parameters
from router.queue.streams import Transport


@pytest.mark.parametrize(
    ("ours", "kombus"),
    [
        ("stock+unix:///run/redis.sock", "redis+socket:///run/redis.sock?virtual_host=0"),
        ("stock+unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("stock+unix:///a%20b/redis.sock?db=1&x=y", "redis+socket:///a%20b/redis.sock?virtual_host=1"),
        ("stock+unix:///a b/redis.sock", "redis+socket:///a%20b/redis.sock?virtual_host=0"),
        ("stock+unix:///a/redis.sock?", "redis+socket:///a/redis.sock?virtual_host=0"),
        ("stock+redis://host:6379/2", "redis://host:6379/2"),
        ("stock+rediss://user:word@host/0", "rediss://user:word@host/0"),
        ("amqp://guest:guest@host//", "amqp://guest:guest@host//"),
        ("memory://", "memory://"),
    ],
)
def test_kombu_url(ours: str, kombus: str) -> None:
    """What is kombu's own, in kombu's words; `stock+` is how its Redis transport is asked for."""
    assert kombus == kombu_url(ours)
    assert kombus == Broker(ours).url


@pytest.mark.parametrize(
    ("url", "is_streams", "is_redis"),
    [
        ("unix:///a.sock", True, False), ("redis://h/0", True, False), ("rediss://h/0", True, False),
        ("redis+sentinel://h/main", True, False), ("redis+cluster://h", True, False), ("stock+redis://h/0", False, True),
        ("stock+unix:///a.sock", False, True), ("sentinel://h/0", False, True), ("amqp://h//", False, False), ("memory://", False, False),
    ],
)  # fmt: skip
def test_which_transport(url: str, is_streams: bool, is_redis: bool) -> None:
    """A Redis URL is our Streams transport, unless it asks for kombu's."""
    broker = Broker(url)

    assert (is_streams, is_redis) == (broker.is_streams, broker.is_redis)
    assert is_streams == isinstance(broker.connect().transport, Transport)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://user:word@host:7000/2", {"hostname": "host", "port": 7000, "userid": "user", "password": "word", "virtual_host": "2"}),
        ("unix:///run/redis.sock?db=3", {"virtual_host": "/run/redis.sock/3"}),
        ("rediss://host/0", {"hostname": "host", "ssl": True}),
        ("redis+cluster://a:1", {"hostname": "a", "port": 1}),
    ],
)
def test_parameters_of_streams(url: str, expected: dict[str, object]) -> None:
    """What kombu is told of a Redis URL of ours."""
    found = parameters(url, visibility_timeout_seconds=30.0)

    assert expected == {name: found[name] for name in expected}


def test_parameters_of_sentinel() -> None:
    """The master's name, and whom to ask for it."""
    options = parameters("redis+sentinel://a:1,b/main/2?sentinel_password=s", visibility_timeout_seconds=7.0)["transport_options"]

    assert ("main", [("a", 1), ("b", 26379)]) == (options["master_name"], options["sentinels"])
    assert ({"password": "s"}, 7.0) == (options["sentinel_kwargs"], options["visibility_timeout"])


@pytest.mark.parametrize(
    "url", ["redis://user:word@host/0", "stock+redis://user:word@host/0", "amqp://user:word@host//", "redis+sentinel://user:word@host/m"]
)
def test_repr_hides_the_password(url: str) -> None:
    assert "word" not in repr(Broker(url))


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
