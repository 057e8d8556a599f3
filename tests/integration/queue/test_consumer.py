import asyncio
import contextlib
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis

from router.queue.broker import Broker
from router.queue.consumer import BatchConsumer, DeadReason
from router.queue.entries import Entry, encode
from router.queue.lanes import QUEUES
from router.store.redis import StoreAway
from tests.integration.queue.kit import (
    Collecting,
    OwnRedis,
    QueueServer,
    RabbitQueue,
    RedisQueue,
    StreamsQueue,
    dead_letters,
    entries,
    in_hands,
    publisher_of,
    until,
)

pytestmark = pytest.mark.anyio
redis_only = pytest.mark.parametrize("server", ["redis"], indirect=True)


async def publish(url: str, found: Sequence[Entry]) -> None:
    publisher = publisher_of(url)
    publisher.start()
    await publisher.publish(found)
    await publisher.stop()


def put(broker: Broker, body: Any, lane: str = "otp", **options: Any) -> None:
    """Something that our publisher would never put there."""
    with broker.connect() as connection:
        channel = connection.channel()
        broker.declare(channel)
        binary = {"content_type": "application/octet-stream", "content_encoding": "binary"}
        connection.Producer(channel).publish(body, routing_key=QUEUES[lane], **binary | options)  # type: ignore[index]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a broker brings one message at a time, what comes slowly is of one batch all the same."""
    monkeypatch.setattr("router.queue.consumer._GATHER_SECONDS", 1.0)


@pytest.mark.usefixtures("patient")
async def test_taken_in_batches_and_acknowledged(broker: Broker, server: QueueServer) -> None:
    """All of them, in order, up to the prefetch at a time; nothing stays in anybody's hands."""
    found = entries(95)
    await publish(server.url, found)
    async with Collecting(broker, prefetch=20) as collecting:
        await until(lambda: len(collecting.taken) == 95, "all entries")

    assert 0 == server.left()
    assert [entry.id for entry in found] == collecting.taken
    assert 20 == max(map(len, collecting.batches))
    assert len(collecting.batches) < 20


async def test_a_lone_entry_waits_for_nobody(broker: Broker, server: QueueServer) -> None:
    async with Collecting(broker, prefetch=100) as collecting:
        await asyncio.sleep(0.3)
        await publish(server.url, entries(1))
        await until(lambda: collecting.taken, "the entry")

    assert [["wg_otp_0000"]] == collecting.batches


@pytest.mark.usefixtures("patient")
async def test_twice_on_the_queue_is_handled_once(broker: Broker, server: QueueServer) -> None:
    """In one batch; both are acknowledged."""
    await publish(server.url, entries(1) * 3)
    async with Collecting(broker) as collecting:
        await until(lambda: collecting.taken, "the entry")
        await asyncio.sleep(0.4)

    assert 0 == server.left()
    assert ["wg_otp_0000"] == collecting.taken


async def test_two_consumers_share(broker: Broker, server: QueueServer) -> None:
    await publish(server.url, entries(200))
    async with Collecting(broker, prefetch=5) as one, Collecting(broker, prefetch=5) as two:
        await until(lambda: len(one.taken) + len(two.taken) >= 200, "all entries")

    assert sorted(entry.id for entry in entries(200)) == sorted(one.taken + two.taken)


@pytest.mark.parametrize("server", ["streams", "amqp"], indirect=True)
async def test_stop_gives_back_what_was_only_fetched(broker: Broker, server: QueueServer) -> None:
    """Nothing is lost with a consumer that stops in good order, and nothing has to wait for a timeout.

    Not asked of kombu's own Redis transport: an answer to its BRPOP that is on its way then is gone.
    """
    await publish(server.url, entries(60))
    async with Collecting(broker, prefetch=7) as first:
        await until(lambda: len(first.taken) >= 7, "some")
    async with Collecting(broker) as second:
        await until(lambda: len(set(first.taken + second.taken)) == 60, "the rest")

    assert 0 == server.left()
    assert 60 == len(first.taken + second.taken)


# Lanes


async def test_lanes_without_starvation(broker: Broker, server: QueueServer) -> None:
    """While codes never run out, notifications get three turns of twenty and bulk one; and in each lane the oldest goes first."""
    for lane in QUEUES:
        await publish(server.url, entries(800, lane))

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        time.sleep(0.01)
        return {}

    async with Collecting(broker, work, prefetch=20) as collecting:
        await until(lambda: len(collecting.taken) >= 460, "twenty rounds")
    # On streams a turn is a read; the first one brings as much as a consumer may hold, three batches
    first = collecting.taken[60:460]
    shares = [sum(f"_{lane}_" in id for id in first) for lane in QUEUES]

    if isinstance(server, RabbitQueue):
        # It may have nothing ready at a lane's turn, which the next lane then takes: none gets less than its turns
        assert shares[1] >= 45
        assert shares[2] >= 12
    else:
        assert [320, 60, 20] == [pytest.approx(share, abs=12) for share in shares]
    for lane in QUEUES:
        mine = [id for id in first if f"_{lane}_" in id]
        assert sorted(mine) == mine


