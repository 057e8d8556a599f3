"""The real GateWire client, unchanged, against the running router: spec/gatewire.md."""

import contextlib
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from gatewire import GateWireClient, GateWireException

from tests.conformance.conftest import OOREDOO_NUMBER, bearer, code_in, new_number, send_out, take
from tests.stack import Stack, TestPhone, wait_for

UNSERVED = "+33612345678"
"""A mobile number of a country where no seed is."""
WRONG = "Invalid or expired code."
NewAccount = Callable[..., dict[str, Any]]


@pytest.fixture
def account(new_account: NewAccount) -> dict[str, Any]:
    return new_account()


@pytest.fixture
def sdk(stack: Stack, account: dict[str, Any]) -> GateWireClient:
    return client_of(stack, account["key"])


@pytest.fixture(scope="module", autouse=True)
def aged(stack: Stack) -> tuple[GateWireClient, str, str]:
    """A client, its account's id, and a code that lives for 30 s (the shortest): it grows old while the other tests run."""
    account = stack.account(balance=100, price=40)
    template = {"text": "{code}", "code_seconds": 30}
    stack.operator("PUT", f"/accounts/{account['id']}/templates/short", template)
    client = client_of(stack, account["key"])
    return client, str(account["id"]), str(client.dispatch(OOREDOO_NUMBER, "short")["reference_id"])


def client_of(stack: Stack, key: str) -> GateWireClient:
    return GateWireClient(key, base_url=f"{stack.url}/api/v1")


@contextlib.contextmanager
def refused(status: int, text: str) -> Iterator[None]:
    """The client raises this status with exactly this text."""
    with pytest.raises(GateWireException) as caught:
        yield

    assert f"[{status}] {text}" == str(caught.value)
    assert status == caught.value.status_code


def send(client: GateWireClient, phone: str | None = None, template_key: str | None = None) -> str:
    answer = client.dispatch(phone or new_number(), template_key)
    assert answer["status"] == "pending"
    return str(answer["reference_id"])


def sent_code(client: GateWireClient, phone: TestPhone, number: str | None = None) -> tuple[str, str]:
    """Reference and code of a message that a phone has sent."""
    reference = send(client, number)
    return reference, code_in(send_out(phone, reference))


def another_code(code: str) -> str:
    return f"{(int(code) + 1) % 10 ** len(code):0{len(code)}d}"


def balance_of(stack: Stack, account: dict[str, Any]) -> int:
    return int(stack.operator("GET", f"/accounts/{account['id']}")["balance"])


# The way of a code


def test_a_code_goes_from_pending_to_verified(sdk: GateWireClient, new_phone: Callable[..., TestPhone]) -> None:
    """pending while no seed of its carrier is there, dispatched in a phone's hands, sent by its report, verified by its code."""
    answer = sdk.dispatch(new_number())
    reference = answer["reference_id"]
    time.sleep(0.3)
    states = [sdk.status(reference)["status"]]
    phone = new_phone()
    message = take(phone, reference)
    states.append(sdk.status(reference)["status"])
    phone.report(message, "radio")
    phone.report(message, "sent")
    states.append(sdk.status(reference)["status"])
    verified = sdk.verify_otp(reference, code_in(message))
    states.append(sdk.status(reference)["status"])

    assert answer == {"reference_id": reference, "status": "pending"}
    assert verified == {"status": "verified", "message": "Success"}
    assert states == ["pending", "dispatched", "sent", "verified"]


def test_a_code_verifies_before_its_report(sdk: GateWireClient, phone: TestPhone) -> None:
    """An SMS can arrive before the phone has said that it was sent; the late report changes no status."""
    reference = send(sdk)
    message = take(phone, reference)
    phone.report(message, "radio")
    verified = sdk.verify_otp(reference, code_in(message))
    phone.report(message, "sent")

    assert verified["status"] == "verified"
    assert sdk.status(reference)["status"] == "verified"


def test_failed_after_the_last_attempt(sdk: GateWireClient, stack: Stack, account: dict[str, Any], phone: TestPhone) -> None:
    """Two seeds' failures use up its two attempts: failed, refused for verification, and given back."""
    reference = send(sdk)
    for _ in range(2):
        message = take(phone, reference)
        phone.report(message, "failed", "no signal")
    wait_for(lambda: sdk.status(reference)["status"] == "failed", "the message to fail")

    with refused(400, "This OTP failed to deliver."):
        sdk.verify_otp(reference, code_in(message))
    wait_for(lambda: balance_of(stack, account) == account["balance"], "the refund")


