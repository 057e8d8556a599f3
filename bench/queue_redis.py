"""A Redis of the queue's benches: a child on a loopback port, append-only file on, that can be killed and started again on its data."""

import contextlib
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from bench.ports import free_port
from router.queue.broker import KEY_PREFIX
from router.redis_server import find_server

Fsync = Literal["always", "everysec"]
_START_SECONDS = 30.0
_STOP_SECONDS = 30.0
_POLL_SECONDS = 0.01


class RedisChild:
    """Starts with `start` (or as a context manager), ends with `stop`. Raises RuntimeError where it does not come up."""

    def __init__(self, folder: Path, fsync: Fsync = "everysec") -> None:
        self.port = free_port()
        self._folder = folder
        self._fsync = fsync
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when all its data is loaded."""
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {
            "port": str(self.port),
            "bind": "127.0.0.1",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._fsync,
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        with (self._folder / "redis.log").open("ab") as log:
            # A session of its own: Ctrl-C is for the bench, which ends it in order
            self._process = subprocess.Popen(
                [find_server(), *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"Redis did not come up: {(self._folder / 'redis.log').read_text(errors='replace')[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_STOP_SECONDS)

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def client(self) -> redis.Redis:
        """A client that tries once."""
        return redis.Redis(port=self.port, socket_timeout=5.0, retry=Retry(NoBackoff(), 0))

    def flush(self) -> None:
        with self.client() as client:
            client.flushall()

    def held(self) -> int:
        """Entries of the queue that nobody acknowledged, in whatever form the two transports keep them."""
        count = 0
        with self.client() as client:
            for key in client.scan_iter(match=f"{KEY_PREFIX}*", count=1000):
                kind = client.type(key)
                if kind == b"stream":
                    count += int(client.xlen(key))
                elif kind == b"list":
                    count += int(client.llen(key))
                elif kind == b"hash" and key.endswith(b"unacked"):
                    count += int(client.hlen(key))
        return count

    def _answers(self) -> bool:
        # PING is refused until all data is loaded
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return bool(client.ping())
        return False
