"""`doctor` looks at the servers that a URL names: one Redis, Sentinel, a Cluster, RabbitMQ. Passwords are never shown."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from kombu import Connection
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import RedisError

from router.cli.checks import ANSWER_SECONDS, Check
from router.queue.broker import Broker
from router.redis_cluster import Cluster
from router.redis_link import Link, close, connect, each_server
from router.redis_url import Place, read_url
from router.services.redis_health import read_info

_OLDEST_REDIS: Final = (6, 2)
_OLDEST_RABBITMQ: Final = (3, 10)
_CLOCK_OFFSET_SECONDS: Final = 1.0
_OPTIONS: Final = {
    "appendonly": ("yes", "a restart would lose accepted messages"),
    "maxmemory-policy": ("noeviction", "a full Redis would drop accepted messages"),
}


def look_at_redis(url: str, title: str, settings: str) -> list[Check]:
    """Every server that writes. `settings` is where the URL comes from."""
    advice = f"is it running, and are the URL and the password right? ({settings})"
    try:
        place = read_url(url)
    except ValueError as error:
        return [Check(title, "fail", str(error), f"correct the URL ({settings})")]
    name = f"{title} {_name(place)}"
    try:
        return asyncio.run(_look(url, name, title, place))
    except (RedisError, OSError, TimeoutError) as error:
        return [Check(name, "fail", f"does not answer: {error or type(error).__name__}", advice)]


def _name(place: Place) -> str:
    if place.master:
        return f"master {place.master}, by Sentinel"
    if place.is_cluster:
        return "Cluster"
    return place.socket or "{}:{}".format(*place.addresses[0])


async def _look(url: str, name: str, title: str, place: Place) -> list[Check]:
    client = connect(url, timeout_seconds=ANSWER_SECONDS)
    links: Mapping[str, Link] = {}
    try:
        links = await each_server(client)
        found: list[Check] = []
        for address, link in links.items():
            where = f" at {address}" if place.is_cluster or place.master else ""
            found += await _look_at_one(link, f"{name}{where}", title, where, needs_replica=bool(where))
        if isinstance(client, Cluster):
            found.append(await _look_at_slots(links.values(), title))
        elif isinstance(client.connection_pool, SentinelConnectionPool):
            found.append(await _look_at_sentinels(client.connection_pool, place.master, title))
        return found
    finally:
        for link in links.values():
            await link.close()
        await close(client)


async def _look_at_one(link: Link, name: str, title: str, where: str, *, needs_replica: bool) -> list[Check]:
    before = time.time()
    ((seconds, microseconds),) = _good(await link.exchange([("TIME",)]))
    offset = int(seconds) + int(microseconds) / 1e6 - (before + time.time()) / 2
    about = read_info((_good(await link.exchange([("INFO", "server")])))[0])
    version = about.get("valkey_version") or about.get("redis_version", "0")
    enough = _numbers(about.get("redis_version", "0")) >= _OLDEST_REDIS
    found = [Check(name, "ok" if enough else "fail", version, "" if enough else "Seedrouter needs Redis 6.2 or newer, or Valkey")]
    for option, (value, why) in _OPTIONS.items():
        (answer,) = await link.exchange([("CONFIG", "GET", option)])
        found.append(_check_option(f"{title} {option}{where}", answer, value, why))
    exact = abs(offset) <= _CLOCK_OFFSET_SECONDS
    advice = "" if exact else "run an NTP client on both machines"
    found.append(Check(f"{title}' clock{where}", "ok" if exact else "warn", f"{offset:+.3f} s from this machine's", advice))
    if needs_replica:
        replicas = int(read_info(_good(await link.exchange([("INFO", "replication")]))[0]).get("connected_slaves", "0"))
        advice = "" if replicas else "without one, nobody takes over when it dies: give it a replica (REPLICAOF, CLUSTER REPLICATE)"
        found.append(Check(f"{title} replicas{where}", "ok" if replicas else "warn", str(replicas), advice))
    return found


def _good(answers: list[Any]) -> list[Any]:
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers


def _check_option(name: str, answer: Any, value: str, why: str) -> Check:
    if isinstance(answer, Exception):
        return Check(name, "warn", "cannot be asked (CONFIG is not allowed)", f"see to it that it is {value}: {why}")
    found = answer[1].decode() if len(answer) > 1 else ""
    good = found == value
    return Check(name, "ok" if good else "fail", found or "unknown", "" if good else f"set it to {value}: {why}")


async def _look_at_sentinels(pool: SentinelConnectionPool, master: str, title: str) -> Check:
    """Can they agree on a failover? One that does not answer is one too few already."""
    faults: list[str] = []
    for sentinel in pool.sentinel_manager.sentinels:
        try:
            await sentinel.execute_command("SENTINEL CKQUORUM", master)
        except (RedisError, OSError, TimeoutError) as error:
            address = "{host}:{port}".format(**sentinel.connection_pool.connection_kwargs)
            faults.append(f"{address}: {error or type(error).__name__}")
    if faults:
        advice = "a failover needs a majority of the Sentinels: start those that are down"
        return Check(f"{title} Sentinels", "warn", "; ".join(faults), advice)
    return Check(f"{title} Sentinels", "ok", f"{len(pool.sentinel_manager.sentinels)} answer, and can agree on a failover")


async def _look_at_slots(links: Iterable[Link], title: str) -> Check:
    """Each node has a view of its own; the worst one counts."""
    views = [read_info(_good(await link.exchange([("CLUSTER", "INFO")]))[0]) for link in links]
    served = min(int(view.get("cluster_slots_ok", "0")) for view in views)
    good = all(view.get("cluster_state") == "ok" for view in views)
    advice = "" if good else "redis-cli --cluster check HOST:PORT tells which slots nobody serves; redis-cli --cluster fix repairs them"
    return Check(f"{title} slots", "ok" if good else "fail", f"{served} of 16384 are served", advice)


def look_at_broker(url: str, settings: str) -> Iterator[Check]:
    """RabbitMQ, or what else kombu speaks to: each node that the URL names, with `;` in between."""
    for node in url.split(";"):
        try:
            broker = Broker(node)
            connection = broker.connect()
            parts = urlsplit(node)
            name = f"broker {parts.scheme}://{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
        except (ValueError, LookupError):
            # Their words may show what stands in the URL, and so a password
            yield Check("broker", "fail", "its URL cannot be read, or names a broker that kombu does not know", f"correct it ({settings})")
            continue
        yield _look_at_node(broker, connection, name, settings)


def _look_at_node(broker: Broker, connection: Connection, name: str, settings: str) -> Check:
    connection.connect_timeout = int(ANSWER_SECONDS)
    try:
        with connection:
            properties = getattr(connection.connection, "server_properties", None) or {}
    except Exception as error:  # noqa: BLE001 - every broker library has errors of its own
        advice = f"is it running, and are the URL, the user, the password and the vhost right? ({settings})"
        return Check(name, "fail", f"does not answer: {error or type(error).__name__}", advice)
    if not broker.is_amqp:
        return Check(name, "ok", "answers")
    version = str(properties.get("version", ""))
    enough = _numbers(version) >= _OLDEST_RABBITMQ
    advice = "" if enough else "before 3.10 RabbitMQ has no at-least-once dead letters: install a newer one"
    return Check(name, "ok" if enough else "warn", f"{properties.get('product', 'AMQP')} {version}", advice)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split(".")[:2])
