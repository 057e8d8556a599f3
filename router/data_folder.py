"""The data folder of one machine: private to its user, and used by one router at a time."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from router.domain.errors import RouterError


class DataLocked(RouterError):
    """Another running router has this data folder."""


class DataLock:
    """The right to a data folder, from `lock_data` until `release` or the end of the process, however it ends."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def release(self) -> None:
        """Give the folder back. Doing it again changes nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()


def lock_data(data: Path) -> DataLock:
    """Take the data folder for this process, making it (mode 700) if it is not there.

    Raises `DataLocked` with the other's pid when it is taken.
    """
    make_private(data)
    path = data / "lock"
    fd = try_flock(path)
    if fd is None:
        pid = path.read_text().strip() or "unknown"
        raise DataLocked(f"another seedrouter runs on this data folder (pid {pid}): {data}")
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return DataLock(fd)


def make_private(folder: Path) -> None:
    """Make the folder, for its owner only. One that is there already keeps its mode."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def try_flock(path: Path) -> int | None:
    """An open descriptor that holds the exclusive lock of the file `path` (made if missing), or None while another holds it.

    The lock ends when the last copy of the descriptor is closed; a child that inherits it holds it too (flock(2)).
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except BaseException:
        os.close(fd)
        raise
    return fd
