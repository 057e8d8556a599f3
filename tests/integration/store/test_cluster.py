"""The store over a Redis Cluster: answers, scripts, slots on the move, nodes that are away, an empty node that gets its first slot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from redis.crc import key_slot
from redis.exceptions import ResponseError

from bench.ports import free_port
from router.redis_cluster import slot_of
from router.redis_link import connect, each_server, link
from router.store.redis import StoreAway
from router.store.store import OUTBOX_CHANNEL, Store
from tests import servers
from tests.integration.store.kit import a_message, admit, an_admission, ask, open_store, with_wallet
from tests.servers import CLUSTER_BUS, HOST, Cluster, Server

pytestmark = pytest.mark.anyio


def url_of(nodes: Cluster) -> str:
    return f"redis+cluster://{HOST}:{nodes.servers[0].port},{HOST}:{nodes.servers[1].port}"


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with servers.cluster() as running:
        yield running


@pytest.fixture
async def store(nodes: Cluster) -> AsyncIterator[Store]:
    opened = open_store(url_of(nodes))
    yield opened
    await opened.close()


def owner_of(nodes: Cluster, slot: int) -> Server:
    return next(server for server in nodes.servers if nodes._owns(server, slot))


async def test_answers_are_those_of_one_server(store: Store, redis_url: str) -> None:
    """Types and order, over keys of all nodes; an error is the answer of its own command only."""
    commands = [
        ("SET", "{a}", "1"), ("GET", "{a}"), ("HSET", "{b}", "f", b"\xff"), ("HGETALL", "{b}"), ("HGETALL", "{none}"),
        ("ZADD", "{c}", "1.5", "m"),
        ("ZRANGE", "{c}", 0, -1, "WITHSCORES"), ("ZSCORE", "{c}", "m"), ("SADD", "{d}", "x"), ("SMEMBERS", "{d}"), ("GET", "{none}"),
        ("EXISTS", "{a}"), ("XADD", "{e}", "1-1", "k", "v"), ("XREVRANGE", "{e}", "+", "-"), ("SET", "{a}", "2", "NX"), ("PING",),
        ("EVALSHA", "0" * 40, 1, "{a}"), ("INCR", "{b}"), ("INCR", "{a}"), ("DEL", *[f"k{{z}}{i}" for i in range(3)]),
    ]  # fmt: skip
    single = connect(redis_url)
    found: list[list[object]] = []
    for client in (single, store.redis):
        asked = link(client)
        found.append([repr(answer) if isinstance(answer, ResponseError) else answer for answer in await asked.exchange(commands)])
        await asked.close()

    assert found[0] == found[1]


def test_slots_are_those_of_the_server(nodes: Cluster) -> None:
    """As CLUSTER KEYSLOT has it, for the keys of scripts too."""
    keys = ["plain", "msg:{wg_1}", "acct:{a}:b", "{}x", "a{b}{c}", "{open", "ü{é}"]
    with nodes.servers[0].client() as client:
        expected = [client.execute_command("CLUSTER KEYSLOT", key) for key in keys]

    assert expected == [slot_of(("GET", key)) for key in keys]
    assert expected == [slot_of(("EVALSHA", "sha", 1, key.encode(), "argument")) for key in keys]
    assert {0} == {slot_of(("TIME",)), slot_of(("PUBLISH", "channel", "text")), slot_of(("EVAL", "return 1", 0))}


async def test_scripts_that_one_node_does_not_know(store: Store, nodes: Cluster) -> None:
    """Over many tags, so that each node is asked; one of them has lost its scripts."""
    messages = [a_message() for _ in range(30)]

    async def void_all() -> list[object]:
        batch = store.batch()
        for message in messages:
            store.messages.void(batch, message.id)
        return await batch.run()

    first = await void_all()
    with nodes.servers[1].client() as client:
        client.script_flush()

    assert [1] * 30 == first
    assert [1] * 30 == await void_all()


async def test_a_slot_that_moved(store: Store, nodes: Cluster) -> None:
    """The command is sent on, carried out once, and the next one goes the right way at once."""
    slot = key_slot(b"{wanders}")
    await ask(store, lambda batch: batch.add("SET", "{wanders}", 1))
    target = await asyncio.to_thread(nodes.move_slot, slot)
    answers = [await ask(store, lambda batch: batch.add("INCR", "{wanders}")) for _ in range(3)]
    with target.client() as client:
        kept = client.get("{wanders}")

    assert [2, 3, 4] == answers
    assert b"4" == kept


async def test_a_slot_on_its_way(store: Store, nodes: Cluster) -> None:
    """A key that has left is asked for at the other node; a script over keys at both nodes is told to come again, and later works."""
    account = await with_wallet(store, 100)
    await admit(store, an_admission(account, idempotency_key="first"))
    tag = f"{{{account.id}}}".encode()
    async with half_moved(nodes, key_slot(tag), lambda key: not key.endswith("charges")):
        balance = await ask(store, lambda batch: store.accounts.balance(batch, account.id))
        with pytest.raises(StoreAway):
            await admit(store, an_admission(account))
    admitted = await admit(store, an_admission(account))

    assert 95 == int(balance)
    assert 90 == int(await ask(store, lambda batch: store.accounts.balance(batch, account.id)))
    assert admitted is not None


@contextlib.asynccontextmanager
async def half_moved(nodes: Cluster, slot: int, leaves: Callable[[str], bool], to: Server | None = None) -> AsyncIterator[None]:
    """Inside, a slot is on its way, and the keys that leave have left."""
    owner = owner_of(nodes, slot)
    target = to or next(server for server in nodes.servers if server is not owner)
    with owner.client() as old, target.client() as new:
        old_id, new_id = (servers._text(client.execute_command("CLUSTER MYID")) for client in (old, new))
        new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
        old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        keys = [servers._text(key) for key in old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)]
        leaving = [key for key in keys if leaves(key)]

        assert leaving
        old.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *leaving)
        yield
        if staying := set(keys) - set(leaving):
            old.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *staying)
        for server in (target, owner, *nodes.servers):
            with server.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)


async def test_hints(store: Store) -> None:
    """What is published at one node is heard at whichever is listened to; a second listener hears it too."""
    async with contextlib.aclosing(store.hints()) as first, contextlib.aclosing(store.hints()) as second:
        listening = [asyncio.create_task(anext(hints)) for hints in (first, second)]
        while not all(task.done() for task in listening):
            await ask(store, lambda batch: batch.add("PUBLISH", OUTBOX_CHANNEL, "603010000000001"))
            await asyncio.sleep(0.05)

    assert [b"603010000000001"] * 2 == [task.result() for task in listening]


async def test_all_ask_the_same_node_for_the_time(store: Store, nodes: Cluster) -> None:
    """Nodes have clocks of their own; the one that has slot 0 counts."""
    with owner_of(nodes, 0).client() as client:
        client.config_resetstat()
        for _ in range(5):
            await store.time()
        asked = client.info("commandstats")["cmdstat_time"]["calls"]

    assert 5 == asked


async def test_a_node_that_is_away() -> None:
    """What its keys concern is told as away; the others are served meanwhile; and it is found again, without its scripts."""
    with servers.cluster() as nodes:
        store = open_store(url_of(nodes))
        await store.time()
        gone = nodes.servers[2]
        names = [f"{{tag{number}}}" for number in range(50)]
        theirs = [name for name in names if owner_of(nodes, key_slot(name.encode())) is gone]
        others = [name for name in names if name not in theirs]
        for server in nodes.servers:
            with server.client() as client:
                client.config_set("cluster-require-full-coverage", "no")
        gone.kill()
        with pytest.raises(StoreAway):
            await ask(store, lambda batch: batch.add("SET", theirs[0], 1))
        served = [await ask(store, lambda batch, name=name: batch.add("SET", name, 1)) for name in others]
        gone.start()
        back = await until_served(store, theirs[0])
        voided = await ask(store, lambda batch: [store.messages.void(batch, f"wg_{number}") for number in range(20)][-1])
        await store.close()

    assert others
    assert [b"OK"] * len(others) == served
    assert b"OK" == back
    assert 1 == voided


async def until_served(store: Store, key: str) -> object:
    for _ in range(400):
        try:
            return await ask(store, lambda batch: batch.add("SET", key, 1))
        except StoreAway:
            await asyncio.sleep(0.05)
    raise AssertionError(f"{key} is not served again")


async def test_an_empty_node_gets_its_first_slot() -> None:
    """It is no primary yet, so no node lists it; a script that is sent on to it is made known to it."""
    with (
        servers.cluster() as nodes,
        servers.folder() as path,
        Server(path / "new", port=free_port(CLUSTER_BUS), cluster_enabled="yes") as new,
    ):
        with new.client() as client:
            client.execute_command("CLUSTER MEET", HOST, nodes.servers[0].port)
        servers.wait_until(lambda: all(knows(server, 4) for server in (new, *nodes.servers)), "the new node is known")
        store = open_store(url_of(nodes))
        message = a_message()
        first = await ask(store, lambda batch: store.messages.void(batch, message.id))
        nodes.servers.append(new)
        slot = key_slot(store.messages.key(message.id).encode())
        async with half_moved(nodes, slot, lambda _: True, new):
            second = await ask(store, lambda batch: store.messages.void(batch, message.id))
        third = await ask(store, lambda batch: store.messages.void(batch, message.id))
        await store.close()

    assert [1, 1, 1] == [first, second, third]


def knows(server: Server, count: int) -> bool:
    with server.client() as client:
        info = servers._text(client.execute_command("CLUSTER INFO")).replace("'", "").replace(" ", "")
        return f"cluster_known_nodes:{count}" in info and "cluster_state:ok" in info


async def test_no_node_is_there() -> None:
    store = open_store(f"redis+cluster://{HOST}:{free_port()},{HOST}:{free_port()}")
    with pytest.raises(StoreAway):
        await store.time()
    await store.close()


async def test_one_server_is_no_cluster() -> None:
    """A wrong URL is told as away, not as a fault of the code."""
    with servers.single() as server:
        store = open_store(f"redis+cluster://{HOST}:{server.port}")
        with pytest.raises(StoreAway):
            await store.time()
        await store.close()


async def test_each_primary_is_there(store: Store, nodes: Cluster) -> None:
    found = await each_server(store.redis)
    answers = [await one.exchange([("PING",)]) for one in found.values()]
    for one in found.values():
        await one.close()

    assert {f"{HOST}:{server.port}" for server in nodes.servers} == set(found)
    assert [[b"PONG"]] * 3 == answers
