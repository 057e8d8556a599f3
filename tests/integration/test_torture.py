"""`seedrouter torture`, as somebody who doubts the promises runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(200)
def test_a_short_torture_breaks_things_and_no_promise(tmp_path: Path) -> None:
    """kill -9, pauses and bad phones for six seconds: exit code 0, and all counts that must be zero are."""
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", "torture", "--seconds", "6", "--rate", "20", "--phones", "12", "--seed", "1", "--json"],
        capture_output=True,
        text=True,
        timeout=150,
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    told = json.loads(done.stdout)

    assert told["ok"] is True
    assert (1, 120) == (told["seed"], told["attempted"])
    assert told["acknowledged"] + told["unanswered"] == told["attempted"]
    assert sum(told["states"].values()) == told["acknowledged"]
    assert told["on_air"] > 0
    assert [0] * 6 == [told[name] for name in ("lost", "unexpected", "forked", "twice", "late", "unseen")]
    assert told["balance"]["expected"][0] <= told["balance"]["end"] <= told["balance"]["expected"][1]
    assert {"kill", "pause"} <= {nemesis["what"].split()[0] for nemesis in told["nemeses"]}