async def test_bulk_gets_through(broker: Broker, server: QueueServer) -> None:
    """One bulk message behind codes that keep coming: it waits for its turn, not for the codes to end."""
    await publish(server.url, [*entries(300), *entries(1, "bulk")])

    async with Collecting(broker, prefetch=1) as collecting:
        await until(lambda: "wg_bulk_0000" in collecting.taken, "the bulk message")

    assert collecting.taken.index("wg_bulk_0000") <= 21


async def test_a_code_overtakes_bulk(broker: Broker, server: QueueServer) -> None:
    """It comes behind many bulk messages, and does not wait for them."""
    await publish(server.url, entries(1000, "bulk"))

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        time.sleep(0.01)
        return {}

    async with Collecting(broker, work, prefetch=10) as collecting:
        await until(lambda: len(collecting.taken) >= 50, "some bulk")
        await publish(server.url, entries(1))
        before = len(collecting.taken)
        await until(lambda: "wg_otp_0000" in collecting.taken, "the code")

    assert collecting.taken.index("wg_otp_0000") - before <= 150


async def test_empty_lanes_cost_no_turn(broker: Broker, server: QueueServer) -> None:
    await publish(server.url, entries(30, "bulk"))
    async with Collecting(broker) as collecting:
        await until(lambda: len(collecting.taken) == 30, "all")

    assert [entry.id for entry in entries(30, "bulk")] == collecting.taken


# Poison


@pytest.mark.parametrize(
    "body",
    [b"not json", b"", b"\xff\xfe\x00", b"{}", b"[]", b"null", b'{"id": 7, "lane": "otp", "at": 1}',
     b'{"id": "wg_1", "lane": "fast", "at": 1}', b'{"id": "wg_\xff", "lane": "otp", "at": 1}', b"x" * 10_000],
)  # fmt: skip
async def test_undecodable(broker: Broker, server: QueueServer, body: bytes) -> None:
    """It goes to the dead letters with its reason and where it came from, cut where it is long; those behind it go on."""
    put(broker, body)
    await publish(server.url, entries(3))
    async with Collecting(broker) as collecting:
        await until(lambda: len(collecting.taken) == 3 and collecting.dead, "the others")

    assert 0 == server.left()
    assert ["undecodable"] == collecting.dead
    ((dead, headers),) = dead_letters(broker)
    assert body[:4096] == dead
    assert ("undecodable", "seedrouter.otp") == (headers["reason"], headers["queue"])
    assert headers["at"] > 1e9


async def test_text_that_is_not_utf8(broker: Broker, server: QueueServer) -> None:
    """An envelope that promises UTF-8 and holds something else."""
    put(broker, b"\xff\xfe", content_type="application/json", content_encoding="utf-8")
    await publish(server.url, entries(2))
    async with Collecting(broker) as collecting:
        await until(lambda: len(collecting.taken) == 2 and collecting.dead, "the others")

    assert ["undecodable"] == [headers["reason"] for _, headers in dead_letters(broker)]


@redis_only
@pytest.mark.parametrize("raw", [b"rubbish", b"\xff\xfe", b"[]", b"{}"])
async def test_no_envelope_at_all(broker: Broker, server: QueueServer, redis_url: str, raw: bytes) -> None:
    """What kombu itself cannot read, in front and in between: the entries around it are handled."""
    found = entries(4)
    await publish(server.url, found[:2])
    with redis.Redis.from_url(redis_url) as client:
        client.lpush(f"queue:{QUEUES['otp']}", raw)
    await publish(server.url, found[2:])
    async with Collecting(broker) as collecting:
        await until(lambda: {entry.id for entry in found} <= set(collecting.taken), "the entries around it")
        await until(lambda: not in_hands(redis_url), "the acknowledgements")


async def test_dead_by_the_handlers_word(broker: Broker, server: QueueServer) -> None:
    """It answers which ids have no record: those alone are buried, every copy of them."""
    await publish(server.url, [*entries(4), entries(2)[1]])

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        return {"wg_otp_0001": "unknown_message"}

    async with Collecting(broker, work) as collecting:
        await until(lambda: len(collecting.dead) == 2, "the dead letters")
    dead = dead_letters(broker)

    assert 0 == server.left()
    assert [encode(entries(2)[1])] * 2 == [body for body, _ in dead]
    assert ["unknown_message"] * 2 == [headers["reason"] for _, headers in dead]


async def test_an_entry_that_breaks_the_work(broker: Broker, server: QueueServer) -> None:
    """The batch fails, so its entries are tried one by one: the others are done, that one is buried."""
    await publish(server.url, entries(8))

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        if any(entry.id == "wg_otp_0003" for entry in found):
            raise ZeroDivisionError
        return {}

    async with Collecting(broker, work) as collecting:
        await until(lambda: len(collecting.taken) == 7 and collecting.dead, "the others")

    assert 0 == server.left()
    assert sorted(entry.id for entry in entries(8) if entry.id != "wg_otp_0003") == sorted(collecting.taken)
    assert [(encode(entries(8)[3]), "error")] == [(body, headers["reason"]) for body, headers in dead_letters(broker)]


