"""Commands in this process, with nothing of the developer's own environment."""

from collections.abc import Callable
from pathlib import Path

import pytest

from router.cli import main

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test; the `.env` of the working folder is the test's too."""
    import os

    for name in [name for name in os.environ if name.upper().startswith("SEEDROUTER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `seedrouter` with these words; gives the exit code. What it prints is capsys'."""

    def call(*words: str) -> int:
        monkeypatch.setattr("sys.argv", ["seedrouter", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        code = ended.value.code
        return code if isinstance(code, int) else 0 if code is None else 1

    return call
