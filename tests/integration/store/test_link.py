"""Commands and answers in bulk over one connection: none lost, none shifted, whatever happens to the connection."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.redis_link import Link, connect, link
from router.store.redis import StoreAway
from router.store.store import Store
from tests.integration.store.kit import a_message, ask

pytestmark = pytest.mark.anyio
MEGABYTE = 1 << 20


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Redis]:
    made = connect(redis_url, timeout_seconds=30.0)
    assert isinstance(made, Redis)
    yield made
    await made.aclose()


@pytest.fixture
async def over(client: Redis) -> AsyncIterator[Link]:
    made = link(client)
    yield made
    await made.close()


async def own_id(over: Link) -> int:
    (client_id,) = await over.exchange([("CLIENT", "ID")])
    assert isinstance(client_id, int)
    return client_id


async def test_answers_as_they_come(over: Link) -> None:
    """Bytes, numbers, flat lists and None: as Redis says it, not as redis-py would tell it."""
    answers = await over.exchange(
        [
            ("SET", "{a}", 1.5),
            ("GET", "{a}"),
            ("GET", "{b}"),
            ("ZADD", "{z}", "1.25", "one", 2, b"two"),
            ("ZRANGE", "{z}", 0, -1, "WITHSCORES"),
            ("ZSCORE", "{z}", "one"),
            ("HSET", "{h}", "f", "é"),
            ("HGETALL", "{h}"),
            ("SET", "{a}", 2, "NX"),
        ]
    )

    assert [b"OK", b"1.5", None, 2, [b"one", b"1.25", b"two", b"2"], b"1.25", 1, [b"f", "é".encode()], None] == answers


async def test_nothing_to_say(over: Link) -> None:
    assert [] == await over.exchange([])


async def test_many_answers_in_one_exchange(over: Link) -> None:
    """More than one read of the socket brings: many small ones, and some larger than any buffer; each in its place."""
    large = {place: bytes([97 + place]) * (MEGABYTE * place + place) for place in range(4)}
    await over.exchange([("SET", f"{{{place}}}", value) for place, value in large.items()])
    commands = [("ECHO", f"e{number}") if number % 500 else ("GET", f"{{{number // 500}}}") for number in range(2000)]
    answers = await over.exchange(commands)

    assert [f"e{number}".encode() if number % 500 else large[number // 500] for number in range(2000)] == answers


async def test_errors_among_the_answers(over: Link) -> None:
    """An error is the answer of its own command, first, last or between; the rest is carried out."""
    commands = [("INCR", "{text}") if number % 3 == 0 else ("ECHO", str(number)) for number in range(100)]
    await over.exchange([("SET", "{text}", "text")])
    answers = await over.exchange([*commands, ("NOSUCHCOMMAND",), ("EVALSHA", "0" * 40, 0)])

    assert [str(number).encode() for number in range(100) if number % 3] == [a for a in answers if isinstance(a, bytes)]
    assert {ResponseError} == {type(answer) for answer in answers[:100:3]}
    assert [ResponseError, NoScriptError] == [type(answer) for answer in answers[100:]]
    assert [b"again"] == await over.exchange([("ECHO", "again")])


async def test_one_connection(over: Link) -> None:
    """All its exchanges go over one and the same."""
    assert 1 == len({await own_id(over) for _ in range(5)})


async def test_links_have_connections_of_their_own(client: Redis) -> None:
    """One that waits for a slow answer holds up no other."""
    one, other = link(client), link(client)
    slow = asyncio.create_task(one.exchange([("BLPOP", "{list}", 0)]))
    try:
        assert [b"quick"] == await asyncio.wait_for(other.exchange([("ECHO", "quick")]), 20)
        await other.exchange([("RPUSH", "{list}", "slow")])
        assert [[b"{list}", b"slow"]] == await asyncio.wait_for(slow, 20)
    finally:
        slow.cancel()
        await one.close()
        await other.close()


@pytest.mark.parametrize("seen", [True, False])
async def test_a_broken_connection(over: Link, client: Redis, seen: bool) -> None:
    """While it waits: the exchange fails and is not repeated by itself. Before: a new one is made. Either way the next works."""
    before = await own_id(over)
    if seen:
        waiting = asyncio.create_task(over.exchange([("INCR", "{count}"), ("BLPOP", "{list}", 0)]))
        await _until_blocked(client)
        await client.client_kill_filter(_id=str(before))
        with pytest.raises(RedisConnectionError):
            await asyncio.wait_for(waiting, 20)
    else:
        await client.client_kill_filter(_id=str(before))
        with contextlib.suppress(RedisConnectionError):
            await over.exchange([("INCR", "{count}")])

    assert before != await own_id(over)
    (count,) = await over.exchange([("GET", "{count}")])
    assert count == b"1" if seen else count in (b"1", None)


async def _until_blocked(client: Redis) -> None:
    for _ in range(2000):
        if (await client.info("clients"))["blocked_clients"]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


async def test_nobody_answers_in_time(redis_url: str) -> None:
    """A timeout is told; the late answer is never taken for that of another command."""
    client = connect(redis_url, timeout_seconds=0.2)
    over = link(client)
    with pytest.raises(RedisTimeoutError):
        await over.exchange([("BLPOP", "{list}", 0)])
    await ask_alone(redis_url, "RPUSH", "{list}", "late")

    assert [b"own"] == await over.exchange([("ECHO", "own")])
    await over.close()
    await client.aclose()


async def ask_alone(url: str, *command: str) -> None:
    client = connect(url)
    await client.execute_command(*command)
    await client.aclose()


async def test_who_is_cancelled_leaves_no_answer_behind(over: Link, client: Redis) -> None:
    waiting = asyncio.create_task(over.exchange([("BLPOP", "{list}", 0), ("ECHO", "old")]))
    await _until_blocked(client)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await client.execute_command("RPUSH", "{list}", "late")

    assert [b"new"] == await over.exchange([("ECHO", "new")])


async def test_closed_and_used_again(over: Link) -> None:
    await over.exchange([("PING",)])
    await over.close()
    await over.close()

    assert [b"PONG"] == await over.exchange([("PING",)])


async def test_nobody_there() -> None:
    """The error comes at once, each time."""
    client = connect("unix:///nonexistent/redis.sock?db=0")
    over = link(client)
    for _ in range(2):
        with pytest.raises(RedisConnectionError):
            await over.exchange([("PING",)])
    await client.aclose()


async def test_load(over: Link) -> None:
    """The script is known afterwards; one that is none is told."""
    script = "return 'mine'"
    await over.load(script)

    assert [b"mine"] == await over.exchange([("EVALSHA", hashlib.sha1(script.encode()).hexdigest(), 0)])
    with pytest.raises(ResponseError):
        await over.load("this is no Lua")


async def test_a_read_only_server_is_left(over: Link, client: Redis) -> None:
    """It was the master and is a replica now: its answer says so, and the next exchange asks anew who is."""
    before = await own_id(over)
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        (answer,) = await over.exchange([("SET", "{a}", 1)])
    finally:
        await client.execute_command("REPLICAOF", "NO", "ONE")

    assert "ReadOnlyError" == type(answer).__name__
    assert before != await own_id(over)
    assert [b"OK"] == await over.exchange([("SET", "{a}", 1)])


# The store over its links


async def test_five_hundred_find_a_script_unknown(store: Store, client: Redis) -> None:
    """The server has just begun, and everybody asks at once: the script is loaded once, and all get their answers."""
    await client.execute_command("SCRIPT", "FLUSH")
    await client.execute_command("CONFIG", "RESETSTAT")
    messages = [a_message() for _ in range(500)]

    async def one(place: int) -> object:
        return await ask(store, lambda batch: store.messages.void(batch, messages[place].id))

    assert [1] * 500 == await asyncio.wait_for(asyncio.gather(*(one(place) for place in range(500))), 60)
    assert 1 == await _calls(client, "script|load", "script")
    assert [None] * 500 == await store.messages.load(store.batch(), [message.id for message in messages])


async def _calls(client: Redis, *names: str) -> int:
    """How often a command was carried out; before Redis 7 a subcommand counts as its command."""
    stats = await client.info("commandstats")
    return next(int(stats[f"cmdstat_{name}"]["calls"]) for name in names if f"cmdstat_{name}" in stats)


async def test_the_store_comes_back(store: Store, client: Redis) -> None:
    """All its connections are cut: some are told that it is away, and the next ones are served."""
    await asyncio.gather(*(ask(store, lambda batch: batch.add("PING")) for _ in range(50)))
    await client.client_kill_filter(_type="normal", skipme=True)
    for _ in range(5):
        with contextlib.suppress(StoreAway):
            await ask(store, lambda batch: batch.add("PING"))

    answers = await asyncio.gather(*(ask(store, lambda batch: batch.add("PING")) for _ in range(50)))
    assert [b"PONG"] * 50 == answers


async def test_a_cancellation_is_never_forgotten(redis_url: str) -> None:
    """Whenever it comes, from the first step of the connection to the last answer: the exchange ends with it, or is over already."""
    for steps in range(200):
        client = connect(redis_url)
        over = link(client)
        asked = asyncio.create_task(over.exchange([("PING",)]))
        for _ in range(steps):
            await asyncio.sleep(0)
        is_over = asked.done()
        asked.cancel()
        answers = await asyncio.gather(asked, return_exceptions=True)
        await over.close()
        await client.aclose()

        if is_over:
            assert [[b"PONG"]] == answers
            return
        assert [asyncio.CancelledError] == [type(answer) for answer in answers], f"after {steps} steps"
    raise AssertionError("the exchange never came to its end")
