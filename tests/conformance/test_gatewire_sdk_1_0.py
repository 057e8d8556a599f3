"""The older GateWire client, 1.0.0, against the running router: it calls `/dispatch` and `/balance`, and reads `message` of an error."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.conformance.conftest import code_in, new_number, send_out
from tests.conftest import require
from tests.stack import Stack, TestPhone

UNSERVED = "+33612345678"
NewAccount = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def gatewire_1_0(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """The package under another name, beside the installed 1.1.0."""
    target = tmp_path_factory.mktemp("gatewire-1.0.0")
    arguments = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--retries", "5", "--target", str(target)]
    command = [sys.executable, "-m", "pip", "install", *arguments, "gatewire==1.0.0"]
    fetched = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
    package = require(target if fetched.returncode == 0 else None, f"gatewire==1.0.0 (pip: {fetched.stderr.strip()[-200:]})")
    return _load(package / "gatewire")


def _load(package: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location("gatewire_1_0", package / "__init__.py", submodule_search_locations=[str(package)])
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules["gatewire_1_0"] = module
    found.loader.exec_module(module)
    return module


@pytest.fixture
def account(new_account: NewAccount) -> dict[str, Any]:
    return new_account(balance=10_000, price=5)


@pytest.fixture
def client(stack: Stack, account: dict[str, Any], gatewire_1_0: ModuleType) -> Any:
    return gatewire_1_0.GateWireClient(account["key"], base_url=f"{stack.url}/api/v1/")


def test_a_message_is_a_plain_sms(client: Any, stack: Stack, phone: TestPhone) -> None:
    """The text as it was given, braces and all; there is no code to verify."""
    text = "Colis prêt {code} \n٣ 🎉"
    answer = client.dispatch(new_number(), message=text)
    sent = send_out(phone, answer["reference_id"])
    verified = stack.http.post(
        "/api/v1/verify-otp", json={"reference_id": answer["reference_id"], "code": ""}, headers=dict(client.session.headers)
    )

    assert answer == {"reference_id": answer["reference_id"], "status": "pending"}
    assert text == sent["text"]
    assert stack.trace(answer["reference_id"])["lane"] == "notification"
    assert stack.state(answer["reference_id"]) == "sent"
    assert verified.status_code == 400
    assert verified.json()["message"] == "Invalid or expired code."


def test_a_second_message_cancels_nothing(client: Any, stack: Stack) -> None:
    """Only codes replace each other."""
    number = new_number()
    first = client.dispatch(number, message="one")["reference_id"]
    client.dispatch(number, message="two")

    assert stack.state(first) == "pending"


def test_with_a_template_it_is_a_code(client: Any, stack: Stack, account: dict[str, Any], phone: TestPhone) -> None:
    """And 1.1's call verifies it."""
    stack.operator("PUT", f"/accounts/{account['id']}/templates/login", {"text": "Login: {code}"})
    reference = client.dispatch(new_number(), template_key="login")["reference_id"]
    message = send_out(phone, reference)
    body = {"reference_id": reference, "code": code_in(message)}
    verified = stack.http.post("/api/v1/verify-otp", json=body, headers=dict(client.session.headers))

    assert re.fullmatch(r"Login: \d{6}", message["text"])
    assert verified.json() == {"status": "verified", "message": "Success"}


def test_with_neither_it_is_a_code_by_the_default_template(client: Any, phone: TestPhone) -> None:
    message = send_out(phone, client.dispatch(new_number())["reference_id"])

    assert re.fullmatch(r"Your code is \d{6}\. It is valid for 5 minutes\.", message["text"])


@pytest.mark.parametrize(
    ("arguments", "lane"), [({"message": "x"}, "notification"), ({"message": "x", "priority": True}, "otp"), ({}, "otp")]
)
def test_priority(client: Any, stack: Stack, arguments: dict[str, Any], lane: str) -> None:
    """`high` puts a plain SMS among the codes, which are always there."""
    reference = client.dispatch(new_number(), **arguments)["reference_id"]

    assert lane == stack.trace(reference)["lane"]


def test_the_balance_is_in_units_of_the_currency(client: Any) -> None:
    before = client.get_balance()
    client.dispatch(new_number(), message="x")

    assert before == {"balance": 100.0, "currency": "DZD"}
    assert client.get_balance() == {"balance": 99.95, "currency": "DZD"}


def test_errors_are_read_from_message(client: Any, stack: Stack, account: dict[str, Any], gatewire_1_0: ModuleType) -> None:
    """The same texts as for 1.1, each with its status."""
    told: list[tuple[int, str]] = []

    def ask(asking: Any, *arguments: Any, **more: Any) -> None:
        with pytest.raises(gatewire_1_0.GateWireException) as caught:
            asking.dispatch(*arguments, **more)
        told.append((caught.value.status_code, str(caught.value)))

    path = f"/accounts/{account['id']}"
    ask(gatewire_1_0.GateWireClient("unknown-key", base_url=client.base_url), new_number())
    ask(client, new_number(), template_key="nope")
    ask(client, new_number(), message="")
    ask(client, UNSERVED)
    stack.operator("POST", f"{path}/topup", {"amount": -10_000})
    ask(client, new_number(), message="x")
    stack.operator("PATCH", path, {"otp_enabled": False})
    ask(client, new_number())

    assert told == [
        (401, "Unauthorized"),
        (422, "template_key: unknown template"),
        (422, "message: must not be empty"),
        (503, "No available devices."),
        (402, "Insufficient balance. Please top up your account."),
        (403, "OTP service is not enabled for your account."),
    ]


def test_a_plain_sms_needs_no_otp_service(client: Any, stack: Stack, account: dict[str, Any]) -> None:
    stack.operator("PATCH", f"/accounts/{account['id']}", {"otp_enabled": False})

    assert client.dispatch(new_number(), message="x")["status"] == "pending"
