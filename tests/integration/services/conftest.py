from collections.abc import AsyncIterator

import pytest

from tests.integration.services.world import World
from tests.integration.store.kit import CallsSeen


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> CallsSeen:
    return CallsSeen(monkeypatch)


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    made = World(redis_url)
    yield made
    await made.close()


@pytest.fixture
async def second(redis_url: str, world: World) -> AsyncIterator[World]:
    """Another process of the same router: same store, same time, same queue."""
    made = World(redis_url, clock=world.clock, queue=world.queue)
    yield made
    await made.close()