def test_cancelled_by_an_operator(sdk: GateWireClient, stack: Stack, phone: TestPhone) -> None:
    """Withdrawn before delivery: even its right code is refused."""
    reference = send(sdk)
    message = take(phone, reference)
    stack.operator("POST", f"/messages/{reference}/cancel")

    assert sdk.status(reference)["status"] == "cancelled"
    with refused(400, "This OTP has been cancelled."):
        sdk.verify_otp(reference, code_in(message))


def test_a_new_code_cancels_the_older_unsent_one(sdk: GateWireClient) -> None:
    """To the same phone by the same account."""
    number = new_number()
    older, newer = send(sdk, number), send(sdk, number)

    assert sdk.status(older)["status"] == "cancelled"
    assert sdk.status(newer)["status"] == "pending"
    with refused(400, "This OTP has been cancelled."):
        sdk.verify_otp(older, "000000")


def test_a_new_code_ends_the_older_sent_one(sdk: GateWireClient, phone: TestPhone) -> None:
    """What was sent cannot be cancelled any more: it expires, and the new one is valid."""
    number = new_number()
    older, older_code = sent_code(sdk, phone, number)
    newer, newer_code = sent_code(sdk, phone, number)

    assert sdk.status(older)["status"] == "expired"
    with refused(400, "This OTP has expired."):
        sdk.verify_otp(older, older_code)
    assert sdk.verify_otp(newer, newer_code)["status"] == "verified"


def test_another_accounts_code_to_the_phone_stays(sdk: GateWireClient, stack: Stack, new_account: NewAccount) -> None:
    """Accounts do not cancel each other's codes."""
    number = new_number()
    mine = send(sdk, number)
    send(client_of(stack, new_account()["key"]), number)

    assert sdk.status(mine)["status"] == "pending"


# What verification refuses


def test_a_wrong_code_an_unknown_reference_and_another_accounts(
    sdk: GateWireClient, stack: Stack, new_account: NewAccount, phone: TestPhone
) -> None:
    """One text for all three, so that nobody learns which references exist; the right code still works after a wrong one."""
    reference, code = sent_code(sdk, phone)

    with refused(400, WRONG):
        sdk.verify_otp(reference, another_code(code))
    with refused(400, WRONG):
        sdk.verify_otp("wg_00000000000000000000000000", code)
    with refused(400, WRONG):
        client_of(stack, new_account()["key"]).verify_otp(reference, code)
    assert sdk.verify_otp(reference, code)["status"] == "verified"


def test_five_wrong_codes_end_it(sdk: GateWireClient, phone: TestPhone) -> None:
    """After the fifth wrong code the right one is refused too."""
    reference, code = sent_code(sdk, phone)
    for _ in range(5):
        with refused(400, WRONG):
            sdk.verify_otp(reference, another_code(code))

    with refused(400, WRONG):
        sdk.verify_otp(reference, code)


def test_four_wrong_codes_do_not(sdk: GateWireClient, phone: TestPhone) -> None:
    """The fifth try may be the right one."""
    reference, code = sent_code(sdk, phone)
    for _ in range(4):
        with refused(400, WRONG):
            sdk.verify_otp(reference, another_code(code))

    assert sdk.verify_otp(reference, code)["status"] == "verified"


def test_a_code_works_once(sdk: GateWireClient, phone: TestPhone) -> None:
    """Single use, whatever code comes second."""
    reference, code = sent_code(sdk, phone)
    sdk.verify_otp(reference, code)

    with refused(400, "This OTP has already been used."):
        sdk.verify_otp(reference, code)
    with refused(400, "This OTP has already been used."):
        sdk.verify_otp(reference, another_code(code))


