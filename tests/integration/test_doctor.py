"""`doctor` before real servers: what it says of one Redis, Sentinel, a Cluster and RabbitMQ, and what it never says."""

from collections.abc import Iterator

import pytest

from bench.ports import free_port
from router.cli.checks import Check
from router.cli.doctor_servers import look_at_broker, look_at_redis
from tests import rabbitmq, servers
from tests.conftest import require
from tests.rabbitmq import find_rabbitmq
from tests.servers import HOST, Cluster, SentinelGroup

SETTING = "SEEDROUTER_REDIS_URL"
SECRET = "hunter2"


def statuses(checks: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in checks}


def test_one_redis() -> None:
    """Append-only or not is told, and what follows from it; a good one passes."""
    with servers.single() as bad, servers.single(aof=True) as good:
        name = f"Redis {HOST}:{good.port}"
        found = statuses(look_at_redis(f"redis://{HOST}:{good.port}/0", "Redis", SETTING))
        faults = [check for check in look_at_redis(f"redis://{HOST}:{bad.port}/0", "Redis", SETTING) if check.status != "ok"]

    assert {name: "ok", "Redis appendonly": "ok", "Redis maxmemory-policy": "ok", "Redis' clock": "ok"} == found
    assert ["Redis appendonly"] == [check.name for check in faults]
    assert "a restart would lose accepted messages" in faults[0].advice


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with servers.cluster() as running:
        yield running


def test_cluster(nodes: Cluster) -> None:
    """Each primary is looked at, also those that the URL does not name; one without a replica is warned of."""
    found = statuses(look_at_redis(f"redis+cluster://{HOST}:{nodes.servers[0].port}", "Redis", SETTING))

    for server in nodes.servers:
        assert "ok" == found[f"Redis Cluster at {HOST}:{server.port}"]
        assert "fail" == found[f"Redis appendonly at {HOST}:{server.port}"]
        assert "warn" == found[f"Redis replicas at {HOST}:{server.port}"]
    assert "ok" == found["Redis slots"]


def test_cluster_with_a_slot_that_nobody_serves(nodes: Cluster) -> None:
    with nodes.servers[0].client() as client:
        client.execute_command("CLUSTER DELSLOTS", 1)
        try:
            servers.wait_until(lambda: "cluster_state:fail" in _state(client), "the node sees it")
            checks = look_at_redis(f"redis+cluster://{HOST}:{nodes.servers[0].port}", "Redis", SETTING)
        finally:
            client.execute_command("CLUSTER ADDSLOTS", 1)
    slots = next(check for check in checks if check.name == "Redis slots")

    assert "fail" == slots.status
    assert "16383 of 16384" in slots.found


def _state(client: object) -> str:
    return servers._text(client.execute_command("CLUSTER INFO")).replace("'", "").replace(" ", "")  # type: ignore[attr-defined]


def test_sentinel() -> None:
    """The master that they name is looked at; a Sentinel that is down is told by its address."""
    with servers.sentinel_group() as group:
        gone = f"{HOST}:{free_port()}"
        good = statuses(look_at_redis(url_of(group), "Redis", SETTING))
        one_down = look_at_redis(url_of(group).replace("://", f"://{gone},"), "Redis", SETTING)
        unknown = look_at_redis(url_of(group).replace(group.master_name, "nobody"), "Redis", SETTING)
        master = f"{HOST}:{group.master_port()}"
    sentinels = next(check for check in one_down if check.name == "Redis Sentinels")

    assert "ok" == good[f"Redis master {group.master_name}, by Sentinel at {master}"]
    assert "ok" == good[f"Redis replicas at {master}"]
    assert "ok" == good["Redis Sentinels"]
    assert "warn" == sentinels.status
    assert gone in sentinels.found
    assert ["fail"] == [check.status for check in unknown]
    assert "knows a master 'nobody'" in unknown[0].found


def url_of(group: SentinelGroup) -> str:
    return f"redis+sentinel://{','.join(f'{HOST}:{port}' for port in group.sentinel_ports)}/{group.master_name}/0"


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}@{HOST}:1/0", f"redis+sentinel://:{SECRET}@{HOST}:1/m?sentinel_password={SECRET}", f"redis+cluster://:{SECRET}@{HOST}:1",
        f"redis://:a/{SECRET}@{HOST}:1/0", f"redis+sentinel://:a/{SECRET}@{HOST}:1/m", f"redis+cluster://:{SECRET}/b@{HOST}:1",
        f"redis+cluster://u:a#{SECRET}@{HOST}:1", f"nothing://:{SECRET}@{HOST}:1", f"redis://:{SECRET}",
    ],
)  # fmt: skip
def test_no_password_is_shown(url: str) -> None:
    """Whether nobody is there, or the URL cannot be read."""
    checks = look_at_redis(url, "Redis", SETTING)

    assert ["fail"] == [check.status for check in checks]
    assert SETTING in checks[0].advice
    assert SECRET not in repr(checks)


@pytest.mark.parametrize("url", [f"amqp://u:{SECRET}@{HOST}:1/x", f"amqp://u:a/{SECRET}@{HOST}:1/x", f"nothing://u:{SECRET}@{HOST}:1"])
def test_no_password_of_a_broker_is_shown(url: str) -> None:
    checks = list(look_at_broker(url, SETTING))

    assert ["fail"] == [check.status for check in checks]
    assert SECRET not in repr(checks)


def test_rabbitmq() -> None:
    """Its version; a wrong password is told without it."""
    require(find_rabbitmq(), "rabbitmq-server (Debian: apt install rabbitmq-server)")
    with rabbitmq.running() as broker:
        (good,) = look_at_broker(broker.url, SETTING)
        (bad,) = look_at_broker(broker.url.replace("guest:guest", f"guest:{SECRET}"), SETTING)

    assert ("ok", True) == (good.status, good.found.startswith("RabbitMQ 3."))
    assert "fail" == bad.status
    assert SECRET not in repr(bad)
