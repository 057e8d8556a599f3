"""promtool on Prometheus' configuration and rules: they are valid, and each alert fires when it should and not otherwise."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import require

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))


def promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    binary = require(shutil.which("promtool"), "promtool (Debian: apt install prometheus)")
    return subprocess.run([binary, *arguments], capture_output=True, text=True, check=False, timeout=150)


def test_rules_are_valid() -> None:
    """Syntax of YAML, PromQL and templates; no rule twice."""
    checked = promtool("check", "rules", *RULES)

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert len(RULES) == checked.stdout.count("SUCCESS")


def test_the_configuration_is_valid() -> None:
    """With the rules that it names."""
    checked = promtool("check", "config", PROMETHEUS / "prometheus.yml")

    assert 0 == checked.returncode, checked.stdout + checked.stderr
    assert f"{len(RULES)} rule files found" in checked.stdout


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_rest(path: Path) -> None:
    """Series in, alerts out, with their words: quiet traffic, restarts, a process that is gone, and other roles' zeros included."""
    tested = promtool("test", "rules", path)

    assert 0 == tested.returncode, tested.stdout + tested.stderr
    assert "SUCCESS" in tested.stdout


def test_a_test_that_fails_is_noticed(tmp_path: Path) -> None:
    """An alert that is never let fire fails the test that waits for it."""
    (tmp_path / "rules").mkdir()
    (tmp_path / "tests").mkdir()
    for path in RULES:
        text = path.read_text()
        (tmp_path / "rules" / path.name).write_text(text.replace("seedrouter:redis_memory_used:ratio > 0.85", "vector(0) > 0.85"))
    shutil.copy(PROMETHEUS / "tests" / "redis.yml", tmp_path / "tests")

    tested = promtool("test", "rules", tmp_path / "tests" / "redis.yml")

    assert 1 == tested.returncode
    assert "RedisMemoryHigh" in tested.stdout + tested.stderr
