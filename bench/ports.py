"""Ports for what is started beside other runs: benches and tests, several at a time on one machine."""

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

HOST = "127.0.0.1"
_FIRST, _LAST = 10_000, 32_767
"""Below those that Linux and macOS give to outgoing connections and to servers that ask for any port."""
_TRIES = 1_000


class _Ports:
    """The ports of one process, each held as a locked byte of a file that all runs on the machine share. The kernel lets go of the locks
    when the process ends; a child holds none.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._file = -1
        self._held: set[int] = set()

    def hold(self, port: int) -> bool:
        """Whether nobody held it, nobody listens on it, and it is ours from now on."""
        self._open()
        if port in self._held or not _is_free(port):
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
        except OSError:
            return False
        self._held.add(port)
        return True

    def _open(self) -> None:
        if self._pid != os.getpid():
            path = Path(tempfile.gettempdir(), f"seedrouter-ports-{os.getuid()}")
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._pid = os.getpid()


_ports = _Ports()


def free_port(beside: int = 0) -> int:
    """A port of loopback that nobody listens on, and that no other run is given while this process lives; with `beside`, port + beside
    likewise. Raises RuntimeError where there is none.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_LAST + 1 - beside - _FIRST)
        if _ports.hold(port) and (not beside or _ports.hold(port + beside)):
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST} after {_TRIES} tries")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
