"""kombu's classes for real brokers (t/integration/common.py of its source distribution), with our connections."""

import kombu
import pytest
from t.integration.common import (  # type: ignore[import-not-found]
    BaseExchangeTypes,
    BaseFailover,
    BaseMessage,
    BasePriority,
    BasicFunctionality,
)

from bench.ports import free_port
from tests.integration.queue.streams.kombu_suite.plugin import connection as make_connection
from tests.servers import HOST


@pytest.fixture(params=[{}, {"priority_steps": [0, 3, 6, 9]}], ids=["one-step", "steps"])
def connection(request: pytest.FixtureRequest) -> kombu.Connection:
    return make_connection(transport_options=request.param)


@pytest.fixture
def invalid_connection() -> kombu.Connection:
    return kombu.Connection(f"redisstreams://{HOST}:{free_port()}/0")


class TestBasicFunctionality(BasicFunctionality):
    pass


class TestExchangeTypes(BaseExchangeTypes):
    pass


class TestMessage(BaseMessage):
    pass


class TestPriority(BasePriority):
    PRIORITY_ORDER = "asc"

    @pytest.fixture
    def connection(self) -> kombu.Connection:
        return make_connection(transport_options={"priority_steps": list(range(10))})


class TestFailover(BaseFailover):
    @pytest.fixture
    def failover_connection(self) -> kombu.Connection:
        live = make_connection()
        url = f"redisstreams://{HOST}:{live.port}/0"
        dead = f"redisstreams://{HOST}:{free_port()}/0"
        return kombu.Connection(f"{dead};{url}", transport_options=live.transport_options, connect_timeout=10)
