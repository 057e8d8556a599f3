"""What processes cost: their processor time, which other work on the machine blurs much less than it blurs a rate.

From Linux' /proc (proc_pid_stat(5)); where there is none, nothing is told.
"""

import os
from collections.abc import Mapping
from pathlib import Path

_PROC = Path("/proc")
_PARENT_FIELD = 1
_USER_FIELD = 11
_SYSTEM_FIELD = 12
"""Places in /proc/<pid>/stat after the name in brackets: ppid, utime and stime."""


class Cpu:
    """Processor time of some processes since this object was made. Their threads count, their children do not."""

    def __init__(self, pids: Mapping[str, int | None]) -> None:
        self._pids = {name: pid for name, pid in pids.items() if pid is not None}
        self._before = {name: cpu_seconds(pid) for name, pid in self._pids.items()}

    def seconds(self) -> dict[str, float]:
        """By the process' name; one that cannot be asked, or has ended, is left out."""
        now = {name: cpu_seconds(pid) for name, pid in self._pids.items()}
        return {
            name: spent - before for name, before in self._before.items() if (spent := now[name]) is not None and before is not None
        }

    def per(self, count: int, what: str) -> dict[str, float]:
        """Microseconds for each of `count`, as a bench's details: {"<name>_cpu_us_per_<what>": …}."""
        return {f"{name}_cpu_us_per_{what}": round(spent / count * 1e6, 1) for name, spent in self.seconds().items()} if count else {}


def cpu_seconds(pid: int) -> float | None:
    """User and system time of a process in seconds, to a clock tick (10 ms on most systems); None where it cannot be told."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[_USER_FIELD]) + int(fields[_SYSTEM_FIELD])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> dict[str, int]:
    """The processes that `seedrouter up` has started, by their role; its Redis is `redis`."""
    found: dict[str, int] = {}
    for folder in _PROC.glob("[0-9]*"):
        child = int(folder.name)
        fields = _stat(child)
        if fields is not None and int(fields[_PARENT_FIELD]) == pid:
            found[_role(folder)] = child
    return found


def _stat(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _role(folder: Path) -> str:
    try:
        words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return "ended"
    if any(name in words[0] for name in ("redis", "valkey")):
        return "redis"
    return next((role for role in ("api", "dispatcher", "timekeeper", "courier") if role in words), words[0])
