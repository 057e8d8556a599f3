"""What is measured runs in processes of its own, as `up` and docker-compose run it, in a temporary data folder."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec

_START_SECONDS = 60.0


class Bench(msgspec.Struct, frozen=True):
    """A running router."""

    url: str
    port: int
    data: Path
    pid: int

    def operator(self, method: str, path: str, body: Any = None) -> Any:
        """A call of the operator API. Raises httpx.HTTPStatusError."""
        token = json.loads((self.data / "secrets.json").read_text())["operator_token"]
        answer = httpx.request(method, f"{self.url}/operator/v1{path}", json=body, headers={"Authorization": f"Bearer {token}"}, timeout=40)
        answer.raise_for_status()
        return answer.json()

    def account_key(self) -> str:
        """The key of a new account without limits."""
        body = {"name": "bench", "balance": 10**11, "price": 5, "limits": {"daily": 0, "phone_hourly": 0}}
        return str(self.operator("POST", "/accounts", body)["key"])


@contextlib.contextmanager
def process(arguments: list[str], environment: dict[str, str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A Python process, ended by SIGTERM at the end."""
    with log.open("ab") as file:
        child = subprocess.Popen([sys.executable, *arguments], env=os.environ | environment, stdout=file, stderr=file)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait(10)


@contextlib.contextmanager
def router(role: str, port: int, settings: dict[str, str], *arguments: str) -> Iterator[Bench]:
    """A role (`up`, or `api` with SEEDROUTER_REDIS_URL among the settings), ready to be called."""
    with tempfile.TemporaryDirectory(prefix="seedrouter-bench-") as folder:
        data = Path(folder) / "data"
        environment = {"SEEDROUTER_DATA": str(data), "SEEDROUTER_PORT": str(port), "SEEDROUTER_LOG_LEVEL": "warning"} | settings
        log = Path(folder) / "log"
        with process(["-m", "router.cli.main", role, *arguments], environment, log) as child:
            bench = Bench(f"http://127.0.0.1:{port}", port, data, child.pid)
            wait_until_ready(f"{bench.url}/health/ready", child, log)
            yield bench


def wait_until_ready(url: str, child: "subprocess.Popen[bytes]", log: Path) -> None:
    """Raises RuntimeError with the log's end where it does not come up."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=20).status_code < 500:
                return
        time.sleep(0.05)
    raise RuntimeError(f"{url} did not come up: {log.read_text(errors='replace')[-2000:]}")
