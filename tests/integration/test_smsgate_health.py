"""SMSGate's health calls where not all is well."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from router.api.app import create_app
from router.api.parts import Parts
from router.domain.errors import Unavailable
from router.secrets import load_secrets
from router.settings import Settings
from router.store.store import Store


@pytest.fixture
def client(redis_url: str, tmp_path: Path) -> "Iterator[TestClient[Litestar]]":
    app = create_app(Settings(_env_file=None, redis_url=redis_url, data=tmp_path, max_queue_length=1), load_secrets(tmp_path, {}))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def parts(client: "TestClient[Litestar]") -> Parts:
    found: Parts = client.app.state["parts"]
    return found


def health(client: "TestClient[Litestar]", path: str = "") -> tuple[int, str, dict[str, Any]]:
    answer = client.get(f"/3rdparty/v1/health{path}")
    return answer.status_code, answer.json()["status"], answer.json()["checks"]


def test_without_a_store(client: "TestClient[Litestar]", monkeypatch: pytest.MonkeyPatch) -> None:
    """503 and `fail`, which the check of the store explains; the process itself lives."""

    async def away(_: Store) -> float:
        raise Unavailable("the store cannot be reached: ConnectionError")

    assert (200, "pass") == health(client)[:2]
    monkeypatch.setattr(Store, "time", away)

    status, worst, checks = health(client, "/ready")
    assert (503, "fail") == (status, worst)
    assert {"process": "pass", "store": "fail", "queue": "pass"} == {name: check["status"] for name, check in checks.items()}
    assert {"status": "fail", "description": "the store does not answer"} == checks["store"]
    assert (200, "pass", {}) == health(client, "/live")


def test_with_a_full_queue(client: "TestClient[Litestar]", monkeypatch: pytest.MonkeyPatch, parts: Parts) -> None:
    """200 and `warn`: what is on it goes out."""
    monkeypatch.setattr(type(parts.publisher), "depth", 1)
    status, worst, checks = health(client)

    assert (200, "warn") == (status, worst)
    assert ("warn", 1, "messages") == tuple(checks["queue"][name] for name in ("status", "observedValue", "observedUnit"))


def test_while_it_stops(client: "TestClient[Litestar]", parts: Parts) -> None:
    """503: whoever shares calls out gives it no more."""
    parts.closing.set()

    assert (503, "fail") == health(client)[:2]
    assert (200, "pass", {}) == health(client, "/live")