def test_ten_at_once_verify_once(stack: Stack, sdk: GateWireClient, account: dict[str, Any], phone: TestPhone) -> None:
    """A code that comes ten times at the same moment is right once."""
    reference, code = sent_code(sdk, phone)
    body = {"reference_id": reference, "code": code}

    def verify(_: int) -> str:
        answer = stack.http.post("/api/v1/verify-otp", json=body, headers=bearer(account["key"]))
        return str(answer.json()["message"])

    with ThreadPoolExecutor(10) as pool:
        texts = sorted(pool.map(verify, range(10)))

    assert texts == ["Success", *["This OTP has already been used."] * 9]


def test_a_code_with_a_leading_zero_may_come_as_a_number(
    stack: Stack, sdk: GateWireClient, account: dict[str, Any], phone: TestPhone
) -> None:
    """A JSON number loses the zero in front; it is the same code."""
    waiting = {send(sdk) for _ in range(40)}
    while True:
        for message in phone.pull(wait=1.0):
            phone.report(message, "sent")
            waiting.discard(message["id"])
            if code_in(message).startswith("0"):
                body = {"reference_id": message["id"], "code": int(code_in(message))}
                answer = stack.http.post("/api/v1/verify-otp", json=body, headers=bearer(account["key"]))

                assert answer.status_code == 200, answer.text
                return
        if not waiting:
            waiting.add(send(sdk))


def test_a_number_is_compared_as_the_code_it_stands_for(
    stack: Stack, sdk: GateWireClient, account: dict[str, Any], phone: TestPhone
) -> None:
    """Another number, a negative one, a fraction, one with too many digits: refused, and then the right one verifies."""
    reference, code = sent_code(sdk, phone)

    def verify(given: str) -> httpx.Response:
        body = f'{{"reference_id":"{reference}","code":{given}}}'
        headers = bearer(account["key"]) | {"Content-Type": "application/json"}
        return stack.http.post("/api/v1/verify-otp", content=body, headers=headers)

    assert verify(str(int(another_code(code)))).status_code == 400
    assert verify(f"-{int(code) or 1}").status_code == 400
    assert verify(f"{code.lstrip('0') or 1}000000").status_code == 400
    assert verify(f"{int(code)}.5").status_code == 422
    assert verify(str(int(code))).status_code == 200


# Refusals of a submission, each with its text


def test_401_without_a_known_key(stack: Stack) -> None:
    with refused(401, "Unauthorized"):
        client_of(stack, "sk_live_unknown").dispatch(new_number())
    with refused(401, "Unauthorized"):
        client_of(stack, "sk_live_unknown").status("wg_1")
    with refused(401, "Unauthorized"):
        client_of(stack, "sk_live_unknown").verify_otp("wg_1", "000000")


def test_a_revoked_key_is_refused_at_once(sdk: GateWireClient, stack: Stack, account: dict[str, Any]) -> None:
    """By every call, and its account's other key goes on."""
    other = stack.operator("POST", f"/accounts/{account['id']}/keys", {"label": "other"})["key"]
    reference = send(sdk)
    first = stack.operator("GET", f"/accounts/{account['id']}/keys")[0]["id"]
    stack.operator("DELETE", f"/accounts/{account['id']}/keys/{first}")

    with refused(401, "Unauthorized"):
        sdk.dispatch(new_number())
    with refused(401, "Unauthorized"):
        sdk.status(reference)
    with refused(401, "Unauthorized"):
        sdk.verify_otp(reference, "000000")
    assert client_of(stack, other).status(reference)["reference_id"] == reference


def test_402_when_the_wallet_is_too_low(stack: Stack, new_account: NewAccount) -> None:
    """The last minor unit counts."""
    account = new_account(balance=9, price=5)
    client = client_of(stack, account["key"])
    send(client)

    with refused(402, "Insufficient balance. Please top up your account."):
        client.dispatch(new_number())
    assert balance_of(stack, account) == 4
    stack.operator("POST", f"/accounts/{account['id']}/topup", {"amount": 1})
    send(client)
    assert balance_of(stack, account) == 0


def test_403_when_codes_are_switched_off(sdk: GateWireClient, stack: Stack, account: dict[str, Any]) -> None:
    """At once, and back at once; looking and verifying still work."""
    reference = send(sdk)
    stack.operator("PATCH", f"/accounts/{account['id']}", {"otp_enabled": False})

    with refused(403, "OTP service is not enabled for your account."):
        sdk.dispatch(new_number())
    assert sdk.status(reference)["status"] == "pending"
    with refused(400, WRONG):
        sdk.verify_otp(reference, "no code")
    stack.operator("PATCH", f"/accounts/{account['id']}", {"otp_enabled": True})
    send(sdk)


