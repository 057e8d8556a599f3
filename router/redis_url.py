"""Where a Redis is, as its URL says it."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec
from redis.asyncio.connection import parse_url

Address = tuple[str, int]

SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_ESCAPES = "in a password, / is written %2F, @ is %40 and : is %3A"
_PORT = 6379
_SENTINEL_PORT = 26379


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a Redis is, as a URL says it."""

    addresses: tuple[Address, ...] = ()
    """Of the server, the Sentinels, or some nodes of the Cluster."""
    socket: str = ""
    database: int = 0
    username: str | None = None
    password: str | None = None
    master: str = ""
    """The master's name; then the addresses are Sentinels'."""
    sentinel_password: str | None = None
    is_cluster: bool = False
    is_tls: bool = False
    tls: Mapping[str, Any] = {}
    """redis-py's `ssl_…` options."""


def read_url(url: str) -> Place:
    """`redis://`, `rediss://` and `unix://` as redis-py has them; `redis+sentinel://[user:password@]host[:port],host…/master[/db]` (and
    `?sentinel_password=`); `redis+cluster://[user:password@]host[:port],host…`. `rediss+…` is over TLS, with `?ssl_…=` of redis-py's.

    Raises ValueError for anything else.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise ValueError(f"no Redis URL: {parts.scheme or 'no scheme'}:// is none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    if "+" not in parts.scheme:
        return _read_single(url)
    is_cluster = parts.scheme.endswith("+cluster")
    master, _, database = parts.path.strip("/").partition("/")
    if is_cluster and (master or database):
        raise ValueError("a Redis Cluster has database 0 only: nothing may follow its hosts")
    if not is_cluster and not master:
        raise ValueError("the master's name is missing: redis+sentinel://host:26379,host:26379/mymaster")
    if database and not database.isdigit():
        raise ValueError(f"what follows the master's name is a database's number: {_ESCAPES}")
    query: dict[str, Any] = dict(parse_url(f"redis://?{parts.query}"))
    sentinel_password = query.pop("sentinel_password", None)
    if unknown := [name for name in query if not name.startswith("ssl_")]:
        raise ValueError(f"unknown option {unknown[0]!r}: such a URL takes ssl_…{'' if is_cluster else ' and sentinel_password'}")
    return Place(
        addresses=_addresses(parts.netloc.rpartition("@")[2], _PORT if is_cluster else _SENTINEL_PORT),
        database=int(database or 0), username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None, master=master, sentinel_password=sentinel_password,
        is_cluster=is_cluster, is_tls=parts.scheme.startswith("rediss"), tls=query,
    )  # fmt: skip


def _read_single(url: str) -> Place:
    _port(urlsplit(url))
    found: Mapping[str, Any] = parse_url(url)
    return Place(
        addresses=() if "path" in found else ((found.get("host") or "localhost", found.get("port") or _PORT),),
        socket=found.get("path", ""), database=found.get("db", 0), username=found.get("username"), password=found.get("password"),
        is_tls=url.startswith("rediss:"), tls={name: value for name, value in found.items() if name.startswith("ssl_")},
    )  # fmt: skip


def _addresses(names: str, default_port: int) -> tuple[Address, ...]:
    found: list[Address] = []
    for name in names.split(","):
        one = urlsplit(f"//{name.strip()}")
        if not one.hostname:
            raise ValueError(f"an address has no host: {_ESCAPES}")
        found.append((one.hostname, _port(one) or default_port))
    return tuple(found)


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        # Its own words show what stands there, which may be a password
        raise ValueError(f"a port is no number up to 65535: {_ESCAPES}") from None
