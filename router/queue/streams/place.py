"""Where a kombu connection points: its URL's parts, as the servers to talk to."""

from typing import Any

from kombu.utils.url import parse_url

from .options import Options
from .servers import DEFAULT_PORT, Address, Servers

_SENTINEL_PORT = 26379


def servers_of(client: Any, options: Options, slot_key: bytes) -> Servers:
    """The servers of a `kombu.Connection`. Raises ValueError for a database that is no number, or a socket with Sentinel or Cluster."""
    path, database = split_virtual_host(client.virtual_host)
    default_port = _SENTINEL_PORT if options.master_name and not options.sentinels else DEFAULT_PORT
    addresses = _addresses(client, default_port)
    if path is not None and (options.cluster or options.master_name):
        raise ValueError("a unix socket is one server: neither Sentinel nor Cluster")
    if options.cluster and database:
        raise ValueError("a Redis Cluster has database 0 only")
    password = client.password() if callable(client.password) else client.password
    return Servers(
        addresses, options, slot_key, path=path, database=database, username=client.userid, password=password,
        credential_provider=client.credential_provider, ssl=client.ssl,
    )  # fmt: skip


def split_virtual_host(virtual_host: Any) -> tuple[str | None, int]:
    """`/2` or `2` is a database; `/run/redis.sock` or `/run/redis.sock/2` is a socket, and a database."""
    text = str(virtual_host or "").strip("/")
    if not text or text.isdigit():
        return None, int(text or 0)
    path, _, last = text.rpartition("/")
    if last.isdigit() and path:
        return f"/{path}", int(last)
    if "/" not in text and not text.endswith(".sock"):
        raise ValueError(f"the virtual host {virtual_host!r} is neither the number of a database nor the path of a socket")
    return f"/{text}", 0


def _addresses(client: Any, default_port: int) -> list[Address]:
    addresses: list[Address] = [(client.hostname or "127.0.0.1", int(client.port or default_port))]
    for url in client.alt or ():
        if "://" in url:
            parts = parse_url(url)
            address = (parts["hostname"] or "127.0.0.1", int(parts["port"] or default_port))
        else:
            host, _, port = url.partition(":")
            address = (host, int(port) if port else default_port)
        if address not in addresses:
            addresses.append(address)
    return addresses