def test_404_for_unknown_and_other_accounts_messages(sdk: GateWireClient, stack: Stack, new_account: NewAccount) -> None:
    reference = send(client_of(stack, new_account()["key"]))

    with refused(404, "Not found"):
        sdk.status(reference)
    with refused(404, "Not found"):
        sdk.status("wg_00000000000000000000000000")


@pytest.mark.parametrize(
    "number", ["", "+", "12", "+213", "+21366112345", "+2136611234567", "+213211234567", "hello", "+٢١٣٦٦١١٢٣٤٥٦", "9" * 10_000]
)
def test_422_for_what_is_no_mobile_number(sdk: GateWireClient, number: str) -> None:
    """The text names the field, and does not repeat the number."""
    with pytest.raises(GateWireException) as caught:
        sdk.dispatch(number)

    assert caught.value.status_code == 422
    assert str(caught.value).startswith("[422] phone: ")
    assert len(number) < 4 or number not in str(caught.value)


@pytest.mark.parametrize("number", ["+213 661 12 34 56", "00213661123456", "0661123456", "0661-12.34 (56)"])
def test_other_ways_to_write_a_number(sdk: GateWireClient, number: str) -> None:
    """In any format, says the SDK's docstring."""
    assert send(sdk, number)


def test_422_for_an_unknown_template(sdk: GateWireClient) -> None:
    with refused(422, "template_key: unknown template"):
        sdk.dispatch(new_number(), "nope")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "phone"),
        ({"phone": None}, "phone"),
        ({"phone": 213661123456}, "phone"),
        ({"phone": "+213661123456", "template_key": 5}, "template_key"),
    ],
)
def test_422_names_the_field(stack: Stack, account: dict[str, Any], body: dict[str, Any], field: str) -> None:
    answer = stack.http.post("/api/v1/send-otp", json=body, headers=bearer(account["key"]))

    assert answer.status_code == 422
    assert field in answer.json()["error"]


@pytest.mark.parametrize(
    ("limits", "text", "longest"),
    [
        ({"daily": 2}, "Daily OTP limit of 2 reached. Try again tomorrow.", 86400),
        ({"hourly": 2}, "Hourly OTP limit of 2 reached. Try again later.", 3600),
        ({"phone_hourly": 2}, "Limit of 2 OTPs per hour to this phone reached. Try again later.", 3600),
    ],
    ids=["daily", "hourly", "phone"],
)
def test_429_says_which_limit_and_when_to_try_again(
    stack: Stack, new_account: NewAccount, limits: dict[str, int], text: str, longest: int
) -> None:
    """And the limit counts what was accepted, not what was asked for."""
    account = new_account(limits={"daily": 0, "hourly": 0, "phone_hourly": 0} | limits)
    client, number = client_of(stack, account["key"]), new_number()
    send(client, number)
    send(client, number)
    balance = balance_of(stack, account)

    with refused(429, text):
        client.dispatch(number)
    answer = stack.http.post("/api/v1/send-otp", json={"phone": number}, headers=bearer(account["key"]))
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= longest
    assert balance_of(stack, account) == balance


def test_the_phones_limit_is_per_phone(stack: Stack, new_account: NewAccount) -> None:
    account = new_account(limits={"daily": 0, "phone_hourly": 1})
    client = client_of(stack, account["key"])
    send(client)

    assert send(client)


def test_503_without_a_seed(sdk: GateWireClient) -> None:
    with refused(503, "No available devices."):
        sdk.dispatch(UNSERVED)


