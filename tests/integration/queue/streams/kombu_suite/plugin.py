"""A pytest plugin for a run inside kombu's unpacked source distribution: its tests of virtual transports, against our transport.

Where those tests make a client of the virtual or the memory transport, they get one of ours, on the Redis whose URL is in STREAMS_URL, with
keys of its own per test. The classes of t/integration/common.py, which kombu runs against its real brokers, are in cases.py.
"""

import os
import uuid
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import kombu
import pytest

from router.queue.streams import register
from router.queue.streams.qos import QoS
from tests.integration.queue.streams.kombu_suite.not_applicable import NOT_APPLICABLE

register()


def connection(**kwargs: Any) -> kombu.Connection:
    """A connection to keys that no other test uses; closed after the test."""
    options = {"global_keyprefix": f"{_State.prefix}:"} | kwargs.pop("transport_options", {})
    made = kombu.Connection(os.environ["STREAMS_URL"], transport_options=options, **kwargs)
    _State.made.append(made)
    return made


class _State:
    prefix = ""
    made: list[kombu.Connection] = []  # noqa: RUF012 - of the one test that runs


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    _State.prefix = uuid.uuid4().hex
    module = request.module
    if module.__name__.endswith("virtual.test_base"):
        monkeypatch.setattr(module, "client", connection)
        monkeypatch.setattr(module, "memory_client", connection)
        # Their teardown cancels the finalizer that kombu's own QoS has
        monkeypatch.setattr(QoS, "_on_collect", Mock(), raising=False)
    if module.__name__.endswith("transport.test_memory"):
        monkeypatch.setattr(module, "Connection", lambda transport=None: connection())
    yield
    for one in _State.made:
        one.release()
    _State.made.clear()




def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    unknown = set(NOT_APPLICABLE) - {name_of(item) for item in items}
    if unknown:
        raise pytest.UsageError(f"listed as not applicable, but not there: {sorted(unknown)}")
    left_out = [item for item in items if name_of(item) in NOT_APPLICABLE]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if name_of(item) not in NOT_APPLICABLE]


def name_of(item: pytest.Item) -> str:
    """File, class and test, without parameters."""
    return item.nodeid.rsplit("/", 1)[-1].split("[", 1)[0]
