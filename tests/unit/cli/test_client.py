import os
from pathlib import Path

import httpx
import orjson
import pytest

from router.cli.client import OperatorClient, Place, account_id_of, find_router, path_of
from router.cli.errors import CliError
from router.secrets import load_secrets

PLACE = Place("http://127.0.0.1:9", "token", "secrets.json")


def client(answer: httpx.Response | Exception) -> OperatorClient:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return OperatorClient(PLACE, httpx.MockTransport(handle))


def refusal(answer: httpx.Response | Exception) -> str:
    with client(answer) as router, pytest.raises(CliError) as refused:
        router.get("/queue")
    return str(refused.value)


class TestFindRouter:
    def test_says_how_to_start_one(self, tmp_path: Path) -> None:
        """A data folder without run.json has no router."""
        with pytest.raises(CliError, match=r"no router is running on .*seedrouter up --data"):
            find_router(tmp_path, {})

    def test_data_folder(self, tmp_path: Path) -> None:
        """run.json says where, secrets.json holds the token."""
        secrets = load_secrets(tmp_path, {})
        (tmp_path / "run.json").write_bytes(orjson.dumps({"url": "http://127.0.0.1:8123", "pid": 1}))

        place = find_router(tmp_path, {})

        assert place.url == "http://127.0.0.1:8123"
        assert place.token == secrets.operator_token
        assert secrets.operator_token not in repr(place)

    def test_data_folder_stands_above_the_environment(self, tmp_path: Path) -> None:
        load_secrets(tmp_path, {})
        (tmp_path / "run.json").write_bytes(orjson.dumps({"url": "http://127.0.0.1:8123", "pid": 1}))

        assert find_router(tmp_path, {"SEEDROUTER_URL": "http://other"}).url == "http://127.0.0.1:8123"

    def test_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SEEDROUTER_URL", "https://sms.example")
        monkeypatch.setenv("SEEDROUTER_OPERATOR_TOKEN", "secret-token")

        place = find_router(None, os.environ)

        assert (place.url, place.token, place.token_from) == ("https://sms.example", "secret-token", "SEEDROUTER_OPERATOR_TOKEN")

    def test_url_without_token(self) -> None:
        with pytest.raises(CliError, match="set SEEDROUTER_OPERATOR_TOKEN"):
            find_router(None, {"SEEDROUTER_URL": "http://sms.example"})

    def test_not_a_url(self) -> None:
        with pytest.raises(CliError, match="not an http:// or https:// URL"):
            find_router(None, {"SEEDROUTER_URL": "localhost:8080"})

    @pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"url": 1}', b"\xff"])
    def test_broken_run_file(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "run.json").write_bytes(content)

        with pytest.raises(CliError, match="is broken: remove it"):
            find_router(tmp_path, {})


class TestErrors:
    def test_nobody_answers(self) -> None:
        assert "nothing answers at http://127.0.0.1:9" in refusal(httpx.ConnectError("refused"))

    def test_timeout(self) -> None:
        assert "did not answer within 30 s" in refusal(httpx.ReadTimeout("slow"))

    def test_connection_lost(self) -> None:
        assert "cannot be asked" in refusal(httpx.RemoteProtocolError("gone"))

    def test_wrong_token(self) -> None:
        """The error says where the token came from, and never shows it."""
        text = refusal(httpx.Response(401, json={"error": "wrong operator token"}))

        assert "does not take the operator token of secrets.json" in text

    def test_reason_of_the_router(self) -> None:
        assert refusal(httpx.Response(422, json={"error": "phone: too short"})) == "phone: too short"

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null", b"\xff"])
    def test_not_a_seedrouter(self, body: bytes) -> None:
        assert "is it a Seedrouter?" in refusal(httpx.Response(502, content=body))

    def test_success_that_is_not_json(self) -> None:
        assert "something else than JSON" in refusal(httpx.Response(200, content=b"<html>"))


def test_none_is_not_sent() -> None:
    """Neither in a query nor in a body."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    with OperatorClient(PLACE, httpx.MockTransport(handle)) as router:
        router.get("/messages", phone=None, limit=5)
        router.patch("/seeds/1", {"enabled": False, "carrier": None})

    assert str(seen[0].url) == "http://127.0.0.1:9/operator/v1/messages?limit=5"
    assert seen[1].content == b'{"enabled":false}'
    assert seen[1].headers["authorization"] == "Bearer token"


def test_path_parts_are_quoted() -> None:
    assert path_of("seeds", "a/b ?") == "/seeds/a%2Fb%20%3F"


@pytest.mark.parametrize("part", ["", ".", ".."])
def test_path_parts_that_would_lead_elsewhere(part: str) -> None:
    with pytest.raises(CliError):
        path_of("accounts", part, "keys")


class TestAccountIdOf:
    ACCOUNTS = httpx.Response(
        200, json=[{"id": "ac_1", "name": "shop"}, {"id": "ac_2", "name": "twin"}, {"id": "ac_3", "name": "twin"}]
    )

    def test_id(self) -> None:
        assert account_id_of(client(RuntimeError("not asked")), "ac_9") == "ac_9"

    def test_name(self) -> None:
        assert account_id_of(client(self.ACCOUNTS), "shop") == "ac_1"

    @pytest.mark.parametrize(("name", "count"), [("twin", "2 accounts"), ("nobody", "no accounts")])
    def test_not_one(self, name: str, count: str) -> None:
        with pytest.raises(CliError, match=count):
            account_id_of(client(self.ACCOUNTS), name)