# When the store, or the queue, is away


async def test_kept_while_the_store_is_away(broker: Broker, server: QueueServer) -> None:
    """Nothing is wrong with the entries: they wait, none is buried, and all are handled when the store is back."""
    await publish(server.url, entries(12))
    away = 3

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        nonlocal away
        if away:
            away -= 1
            raise StoreAway(ConnectionError())
        return {}

    async with Collecting(broker, work, prefetch=5) as collecting:
        await until(lambda: len(set(collecting.taken)) == 12, "all entries")

    assert 0 == server.left()
    assert [] == collecting.dead
    assert [] == dead_letters(broker)
    assert 12 == len(collecting.taken)


async def test_store_goes_away_while_one_by_one(broker: Broker, server: QueueServer) -> None:
    """A broken entry, and then the store is away: nobody is buried for that, nothing is lost."""
    await publish(server.url, entries(5))
    calls = 0

    def work(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError
        if calls == 3:
            raise StoreAway(ConnectionError())
        return {}

    async with Collecting(broker, work) as collecting:
        await until(lambda: len(set(collecting.taken)) == 5, "all entries")

    assert 0 == server.left()
    assert [] == collecting.dead


@pytest.mark.parametrize("kind", [RedisQueue, StreamsQueue])
async def test_redis_restarts(own_redis: OwnRedis, kind: type[RedisQueue | StreamsQueue]) -> None:
    """What was on the queue is handled when Redis is back; the consumer finds it by itself."""
    queue = kind(own_redis.url)
    async with Collecting(Broker(queue.url)) as collecting:
        await publish(queue.url, entries(3))
        await until(lambda: len(collecting.taken) == 3, "the first")
        await until(lambda: not queue.left(), "the acknowledgements")
        own_redis.stop()
        await asyncio.sleep(0.5)
        own_redis.start()
        await publish(queue.url, entries(5, "bulk"))
        await until(lambda: len(set(collecting.taken)) == 8, "the second")

    assert 0 == queue.left()


CONSUMER = """
    import asyncio, sys
    from router.queue.broker import Broker
    from router.queue.consumer import BatchConsumer

    async def handle(entries):
        print(len(entries), flush=True)
        await asyncio.sleep(600)

    async def main():
        BatchConsumer(Broker(sys.argv[1], visibility_timeout_seconds=8), handle, prefetch=4, on_dead=print).start()
        await asyncio.sleep(600)

    asyncio.run(main())
"""


async def test_killed_with_entries_in_hand(redis_url: str) -> None:
    """SIGKILL: what the dead consumer held comes back after the visibility timeout, behind all the rest; nothing is lost.

    Not asked of kombu's own Redis transport, which loses what it has taken off its list and not noted yet.
    """
    queue = StreamsQueue(redis_url)
    await publish(queue.url, entries(20))
    broker = Broker(queue.url, visibility_timeout_seconds=8)
    victim = subprocess.Popen([sys.executable, "-c", textwrap.dedent(CONSUMER), broker.url], stdout=subprocess.PIPE)  # noqa: ASYNC220 - it starts at once
    assert victim.stdout is not None
    first = int(await asyncio.to_thread(victim.stdout.readline))
    victim.send_signal(signal.SIGKILL)
    victim.wait(10)
    victim.stdout.close()

    held = queue.in_hands()
    async with Collecting(broker) as collecting:
        await until(lambda: len(set(collecting.taken)) == 20, "what the dead one held")
        await until(lambda: not queue.left(), "the acknowledgements")

    assert 4 == first
    assert 4 <= len(held) <= 12
    assert 20 == len(collecting.taken)
    assert held == set(collecting.taken[-len(held) :])


@pytest.mark.usefixtures("patient")
async def test_slow_work_is_not_given_to_another(redis_url: str) -> None:
    """Not within the visibility timeout: a consumer looks at many entries long, its own and its fellow's."""
    await publish(f"stock+{redis_url}", entries(4))
    broker = Broker(f"stock+{redis_url}", visibility_timeout_seconds=60)
    started, go_on = asyncio.Event(), asyncio.Event()
    slow_taken: list[str] = []

    async def handle(found: Sequence[Entry]) -> Mapping[str, DeadReason]:
        started.set()
        await go_on.wait()
        slow_taken.extend(entry.id for entry in found)
        return {}

    slow = BatchConsumer(broker, handle, prefetch=4, on_dead=lambda reason: None)
    slow.start()
    await asyncio.wait_for(started.wait(), 10)
    async with Collecting(broker) as other:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), 2)
        go_on.set()
        await until(lambda: not in_hands(redis_url), "the acknowledgements")
    await slow.stop()

    assert ([], 4) == (other.taken, len(slow_taken))
