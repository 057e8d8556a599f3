"""`seedrouter up` as a process with a fleet of simulated phones, for tests that break things."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import httpx
import redis

from bench import load
from bench.ports import free_port
from router.embedded import socket_path, sync_every_write
from router.store.accounts import Accounts
from router.store.messages import Messages
from tests.stack import QUICK, wait_for
from workers.simulator.behaviour import Behaviour
from workers.simulator.fleet import FleetOptions, run_fleet

NUMBERS = ("+2136612{:05d}", "+2137712{:05d}", "+2135512{:05d}")


class Up:
    """`seedrouter up` as a process, on its embedded Redis."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = os.environ | QUICK | {
            "SEEDROUTER_LOG_LEVEL": "info",
            "SEEDROUTER_DATA": str(data),
            "SEEDROUTER_PORT": str(self.port),
            "SEEDROUTER_PACE_SECONDS": "0.05",
            "SEEDROUTER_MAX_ATTEMPTS": "20",
        }
        self.log_path = data.parent / "up.log"
        self._environment = environment
        self.start()

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            command = [sys.executable, "-m", "router.cli.main", "up"]
            self.process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        wait_for(lambda: (self.data / "run.json").exists() or self.process.poll() is not None, "the router to run", 60)
        assert self.process.poll() is None, self.log_path.read_text()

    def pid_of(self, role: str) -> int | None:
        """The child of the supervisor that runs this role."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and command.read_bytes().split(b"\0")[-2:-1] == [role.encode()]:
                return int(pid)
        return None

    @property
    def redis_pid(self) -> int:
        """0 while there is none."""
        try:
            with self._redis() as client:
                return int(client.info("server")["process_id"])
        except redis.ConnectionError:
            return 0

    def _redis(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(socket_path(self.data)))

    def kill_redis(self) -> int:
        """kill -9, of one that has kept all that it has acknowledged; gives the pid."""
        sync_every_write(self.data)
        pid = self.redis_pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill(self, role: str) -> int:
        """kill -9; gives the pid."""
        pid = wait_for(lambda: self.pid_of(role), f"the {role} to be there")
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def operator(self, method: str, path: str, body: object = None) -> dict[str, object]:
        headers = {"Authorization": f"Bearer {self.operator_token}"}
        answer = httpx.request(method, f"{self.url}/operator/v1{path}", json=body, headers=headers, timeout=30)
        assert answer.is_success, answer.text
        return dict(answer.json())

    @property
    def operator_token(self) -> str:
        return str(json.loads((self.data / "secrets.json").read_text())["operator_token"])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def account(self) -> "Account":
        """A new account without limits."""
        body = {"name": "t", "balance": 10**9, "price": 5, "limits": {"daily": 0, "phone_hourly": 0}}
        made = self.operator("POST", "/accounts", body)
        return Account(self, str(made["id"]), str(made["key"]))

    def message_ids(self, account_id: str) -> list[str]:
        """All reference ids of an account that were recorded, read where they rest, so that no limit cuts them.

        Its listing holds also those that were admitted and never recorded; nobody was told of them.
        """
        with self._redis() as client:
            listed = [fields[b"i"].decode() for _, fields in client.xrange(Accounts.key(account_id, "messages"))]
            pipe = client.pipeline(transaction=False)
            for message_id in listed:
                pipe.strlen(Messages.key(message_id))
            return [message_id for message_id, size in zip(listed, pipe.execute(), strict=True) if Messages.parse_recorded(size)]


class Account:
    """Who sends."""

    def __init__(self, up: Up, account_id: str, key: str) -> None:
        self.up = up
        self.id = account_id
        self.key = key

    @property
    def balance(self) -> int:
        found = self.up.operator("GET", f"/accounts/{self.id}")["balance"]
        assert isinstance(found, int)
        return found

    def send(self, numbers: Iterable[str], connections: int = 8) -> load.Outcome:
        """A code to each number; gives the statuses."""
        headers = {"Authorization": f"Bearer {self.key}"}
        requests = [load.post("/api/v1/send-otp", f'{{"phone":"{number}"}}'.encode(), headers) for number in numbers]
        return asyncio.run(load.run(self.up.port, requests, connections, warm_up=0))

    def states(self, ids: Iterable[str]) -> Counter[str]:
        with httpx.Client(base_url=self.up.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as http:
            return Counter(http.get(f"/api/v1/status/{message_id}").json().get("status", "unknown") for message_id in ids)

    def wait_until_all_are_sent(self, ids: list[str], seconds: float = 150.0) -> None:
        """A code that was sent waits to be verified: that is as far as it goes here."""
        deadline = time.monotonic() + seconds
        left = ids
        while left:
            assert time.monotonic() < deadline, f"after {seconds:.0f} s: {self.states(left)}"
            with httpx.Client(base_url=self.up.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=30) as http:
                left = [m for m in left if http.get(f"/api/v1/status/{m}").json()["status"] != "sent"]
            time.sleep(0.2)


class Phones:
    """A fleet of simulated phones on a loop of its own."""

    def __init__(self, up: Up, count: int, behaviour: Behaviour) -> None:
        self._up = up
        self._count = count
        self.ledger = up.data.parent / "air.jsonl"
        options = FleetOptions(
            url=up.url, operator_token=up.operator_token, ledger=self.ledger, count=count, behaviour=behaviour, seed=7, stop_seconds=10.0
        )
        self._started = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

        async def work() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            await run_fleet(options, self._stop, lambda _: self._started.set())

        self._thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(30)
        wait_for(lambda: len(httpx.get(f"{self._up.url}/seeds", timeout=30).json()) == self._count, "all phones to be online")
        # The api looks twice a second whom it can serve
        time.sleep(1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)
