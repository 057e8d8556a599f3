"""A Redis Cluster: which node has which keys, and how commands for many of them are exchanged at a time.

redis-py's own cluster client opens the right connections too, but its pipeline looks up each command with several awaits, asks again by
itself for what failed, and turns answers into other types. Here a batch is dealt out by the slots of its keys, and each node gets its share
in one exchange, as one server would (`redis_link`). Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from redis.asyncio import ConnectionPool
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, MovedError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from router.redis_url import Address

Command = tuple[Any, ...]

_SCRIPTS: Final = frozenset(("EVAL", "EVALSHA"))
_KEYLESS: Final = frozenset(("TIME", "PUBLISH", "PING", "INFO", "SCRIPT", "CONFIG"))
_KEYLESS_SLOT: Final = 0
"""Whoever has it answers what concerns no key: all processes ask the same node for the time."""
_ROUNDS: Final = 5
_LOOK_AGAIN_SECONDS: Final = 0.1
_NAMED_SECONDS: Final = 60.0
_UNNAMED: Final = ("", "?")


class NodeAway(ClusterDownError):
    """A node could not be reached, or broke off: what it was asked may or may not have happened."""


class NodeLink(Protocol):
    """A connection to one node."""

    async def exchange(self, commands: Sequence[Command]) -> list[Any]: ...

    async def close(self) -> None: ...


def slot_of(command: Command) -> int:
    """By the first key of a script, else by the first word after the command's name: so all that the router sends is built."""
    name = command[0]
    if name in _SCRIPTS:
        if not int(command[2]):
            return _KEYLESS_SLOT
        key = command[3]
    elif name in _KEYLESS:
        return _KEYLESS_SLOT
    else:
        key = command[1]
    return key_slot(key.encode() if isinstance(key, str) else key)


