"""The code of SMSGate's own guides (docs.sms-gate.app), run against the router: its two Python samples, and its curl lines.

The samples stand in `samples/` word for word, with the white space that the guide's copy has lost (the first takes `requests` for
granted). Run, they differ in the host, and in the number: `+1234567890` is none, which SMSGate's own server refuses as well.
"""

import itertools
import json
import runpy
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests

from tests.app import App
from tests.conformance.conftest import Start
from tests.conformance.smsgate import Login, new_login, number, phone, sends
from tests.conftest import require
from tests.stack import Stack, wait_for

SAMPLES = Path(__file__).with_name("samples")
HOST = "https://api.sms-gate.app"
THEIR_NUMBER = "+1234567890"
THEIRS: Login = ("username", "password")
_ids = itertools.count(1)


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    with start(SEEDROUTER_PACE_SECONDS="0.05", SEEDROUTER_LEASE_SECONDS="30", SEEDROUTER_RADIO_SECONDS="60") as stack:
        yield stack


@pytest.fixture(scope="module")
def login(stack: Stack) -> Login:
    """The samples' own."""
    return new_login(stack, *THEIRS)


@pytest.fixture(scope="module")
def app(stack: Stack, login: Login) -> Iterator[App]:
    with phone(stack, login) as app:
        yield app


@pytest.fixture(scope="module")
def sent(app: App) -> Iterator[list[dict[str, Any]]]:
    """What the phone, which sends all that it is given, has sent."""
    with sends(app) as sent:
        yield sent


def text_to(to: str, sent: list[dict[str, Any]]) -> str:
    """The text that the phone has sent to this number."""
    found = wait_for(lambda: [message for message in sent if message["phoneNumbers"] == [to]], f"a message to {to}")

    assert 1 == len(found)
    return str(found[0]["textMessage"]["text"])


