"""Dead letters on each broker: looked at where they are, put back on their lanes, dropped."""

import json
from typing import Any

import kombu
import pytest
import redis
from kombu import Producer

from router.domain.errors import Conflict, NotFound, Unavailable
from router.domain.message import Lane
from router.queue import burial, dead_shelves
from router.queue import dead_letters as module
from router.queue.broker import Broker
from router.queue.burial import letter_of
from router.queue.dead_letters import DeadLetterList, drop, look, replay, replay_all
from router.queue.entries import encode
from router.queue.lanes import DEAD_QUEUE, QUEUES
from router.queue.streams.link import Link
from router.queue.streams.scripts import Script
from tests.integration.queue.kit import Collecting, QueueServer, RabbitQueue, RedisQueue, StreamsQueue, dead_letters, entries, until

pytestmark = pytest.mark.anyio

@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look puts back has time to be back before the next one."""
    monkeypatch.setattr(dead_shelves, "_BACK_SECONDS", 20.0)


SECRET = b"\xff your code is 123456"


def put(broker: Broker, body: bytes, queue: str = QUEUES["otp"], headers: dict[str, Any] | None = None) -> None:
    with broker.connect() as connection:
        producer = Producer(broker.open_channel(connection))
        producer.publish(body, routing_key=queue, content_type="application/json", content_encoding="utf-8", headers=headers)


def buried(broker: Broker, count: int, lane: Lane = "otp") -> list[str]:
    """So many entries as a consumer would have buried them, their ids in the order of their death."""
    with broker.connect() as connection:
        producer = Producer(broker.open_channel(connection))
        for at, entry in enumerate(entries(count, lane)):
            headers = {"reason": "unknown_message", "queue": QUEUES[lane], "at": 1e9 + at, "deaths": 1}
            burial.publish(producer, encode(entry), headers)
    return [entry.id for entry in entries(count, lane)]


def message_ids(found: DeadLetterList) -> list[str | None]:
    return [letter.message_id for letter in found.letters]


class TestLook:
    async def test_they_stay(self, broker: Broker) -> None:
        """The first and the last, with all that is known of them; as often as one likes, and nothing is taken away or put elsewhere."""
        ids = buried(broker, 5, "bulk")
        for _ in range(3):
            latest, oldest = look(broker, 2), look(broker, 2, latest=False)

            assert (5, ids[:2]) == (oldest.count, message_ids(oldest))
            assert (5, ids[:2:-1]) == (latest.count, message_ids(latest))
        letter = oldest.letters[0]
        assert ("unknown_message", "bulk", 1, 1000.0) == (letter.reason, letter.lane, letter.deaths, letter.queued_at)
        assert 1e9 == letter.died_at
        assert ids == [json.loads(body)["id"] for body, _ in dead_letters(broker)]

    async def test_ids_stay_the_same(self, broker: Broker) -> None:
        """What one look calls a letter, the next one does too; no two have the same."""
        buried(broker, 4)
        first, second = look(broker, 10), look(broker, 10)

        assert first == second
        assert 4 == len({letter.id for letter in first.letters})

    async def test_nothing(self, broker: Broker) -> None:
        assert DeadLetterList(0, []) == look(broker, 10)

    async def test_unreadable(self, broker: Broker) -> None:
        """Of what is no entry nothing is told but where it came from, its length and its hash."""
        put(broker, SECRET, QUEUES["notification"])
        async with Collecting(broker) as collecting:
            await until(lambda: collecting.dead, "the dead letter")
        (letter,) = look(broker, 10).letters

        assert ("undecodable", "notification", None, None) == (letter.reason, letter.lane, letter.message_id, letter.queued_at)
        assert (len(SECRET), 16) == (letter.size, len(letter.digest))
        assert "123456" not in repr(letter)

    async def test_somebody_elses(self, broker: Broker) -> None:
        """What another program put there is shown as well, and can be dropped."""
        put(broker, b"{}", DEAD_QUEUE, {"x-death": "no list", "deaths": "many"})
        (letter,) = look(broker, 10).letters

        assert ("unknown", None, 1) == (letter.reason, letter.lane, letter.deaths)
        drop(broker, letter.id)
        assert 0 == look(broker, 10).count


class TestReplay:
    async def test_one(self, broker: Broker, server: QueueServer) -> None:
        """It is on its lane and off the dead letters; the others are still dead."""
        ids = buried(broker, 3, "notification")
        letter = look(broker, 10, latest=False).letters[1]

        assert (1, 2) == (replay(broker, letter.id, 5000.0).replayed, look(broker, 10).count)
        assert [ids[0], ids[2]] == message_ids(look(broker, 10, latest=False))
        assert 1 == server.length("notification")
        async with Collecting(broker) as collecting:
            await until(lambda: collecting.taken, "the entry")
        assert [ids[1]] == collecting.taken
        assert 0 == server.left()

    async def test_all(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each once, over several pages, in their order; what has no lane stays where it is."""
        monkeypatch.setattr(dead_shelves, "_PAGE", 7)
        put(broker, b"whose is this?", DEAD_QUEUE)
        ids = buried(broker, 20)
        put(broker, b"and this?", DEAD_QUEUE)
        done = replay_all(broker, 5000.0)
        async with Collecting(broker) as collecting:
            await until(lambda: len(collecting.taken) >= 20, "the entries")

        assert (20, 2) == (done.replayed, done.left)
        assert ids == collecting.taken
        assert [None, None] == message_ids(look(broker, 10))

    async def test_no_more_than_the_bound(self, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MOST_AT_ONCE", 3)
        buried(broker, 5)
        first, second = replay_all(broker, 5000.0), replay_all(broker, 5000.0)

        assert [(3, 2), (2, 0)] == [(done.replayed, done.left) for done in (first, second)]

    async def test_deaths_are_counted(self, broker: Broker) -> None:
        """Who is put back and dies again has died twice; its time on the queue begins anew."""
        buried(broker, 1)
        replay(broker, look(broker, 1).letters[0].id, 5000.0)
        async with Collecting(broker, lambda found: {found[0].id: "unknown_message"}) as collecting:
            await until(lambda: collecting.dead, "the second death")
        (letter,) = look(broker, 10).letters

        assert (2, 5000.0) == (letter.deaths, letter.queued_at)

    async def test_unreadable_goes_back_as_it_is(self, broker: Broker) -> None:
        """A newer dispatcher may be able to read it."""
        put(broker, SECRET)
        async with Collecting(broker) as collecting:
            await until(lambda: collecting.dead, "the dead letter")
        replay(broker, look(broker, 1).letters[0].id, 5000.0)
        async with Collecting(broker) as collecting:
            await until(lambda: collecting.dead, "the second death")

        assert [SECRET] == [body for body, _ in dead_letters(broker)]

    async def test_without_a_lane(self, broker: Broker) -> None:
        put(broker, b"whose is this?", DEAD_QUEUE)
        letter = look(broker, 1).letters[0]

        with pytest.raises(Conflict):
            replay(broker, letter.id, 5000.0)
        assert [letter] == look(broker, 10).letters

    async def test_none_of_that_id(self, broker: Broker) -> None:
        """Whatever stands there."""
        buried(broker, 1)

        for letter_id in ("", "1-0", "0-0", "no such", "9" * 40 + "-1", "1-0\r\nFLUSHALL", "é", "-", "+"):
            with pytest.raises(NotFound):
                replay(broker, letter_id, 5000.0)
            with pytest.raises(NotFound):
                drop(broker, letter_id)
        assert 1 == look(broker, 10).count


class TestDrop:
    async def test_one(self, broker: Broker, server: QueueServer) -> None:
        """It is gone, and the others are in their order."""
        ids = buried(broker, 3)
        drop(broker, look(broker, 10, latest=False).letters[1].id)

        assert [ids[0], ids[2]] == message_ids(look(broker, 10, latest=False))
        assert 0 == server.left()

    async def test_twice(self, broker: Broker) -> None:
        buried(broker, 1)
        letter = look(broker, 1).letters[0]
        drop(broker, letter.id)

        with pytest.raises(NotFound):
            drop(broker, letter.id)


class TestCrash:
    """Whatever breaks in the middle: an entry may be in both places, never in none."""

    async def test_before_the_lane_has_it(self, broker: Broker, server: QueueServer, monkeypatch: pytest.MonkeyPatch) -> None:
        await self.crash_and_repeat(broker, server, monkeypatch, "put_back", 0)

    @pytest.mark.parametrize("server", ["redis", "amqp"], indirect=True)
    async def test_before_it_is_off_the_dead_letters(
        self, broker: Broker, server: QueueServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On streams one script does both."""
        await self.crash_and_repeat(broker, server, monkeypatch, "drop", 3)

    async def crash_and_repeat(
        self, broker: Broker, server: QueueServer, monkeypatch: pytest.MonkeyPatch, step: str, on_the_lane: int
    ) -> None:
        buried(broker, 3)

        def crash(*_: object) -> bool:
            raise ConnectionResetError

        with monkeypatch.context() as patch:
            for shelf in (dead_shelves.StreamShelf, dead_shelves.ListShelf, dead_shelves.TakingShelf):
                patch.setattr(shelf, step, crash)
            with pytest.raises(Unavailable):
                replay_all(broker, 5000.0)

        assert (3, on_the_lane) == (look(broker, 10).count, server.length())
        assert 3 == replay_all(broker, 5000.0).replayed
        async with Collecting(broker) as collecting:
            await until(lambda: len(set(collecting.taken)) == 3, "all entries")

    async def test_between_two_replays(self, broker: Broker, server: QueueServer) -> None:
        """Of two who replay the same letter one is told that it is not there; the entry is on its lane once."""
        buried(broker, 1)
        letter = look(broker, 1).letters[0]
        replay(broker, letter.id, 5000.0)

        with pytest.raises(NotFound):
            replay(broker, letter.id, 5000.0)
        assert 1 == server.length()

    def test_nobody_there(self) -> None:
        """The error names neither host nor password."""
        for url in ("redis://:hunter2@127.0.0.1:1/0", "stock+redis://:hunter2@127.0.0.1:1/0", "amqp://me:hunter2@127.0.0.1:1//"):
            with pytest.raises(Unavailable) as refused:
                look(Broker(url), 1)

            assert "hunter2" not in str(refused.value)
            assert "127.0.0.1" not in str(refused.value)


class TestStreams:
    def test_one_step(self, streams_queue: StreamsQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        """The script that adds to the lane is the one that takes off the dead letters."""
        broker = Broker(streams_queue.url)
        buried(broker, 1)
        used: list[str] = []
        run = Link.run

        def noted(link: Link, script: Script, keys: Any, *rest: Any) -> Any:
            used.append(script.name)
            return run(link, script, keys, *rest)

        monkeypatch.setattr(Link, "run", noted)
        replay(broker, look(broker, 1).letters[0].id, 2.0)

        assert ["move"] == [name for name in used if name != "declare"]
        assert (1, 0) == (streams_queue.length(), look(broker, 1).count)

    def test_an_entry_that_no_kombu_wrote(self, streams_queue: StreamsQueue) -> None:
        """Fields that are none of ours: told by length and hash, and dropped."""
        broker = Broker(streams_queue.url)
        assert 0 == look(broker, 1).count
        with redis.Redis.from_url(streams_queue.url) as client:
            client.xadd(f"queue:{{q}}:s:0:{DEAD_QUEUE}", {"m": "[no meta", "x": "abc"})
        (letter,) = look(broker, 10).letters

        assert ("unknown", 3, None) == (letter.reason, letter.size, letter.message_id)
        drop(broker, letter.id)
        assert 0 == look(broker, 1).count


class TestListsInRedis:
    def test_an_element_that_no_kombu_wrote(self, redis_queue: RedisQueue) -> None:
        broker = Broker(redis_queue.url)
        with redis.Redis.from_url(redis_queue.redis_url) as client:
            client.lpush(f"queue:{DEAD_QUEUE}", b"\xffno json", b"[]", b'{"body": 5, "properties": null}')
        found = look(broker, 10)

        assert (3, [None] * 3) == (found.count, message_ids(found))
        for letter in found.letters:
            drop(broker, letter.id)
        assert 0 == look(broker, 1).count


class TestRabbitMQ:
    def test_often_looked_at(self, rabbit_queue: RabbitQueue) -> None:
        """A broker may drop what was delivered too often: a letter is the same and in its place, however often it was looked at."""
        broker = Broker(rabbit_queue.url)
        for at, entry in enumerate(entries(5)):
            death = {"reason": "delivery_limit", "queue": QUEUES["otp"], "count": 1, "time": at}
            put(broker, encode(entry), DEAD_QUEUE, {"x-death": [death]})
        first = look(broker, 10, latest=False)
        for _ in range(25):
            assert first == look(broker, 10, latest=False)
        with kombu.Connection(rabbit_queue.url) as connection:
            message = kombu.Queue(DEAD_QUEUE, channel=connection.channel()).get()
            message.requeue()

        assert ("delivery_limit", "otp", 1) == (first.letters[0].reason, first.letters[0].lane, first.letters[0].deaths)
        assert message.headers["x-delivery-count"] <= dead_shelves._WORN

    def test_beyond_what_can_be_seen(self, rabbit_queue: RabbitQueue, monkeypatch: pytest.MonkeyPatch) -> None:
        """The latest of those that are taken; how many there are in all is told."""
        monkeypatch.setattr(dead_shelves, "MOST_TAKEN", 3)
        broker = Broker(rabbit_queue.url)
        for at, entry in enumerate(entries(5)):
            put(broker, encode(entry), DEAD_QUEUE, {"reason": "error", "queue": QUEUES["otp"], "at": float(at)})
        found = look(broker, 2)

        assert (5, [entries(3)[2].id, entries(3)[1].id]) == (found.count, message_ids(found))

    async def test_buried_by_the_broker(self, rabbit_queue: RabbitQueue) -> None:
        """What RabbitMQ moved there by its own rule has its reason, its lane and its time in the header x-death."""
        broker = Broker(rabbit_queue.url)
        put(broker, encode(entries(1, "bulk")[0]), QUEUES["bulk"])
        with kombu.Connection(rabbit_queue.url) as connection:
            queue = kombu.Queue(QUEUES["bulk"], channel=connection.channel())
            message = await until(queue.get, "the entry")
            message.reject(requeue=False)
        found = await until(lambda: look(broker, 10).letters, "the dead letter")

        assert [("rejected", "bulk", 1)] == [(letter.reason, letter.lane, letter.deaths) for letter in found]
        assert found[0].died_at > 1e9
        replay(broker, found[0].id, 5000.0)
        assert (1, 0) == (rabbit_queue.length("bulk"), look(broker, 1).count)


def test_deaths_of_both_kinds() -> None:
    """Two burials by us, put back, then one by a broker: three."""
    headers = {"deaths": 2, "x-death": [{"reason": "delivery_limit", "queue": QUEUES["otp"], "count": 1, "time": 7}]}
    letter = letter_of(b"?", headers)

    assert ("delivery_limit", "otp", 3, 7.0) == (letter.reason, letter.lane, letter.deaths, letter.died_at)


def test_the_same_letter_has_the_same_id() -> None:
    """Where no place names it, it is named by what it says; that it was looked at before is none of that."""
    headers = {"reason": "error", "queue": QUEUES["otp"], "at": 5.0, "deaths": 1}
    first, second = letter_of(b"?", headers), letter_of(b"?", headers | {"x-delivery-count": 7})

    assert first == second
    assert first.id != letter_of(b"!", headers).id != letter_of(b"?", headers | {"at": 6.0}).id