class Cluster:
    """The nodes as this process knows them, looked at anew when one of them is away, or says that a slot has moved."""

    def __init__(
        self, addresses: Sequence[Address], open_pool: Callable[[Address], ConnectionPool], open_link: Callable[[ConnectionPool], NodeLink]
    ) -> None:
        self._given = addresses
        self._open_pool = open_pool
        self._open_link = open_link
        self._known = list(addresses)
        self._owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._named: dict[Address, float] = {}
        self._is_stale = True
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Cluster {', '.join(f'{host}:{port}' for host, port in sorted(self.primaries))}>"

    @property
    def primaries(self) -> set[Address]:
        """All that have slots."""
        return {owner for owner in self._owners if owner is not None}

    @property
    def in_use(self) -> set[Address]:
        """Those, and whom nodes have sent us on to of late: it is getting its first slot, or not all know yet that it is a primary."""
        since = time.monotonic() - _NAMED_SECONDS
        self._named = {address: at for address, at in self._named.items() if at > since}
        return self.primaries | set(self._named)

    def owner(self, slot: int) -> Address | None:
        return self._owners[slot]

    def pool(self, address: Address) -> ConnectionPool:
        """How to connect to a node."""
        return self._open_pool(address)

    def connect(self, address: Address) -> NodeLink:
        """It connects when it is used."""
        return self._open_link(self._open_pool(address))

    def moved(self, slot: int, to: Address) -> None:
        """A node says that another has the slot now."""
        self._owners[slot] = to
        self._is_stale = True
        self.named(to)

    def named(self, address: Address) -> None:
        """A node sent us on to it."""
        self._named[address] = time.monotonic()

    def failed(self, address: Address) -> None:
        """It did not answer; another may know who has its slots now."""
        self._named.pop(address, None)
        self._is_stale = True
        if address in self._known:
            self._known.remove(address)
            self._known.append(address)

    def doubt(self) -> None:
        """A node says that the cluster is not what it was."""
        self._is_stale = True

    async def look(self) -> None:
        """Asks some node where the slots are, if that may have changed. Raises redis-py's ConnectionError where no node answers."""
        if not self._is_stale:
            return
        async with self._looking:
            if self._is_stale and time.monotonic() - self._looked_at >= _LOOK_AGAIN_SECONDS:
                await self._ask_some_node()

    async def _ask_some_node(self) -> None:
        failures: list[str] = []
        # One that is cut off may hold an old view: so not always the same one. Those that failed last come last
        half = max(len(self._known) // 2, 1)
        for host, port in (*random.sample(self._known[:half], half), *self._known[half:]):
            link = self.connect((host, port))
            try:
                (rows,) = await link.exchange([("CLUSTER", "SLOTS")])
            except (RedisError, OSError, TimeoutError) as error:
                rows = error
            finally:
                await link.close()
            if isinstance(rows, Exception) or not rows:
                failures.append(f"{host}:{port}: {rows or 'no slots'}")
                continue
            self._read_slots(rows, host)
            return
        raise RedisConnectionError(f"no node of the cluster tells where the slots are ({'; '.join(failures)})")

    def _read_slots(self, rows: Iterable[Any], asked: str) -> None:
        owners: list[Address | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        nodes: dict[Address, None] = {}
        for first, last, *named in rows:
            addresses = [_address(node, asked) for node in named]
            nodes.update(dict.fromkeys(addresses))
            owners[first : last + 1] = addresses[:1] * (last + 1 - first)
        self._owners = owners
        self._known = list(dict.fromkeys((*nodes, *self._given)))
        self._is_stale = False
        self._looked_at = time.monotonic()


def _address(node: Sequence[Any], asked: str) -> Address:
    host = node[0].decode() if node[0] else ""
    # A node that does not know its own name is the one that was asked
    return (asked if host in _UNNAMED else host), int(node[1])


class ClusterLink:
    """A connection to each node that is needed. One exchange at a time (see `redis_link.Link`)."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._links: dict[Address, NodeLink] = {}

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """What fails at one node is an error in place of its answers, and the others' answers stand.

        A command that a node refused because its slot is elsewhere was not carried out: it is sent where that node says. Nothing else is
        sent twice.
        """
        await self._cluster.look()
        answers: list[Any] = [None] * len(commands)
        shares: dict[Address, list[int]] = {}
        for place, command in enumerate(commands):
            slot = slot_of(command)
            owner = self._cluster.owner(slot)
            if owner is None:
                self._cluster.doubt()
                answers[place] = ClusterDownError(f"CLUSTERDOWN no node serves slot {slot}")
            else:
                shares.setdefault(owner, []).append(place)
        asking: dict[Address, list[int]] = {}
        for _ in range(_ROUNDS):
            shares, asking = await self._round(commands, shares, asking, answers)
            if not shares and not asking:
                return answers
        for place in (place for share in (*shares.values(), *asking.values()) for place in share):
            answers[place] = ClusterDownError(f"CLUSTERDOWN the nodes send on to each other: {answers[place]}")
        return answers

    async def _round(
        self, commands: Sequence[Command], shares: dict[Address, list[int]], asking: dict[Address, list[int]], answers: list[Any]
    ) -> tuple[dict[Address, list[int]], dict[Address, list[int]]]:
        """Fills in answers; returns whom to send on to: as the slot's owner, and as who is getting it."""
        calls = [self._ask(node, share, [commands[place] for place in share], answers) for node, share in shares.items()]
        calls += [self._ask_importing(node, share, [commands[place] for place in share], answers) for node, share in asking.items()]
        if len(calls) == 1:
            await calls[0]
        else:
            await asyncio.gather(*calls)
        moved: dict[Address, list[int]] = {}
        asked: dict[Address, list[int]] = {}
        for node, share in (*shares.items(), *asking.items()):
            for place in share:
                answer = answers[place]
                if isinstance(answer, ResponseError):
                    self._redirect(answer, node, place, moved, asked)
        return moved, asked

    def _redirect(
        self, error: ResponseError, node: Address, place: int, moved: dict[Address, list[int]], asked: dict[Address, list[int]]
    ) -> None:
        if isinstance(error, AskError):
            to = (error.host or node[0], error.port)
            if isinstance(error, MovedError):
                self._cluster.moved(error.slot_id, to)
                moved.setdefault(to, []).append(place)
            else:
                self._cluster.named(to)
                asked.setdefault(to, []).append(place)
        elif isinstance(error, ClusterDownError):
            self._cluster.doubt()

    async def _ask(self, node: Address, places: Sequence[int], commands: Sequence[Command], answers: list[Any]) -> None:
        for place, answer in zip(places, await self._answers(node, commands), strict=True):
            answers[place] = answer

    async def _ask_importing(self, node: Address, places: Sequence[int], commands: Sequence[Command], answers: list[Any]) -> None:
        pairs = [word for command in commands for word in (("ASKING",), command)]
        for place, answer in zip(places, (await self._answers(node, pairs))[1::2], strict=True):
            answers[place] = answer

    async def _answers(self, node: Address, commands: Sequence[Command]) -> list[Any]:
        link = self._links.get(node)
        if link is None:
            link = self._links[node] = self._cluster.connect(node)
        try:
            return await link.exchange(commands)
        except (RedisError, OSError, TimeoutError) as error:
            self._cluster.failed(node)
            return [NodeAway(f"{node[0]}:{node[1]}: {error or type(error).__name__}")] * len(commands)

    async def load(self, script: str) -> None:
        """On every node that has slots, or is about to; one that is away holds up nobody. Raises what a node says against it."""
        await self._cluster.look()
        nodes = sorted(self._cluster.in_use)
        found = await asyncio.gather(*(self._answers(node, [("SCRIPT", "LOAD", script)]) for node in nodes))
        errors = [answer for (answer,) in found if isinstance(answer, Exception)]
        for error in errors:
            if not isinstance(error, NodeAway) or len(errors) == len(nodes):
                raise error

    async def close(self) -> None:
        links, self._links = self._links, {}
        for link in links.values():
            await link.close()
