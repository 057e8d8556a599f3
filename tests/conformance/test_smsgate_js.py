"""npm's android-sms-gateway, unchanged, against the running router and a phone of the app."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.app import App
from tests.conformance.conftest import Start
from tests.conformance.smsgate import Login, new_login, number, phone, sends
from tests.conftest import require
from tests.stack import Stack, wait_for

RUNNER = Path(__file__).with_name("smsgate_runner.mjs")
FETCHED = Path(sys.prefix, "android-sms-gateway-js", "package", "dist", "index.js")
SHA256 = "6d50f5bad4154dfa92d614c761b41f2c473bfebe42d5ef1a3427c17ba607c64b"
"""Of the client that npm has as version 3.0.0."""
HOOK = "https://example.com/hook"


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    with start(SEEDROUTER_PACE_SECONDS="0.05", SEEDROUTER_LEASE_SECONDS="30", SEEDROUTER_RADIO_SECONDS="60") as stack:
        yield stack


@pytest.fixture(scope="module")
def login(stack: Stack) -> Login:
    return new_login(stack)


@pytest.fixture(scope="module")
def app(stack: Stack, login: Login) -> Iterator[App]:
    with phone(stack, login) as app:
        yield app


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package's file, byte for byte. It is a module whose package does not say so: by the name `.mjs` every node takes it for one."""
    found = require(FETCHED if FETCHED.is_file() else None, "npm's android-sms-gateway 3.0.0 (make test fetches it, where npm is)")
    assert SHA256 == hashlib.sha256(found.read_bytes()).hexdigest()
    return Path(shutil.copy(found, tmp_path_factory.mktemp("js") / "client.mjs"))


def run(client: Path, stack: Stack, login: Login, prefix: str, to: str) -> dict[str, Any]:
    node = require(shutil.which("node"), "node (Debian: apt install nodejs)")
    done = subprocess.run(
        [node, str(RUNNER), str(client), f"{stack.url}{prefix}", *login, to, HOOK], capture_output=True, text=True, timeout=120, check=False
    )
    assert 0 == done.returncode, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("prefix", ["/3rdparty/v1", "/api/3rdparty/v1"])
def test_all_calls(client: Path, stack: Stack, login: Login, app: App, prefix: str) -> None:
    """It sends, reads the state until the phone has delivered, and uses all the rest of its calls."""
    to = number()
    with sends(app) as sent:
        told = run(client, stack, login, prefix, to)
        wait_for(lambda: app.heard("MessagesExportRequested"), "the event of the export")

    assert (21, "Pending") == (len(told["sent"]["id"]), told["sent"]["state"])
    assert {"id", "deviceId", "state", "isHashed", "isEncrypted", "recipients", "states"} <= told["sent"].keys()
    assert [("Hello from JS", 100)] == [(message["message"], message["priority"]) for message in sent if message["phoneNumbers"] == [to]]
    last = told["states"][-1]
    assert ("Delivered", [{"phoneNumber": to, "state": "Delivered"}]) == (last["state"], last["recipients"])
    assert {"Pending", "Processed", "Sent", "Delivered"} == last["states"].keys()
    for at in last["states"].values():
        assert abs(datetime.now(UTC) - datetime.fromisoformat(at)) < timedelta(minutes=5)
    assert app.id == last["deviceId"]

    first, again = told["once"]
    assert first["id"] == again["id"]
    assert 200 == stack.http.delete(f"/3rdparty/v1/messages/{first['id']}", auth=login).status_code
    statuses = {name: answer["status"] for name, answer in told["refused"].items()}
    assert {"number": 400, "id": 409, "unserved": 503, "unknown": 404, "password": 401, "device": 404, "logs": 501} == statuses
    assert {("message",)} == {tuple(answer["body"]) for answer in told["refused"].values()}

    webhook = {"id": told["webhook"]["id"], "deviceId": None, "url": HOOK, "event": "sms:sent"}
    assert (webhook, [webhook], []) == (told["webhook"], told["webhooks"], told["webhooksLeft"])
    assert [(app.id, "test phone")] == [(device["id"], device["name"]) for device in told["devices"]]
    assert told["healthy"]
    assert {"send_interval_min": 1, "send_interval_max": 5} == told["replaced"]["messages"]
    assert 3 == told["replaced"]["webhooks"]["retry_count"]
    assert {"send_interval_min": 1, "send_interval_max": 7} == told["patched"]["messages"]
    assert {} == told["exported"]
