"""What the gauges of Redis tell, of a well server, of one with wrong settings, and of none."""

import pytest
from prometheus_client import REGISTRY

from router.services.redis_health import RedisHealth, node_health, read_info
from tests.servers import Server, folder, single

pytestmark = pytest.mark.anyio
INFO = b"""# Memory
used_memory:1000
maxmemory:4000
maxmemory_policy:noeviction
mem_fragmentation_ratio:1.50
# Persistence
aof_enabled:1
aof_last_write_status:ok
rdb_last_bgsave_status:ok
# Replication
connected_slaves:2
slave0:ip=10.0.0.2,port=6379,state=online,offset=900,lag=0
slave1:ip=10.0.0.3,port=6379,state=online,offset=400,lag=1
master_repl_offset:1000
"""


def gauge(name: str) -> float | None:
    return REGISTRY.get_sample_value(f"seedrouter_redis_{name}")


def test_what_info_says() -> None:
    """The slowest replica counts; and any write to a file that went wrong."""
    node = node_health(read_info(INFO), 0.002)

    assert (600, 1000, 4000, 1.5) == (node.replica_lag, node.used_memory, node.maxmemory, node.fragmentation)
    assert node.is_aof
    assert node.is_noeviction
    assert node.is_written
    for status in (b"aof_last_write_status", b"rdb_last_bgsave_status"):
        assert not node_health(read_info(INFO.replace(status + b":ok", status + b":err")), 0.002).is_written
    assert 0 == node_health(read_info(b"master_repl_offset:500\r\n"), 0.0).replica_lag


async def test_a_well_server() -> None:
    """As Seedrouter wants it."""
    with single(aof=True, maxmemory="64mb") as server:
        await RedisHealth(server.stock_url).look()

        assert [1.0, 1.0, 1.0, 1.0] == [gauge(name) for name in ("up", "aof_enabled", "eviction_policy_ok", "last_write_ok")]
    assert 64 * 2**20 == gauge("maxmemory_bytes")
    assert 0 < (gauge("used_memory_bytes") or 0) < 64 * 2**20
    assert 0 < (gauge("ping_seconds") or 0) < 3
    assert 0 == gauge("evicted_keys") == gauge("replica_lag_bytes")


async def test_wrong_settings() -> None:
    """It would lose messages at a restart, and throw them away when it is full."""
    with single(maxmemory_policy="allkeys-lru") as server:
        await RedisHealth(server.stock_url).look()

    assert [1.0, 0.0, 0.0] == [gauge(name) for name in ("up", "aof_enabled", "eviction_policy_ok")]


async def test_away_and_back() -> None:
    """Down is said at once, and up again; the look itself never fails."""
    with folder() as path, Server(path) as server:
        health = RedisHealth(server.stock_url)
        await health.look()
        server.stop()
        await health.look()
        assert 0 == gauge("up")
        server.start()
        await health.look()

        assert 1 == gauge("up")