@pytest.fixture
def run(stack: Stack, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a sample against the router, as a script, and gives its variables. `usage`: with the lines below its class."""

    def run(name: str, to: str, *, usage: bool = True) -> dict[str, Any]:
        code = (SAMPLES / f"{name}.py").read_text()
        assert HOST in code
        assert THEIR_NUMBER in code
        if not usage:
            code = code[: code.index("# Usage example")]
        script = tmp_path / f"{name}.py"
        script.write_text(code.replace(HOST, stack.url).replace(THEIR_NUMBER, to))
        return runpy.run_path(str(script), run_name="__main__")

    return run


@pytest.fixture
def statuses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of all that is posted, in order."""
    seen: list[int] = []
    post = requests.post

    def noted(*args: Any, **options: Any) -> requests.Response:
        answer = post(*args, **options)
        seen.append(answer.status_code)
        return answer

    monkeypatch.setattr(requests, "post", noted)
    return seen


# The first: a token with scopes and ttl, then `phoneNumbers`


def test_jwt(run: Callable[..., dict[str, Any]], sent: list[dict[str, Any]], statuses: list[int]) -> None:
    """A token for an hour, which is cut to the longest that there is; what is sent with it reaches the phone."""
    to = number()
    variables = run("jwt", to)

    assert [201, 202] == statuses
    claims = jwt.decode(variables["access_token"], options={"verify_signature": False})
    assert (["messages:send"], 900) == (claims["scopes"], claims["exp"] - claims["iat"])
    assert [{"phoneNumber": to, "state": "Pending"}] == variables["response"].json()["recipients"]
    assert "Hello world!" == text_to(to, sent)


def test_jwt_as_it_stands(run: Callable[..., dict[str, Any]], login: Login, app: App, statuses: list[int]) -> None:
    """To the guide's own number: 400, and the field is named."""
    variables = run("jwt", THEIR_NUMBER)

    assert [201, 400] == statuses
    assert "phoneNumbers" in variables["response"].json()["message"]


# The second: a class that keeps its token, then `recipient`


def test_usage(
    run: Callable[..., dict[str, Any]], sent: list[dict[str, Any]], statuses: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands: a token, a message by `recipient`, its state printed."""
    to = number()
    variables = run("error_handling", to)

    assert [201, 202] == statuses
    assert f"Message sent: {variables['result']}" in capsys.readouterr().out
    assert [{"phoneNumber": to, "state": "Pending"}] == variables["result"]["recipients"]
    assert "Hello from JWT!" == text_to(to, sent)


Made = Callable[..., Any]


@pytest.fixture
def made(run: Callable[..., dict[str, Any]], stack: Stack, login: Login, app: App) -> Made:
    """A client of the sample's class."""
    of = run("error_handling", THEIR_NUMBER, usage=False)["SMSGatewayClient"]
    return lambda password=login[1]: of(stack.url, login[0], password)


def test_second_message(made: Made, statuses: list[int]) -> None:
    """The sample's own fault, with any server whose times say their zone: it compares them with a time without one.

    Nothing is posted then. So the other tests of this class put such a time in its place, as an application has to that uses it twice.
    """
    client = made()
    client.send_message(number(), "first")
    with pytest.raises(TypeError, match="offset-naive and offset-aware"):
        client.send_message(number(), "second")

    assert [201, 202] == statuses


def without_zone(client: Any) -> None:
    """What its comparison needs; the moment stays."""
    client.token_expires_at = client.token_expires_at.astimezone().replace(tzinfo=None)


def test_token_that_holds(made: Made, statuses: list[int], sent: list[dict[str, Any]]) -> None:
    """It is used again."""
    client = made()
    client.get_token(["messages:send"])
    without_zone(client)
    to = number()
    client.send_message(to, "with the same token")

    assert [201, 202] == statuses
    assert "with the same token" == text_to(to, sent)


def test_token_near_its_end(made: Made, statuses: list[int]) -> None:
    """By `expires_at` the client sees it, and fetches another before it sends."""
    client = made()
    first = client.get_token(["messages:send"], ttl=299)
    without_zone(client)
    client.send_message(number(), "with a new token")

    assert [201, 201, 202] == statuses
    assert first != client.access_token


def test_token_revoked_in_between(made: Made, stack: Stack, login: Login, statuses: list[int], sent: list[dict[str, Any]]) -> None:
    """401, a new token, 202; sent once."""
    client = made()
    client.get_token(["messages:send"])
    without_zone(client)
    jti = jwt.decode(client.access_token, options={"verify_signature": False})["jti"]
    assert 204 == requests.delete(f"{stack.url}/3rdparty/v1/auth/token/{jti}", auth=login, timeout=30).status_code
    to = number()
    state = client.send_message(to, "at the second try")

    assert [201, 401, 201, 202] == statuses
    assert [to] == [recipient["phoneNumber"] for recipient in state["recipients"]]
    assert "at the second try" == text_to(to, sent)


def test_token_expired_in_between(made: Made, statuses: list[int]) -> None:
    """The same for a client whose clock is an hour slow: it does not see that the token is over."""
    client = made()
    client.get_token(["messages:send"], ttl=1)
    client.token_expires_at = datetime.now() + timedelta(hours=1)
    time.sleep(2.1)
    client.send_message(number(), "x")

    assert [201, 401, 201, 202] == statuses


def test_its_errors(made: Made, statuses: list[int], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong password and a wrong number are told with our status and text."""
    with pytest.raises(Exception, match=r'^Failed to get token: 401 - \{"message":"Unauthorized"\}$'):
        made("wrong").send_message(number(), "x")
    with pytest.raises(Exception, match=r'^Failed to send message: 400 - \{"message":"phoneNumbers'):
        made().send_message(THEIR_NUMBER, "x")

    assert [401, 201, 400] == statuses
    assert 2 == capsys.readouterr().out.count("Error sending message: Failed to")


# The lines for curl

GETTING_STARTED = r"""
curl -X POST -u "username:password" \
  -H "Content-Type: application/json" \
  -d '{ "message": "Hello, world!", "phoneNumbers": ["{one}", "{another}"] }' \
  https://api.sms-gate.app/3rdparty/v1/messages
"""
TOKEN = r"""
curl -X POST "https://api.sms-gate.app/3rdparty/v1/auth/token" \
  -u "username:password" \
  -H "Content-Type: application/json" \
  -d '{ "ttl": 3600, "scopes": ["messages:send", "messages:read", "devices:list"] }'
"""
WITH_TOKEN = r"""
curl -X POST "https://api.sms-gate.app/3rdparty/v1/messages" \
  -H "Authorization: Bearer {token}" \
  -H "Content-Type: application/json" \
  -d '{ "phoneNumbers": ["{one}"], "textMessage": { "text": "Hello from JWT!" } }'
"""
TO_A_DEVICE = r"""
curl -X POST "https://api.sms-gate.app/3rdparty/v1/messages?skipPhoneValidation=true&deviceActiveWithin=12" -u "username:password" \
  -H "Content-Type: application/json" \
  -d '{"textMessage": {"text": "Your OTP is 1234"}, "deviceId": "{device}", "phoneNumbers": ["+1234567890"], "simNumber": 1, "ttl": 3600,
       "priority": 100}'
"""
DATA = r"""
curl -X POST "https://api.sms-gate.app/3rdparty/v1/messages?skipPhoneValidation=true&deviceActiveWithin=12" -u "username:password" \
  -H "Content-Type: application/json" \
  -d '{"dataMessage": {"data": "SGVsbG8gRGF0YSBXb3JsZCE=", "port": 53739}, "phoneNumbers": ["{one}"], "simNumber": 1, "ttl": 3600,
       "priority": 100}'
"""
LEGACY = r"""
curl -X POST "https://api.sms-gate.app/3rdparty/v1/messages" -u "username:password" \
  -H "Content-Type: application/json" \
  -d '{"id": "{id}", "message": "Your OTP is 1234", "phoneNumbers": ["{one}"], "simNumber": 1, "ttl": 3600, "withDeliveryReport": true,
       "priority": 100, "isEncrypted": false}'
