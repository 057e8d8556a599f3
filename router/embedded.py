"""The Redis that `seedrouter up` brings along: a child process on a unix socket in the data folder, append-only file on."""

import hashlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import structlog
from redis.backoff import NoBackoff
from redis.retry import Retry

from router.data_folder import DataLock, lock_data, make_private, try_flock
from router.domain.errors import RouterError
from router.redis_server import RedisNotFound, find_server, server_version

__all__ = ["DataLock", "EmbeddedRedis", "RedisFailed", "RedisNotFound", "find_server", "lock_data", "socket_path", "sync_every_write"]

SOCKET_PATH_BYTES = 103
"""What fits into `sun_path` with its closing zero on macOS (104); Linux takes 108. Redis cuts a longer path without a word."""
STOP_SECONDS = 30.0
"""How long a server may take to flush its append-only file before it is killed."""
POLL_SECONDS = 0.02
ANSWER_SECONDS = 2.0
LOG_LINES = 10

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class RedisFailed(RouterError):
    """The embedded Redis does not start or does not answer. Says the last lines of its log."""


def socket_path(data: Path) -> Path:
    """Where the embedded Redis of this data folder listens: `data`/redis.sock, or where that is too long for a unix socket,
    a folder of the temporary directory that is named by a hash of the path of `data`.
    """
    data = data.resolve()
    path = data / "redis.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()).resolve() / f"seedrouter-{os.geteuid()}-{name}" / "redis.sock"


def sync_every_write(data: Path) -> None:
    """Until it ends, the Redis of this data folder answers when what it was told is on the disk; what it has answered before is there too.

    With `appendfsync everysec`, as it begins, it puts off its writes while a sync is under way: a kill just then loses what came since.
    Raises redis.RedisError where it is not there.
    """
    with _client(socket_path(data)) as client:
        client.config_set("appendfsync", "always")


