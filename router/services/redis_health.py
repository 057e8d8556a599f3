"""How the store's Redis is, by its own word (INFO): memory, persistence, replicas. Set as gauges, by each timekeeper.

In a Cluster the nodes' bytes, keys, commands and clients are added up; of all else the worst node counts.
"""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog
from redis.exceptions import RedisError

from router import metrics
from router.redis_link import Link, close, connect, each_server

_log = structlog.get_logger()
_ANSWER_SECONDS = 3.0
_REPLICA = re.compile(r"slave\d+")
_WRITES = ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")


class NodeHealth(msgspec.Struct, frozen=True, kw_only=True):
    """One server that writes."""

    ping_seconds: float
    used_memory: int
    maxmemory: int
    """0 = no limit."""
    fragmentation: float
    evicted_keys: int
    commands: int
    clients: int
    is_aof: bool
    is_noeviction: bool
    is_written: bool
    replica_lag: int
    """Bytes that the slowest replica is behind; 0 where there is none."""


class RedisHealth:
    """One per timekeeper; `look` now and then."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._is_up: bool | None = None

    async def look(self) -> None:
        """Sets the gauges. Where a server does not answer, `redis_up` is 0 and the others stay as they were."""
        try:
            nodes = await self.nodes()
        except (RedisError, OSError, TimeoutError) as error:
            metrics.REDIS_UP.set(0)
            if self._is_up is not False:
                _log.warning("redis.away", error=type(error).__name__)
            self._is_up = False
            return
        if self._is_up is False:
            _log.info("redis.back")
        self._is_up = True
        _set_gauges(nodes)

    async def nodes(self) -> list[NodeHealth]:
        """The servers that write, over connections of their own: a look must not wait behind the store's work, nor hold it up.

        Raises redis-py's errors, OSError and TimeoutError.
        """
        client = connect(self._url, timeout_seconds=_ANSWER_SECONDS)
        links: Mapping[str, Link] = {}
        try:
            links = await each_server(client)
            return [await _ask_one(link) for link in links.values()]
        finally:
            for link in links.values():
                await link.close()
            await close(client)


async def _ask_one(link: Link) -> NodeHealth:
    info = read_info(await _answer(link, "INFO"))
    began = time.perf_counter()
    await _answer(link, "PING")
    return node_health(info, time.perf_counter() - began)


async def _answer(link: Link, *command: str) -> Any:
    (answer,) = await link.exchange([command])
    if isinstance(answer, Exception):
        raise answer
    return answer


def read_info(answer: bytes) -> dict[str, str]:
    """INFO's lines by their names."""
    lines = answer.decode(errors="replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line and not line.startswith("#"))


def node_health(info: Mapping[str, str], ping_seconds: float) -> NodeHealth:
    """What INFO says of a server."""
    replicas = [dict(pair.split("=", 1) for pair in text.split(",")) for name, text in info.items() if _REPLICA.fullmatch(name)]
    written = int(info.get("master_repl_offset", "0"))
    return NodeHealth(
        ping_seconds=ping_seconds,
        used_memory=int(info.get("used_memory", "0")),
        maxmemory=int(info.get("maxmemory", "0")),
        fragmentation=float(info.get("mem_fragmentation_ratio", "0")),
        evicted_keys=int(info.get("evicted_keys", "0")),
        commands=int(info.get("total_commands_processed", "0")),
        clients=int(info.get("connected_clients", "0")),
        is_aof=info.get("aof_enabled") == "1",
        is_noeviction=info.get("maxmemory_policy") == "noeviction",
        is_written=all(info.get(name, "ok") == "ok" for name in _WRITES),
        replica_lag=max((written - int(replica.get("offset", "0")) for replica in replicas), default=0),
    )


def _set_gauges(nodes: Sequence[NodeHealth]) -> None:
    metrics.REDIS_UP.set(1)
    metrics.REDIS_PING_SECONDS.set(max(node.ping_seconds for node in nodes))
    metrics.REDIS_USED_MEMORY.set(sum(node.used_memory for node in nodes))
    metrics.REDIS_MAXMEMORY.set(sum(node.maxmemory for node in nodes) if all(node.maxmemory for node in nodes) else 0)
    metrics.REDIS_FRAGMENTATION.set(max(node.fragmentation for node in nodes))
    metrics.REDIS_EVICTED.set(sum(node.evicted_keys for node in nodes))
    metrics.REDIS_COMMANDS.set(sum(node.commands for node in nodes))
    metrics.REDIS_CLIENTS.set(sum(node.clients for node in nodes))
    metrics.REDIS_AOF.set(all(node.is_aof for node in nodes))
    metrics.REDIS_POLICY_OK.set(all(node.is_noeviction for node in nodes))
    metrics.REDIS_WRITE_OK.set(all(node.is_written for node in nodes))
    metrics.REDIS_REPLICA_LAG.set(max(0, *(node.replica_lag for node in nodes)))
