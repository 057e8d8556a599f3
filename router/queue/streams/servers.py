"""Finds the server to talk to: a fixed address, the master that Sentinel names, or the node of a Cluster that has our slot.

All keys have one hash tag, so in a Cluster there is one node to talk to, and a plain connection to it will do. After a failover a new
connection asks again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from redis import connection as redis_connection
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from .options import Options

DEFAULT_PORT = 6379

Address = tuple[str, int]


def no_retry() -> Retry:
    """redis-py repeats nothing by itself: a command that was sent twice could be two messages."""
    return Retry(NoBackoff(), 0)


class Servers:
    """Makes connections to the server that is right at that moment."""

    def __init__(
        self,
        addresses: Sequence[Address],
        options: Options,
        slot_key: bytes,
        *,
        path: str | None = None,
        database: int = 0,
        username: str | None = None,
        password: str | None = None,
        credential_provider: Any = None,
        ssl: Mapping[str, Any] | bool | None = None,
    ) -> None:
        self._addresses = addresses
        self._options = options
        self._slot_key = slot_key
        self._path = path
        self._common: dict[str, Any] = {
            "protocol": 2,
            "retry": no_retry(),
            "socket_timeout": options.socket_timeout,
            "socket_connect_timeout": options.socket_connect_timeout,
        }
        if credential_provider is not None:
            self._common["credential_provider"] = credential_provider
        elif password:
            self._common |= {"username": username, "password": password}
        self._tcp: dict[str, Any] = {"socket_keepalive": options.socket_keepalive}
        self._tcp |= dict(ssl) if isinstance(ssl, Mapping) else {}
        self._class: Any = redis_connection.SSLConnection if ssl else redis_connection.Connection
        self._unix_class: Any = redis_connection.UnixDomainSocketConnection
        self._sentinel_class: Any = Sentinel
        self._database = database

    def connect(self) -> Any:
        """A new open connection. Raises redis-py's errors."""
        options = self._options
        settings = {**self._common, "db": self._database, "client_name": options.client_name}
        connection: Any
        if self._path is not None:
            connection = self._unix_class(path=self._path, **settings)
        else:
            host, port = self._find()
            connection = self._class(host=host, port=port, **settings, **self._tcp)
        connection.connect()
        return connection

    def _find(self) -> Address:
        if self._options.master_name:
            return self._master(self._options.master_name)
        if self._options.cluster:
            return self._owner_of_the_slot()
        return self._addresses[0]

    def _master(self, name: str) -> Address:
        options = self._options
        known = [tuple(one) if not isinstance(one, str) else _address(one) for one in options.sentinels] or list(self._addresses)
        settings = {key: self._common[key] for key in ("protocol", "retry", "socket_timeout", "socket_connect_timeout")}
        sentinel: Any = self._sentinel_class(
            known, min_other_sentinels=options.min_other_sentinels, sentinel_kwargs={**settings, **options.sentinel_kwargs}
        )
        try:
            host, port = sentinel.discover_master(name)
        finally:
            for client in sentinel.sentinels:
                client.close()
        return host, int(port)

    def _owner_of_the_slot(self) -> Address:
        slot = key_slot(self._slot_key)
        failures: list[str] = []
        for host, port in self._addresses:
            asked: Any = self._class(host=host, port=port, **self._common, **self._tcp)
            try:
                asked.connect()
                asked.send_command("CLUSTER SLOTS")
                slots = asked.read_response()
            except (RedisError, OSError) as error:
                failures.append(f"{host}:{port}: {error}")
                continue
            finally:
                asked.disconnect()
            for first, last, master, *_ in slots:
                if first <= slot <= last:
                    # An empty name means: the address you asked
                    return (master[0].decode() if master[0] else host), int(master[1])
            failures.append(f"{host}:{port}: knows no owner of slot {slot}")
        raise RedisConnectionError(f"no node of the cluster tells where slot {slot} is ({'; '.join(failures)})")


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return (host, int(port)) if host else (text, 26379)