class EmbeddedRedis:
    """One Redis server over one data folder, in a session of its own so that a terminal's Ctrl-C does not reach it.

    The server inherits a descriptor with the lock of `data`/redis.lock, so the lock is held exactly as long as a server (or its
    rewriting child) lives, even when the supervisor was killed. Two servers can thus never write one append-only file, and a pid
    that was used again is never taken for a server.
    """

    def __init__(self, data: Path, *, timeout_seconds: float = 60.0, lock: DataLock | None = None) -> None:
        """`timeout_seconds` bounds the start, the loading of the append-only file included. `lock` is the caller's hold of the
        data folder, when it has one; else the folder is locked from `start` to `stop`.
        """
        self._data = data.resolve()
        self._timeout_seconds = timeout_seconds
        self._given_lock = lock
        self._own_lock: DataLock | None = None
        self._socket = socket_path(data)
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._mutex = threading.RLock()

    def __repr__(self) -> str:
        state = "stopped" if self._pid is None else "running" if self.process_alive else "ended"
        return f"<EmbeddedRedis {state} pid={self._pid} data={str(self._data)!r}>"

    @property
    def url(self) -> str:
        """`unix://<socket>?db=0`, for `redis.from_url`."""
        return f"unix://{self._socket}?db=0"

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it was not started."""
        return self._pid

    @property
    def process_alive(self) -> bool:
        """Does the server that we started or adopted live? Says nothing of whether it answers."""
        if self._process is not None:
            return self._process.poll() is None
        return self._pid is not None and self._lock_is_held()

    def start(self) -> str:
        """Start the server, or adopt the one that a killed supervisor left, and wait until it has loaded its data. Returns `url`.

        May be called again: a server that lives is left alone, one that ended is started anew.
        Raises `DataLocked`, `RedisNotFound`, and `RedisFailed` when it does not answer within `timeout_seconds`.
        """
        with self._mutex:
            if self.process_alive:
                return self.url
            make_private(self._data)
            if self._given_lock is None and self._own_lock is None:
                self._own_lock = lock_data(self._data)
            try:
                self._start_or_adopt(time.monotonic() + self._timeout_seconds)
            except BaseException:
                # A server that ended is still wanted: `keep_alive` tries again, and nobody may take the folder in between.
                if self._pid is None:
                    self._release()
                raise
        return self.url

    def keep_alive(self) -> None:
        """Start the server again if it ended by itself; the supervisor calls this each second. Raises as `start` does."""
        with self._mutex:
            if self._pid is None or self.process_alive:
                return
            log.warning("redis_ended", pid=self._pid, exit=self._process.returncode if self._process else None)
            self.start()

    def stop(self) -> None:
        """End the server, adopted or not: SHUTDOWN, so that the append-only file is on disk, and SIGKILL after `STOP_SECONDS`."""
        with self._mutex:
            if self.process_alive:
                self._end()
            self._process = self._pid = None
            self._release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _start_or_adopt(self, deadline: float) -> None:
        while (server_lock := try_flock(self._lock_path)) is None:
            if (pid := self._answering_pid()) is not None:
                self._process, self._pid = None, pid
                log.info("redis_adopted", pid=pid, socket=str(self._socket))
                return
            if time.monotonic() >= deadline:
                raise RedisFailed(
                    f"the Redis of this data folder lives (pid in redis.pid), but does not answer on {self._socket}"
                )
            time.sleep(POLL_SECONDS)
        try:
            self._spawn(server_lock, deadline)
        finally:
            os.close(server_lock)

    def _spawn(self, server_lock: int, deadline: float) -> None:
        binary = find_server()
        self._refuse_older(binary)
        self._make_socket_folder()
        self._socket.unlink(missing_ok=True)
        folder = self._data / "redis"
        make_private(folder)
        log_path = self._data / "redis.log"
        log_path.touch(mode=0o600)
        with log_path.open("ab") as output:
            logged = output.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [binary, *self._options(folder, log_path)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                umask=0o077,
                start_new_session=True,
                pass_fds=(server_lock,),
            )
        try:
            pid = self._wait_until_loaded(process, deadline)
        except BaseException:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if pid is None:
            ended = process.poll()
            how = f"does not answer after {self._timeout_seconds:g} s" if ended is None else f"ended with {ended}"
            if ended is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            raise RedisFailed(f"{binary} {how}; the end of {log_path}:\n{_tail(log_path, logged)}")
        self._process, self._pid = process, pid
        log.info("redis_started", pid=pid, binary=str(binary), socket=str(self._socket))

    def _options(self, folder: Path, log_path: Path) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "protected-mode": "yes",
            "dir": str(folder),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "supervised": "no",
            "pidfile": str(self._data / "redis.pid"),
            "logfile": str(log_path),
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]

    def _refuse_older(self, binary: Path) -> None:
        # Redis before 7 does not look into appendonlydir: it would start empty over the data, and nobody would notice.
        version = server_version(binary)
        if version is not None and version < (7, 0) and (self._data / "redis" / "appendonlydir").exists():
            raise RedisFailed(
                f"the data in {self._data / 'redis'} was written by Redis 7 or newer, and {binary} is {version[0]}.{version[1]}: "
                "install Redis 7 or Valkey (Debian: apt install redis-server)"
            )

    def _make_socket_folder(self) -> None:
        folder = self._socket.parent
        if folder == self._data:
            return
        if len(os.fsencode(self._socket)) > SOCKET_PATH_BYTES:
            raise RedisFailed(f"the path is too long for a unix socket: {self._socket}; choose a shorter data folder or TMPDIR")
        make_private(folder)
        # Everybody may write to the temporary directory: somebody else may have made the folder first.
        status = folder.lstat()
        if folder.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise RedisFailed(f"{folder} is not private to this user; remove it, or choose a shorter data folder")

    def _wait_until_loaded(self, process: subprocess.Popen[bytes], deadline: float) -> int | None:
        pid = None
        while pid is None and process.poll() is None and time.monotonic() < deadline:
            pid = self._answering_pid()
            if pid is None:
                time.sleep(POLL_SECONDS)
        return pid

    def _answering_pid(self) -> int | None:
        # PING is refused with LOADING until all data is there, and redis-py makes that a ConnectionError.
        try:
            with _client(self._socket) as client:
                client.ping()
                return int(client.info("server")["process_id"])
        except (redis.RedisError, OSError):
            return None

    def _end(self) -> None:
        # Another server on our socket (it would have to be started by hand) is not ours to end.
        if self._answering_pid() == self._pid:
            with suppress(redis.RedisError, OSError), _client(self._socket) as client:
                client.shutdown()
        if not _wait(lambda: not self.process_alive, STOP_SECONDS) and self._pid is not None:
            log.warning("redis_killed", pid=self._pid, after_seconds=STOP_SECONDS)
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            _wait(lambda: not self.process_alive, STOP_SECONDS)
            self._socket.unlink(missing_ok=True)
        else:
            log.info("redis_stopped", pid=self._pid)
        if self._socket.parent != self._data:
            with suppress(OSError):
                self._socket.parent.rmdir()

    @property
    def _lock_path(self) -> Path:
        return self._data / "redis.lock"

    def _lock_is_held(self) -> bool:
        fd = try_flock(self._lock_path)
        if fd is None:
            return True
        os.close(fd)
        return False

    def _release(self) -> None:
        if self._own_lock is not None:
            self._own_lock.release()
            self._own_lock = None


def _client(socket: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(socket), socket_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0))


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _tail(path: Path, start: int) -> str:
    with path.open("rb") as file:
        file.seek(start)
        lines = file.read().decode(errors="replace").splitlines()
    return "\n".join(lines[-LOG_LINES:]) or "(nothing was logged)"