"""
READ = r'curl -u "username:password" https://api.sms-gate.app/3rdparty/v1/messages/{id}'
Curl = Callable[..., tuple[int, Any]]


@pytest.fixture
def curl(stack: Stack) -> Curl:
    """Runs a line, with values for what is in braces; status and JSON."""
    found = require(shutil.which("curl"), "curl (Debian: apt install curl)")

    def curl(line: str, **values: str) -> tuple[int, Any]:
        for name, value in values.items():
            line = line.replace(f"{{{name}}}", value)
        words = shlex.split(line.replace("\\\n", " ").replace(HOST, stack.url))
        command = [found, "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}", *words[1:]]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        body, _, status = done.stdout.rpartition("\n")
        return int(status), json.loads(body)

    return curl


def is_sent(curl: Curl, id: str) -> None:
    wait_for(lambda: curl(READ, id=id)[1]["state"] in ("Sent", "Delivered"), f"{id} to be sent")


@pytest.mark.parametrize("path", ["/3rdparty/v1/messages", "/3rdparty/v1/message", "/api/3rdparty/v1/messages", "/api/3rdparty/v1/message"])
@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8"])
def test_getting_started(curl: Curl, sent: list[dict[str, Any]], path: str, content_type: str) -> None:
    """Two numbers, each sent once; on all paths, and with a charset."""
    line = GETTING_STARTED.replace("/3rdparty/v1/messages", path).replace("application/json", content_type)
    one, another = number(), number()
    status, state = curl(line, one=one, another=another)

    assert (202, "Pending", [one, another]) == (status, state["state"], [recipient["phoneNumber"] for recipient in state["recipients"]])
    assert ["Hello, world!"] * 2 == [text_to(one, sent), text_to(another, sent)]
    is_sent(curl, state["id"])


def test_with_a_token(curl: Curl, sent: list[dict[str, Any]]) -> None:
    """The guide's token request, and a message with what it gives."""
    status, token = curl(TOKEN)
    to = number()
    answer = curl(WITH_TOKEN, token=token["access_token"], one=to)

    assert (201, "Bearer") == (status, token["token_type"])
    assert {"id", "token_type", "access_token", "refresh_token", "expires_at"} <= token.keys()
    assert (202, "Pending") == (answer[0], answer[1]["state"])
    assert "Hello from JWT!" == text_to(to, sent)


def test_message_types(curl: Curl, app: App, sent: list[dict[str, Any]]) -> None:
    """A text to one device and the guide's own number, data, and the old form with an id."""
    to, mine = [number(), number()], f"custom-id-{next(_ids)}"
    answers = [curl(TO_A_DEVICE, device=app.id), curl(DATA, one=to[0]), curl(LEGACY, one=to[1], id=mine)]
    for status, state in answers:
        assert 202 == status
        is_sent(curl, state["id"])
    with_data = wait_for(lambda: [message for message in sent if message["phoneNumbers"] == [to[0]]], "the data")

    assert (app.id, mine) == (answers[0][1]["deviceId"], answers[2][1]["id"])
    assert ["Your OTP is 1234"] * 2 == [text_to(THEIR_NUMBER, sent), text_to(to[1], sent)]
    assert [{"data": "SGVsbG8gRGF0YSBXb3JsZCE=", "port": 53739}] == [message["dataMessage"] for message in with_data]
    assert 409 == curl(LEGACY, one=to[1], id=mine)[0]
