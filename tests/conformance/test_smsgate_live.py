"""The own tests of PyPI's android-sms-gateway, unchanged, with the router as the live server that they ask for. No phone is there."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from android_sms_gateway import domain, errors
from android_sms_gateway.client import APIClient

from tests.conformance.conftest import Start
from tests.conformance.smsgate import Login, new_login, number
from tests.conftest import require
from tests.stack import Stack

VERSION = version("android-sms-gateway")
FETCHED = Path(sys.prefix, f"android_sms_gateway-{VERSION}", "tests")
LIVE = {f"TestAPIClient.test_webhook_{name}" for name in ("create", "create_invalid_url", "get", "delete")}
"""All that 4.3.3 has."""


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    with start() as stack:
        yield stack


def run(login: Login, base_url: str, report: Path, only: str = "") -> tuple[int, dict[str, str]]:
    """Its test_client.py, or one class of it; how it ended, and by test `passed`, `failed`, `error` or `skipped`."""
    source = require(FETCHED if FETCHED.is_dir() else None, f"the tests of android-sms-gateway {VERSION} (make test fetches them)")
    done = subprocess.run(
        [
            sys.executable, "-P", "-m", "pytest", "-q", "-c", os.devnull, f"--rootdir={source}", "-p", "no:cacheprovider",
            "--timeout=60", f"--junitxml={report}", f"{source / 'test_client.py'}{only}",
        ],
        cwd=report.parent, env=os.environ | {"API_LOGIN": login[0], "API_PASSWORD": login[1], "API_BASE_URL": base_url},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip
    print(done.stdout)
    words = {"failure": "failed"}
    outcomes: dict[str, str] = {}
    for case in ET.parse(report).iter("testcase"):
        ended = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        outcomes[f"{case.attrib['classname'].rpartition('.')[2]}.{case.attrib['name']}"] = words.get(ended, ended)
    return done.returncode, outcomes


def test_all(stack: Stack, tmp_path: Path) -> None:
    """The whole file passes, and of those that need a server none is left out; what they registered is gone again."""
    login = new_login(stack)
    status, outcomes = run(login, f"{stack.url}/3rdparty/v1", tmp_path / "report.xml")

    assert 0 == status
    assert {"passed"} == set(outcomes.values())
    assert LIVE < outcomes.keys()
    assert [] == stack.http.get("/3rdparty/v1/webhooks", auth=login).json()


def test_live_ones_below_the_other_prefix(stack: Stack, tmp_path: Path) -> None:
    status, outcomes = run(new_login(stack), f"{stack.url}/api/3rdparty/v1", tmp_path / "report.xml", "::TestAPIClient")

    assert (0, dict.fromkeys(LIVE, "passed")) == (status, outcomes)


def test_they_do_ask_the_router(stack: Stack, tmp_path: Path) -> None:
    """With a wrong password they fail, but for the one that is content with any error: else their passing would prove nothing."""
    status, outcomes = run(("nobody", "wrong"), f"{stack.url}/3rdparty/v1", tmp_path / "report.xml", "::TestAPIClient")
    content = {"TestAPIClient.test_webhook_create_invalid_url"}

    assert (1, dict.fromkeys(LIVE - content, "failed") | dict.fromkeys(content, "passed")) == (status, outcomes)


def test_nobody_online(stack: Stack) -> None:
    """Without any phone the client is told so at once, and nothing is kept: the same id is good later."""
    message = domain.Message(phone_numbers=[number()], text_message=domain.TextMessage("x"), id="mine")
    with APIClient(*new_login(stack), base_url=f"{stack.url}/3rdparty/v1") as client:
        for _ in range(2):
            with pytest.raises(errors.ServiceUnavailableError) as caught:
                client.send(message)
            assert {"message"} == caught.value.response.keys()

        assert [] == client.get_messages()
