"""A Redis of this folder's own, and connections with keys that no other test has."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from router.queue.streams import register
from tests import servers

Connect = Callable[..., kombu.Connection]

register()


@pytest.fixture(scope="session")
def streams_server() -> Iterator[servers.Server]:
    with servers.single() as server:
        yield server


@pytest.fixture
def connect(streams_server: servers.Server) -> Iterator[Connect]:
    """Makes connections, by default to the shared server; all of a test's have one prefix. Closed after the test."""
    prefix = uuid.uuid4().hex
    made: list[kombu.Connection] = []

    def make(url: str | None = None, **options: Any) -> kombu.Connection:
        connection = kombu.Connection(url or streams_server.url, transport_options={"global_keyprefix": f"{prefix}:", **options})
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.release()


@pytest.fixture
def connection(connect: Connect) -> kombu.Connection:
    return connect()


@pytest.fixture
def channel(connection: kombu.Connection) -> Any:
    return connection.channel()
