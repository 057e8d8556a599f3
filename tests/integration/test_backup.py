"""Backup and restore of a real Redis, by the commands: what is there comes back, and what may have been sent since is not sent again."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from router.embedded import EmbeddedRedis
from router.secrets import load_secrets
from router.store.restoring import UNFINISHED_KEY
from tests.servers import Server, folder
from tests.stack import PATIENT, Stack, TestPhone, wait_for

IMSI = "603010000000001"
NUMBER = "+2136611{:05}"


def seedrouter(*words: str, data: Path, fails: bool = False) -> str:
    """A command; what it printed, or where it `fails` what it complained of."""
    environment = os.environ | {"SEEDROUTER_DATA": str(data)}
    done = subprocess.run(
        [sys.executable, "-m", "router.cli.main", *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert fails == (done.returncode != 0), f"{words}: {done.stdout} {done.stderr}"
    return done.stderr if fails else done.stdout


@pytest.fixture
def server() -> Iterator[Server]:
    with folder() as path, Server(path, aof=True, repl_diskless_sync_delay="0") as made:
        yield made


@pytest.fixture
def empty() -> Iterator[Server]:
    with folder() as path, Server(path, aof=True, appendfsync="everysec") as made:
        yield made


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    load_secrets(made, {})
    return made


def keys_of(server: Server) -> Counter[str]:
    """How many keys of each kind."""
    with server.client() as client:
        return Counter(key.decode().split("{", 1)[0] for key in client.scan_iter(count=1000))


def submit(stack: Stack, key: str, number: int) -> str:
    """A code; its id."""
    headers = {"Authorization": f"Bearer {key}"}
    answer = stack.http.post("/api/v1/send-otp", json={"phone": NUMBER.format(number)}, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["reference_id"])


class Life:
    """A router on a Redis, a phone that sends, and an account that submits."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.on_air: Counter[str] = Counter()
        self.accepted: list[str] = []
        self._ended = threading.Event()
        self.is_enough = threading.Event()
        self._threads: list[threading.Thread] = []

    def begin(self, phone: TestPhone, key: str) -> None:
        self._threads = [threading.Thread(target=self._send, args=(phone,)), threading.Thread(target=self._submit, args=(key,))]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self.is_enough.set()
        self._ended.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self, phone: TestPhone) -> None:
        while not self._ended.is_set():
            for message in phone.pull(wait=0.5, limit=5):
                # Slower than they come: some wait at any time
                time.sleep(0.05)
                if phone.report(message, "radio")["stale"] == 0:
                    self.on_air[message["id"]] += 1
                    phone.report(message, "sent")

    def _submit(self, key: str) -> None:
        number = 0
        while not self.is_enough.wait(0.03):
            number += 1
            self.accepted.append(submit(self.stack, key, number))


@pytest.mark.timeout(150)
def test_a_backup_under_load_comes_back_and_sends_nothing_twice(server: Server, empty: Server, data: Path, tmp_path: Path) -> None:
    """Everything goes on while the backup is made; restored, its figures are those of one moment; what went out since stays out once."""
    file = tmp_path / "backup.rdb"
    stack = Stack(server.stock_url, data, PATIENT | {"SEEDROUTER_PACE_SECONDS": "0.1"})
    life = Life(stack)
    try:
        stack.start()
        account = stack.account()
        phone = stack.phone(IMSI)
        life.begin(phone, account["key"])
        wait_for(lambda: len(life.on_air) >= 30, "the first to be sent")
        said = seedrouter("backup", str(file), "--redis-url", server.stock_url, data=data)
        life.is_enough.set()
        wait_for(lambda: len(life.on_air) == len(life.accepted), "all that the backup holds as open to be sent", 60)
    finally:
        life.end()
        stack.stop()
    on_air = set(life.on_air)
    told = seedrouter("restore", str(file), "--redis-url", empty.stock_url, data=data)
    keys = keys_of(empty)
    empty.kill()
    empty.start()
    again = Stack(empty.stock_url, data, PATIENT | {"SEEDROUTER_PACE_SECONDS": "0.1"})
    try:
        again.start()
        back = TestPhone(again.http, IMSI, phone.token)
        back.ping()
        fresh = submit(again, account["key"], 99999)
        handed = wait_for(back.pull, "the new code to be handed over")
        listed = {one["id"]: one["state"] for one in again.operator("GET", "/messages", account=account["id"], limit=500)}
        balance = again.operator("GET", f"/accounts/{account['id']}")["balance"]
    finally:
        again.stop()
    states = Counter(state for message_id, state in listed.items() if message_id != fresh)

    assert "The secrets are not in it" in said
    assert 0o600 == file.stat().st_mode & 0o777
    # In the very state of then: something was sent, something was on its way
    assert {"failed", "expired"} == set(states)
    assert states["failed"] > 0
    assert states["expired"] > 0
    assert f"{states['failed']} messages that were not sent then have failed" in told
    assert f"{states['expired']} codes that waited have expired" in told
    # One moment's: each record that the account's list has is there, and a tombstone for what was charged and not recorded yet
    undone = re.search(r"^(\d+) admissions", told, re.MULTILINE)
    assert states.total() + (int(undone[1]) if undone else 0) == keys["msg:"]
    assert states.total() <= len(life.accepted)
    # Only what came after the restore is handed over, though the phone had the rest in its outbox
    assert [fresh] == [message["id"] for message in handed]
    assert fresh not in on_air
    assert {1} == set(life.on_air.values())
    # Given back is what had not been sent then; the new code is charged
    assert 1_000_000 - 5 * (states["expired"] + 1) == balance


