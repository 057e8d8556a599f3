"""Writes the dashboards: `python -m deploy.grafana.generate`, from the repository's root. With `--check` it only says which differ.

What is written is committed: Grafana reads it by the provider in provisioning/dashboards, and nothing has to be built to run it.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deploy.grafana.dashboards import overview, queue, routing, seeds
from deploy.grafana.expressions import DASHBOARDS

_MODULES = (overview, routing, seeds, queue)


def generated() -> dict[str, str]:
    """The text of each file, by its name."""
    return {f"{module.UID}.json": _text(module.dashboard()) for module in _MODULES}


def differing(wanted: Mapping[str, str], folder: Path = DASHBOARDS) -> list[str]:
    """The names of files that are missing, other than wanted, or not wanted at all."""
    present = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | present.keys() if wanted.get(name) != present.get(name))


def main(arguments: Sequence[str]) -> int:
    """The exit code: 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m deploy.grafana.generate", description="Write Grafana's dashboards.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a file is not up to date")
    is_check = parser.parse_args(arguments).check
    wanted = generated()
    names = differing(wanted)
    for name in names:
        sys.stdout.write(f"{'differs' if is_check else 'written'}: {DASHBOARDS / name}\n")
        if not is_check:
            _write(DASHBOARDS / name, wanted.get(name))
    return int(is_check and bool(names))


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
    else:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def _text(dashboard: dict[str, Any]) -> str:
    return json.dumps(dashboard, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