def test_the_order_when_several_apply(stack: Stack, new_account: NewAccount) -> None:
    """401, 403, 422, 429, 402, 503: one fault after another is mended, and the next one shows."""
    account = new_account(balance=5, price=5, limits={"daily": 1})
    path, client = f"/accounts/{account['id']}", client_of(stack, account["key"])
    send(client)
    stack.operator("PATCH", path, {"otp_enabled": False})
    texts: list[str] = []

    def ask(asking: GateWireClient, number: str) -> None:
        with pytest.raises(GateWireException) as caught:
            asking.dispatch(number)
        texts.append(str(caught.value)[:5])

    ask(client_of(stack, "unknown-key"), "bad")
    ask(client, "bad")
    stack.operator("PATCH", path, {"otp_enabled": True})
    ask(client, "bad")
    ask(client, UNSERVED)
    stack.operator("PATCH", path, {"limits": {"daily": 0}})
    ask(client, UNSERVED)
    stack.operator("POST", f"{path}/topup", {"amount": 5})
    ask(client, UNSERVED)

    assert texts == ["[401]", "[403]", "[422]", "[429]", "[402]", "[503]"]
    assert send(client)


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"Authorization": "Bearer nobodys-key"}, 401)], ids=["none", "unknown"])
def test_the_key_comes_before_the_body(stack: Stack, headers: dict[str, str], status: int) -> None:
    """Who is not known learns nothing about what is wrong with the body."""
    answer = stack.http.post("/api/v1/send-otp", content=b"{", headers=headers)

    assert answer.status_code == status


def test_403_comes_before_a_malformed_body(stack: Stack, account: dict[str, Any]) -> None:
    stack.operator("PATCH", f"/accounts/{account['id']}", {"otp_enabled": False})
    answer = stack.http.post("/api/v1/send-otp", content=b"{", headers=bearer(account["key"]))

    assert answer.status_code == 403


def test_nothing_is_charged_or_counted_for_a_refusal(stack: Stack, new_account: NewAccount) -> None:
    """Refused for every reason there is, and the one message that the daily limit allows is still free to go."""
    account = new_account(balance=5, price=5, limits={"daily": 1, "hourly": 1, "phone_hourly": 1})
    path, client, number = f"/accounts/{account['id']}", client_of(stack, account["key"]), new_number()
    stack.operator("PATCH", path, {"price": 6})
    with refused(402, "Insufficient balance. Please top up your account."):
        client.dispatch(number)
    stack.operator("PATCH", path, {"price": 5, "otp_enabled": False})
    with refused(403, "OTP service is not enabled for your account."):
        client.dispatch(number)
    stack.operator("PATCH", path, {"otp_enabled": True})
    with refused(503, "No available devices."):
        client.dispatch(UNSERVED)
    with refused(422, "template_key: unknown template"):
        client.dispatch(number, "nope")

    assert balance_of(stack, account) == 5
    assert stack.operator("GET", "/messages", account=account["id"]) == []
    assert send(client, number)
    assert balance_of(stack, account) == 0


# The shape of answers


def test_every_error_is_an_object_with_error_and_message(stack: Stack, account: dict[str, Any]) -> None:
    """Whatever the status: the same text twice, as JSON."""
    key, http = bearer(account["key"]), stack.http
    unsent = http.post("/api/v1/send-otp", json={"phone": new_number()}, headers=key).json()["reference_id"]
    answers = [
        http.post("/api/v1/verify-otp", json={"reference_id": unsent, "code": "no"}, headers=key),
        http.post("/api/v1/send-otp", json={"phone": new_number()}),
        http.get("/api/v1/balance", headers=bearer("unknown-key")),
        http.get("/api/v1/status/wg_1", headers=key),
        http.get("/api/v1/nothing/here", headers=key),
        http.get("/api/v1", headers=key),
        http.get("/api/v1/send-otp", headers=key),
        http.delete("/api/v1/status/wg_1", headers=key),
        http.post("/api/v1/send-otp", content=b'{"phone":"' + b"1" * 100_000 + b'"}', headers=key),
        http.post("/api/v1/send-otp", content=b"not json", headers=key),
        http.post("/api/v1/send-otp", content=b"", headers=key),
        http.post("/api/v1/send-otp", json=["+213661123456"], headers=key),
        http.post("/api/v1/send-otp", json={"phone": UNSERVED}, headers=key),
    ]

    assert [answer.status_code for answer in answers] == [400, 401, 401, 404, 404, 404, 405, 405, 413, 422, 422, 422, 503]
    for answer in answers:
        body = answer.json()
        assert answer.headers["Content-Type"].startswith("application/json")
        assert sorted(body) == ["error", "message"]
        assert isinstance(body["error"], str)
        assert body["error"]
        assert body["error"] == body["message"]


