"""Dead letters over the operator API and the command line, on a real Redis."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from kombu import Producer

from router.cli import dead
from router.cli.client import OperatorClient, Place
from router.queue.broker import Broker
from router.queue.burial import publish
from router.queue.entries import Entry, encode
from router.queue.lanes import QUEUES
from tests.integration.test_operator_api import Operator, running

SECRET = b"\xff your code is 123456"


@pytest.fixture
def operator(redis_url: str, tmp_path: Path) -> Iterator[Operator]:
    with running(redis_url, tmp_path) as found:
        yield found


@pytest.fixture
def letters(redis_url: str) -> None:
    """An entry without a record, and what is no entry, in this order."""
    broker = Broker(redis_url)
    with broker.connect() as connection:
        producer = Producer(broker.open_channel(connection))
        death = {"reason": "unknown_message", "queue": QUEUES["bulk"], "at": 7.0, "deaths": 2}
        publish(producer, encode(Entry("wg_1", "bulk", 5.0)), death)
        publish(producer, SECRET, {"reason": "undecodable", "queue": "elsewhere", "at": 8.0, "deaths": 1})


@pytest.mark.usefixtures("letters")
class TestApi:
    def test_list(self, operator: Operator) -> None:
        """The latest first, or the oldest; of what is no entry its length and hash."""
        found = operator.call("GET", "/dead-letters")
        unreadable, entry = found["letters"]

        assert 2 == found["count"]
        assert entry.items() >= {
            "reason": "unknown_message", "lane": "bulk", "message_id": "wg_1", "queued_at": 5.0, "died_at": 7.0, "deaths": 2,
        }.items()  # fmt: skip
        assert unreadable.items() >= {"reason": "undecodable", "lane": None, "message_id": None, "size": len(SECRET)}.items()
        assert "123456" not in json.dumps(found)
        assert [entry] == operator.call("GET", "/dead-letters", params={"limit": 1, "order": "oldest"})["letters"]

    @pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"order": "best"}])
    def test_what_cannot_be_asked(self, operator: Operator, params: dict[str, Any]) -> None:
        assert 422 == operator.refusal("GET", "/dead-letters", params=params)[0]

    def test_replay_and_drop(self, operator: Operator) -> None:
        """One goes back, the other has no lane and can be dropped only; then both are gone."""
        unreadable, entry = operator.call("GET", "/dead-letters")["letters"]

        assert {"replayed": 1, "left": 1} == operator.call("POST", f"/dead-letters/{entry['id']}/replay")
        assert 404 == operator.refusal("POST", f"/dead-letters/{entry['id']}/replay")[0]
        assert 409 == operator.refusal("POST", f"/dead-letters/{unreadable['id']}/replay")[0]
        assert {"replayed": 0, "left": 1} == operator.call("POST", "/dead-letters/replay")
        operator.call("DELETE", f"/dead-letters/{unreadable['id']}")
        assert 404 == operator.refusal("DELETE", f"/dead-letters/{unreadable['id']}")[0]
        assert {"count": 0, "letters": []} == operator.call("GET", "/dead-letters")

    def test_only_for_operators(self, operator: Operator) -> None:
        for method, path in (("GET", ""), ("POST", "/replay"), ("POST", "/1-1/replay"), ("DELETE", "/1-1")):
            assert 401 == operator.client.request(method, f"/operator/v1/dead-letters{path}").status_code


class _Bridge(httpx.BaseTransport):
    """The commands' client, answered by the application in this process. `TestClient` is not to be called by two threads."""

    def __init__(self, operator: Operator) -> None:
        self._operator = operator
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            answer = self._operator.client.request(
                request.method, str(request.url), content=request.read(), headers=self._operator.headers
            )
        return httpx.Response(answer.status_code, content=answer.content, headers={"content-type": "application/json"})


@pytest.fixture
def _commands(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place("http://testserver.local", "token", "a test")
    monkeypatch.setattr(dead, "router_at", lambda data: OperatorClient(place, _Bridge(operator)))


@pytest.mark.usefixtures("letters", "_commands")
class TestCommands:
    def test_list_replay_drop(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A table for people, with the reasons; then one is put back, one dropped."""
        dead.list_letters()
        table = capsys.readouterr().out
        dead.list_letters(as_json=True)
        unreadable, entry = orjson.loads(capsys.readouterr().out)["letters"]

        assert f"{len(SECRET)} bytes, SHA-256 {unreadable['digest']}" in table
        for told in (entry["id"], "wg_1", "bulk", "unknown_message", "undecodable", "1970-01-01 00:00:07Z"):
            assert told in table
        dead.replay(every=True)
        assert "1 on the queue again, 1 still dead." in capsys.readouterr().out
        dead.drop(unreadable["id"])
        assert "is gone" in capsys.readouterr().out
        dead.list_letters(limit=1)
        assert "no dead letters" in capsys.readouterr().out

    def test_how_many_more(self, capsys: pytest.CaptureFixture[str]) -> None:
        dead.list_letters(limit=1, order="oldest")
        printed = capsys.readouterr().out

        assert "1 of 2 are shown." in printed
        assert "wg_1" in printed
