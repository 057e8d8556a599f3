"""Ports for what is started beside other runs: benches and tests, several at a time on one machine."""

import fcntl
import functools
import os
import secrets
import socket
import tempfile
from pathlib import Path

_FIRST, _LAST = 10_000, 32_767
"""Below those that Linux and macOS give to outgoing connections and to servers that ask for any port."""
_TRIES = 1_000
_held: set[int] = set()
"""By this process, which could lock a byte twice."""


def free_port(beside: int = 0) -> int:
    """A port of loopback that nobody listens on, and that no other run is given while this process lives; with `beside`, port + beside
    likewise. Raises RuntimeError where there is none.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST + 1 - beside - _FIRST)
        if _hold(port) and (not beside or _hold(port + beside)):
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST} after {_TRIES} tries")


def _hold(port: int) -> bool:
    """Whether nobody held it, nobody listens on it, and it is ours from now on."""
    if port in _held or not _is_free(port):
        return False
    try:
        fcntl.lockf(_locks(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _held.add(port)
    return True


@functools.cache
def _locks() -> int:
    """A file that all runs on the machine share: who holds a port has locked the byte at its place. The kernel lets go of the locks when
    their process ends; a child has none of them.
    """
    path = Path(tempfile.gettempdir(), f"seedrouter-ports-{os.getuid()}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
