from collections.abc import AsyncIterator

import pytest

from router.store.store import Store
from tests.integration.store.kit import CallsSeen, open_store


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> CallsSeen:
    return CallsSeen(monkeypatch)


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    opened = open_store(redis_url)
    yield opened
    await opened.close()