def test_a_body_that_is_too_large_is_told_to_the_client(sdk: GateWireClient) -> None:
    """1 MB, which the client sends before it reads: it still hears 413."""
    with pytest.raises(GateWireException) as caught:
        sdk.dispatch("1" * 1_000_000)

    assert caught.value.status_code == 413


def test_created_at_is_utc_in_whole_seconds(sdk: GateWireClient) -> None:
    before = int(time.time())
    reference = send(sdk)
    answer = sdk.status(reference)
    created = datetime.strptime(answer["created_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()

    assert list(answer) == ["reference_id", "status", "created_at"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", answer["created_at"])
    assert before - 1 <= created <= time.time() + 1


def test_reference_ids_need_no_escaping(sdk: GateWireClient) -> None:
    """wg_ and a ULID, another one each time."""
    references = {send(sdk) for _ in range(5)}

    assert len(references) == 5
    for reference in references:
        assert re.fullmatch(r"wg_[0-9A-HJKMNP-TV-Z]{26}", reference)


@pytest.mark.parametrize("key", ["123|abc_DEF-{}", "sk_live_a|b_c~{}", "!#$%&'()*+,/:;<=>?@[]^`{{}}{}"])
def test_keys_are_opaque(stack: Stack, new_account: NewAccount, key: str) -> None:
    given = key.format(time.time_ns())
    account = new_account(key=given)

    assert account["key"] == given
    assert send(client_of(stack, given))


def test_a_get_may_say_json_and_carry_no_body(stack: Stack, sdk: GateWireClient, account: dict[str, Any]) -> None:
    reference = send(sdk)
    headers = bearer(account["key"]) | {"Content-Type": "application/json", "Accept": "application/json"}
    answers = [stack.http.get(f"/api/v1/{path}", headers=headers) for path in (f"status/{reference}", "balance", "client/services")]

    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("path", ["/api/v1/send-otp/", "/api/v1//send-otp", "/api/v1/dispatch/", "/api/v1//dispatch/", "//api/v1/send-otp"])
def test_a_post_is_never_redirected(stack: Stack, account: dict[str, Any], path: str) -> None:
    """A redirected POST comes back as a GET without its body. Dart keeps the slash at the end of a base URL."""
    body = f'{{"phone":"{new_number()}"}}'
    request = (
        f"POST {path} HTTP/1.1\r\nHost: router\r\nAuthorization: Bearer {account['key']}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    with socket.create_connection(("127.0.0.1", stack.port), timeout=10) as connection:
        connection.sendall(request.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"status":"pending"' in answer


def test_services_has_exactly_the_fields_that_dart_wants(stack: Stack, new_account: NewAccount) -> None:
    """All there, strictly typed, and a switched-off service is told."""
    account = new_account(price=7)

    def services() -> Any:
        return stack.http.get("/api/v1/client/services", headers=bearer(account["key"])).json()

    pnv = {"enabled": False, "price_per_request_cents": 0, "currency": "DZD", "platform": "android"}
    otp = {"enabled": True, "price_per_request_cents": 7, "currency": "DZD", "platform": "all"}

    assert services() == {"services": {"otp": otp, "pnv": pnv}}
    stack.operator("PATCH", f"/accounts/{account['id']}", {"otp_enabled": False})
    assert services() == {"services": {"otp": otp | {"enabled": False}, "pnv": pnv}}
    assert type(services()["services"]["otp"]["price_per_request_cents"]) is int


def test_templates(stack: Stack, sdk: GateWireClient, account: dict[str, Any], phone: TestPhone) -> None:
    """The chosen template's text with the code and its minutes; without one, the account's default."""
    template = {"text": "Login {code}, {minutes} min", "code_length": 8, "code_seconds": 90}
    stack.operator("PUT", f"/accounts/{account['id']}/templates/login_1", template)
    chosen = send_out(phone, send(sdk, template_key="login_1"))
    default = send_out(phone, send(sdk))

    assert re.fullmatch(r"Login \d{8}, 2 min", chosen["text"])
    assert re.fullmatch(r"Your code is \d{6}\. It is valid for 5 minutes\.", default["text"])


# Submitting twice


class Poster:
    """Sends with an idempotency key."""

    def __init__(self, stack: Stack, account: dict[str, Any]) -> None:
        self.stack = stack
        self.account = account

    def __call__(self, idempotency_key: str, path: str = "send-otp", **body: Any) -> httpx.Response:
        headers = bearer(self.account["key"]) | {"Idempotency-Key": idempotency_key}
        return self.stack.http.post(f"/api/v1/{path}", json=body, headers=headers)

    def messages(self) -> list[dict[str, Any]]:
        return list(self.stack.operator("GET", "/messages", account=self.account["id"]))


@pytest.fixture
def post(stack: Stack, new_account: NewAccount) -> Poster:
    """Its account can pay for two messages."""
    return Poster(stack, new_account(balance=10, price=5))


@pytest.mark.parametrize(("path", "more"), [("send-otp", {}), ("dispatch", {}), ("dispatch", {"message": "hello"})])
def test_the_same_key_and_body_is_one_message(post: Poster, path: str, more: dict[str, str]) -> None:
    """The same answer, byte for byte, though the wallet could not pay for a third."""
    number = new_number()
    answers = [post("a key", path, phone=number, **more) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.content for answer in answers}) == 1
    assert len(post.messages()) == 1
    assert balance_of(post.stack, post.account) == 5


def test_the_answer_is_the_same_after_it_was_verified(post: Poster, phone: TestPhone, stack: Stack) -> None:
    number = new_number()
    first = post("later", phone=number)
    reference = first.json()["reference_id"]
    client_of(stack, post.account["key"]).verify_otp(reference, code_in(send_out(phone, reference)))

    assert post("later", phone=number).content == first.content


def test_another_body_with_the_key_is_422(post: Poster) -> None:
    """Another number, template, text or call."""
    number = new_number()
    post("mine", phone=number)
    answers = [
        post("mine", phone=new_number()),
        post("mine", phone=number, template_key="default"),
        post("mine", "dispatch", phone=number, message="hello"),
    ]

    assert [answer.status_code for answer in answers] == [422] * 3
    assert all(isinstance(answer.json()["error"], str) for answer in answers)
    assert len(post.messages()) == 1


def test_another_accounts_key_of_the_same_name_is_another(post: Poster, stack: Stack, new_account: NewAccount) -> None:
    other = Poster(stack, new_account())
    number = new_number()

    assert post("shared", phone=number).json()["reference_id"] != other("shared", phone=number).json()["reference_id"]


def test_a_refused_request_may_be_sent_again(post: Poster, stack: Stack) -> None:
    """Nothing was kept of it: with money in the wallet the same key is accepted."""
    stack.operator("PATCH", f"/accounts/{post.account['id']}", {"price": 20})
    number = new_number()
    poor = post("again", phone=number)
    stack.operator("POST", f"/accounts/{post.account['id']}/topup", {"amount": 10})

    assert poor.status_code == 402
    assert post("again", phone=number).status_code == 200


def test_ten_at_once_are_one_message(post: Poster) -> None:
    """One is accepted; who comes while that is under way hears the same answer, or to try again in a moment."""
    number = new_number()
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post("at once", phone=number), range(10)))
    taken = {answer.content for answer in answers if answer.status_code == 200}
    early = [answer for answer in answers if answer.status_code != 200]

    assert len(taken) == 1
    assert {(answer.status_code, answer.headers.get("Retry-After")) for answer in early} <= {(503, "1")}
    assert post("at once", phone=number).content == taken.pop()
    assert len(post.messages()) == 1
    assert balance_of(post.stack, post.account) == 5


def test_an_idempotency_key_has_a_bound(post: Poster) -> None:
    assert post("k" * 255, phone=new_number()).status_code == 200
    assert post("k" * 256, phone=new_number()).status_code == 422


# Last, for it has to wait for what was sent first


def test_expired_when_its_time_is_over(stack: Stack, aged: tuple[GateWireClient, str, str]) -> None:
    """No seed sent it: expired, refused for verification, and given back."""
    client, account_id, reference = aged
    wait_for(lambda: client.status(reference)["status"] == "expired", "the code to expire", seconds=45)

    with refused(400, "This OTP has expired."):
        client.verify_otp(reference, "000000")
    wait_for(lambda: balance_of(stack, {"id": account_id}) == 100, "the refund")
