"""The whole router for a test: its roles as processes over a real Redis, as `up` would start them, and simple phones to serve it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.ports import free_port

ROLES = ("api", "dispatcher", "timekeeper", "courier")
QUICK = {
    "SEEDROUTER_LEASE_SECONDS": "2",
    "SEEDROUTER_SKEW_SECONDS": "0.3",
    "SEEDROUTER_PICKUP_SECONDS": "1",
    "SEEDROUTER_RADIO_SECONDS": "3",
    "SEEDROUTER_ONLINE_WINDOW_SECONDS": "3",
    "SEEDROUTER_REPUBLISH_SECONDS": "1",
    "SEEDROUTER_PARTS_PER_HALF_HOUR": "0",
    "SEEDROUTER_BREAKER_PAUSE_SECONDS": "2",
    "SEEDROUTER_RETRY_SEED_SECONDS": "2",
    "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
    "SEEDROUTER_TIMEKEEPER_METRICS_PORT": "0",
    "SEEDROUTER_COURIER_METRICS_PORT": "0",
    "SEEDROUTER_HEARTBEAT_SECONDS": "0",
    "SEEDROUTER_LOG_LEVEL": "debug",
}
"""Settings that let a test see a lease end within seconds."""
PATIENT = {"SEEDROUTER_LEASE_SECONDS": "60", "SEEDROUTER_RADIO_SECONDS": "60", "SEEDROUTER_PICKUP_SECONDS": "60"}
"""For a test that is not about leases: a message stays where it was given, however slow the machine."""


def wait_for(check: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """The first truthy answer of `check`, or a failure that names what was waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if answer := check():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


class Stack:
    """api, dispatcher, timekeeper and courier as processes. `environment` adds settings."""

    def __init__(self, redis_url: str, data: Path, environment: dict[str, str] | None = None) -> None:
        self.redis_url = redis_url
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = QUICK | (environment or {})
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.http = httpx.Client(base_url=self.url, timeout=40.0)

    def start(self) -> None:
        """Returns when all are at work."""
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for role in ROLES:
            self.start_role(role)
            if role == "api":
                wait_for(self._is_ready, f"the api to be ready (log: {self.log('api')[-2000:]})")
        for role in ROLES[1:]:
            wait_for(lambda at_work=role: f"{at_work}.starts" in self.log(at_work), f"the {role}")  # type: ignore[misc]

    def start_role(self, role: str) -> None:
        environment = os.environ | self.environment | {
            "SEEDROUTER_DATA": str(self.data),
            "SEEDROUTER_REDIS_URL": self.redis_url,
            "SEEDROUTER_PORT": str(self.port),
        }
        with (self.data / f"{role}.log").open("ab") as log:
            self.processes[role] = subprocess.Popen(
                [sys.executable, "-m", "router.cli.main", role], env=environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill_role(self, role: str) -> None:
        """kill -9."""
        process = self.processes.pop(role)
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def log(self, role: str) -> str:
        path = self.data / f"{role}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _is_ready(self) -> bool:
        if self.processes["api"].poll() is not None:
            raise AssertionError(f"the api ended: {self.log('api')[-2000:]}")
        with contextlib.suppress(httpx.TransportError):
            return self.http.get("/health/ready").status_code == 200
        return False

    def stop(self) -> None:
        """Raises AssertionError where a role had ended by itself, which a test may not notice otherwise."""
        self.http.close()
        failed = {role: process.returncode for role, process in self.processes.items() if process.poll()}
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        assert not failed, {role: (code, self.log(role)[-2000:]) for role, code in failed.items()}

    @property
    def operator_token(self) -> str:
        return str(json.loads((self.data / "secrets.json").read_text())["operator_token"])

    def operator(self, method: str, path: str, body: Any = None, **params: Any) -> Any:
        """A call of the operator API that must succeed."""
        answer = self.http.request(
            method, f"/operator/v1{path}", json=body, params=params, headers={"Authorization": f"Bearer {self.operator_token}"}
        )
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def account(self, **fields: Any) -> dict[str, Any]:
        """A new account with enough money and no daily limit: {"id", "key", …}."""
        body = {"name": "test", "balance": 1_000_000, "price": 5, "limits": {"daily": 0, "phone_hourly": 0}} | fields
        return dict(self.operator("POST", "/accounts", body))

    def phone(self, imsi: str, **fields: Any) -> "TestPhone":
        """An enrolled seed, that has pinged."""
        body = {"imsi": imsi, "quota": {"half_hour": 0, "hour": 0, "day": 0}} | fields
        token = self.operator("POST", "/seeds", body)["token"]
        phone = TestPhone(self.http, imsi, token)
        phone.ping()
        return phone

    def trace(self, message_id: str) -> dict[str, Any]:
        return dict(self.operator("GET", f"/messages/{message_id}"))

    def state(self, message_id: str) -> str:
        return str(self.trace(message_id)["message"]["state"])

    def wait_for_state(self, message_id: str, *states: str, seconds: float = 30.0) -> dict[str, Any]:
        wait_for(lambda: self.state(message_id) in states, f"{message_id} to be {' or '.join(states)}", seconds)
        return self.trace(message_id)


class TestPhone:
    """A phone that does what a test tells it, by hand."""

    __test__ = False

    def __init__(self, http: httpx.Client, imsi: str, token: str) -> None:
        self.http = http
        self.imsi = imsi
        self.token = token
        self._headers = {"Authorization": f"Bearer {token}"}

    def ping(self, msisdn: str = "+213661000001") -> float:
        body = {"IMSI": self.imsi, "MSISDN": msisdn, "seed_type": "seed"}
        answer = self.http.post("/seeds/ping", json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return float(answer.text)

    def pull(self, wait: float = 0.0, limit: int = 50) -> list[dict[str, Any]]:
        answer = self.http.get(f"/seeds/{self.imsi}/messages", params={"wait": wait, "max": limit}, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def report(self, message: dict[str, Any], state: str, error: str | None = None) -> dict[str, Any]:
        body = [{"id": message["id"], "attempt": message["attempt"], "state": state} | ({"error": error} if error else {})]
        answer = self.http.post(f"/seeds/{self.imsi}/reports", json=body, headers=self._headers)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @contextlib.contextmanager
    def stays_online(self) -> Iterator[None]:
        """Pings beside the test."""
        ended = threading.Event()

        def keep() -> None:
            while not ended.wait(0.5):
                self.ping()

        thread = threading.Thread(target=keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(10)
