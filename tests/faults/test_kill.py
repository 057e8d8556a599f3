"""Processes die by kill -9 in the middle of the work: every message still reaches its end, and none goes on the air twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
import redis

from bench import load
from router.embedded import socket_path
from tests.stack import QUICK, free_port, wait_for
from workers.simulator.air import on_air_twice, read_ledger
from workers.simulator.behaviour import Behaviour
from workers.simulator.fleet import FleetOptions, run_fleet

MESSAGES = 2000
PHONES = 45
KILLS = 4
NUMBERS = ("+2136612{:05d}", "+2137712{:05d}", "+2135512{:05d}")


class Up:
    """`seedrouter up` as a process, on its embedded Redis."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = os.environ | QUICK | {
            "SEEDROUTER_DATA": str(data),
            "SEEDROUTER_PORT": str(self.port),
            "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
            "SEEDROUTER_TIMEKEEPER_METRICS_PORT": "0",
            "SEEDROUTER_PACE_SECONDS": "0.05",
            "SEEDROUTER_MAX_ATTEMPTS": "20",
        }
        self.log_path = data.parent / "up.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "router.cli.main", "up"], env=environment, stdout=log, stderr=log)
        wait_for(lambda: (data / "run.json").exists() or self.process.poll() is not None, "the router to run", 60)
        assert self.process.poll() is None, self.log_path.read_text()

    def pid_of(self, role: str) -> int | None:
        """The child of the supervisor that runs this role."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in children:
            command = Path(f"/proc/{pid}/cmdline")
            if command.exists() and command.read_bytes().split(b"\0")[-2:-1] == [role.encode()]:
                return int(pid)
        return None

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


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    router = Up(tmp_path / "data")
    try:
        yield router
    finally:
        if router.process.poll() is None:
            router.stop()


class Phones:
    """A fleet of simulated phones on a loop of its own."""

    def __init__(self, up: Up, behaviour: Behaviour) -> None:
        self.ledger = up.data.parent / "air.jsonl"
        options = FleetOptions(
            url=up.url, operator_token=up.operator_token, ledger=self.ledger, count=PHONES, behaviour=behaviour, seed=7, stop_seconds=10.0
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
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)


def states_of(up: Up, ids: list[str], key: str) -> Counter[str]:
    with httpx.Client(base_url=up.url, headers={"Authorization": f"Bearer {key}"}, timeout=30) as http:
        return Counter(http.get(f"/api/v1/status/{message_id}").json()["status"] for message_id in ids)


@pytest.mark.timeout(300)
def test_dispatcher_and_timekeeper_killed_in_the_middle_of_two_thousand_messages(up: Up) -> None:
    """The supervisor restarts them, every message is sent in the end, and the ledger of the phones shows none twice."""
    account = up.operator("POST", "/accounts", {"name": "t", "balance": 10**9, "price": 5, "limits": {"daily": 0, "phone_hourly": 0}})
    key = str(account["key"])
    numbers = [NUMBERS[i % 3].format(i) for i in range(MESSAGES)]
    requests = [
        load.post("/api/v1/send-otp", f'{{"phone":"{number}"}}'.encode(), {"Authorization": f"Bearer {key}"}) for number in numbers
    ]
    killed: list[int] = []
    behaviour = Behaviour(
        pace_seconds=0.01, fail_rate=0.02, silent_rate=0.003, late_report_rate=0.02, late_report_seconds=1.0, repeat_report_rate=0.05
    )
    with Phones(up, behaviour) as phones:
        wait_for(lambda: len(httpx.get(f"{up.url}/seeds").json()) == PHONES, "all phones to be online")
        time.sleep(1.0)
        outcome: list[load.Outcome] = []
        sender = threading.Thread(target=lambda: outcome.append(asyncio.run(load.run(up.port, requests, 8, warm_up=0))))
        sender.start()
        for _ in range(KILLS):
            time.sleep(0.7)
            killed += [up.kill("dispatcher"), up.kill("timekeeper")]
        sender.join(120)
        found = up.operator("GET", f"/accounts/{account['id']}")
        ids = _ids(up, str(account["id"]))
        # A code that was sent waits to be verified: that is as far as it goes here
        wait_for(lambda: set(states_of(up, ids, key)) <= {"sent"}, "every message to be sent", 150)
        on_air = read_ledger(phones.ledger)

    assert outcome[0].statuses == {200: MESSAGES}
    assert len(set(killed)) == 2 * KILLS
    assert {} == on_air_twice(on_air)
    assert MESSAGES == len({sms.id for sms in on_air})
    assert found["balance"] == 10**9 - 5 * MESSAGES
    assert up.stop() == 0


def _ids(up: Up, account: str) -> list[str]:
    """All reference ids of the account, from the index that operators list (read where it rests, so that no limit cuts it)."""
    client = redis.Redis(unix_socket_path=str(socket_path(up.data)))
    ids = [str(message_id.decode()) for message_id in client.zrange(f"acct:{{{account}}}:messages", 0, -1)]
    client.close()
    assert len(ids) == MESSAGES
    return ids
