"""The commands that the README begins with, as a newcomer runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("gatewire", reason='pip install "seedrouter[demo]"')


@pytest.mark.timeout(180)
def test_the_demo_ends_well_and_tells_what_happened(tmp_path: Path) -> None:
    """Real codes by the real SDK, two phones killed in the middle: exit code 0 only if every code came back right."""
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", "demo", "--codes", "36", "--seeds", "6", "--json"],
        capture_output=True,
        text=True,
        timeout=170,
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)

    assert told["states"] == {"verified": 36}
    assert told["on_air_twice"] == 0
    assert len(told["killed"]) == 2
    assert sum(told["failovers"].values()) > 0


def test_doctor_tells_what_it_found(tmp_path: Path) -> None:
    """Each check says ok, warn or fail; the exit code is 0 where none failed."""
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", "doctor", "--json", "--data", str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"SEEDROUTER_PORT": "0"},
        check=False,
    )
    told = json.loads(done.stdout)
    checks = told["checks"]

    assert done.returncode == 0, checks
    assert told["ok"] is True
    assert {check["status"] for check in checks} <= {"ok", "warn"}
    assert {"Python", "Redis", "data folder", "port"} <= {check["name"] for check in checks}