@pytest.mark.timeout(120)
def test_moved_to_another_redis_all_goes_on(server: Server, empty: Server, data: Path, tmp_path: Path) -> None:
    """With --resume: the router was stopped before the backup, so what was open is sent by the next one."""
    file = tmp_path / "backup.rdb"
    stack = Stack(server.stock_url, data)
    try:
        stack.start()
        account = stack.account()
        phone = stack.phone(IMSI)
        message_id = submit(stack, account["key"], 1)
    finally:
        stack.stop()
    seedrouter("backup", str(file), "--redis-url", server.stock_url, data=data)
    told = seedrouter("restore", str(file), "--resume", "--redis-url", empty.stock_url, data=data)
    again = Stack(empty.stock_url, data)
    try:
        again.start()
        back = TestPhone(again.http, IMSI, phone.token)
        back.ping()
        (message,) = wait_for(back.pull, "the message to be handed over")
    finally:
        again.stop()

    assert "what was open goes on" in told
    assert message_id == message["id"]


@pytest.mark.timeout(120)
def test_the_embedded_redis(tmp_path: Path, data: Path) -> None:
    """From one data folder into another, with its secrets; a folder that is not empty, or whose secrets are others, is refused."""
    file, piped, other, stranger = (tmp_path / name for name in ("backup.rdb", "piped.rdb", "other", "stranger"))
    with EmbeddedRedis(data) as server, redis.Redis.from_url(server.url) as client:
        client.config_set("repl-diskless-sync-delay", "0")
        client.set("anything", "1")
        seedrouter("backup", str(file), data=data)
        command = [sys.executable, "-m", "router.cli.main", "backup", "-", "--data", str(data)]
        piped.write_bytes(subprocess.run(command, capture_output=True, timeout=60, check=True).stdout)
    for made, secrets in ((other, data / "secrets.json"), (stranger, None)):
        made.mkdir(mode=0o700)
        if secrets is None:
            load_secrets(made, {})
        else:
            (made / "secrets.json").write_bytes(secrets.read_bytes())
            (made / "secrets.json").chmod(0o600)
    told = seedrouter("restore", str(file), data=other)
    full = seedrouter("restore", str(file), data=other, fails=True)
    wrong = seedrouter("restore", str(piped), data=stranger, fails=True)
    without = seedrouter("restore", str(file), data=tmp_path / "without", fails=True)
    with EmbeddedRedis(other) as server, redis.Redis.from_url(server.url) as client:
        found = client.get("anything")

    assert "restored from 20" in told
    assert b"1" == found
    assert "not empty" in full
    assert "another seal key" in wrong
    assert "not given, and not in" in without


@pytest.mark.parametrize("role", ["api", "dispatcher"])
def test_no_role_starts_before_a_restore_has_come_to_its_end(role: str, empty: Server, data: Path) -> None:
    """It would send again what the backup holds as open. `restore --loaded` finishes it."""
    with empty.client() as client:
        client.set(UNFINISHED_KEY, "1")
    url = ("--redis-url", empty.stock_url)
    refused = seedrouter(role, *url, data=data, fails=True)
    told = seedrouter("restore", "--loaded", *url, data=data)
    with empty.client() as client:
        left = client.exists(UNFINISHED_KEY)

    assert "has not come to an end" in refused
    assert "0 messages that were not sent then have failed" in told
    assert 0 == left


@pytest.mark.timeout(120)
def test_what_is_no_backup_is_refused_before_it_does_harm(empty: Server, data: Path, tmp_path: Path) -> None:
    """Something else, a file that is cut off, a Redis that others work with, Sentinel; and no half-made file stays behind."""
    file, cut = tmp_path / "backup.rdb", tmp_path / "cut.rdb"
    with empty.client() as client:
        client.config_set("repl-diskless-sync-delay", "0")
        client.mset({f"key {number}": f"value {number}" for number in range(100)})
        seedrouter("backup", str(file), "--redis-url", empty.stock_url, data=data)
        cut.write_bytes(file.read_bytes()[:-20])
        client.flushall()
        url = ("--redis-url", empty.stock_url)
        company = seedrouter("restore", str(file), *url, data=data, fails=True)
    short = seedrouter("restore", str(cut), *url, data=data, fails=True)
    other = seedrouter("restore", str(data / "secrets.json"), *url, data=data, fails=True)
    sentinel = seedrouter("restore", str(file), "--redis-url", "redis+sentinel://localhost/mymaster", data=data, fails=True)
    cluster = seedrouter("backup", str(tmp_path / "never"), "--redis-url", "redis+cluster://localhost", data=data, fails=True)
    nobody = seedrouter("backup", str(tmp_path / "never"), "--redis-url", "redis://127.0.0.1:1/0", data=data, fails=True)

    assert "stop all roles first" in company
    assert "is cut off" in short
    assert "is no backup" in other
    assert "stop the Sentinels" in sentinel
    assert "a Cluster is many servers" in cluster
    assert "cannot be reached" in nobody
    assert ["backup.rdb", "cut.rdb", "data"] == sorted(path.name for path in tmp_path.iterdir())
    assert empty.answers()
    assert json.loads((data / "secrets.json").read_text())["seal_key"] not in file.read_bytes().decode(errors="ignore")
