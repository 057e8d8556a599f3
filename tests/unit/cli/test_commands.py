from pathlib import Path

import orjson
import pytest

from tests.unit.cli.conftest import Run


def test_help_names_every_command(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0

    printed = capsys.readouterr().out
    for command in (
        "up", "demo", "simulate", "api", "dispatcher", "timekeeper", "courier", "accounts", "keys", "templates", "seeds", "messages",
        "webhooks", "send", "queue", "doctor", "settings", "bench",
    ):  # fmt: skip
        assert f" {command} " in printed


def test_usage_error_is_2(run: Run) -> None:
    assert run("queue", "--nonsense") == 2


@pytest.mark.parametrize("arguments", [(), ("d1", "--all"), ("d1", "--account", "shop")])
def test_what_to_replay_must_be_clear(run: Run, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """One delivery, or all of them, or all of an account."""
    assert run("webhooks", "replay", *arguments) == 1
    assert "--all" in capsys.readouterr().err


def test_no_router(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line on stderr that says what to do, nothing on stdout, no traceback."""
    assert run("queue", "--data", str(tmp_path)) == 1

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: no router is running on {tmp_path}: start one with `seedrouter up")
    assert captured.err.count("\n") == 1


def test_connection_refused(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEEDROUTER_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("SEEDROUTER_OPERATOR_TOKEN", "secret-token")

    assert run("queue") == 1
    err = capsys.readouterr().err
    assert "nothing answers at http://127.0.0.1:1" in err
    assert "secret-token" not in err


@pytest.mark.parametrize("role", ["api", "dispatcher", "timekeeper", "courier"])
def test_role_without_redis(run: Run, capsys: pytest.CaptureFixture[str], role: str) -> None:
    """78 tells a supervisor that starting again cannot help."""
    assert run(role) == 78
    assert "--redis-url" in capsys.readouterr().err


def test_wrong_setting(run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its name and the reason are told, its value is not: it might be a secret."""
    monkeypatch.setenv("SEEDROUTER_PORT", "hunter2")

    assert run("settings") == 1
    err = capsys.readouterr().err
    assert "SEEDROUTER_PORT: " in err
    assert "hunter2" not in err


class TestSettings:
    def test_sources(self, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """The environment stands above .env, and .env above the default."""
        (tmp_path / ".env").write_text("SEEDROUTER_PORT=1\nSEEDROUTER_PRICE=7\n")
        monkeypatch.setenv("SEEDROUTER_PORT", "2")

        assert run("settings", "--json") == 0
        rows = {row["name"]: row for row in orjson.loads(capsys.readouterr().out)}
        assert (rows["SEEDROUTER_PORT"]["value"], rows["SEEDROUTER_PORT"]["source"]) == (2, "environment")
        assert (rows["SEEDROUTER_PRICE"]["value"], rows["SEEDROUTER_PRICE"]["source"]) == (7, ".env")
        assert rows["SEEDROUTER_HOST"]["source"] == "default"

    @pytest.mark.parametrize("words", [("settings",), ("settings", "--json")])
    def test_secrets_are_not_shown(
        self, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
    ) -> None:
        monkeypatch.setenv("SEEDROUTER_OPERATOR_TOKEN", "hunter2")
        monkeypatch.setenv("SEEDROUTER_REDIS_URL", "redis://me:hunter2@host/0")

        assert run(*words) == 0
        printed = capsys.readouterr().out
        assert "hunter2" not in printed
        assert "redis://me:***@host/0" in printed


class TestDoctor:
    def test_json(self, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        code = run("doctor", "--json", "--data", str(tmp_path / "new"))

        report = orjson.loads(capsys.readouterr().out)
        assert code == (0 if report["ok"] else 1)
        assert {check["status"] for check in report["checks"]} <= {"ok", "warn", "fail"}

    def test_secrets_that_others_can_read(self, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        (tmp_path / "secrets.json").write_text("{}")
        (tmp_path / "secrets.json").chmod(0o644)

        assert run("doctor", "--data", str(tmp_path)) == 1
        assert f"chmod 600 {tmp_path / 'secrets.json'}" in capsys.readouterr().out.replace("\n", "")

    def test_redis_that_does_not_answer(self, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        assert run("doctor", "--json", "--data", str(tmp_path), "--redis-url", "redis://:hunter2@127.0.0.1:1/0") == 1

        printed = capsys.readouterr().out
        assert "hunter2" not in printed
        assert "does not answer" in printed


def test_port_in_use(run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before anything starts."""
    import socket

    monkeypatch.setattr("router.cli.up._PORT_WAIT_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert run("up", "--data", str(tmp_path / "data"), "--port", str(port)) == 1
    assert f"cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err
    assert not (tmp_path / "data" / "redis").exists()
