"""The operator API over a real Redis: each endpoint as it should be used, and as it should not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar
from litestar.testing import TestClient

from router.api.app import create_app
from router.secrets import load_secrets
from router.settings import Settings

IMSI = "603020000000001"
PHONE = "+213770000001"


class Operator:
    """Calls below `/operator/v1`, with the token."""

    def __init__(self, client: "TestClient[Litestar]", token: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: Any = None, **arguments: Any) -> Any:
        """The answer of a call that must succeed."""
        answer = self.raw(method, path, body, **arguments)
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def raw(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None, **arguments: Any) -> Any:
        if body is not None:
            arguments["json"] = body
        return self.client.request(method, f"/operator/v1{path}", headers=self.headers | (headers or {}), **arguments)

    def refusal(self, method: str, path: str, body: Any = None, **arguments: Any) -> tuple[int, str]:
        answer = self.raw(method, path, body, **arguments)
        return answer.status_code, answer.json()["error"]

    def account(self, **fields: Any) -> dict[str, Any]:
        return dict(self.call("POST", "/accounts", {"name": "shop", "balance": 1000, "price": 5} | fields))


@contextlib.contextmanager
def running(redis_url: str, data: Path) -> Iterator[Operator]:
    secrets = load_secrets(data, {})
    given_settings = Settings(redis_url=redis_url, data=data, accept_when="always")
    with TestClient(create_app(given_settings, secrets), raise_server_exceptions=False) as client:
        yield Operator(client, secrets.operator_token)


@pytest.fixture
def operator(redis_url: str, tmp_path: Path) -> Iterator[Operator]:
    with running(redis_url, tmp_path) as found:
        yield found


class TestToken:
    @pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer wrong", "Basic YTpi"])
    def test_refused_before_the_body_is_read(self, operator: Operator, authorization: str) -> None:
        answer = operator.client.post("/operator/v1/accounts", content=b"{", headers={"Authorization": authorization})

        assert answer.status_code == 401
        assert answer.json() == {"error": "wrong operator token"}
        assert answer.headers["www-authenticate"] == "Bearer"

    def test_an_account_key_is_no_operator_token(self, operator: Operator) -> None:
        key = operator.account()["key"]

        assert operator.client.get("/operator/v1/accounts", headers={"Authorization": f"Bearer {key}"}).status_code == 401


class TestAccounts:
    def test_create_and_read(self, operator: Operator) -> None:
        made = operator.account(limits={"daily": 7}, ambiguous_policy="resend")
        key = made.pop("key")

        assert (
            made.items() >= {"name": "shop", "balance": 1000, "price": 5, "enabled": True, "ambiguous_policy": "resend"}.items()
        )
        assert made["limits"] == {"daily": 7, "hourly": None, "phone_hourly": None}
        assert operator.call("GET", "/accounts") == [made]
        assert operator.call("GET", f"/accounts/{made['id']}") == made
        assert operator.client.get("/api/v1/balance", headers={"Authorization": f"Bearer {key}"}).json()["balance"] == 10.0

    def test_hashes_are_never_shown(self, operator: Operator) -> None:
        made = operator.account(key="my-own-key-1", login="shop", password="correct horse")
        listed = operator.raw("GET", "/accounts").text + operator.raw("GET", f"/accounts/{made['id']}/keys").text

        assert made["key"] == "my-own-key-1"
        for secret in ("my-own-key-1", "hash", "argon2", "correct horse"):
            assert secret not in listed

    def test_change_keeps_the_rest(self, operator: Operator) -> None:
        account_id = operator.account(limits={"daily": 7})["id"]
        changed = operator.call("PATCH", f"/accounts/{account_id}", {"otp_enabled": False, "price": 9, "limits": {"hourly": 3}})

        assert changed.items() >= {"otp_enabled": False, "enabled": True, "price": 9, "balance": 1000}.items()
        assert changed["limits"] == {"daily": 7, "hourly": 3, "phone_hourly": None}

    def test_countries(self, operator: Operator) -> None:
        """None at first; a list replaces the one before, null leaves it, and an empty one takes it away."""
        made = operator.account(countries=["TN", "DZ"])
        path = f"/accounts/{made['id']}"

        assert made["countries"] == ["DZ", "TN"]
        assert operator.call("PATCH", path, {"price": 9})["countries"] == ["DZ", "TN"]
        assert operator.call("PATCH", path, {"countries": ["MA"]})["countries"] == ["MA"]
        assert operator.call("PATCH", path, {"countries": []})["countries"] == []
        assert operator.refusal("PATCH", path, {"countries": ["Algeria"]})[0] == 422

    def test_topup(self, operator: Operator) -> None:
        """A negative one takes away, never below zero."""
        path = f"/accounts/{operator.account()['id']}/topup"

        assert operator.call("POST", path, {"amount": 500})["balance"] == 1500
        assert operator.call("POST", path, {"amount": -1500})["balance"] == 0
        assert operator.refusal("POST", path, {"amount": -1}) == (422, "amount: the wallet would fall below zero")

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "x" * 10_000}, "name"),
            ({"name": 5}, "name"),
            ({"name": "x", "balance": -1}, "balance"),
            ({"name": "x", "balance": 10**30}, "balance"),
            ({"name": "x", "balance": "٣"}, "balance"),
            ({"name": "x", "price": -1}, "price"),
            ({"name": "x", "limits": {"daily": -1}}, "limits.daily"),
            ({"name": "x", "limits": {"dayly": 1}}, "dayly"),
            ({"name": "x", "ambiguous_policy": "perhaps"}, "ambiguous_policy"),
            ({"name": "x", "countries": ["dz"]}, "countries"),
            ({"name": "x", "countries": "DZ"}, "countries"),
            ({"name": "x", "key": "short"}, "key"),
            ({"name": "x", "key": "clé-accentuée"}, "key"),
            ({"name": "x", "login": "shop"}, "login"),
            ({"name": "x", "blance": 5}, "blance"),
            ([], "body"),
        ],
    )
    def test_invalid(self, operator: Operator, body: Any, told: str) -> None:
        status, text = operator.refusal("POST", "/accounts", body)

        assert status == 422
        assert told in text
        assert operator.call("GET", "/accounts") == []

    def test_taken(self, operator: Operator) -> None:
        operator.account(key="my-own-key-1", login="shop", password="correct horse")

        assert operator.refusal("POST", "/accounts", {"name": "x", "key": "my-own-key-1"}) == (409, "this key is in use")
        assert operator.refusal("POST", "/accounts", {"name": "x", "login": "shop", "password": "12345678"})[0] == 409

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", ""), ("PATCH", ""), ("GET", "/keys"), ("POST", "/keys"), ("GET", "/templates")]
    )
    def test_unknown(self, operator: Operator, method: str, path: str) -> None:
        body = None if method == "GET" else {}

        assert operator.refusal(method, f"/accounts/ac_nobody{path}", body) == (404, "no such account")


class TestKeys:
    def test_add_and_revoke(self, operator: Operator) -> None:
        account_id = operator.account()["id"]
        made = operator.call("POST", f"/accounts/{account_id}/keys", {"label": "second"})
        keys = operator.call("GET", f"/accounts/{account_id}/keys")

        assert [key["label"] for key in keys] == ["first", "second"]
        assert keys[1] == {name: made[name] for name in ("id", "label", "created_at", "hint")}
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert operator.client.get("/api/v1/balance", headers=headers).status_code == 200
        assert operator.raw("DELETE", f"/accounts/{account_id}/keys/{made['id']}").status_code == 204
        assert operator.client.get("/api/v1/balance", headers=headers).status_code == 401
        assert operator.refusal("DELETE", f"/accounts/{account_id}/keys/{made['id']}") == (404, "no such key")


class TestTemplates:
    def test_set_and_remove(self, operator: Operator) -> None:
        path = f"/accounts/{operator.account()['id']}/templates"
        made = operator.call("PUT", f"{path}/login", {"text": "日本 {code}", "code_length": 4, "default": True})

        assert made["segments"] == {"encoding": "ucs2", "units": 7, "parts": 1}
        assert "日" in made["warnings"][0]
        assert {t["key"]: t["default"] for t in operator.call("GET", path)} == {"default": False, "login": True}
        assert operator.raw("DELETE", f"{path}/login").status_code == 204
        assert operator.refusal("DELETE", f"{path}/login") == (404, "no such template")

    @pytest.mark.parametrize(
        ("key", "body", "told"),
        [
            ("a", {}, "text"),
            ("a", {"text": "no code"}, "{code} is missing"),
            ("a", {"text": "{code} {name}"}, "unknown placeholder"),
            ("a", {"text": "{code}" + "x" * 10_000}, "text"),
            ("a", {"text": "{code}", "code_length": 3}, "code_length"),
            ("a", {"text": "{code}", "code_seconds": 10**30}, "code_seconds"),
            ("%20", {"text": "{code}"}, "key"),
        ],
    )
    def test_invalid(self, operator: Operator, key: str, body: Any, told: str) -> None:
        status, text = operator.refusal("PUT", f"/accounts/{operator.account()['id']}/templates/{key}", body)

        assert status == 422
        assert told in text


class TestSeeds:
    def test_enrol_and_change(self, operator: Operator) -> None:
        made = operator.call("POST", "/seeds", {"imsi": IMSI, "quota": {"day": 5}, "pace_seconds": 2})
        token = made.pop("token")

        assert (
            made.items()
            >= {"imsi": IMSI, "carrier": "60302", "carrier_name": "Djezzy", "country": "DZ", "enrolled": True}.items()
        )
        assert made.items() >= {"online": False, "lps": None, "tripped_until": None, "in_flight": 0, "pace_seconds": 2.0}.items()
        assert made["quota_limits"]["day"] == 5
        assert operator.call("GET", "/seeds") == [made]
        assert operator.call("GET", "/seeds?online=true") == []
        assert operator.call("GET", "/seeds?carrier=60302&online=false") == [made]
        assert operator.call("GET", "/seeds?carrier=60301") == []
        pulled = operator.client.get(f"/seeds/{IMSI}/messages?wait=0", headers={"Authorization": f"Bearer {token}"})
        assert pulled.json() == []
        changed = operator.call("PATCH", f"/seeds/{IMSI}", {"draining": True, "carrier": "60301", "quota": {"hour": 3}})
        assert changed.items() >= {"draining": True, "enabled": True, "carrier": "60301", "online": True}.items()
        assert (changed["quota_limits"]["hour"], changed["quota_limits"]["day"]) == (3, 5)

    def test_owner_and_recipients(self, operator: Operator) -> None:
        """Whose it is and what is left of each quota is told; an operator may change both."""
        owner = operator.account()["id"]
        made = operator.call("POST", "/seeds", {"imsi": IMSI, "account": owner, "shared": False, "quota": {"day": 9, "recipients": 5}})

        assert made.items() >= {"account": owner, "shared": False, "device": "", "sim": 0, "parts_left": 9}.items()
        assert made.items() >= {"recipients_used": 0, "recipients_limit": 5, "recipients_left": 5}.items()
        assert made.items() >= {"rest_seconds": 0.0, "resting_until": None}.items()
        unlimited = {"half_hour": 0, "day": 0, "recipients": 0}
        changed = operator.call("PATCH", f"/seeds/{IMSI}", {"shared": True, "quota": unlimited})
        assert changed.items() >= {"account": owner, "shared": True, "parts_left": None, "recipients_left": None}.items()
        assert operator.refusal("PATCH", f"/seeds/{IMSI}", {"account": "ac_nobody"})[0] == 404
        assert operator.call("PATCH", f"/seeds/{IMSI}", {"account": "", "shared": True})["account"] == ""
        assert operator.refusal("PATCH", f"/seeds/{IMSI}", {"shared": False})[0] == 422
        assert operator.call("GET", f"/seeds/{IMSI}")["shared"] is True

    def test_enrolling_again_voids_the_token(self, operator: Operator) -> None:
        old, new = (operator.call("POST", "/seeds", {"imsi": IMSI})["token"] for _ in range(2))
        codes = [
            operator.client.get(f"/seeds/{IMSI}/messages?wait=0", headers={"Authorization": f"Bearer {token}"}).status_code
            for token in (old, new)
        ]

        assert codes == [401, 200]

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({}, "imsi"),
            ({"imsi": ""}, "imsi"),
            ({"imsi": "٦٠٣٠٢"}, "imsi"),
            ({"imsi": "x" * 10_000}, "imsi"),
            ({"imsi": "a seed"}, "imsi"),
            ({"imsi": "modem-1"}, "carrier"),
            ({"imsi": IMSI, "carrier": "99999"}, "carrier"),
            ({"imsi": IMSI, "carrier": "٦٠٣٠٢"}, "carrier"),
            ({"imsi": IMSI, "msisdn": "a b"}, "msisdn"),
            ({"imsi": IMSI, "pace_seconds": -1}, "pace_seconds"),
            ({"imsi": IMSI, "quota": {"day": -1}}, "quota.day"),
            ({"imsi": IMSI, "quota": {"day": 10**30}}, "quota.day"),
            ({"imsi": IMSI, "quota": {"week": 1}}, "week"),
            ({"imsi": IMSI, "quota": {"recipients": -1}}, "quota.recipients"),
            ({"imsi": IMSI, "shared": False}, "shared"),
        ],
    )
    def test_invalid(self, operator: Operator, body: Any, told: str) -> None:
        status, text = operator.refusal("POST", "/seeds", body)

        assert status == 422
        assert told in text
        assert operator.call("GET", "/seeds") == []

    def test_unknown(self, operator: Operator) -> None:
        assert operator.refusal("GET", "/seeds/nobody") == (404, "no such seed")
        assert operator.refusal("PATCH", "/seeds/nobody", {"enabled": False, "quota": {"day": 1}}) == (404, "no such seed")


class TestMessages:
    def test_send_find_trace_cancel(self, operator: Operator) -> None:
        account_id = operator.account()["id"]
        made = operator.call("POST", "/messages", {"account": account_id, "phone": PHONE})
        trace = operator.call("GET", f"/messages/{made['id']}")

        assert made["state"] == "pending"
        assert (
            trace["message"].items() >= {"dialect": "operator", "kind": "otp", "to": "+2137*****01", "carrier": "60302"}.items()
        )
        assert trace["lane"] == "otp"
        assert operator.call("GET", f"/messages?account={account_id}&state=pending") == [trace["message"]]
        assert operator.call("GET", "/messages", params={"phone": PHONE}) == [trace["message"]]
        assert operator.call("GET", "/messages?state=sent") == []
        assert operator.call("POST", f"/messages/{made['id']}/cancel")["message"]["state"] == "cancelled"
        assert operator.refusal("POST", f"/messages/{made['id']}/cancel")[0] == 409
        assert operator.call("GET", f"/accounts/{account_id}")["balance"] == 1000

    def test_plain_sms(self, operator: Operator) -> None:
        body = {"account": operator.account()["id"], "phone": PHONE, "text": "[secret words]"}
        message_id = operator.call("POST", "/messages", body)["id"]
        shown = operator.raw("GET", f"/messages/{message_id}")

        assert (shown.json()["lane"], shown.json()["message"]["kind"]) == ("notification", "sms")
        assert "secret words" not in shown.text
        assert PHONE not in shown.text

    def test_idempotency_key(self, operator: Operator) -> None:
        """Sending twice is sending once; another body with the same key is a conflict."""
        account_id = operator.account()["id"]
        body = {"account": account_id, "phone": PHONE}
        first, second = (operator.call("POST", "/messages", body, headers={"Idempotency-Key": "k1"}) for _ in range(2))

        assert first == second
        assert operator.call("GET", f"/accounts/{account_id}")["balance"] == 995
        assert operator.refusal("POST", "/messages", body | {"lane": "bulk"}, headers={"Idempotency-Key": "k1"})[0] == 409

    @pytest.mark.parametrize(
        ("body", "told"),
        [
            ({"account": "ac_nobody"}, "account"),
            ({"phone": "12"}, "phone"),
            ({"phone": "+٢١٣٧٧٠٠٠٠٠٠١"}, "phone"),
            ({"phone": "1" * 10_000}, "phone"),
            ({"text": ""}, "message"),
            ({"text": "x" * 10_000}, "message"),
            ({"template_key": "nothing"}, "template_key"),
            ({"lane": "fast"}, "lane"),
            ({"txt": "hello"}, "txt"),
        ],
    )
    def test_invalid(self, operator: Operator, body: Any, told: str) -> None:
        account_id = operator.account()["id"]
        status, text = operator.refusal("POST", "/messages", {"account": account_id, "phone": PHONE} | body)

        assert status == 422
        assert told in text
        assert operator.call("GET", f"/accounts/{account_id}")["balance"] == 1000

    def test_account_without_keys(self, operator: Operator) -> None:
        account_id = operator.account()["id"]
        (key,) = operator.call("GET", f"/accounts/{account_id}/keys")
        operator.call("DELETE", f"/accounts/{account_id}/keys/{key['id']}")

        assert operator.refusal("POST", "/messages", {"account": account_id, "phone": PHONE})[0] == 422

    @pytest.mark.parametrize(
        "query", ["limit=0", "limit=501", "limit=x", f"limit={10**30}", "limit=%D9%A3", "state=lost", "phone=12"]
    )
    def test_invalid_search(self, operator: Operator, query: str) -> None:
        assert operator.refusal("GET", f"/messages?{query}")[0] == 422

    def test_unknown(self, operator: Operator) -> None:
        assert operator.refusal("GET", "/messages/wg_nothing") == (404, "no such message")
        assert operator.refusal("POST", "/messages/wg_nothing/cancel") == (404, "no such message")


def test_queue(operator: Operator) -> None:
    account_id = operator.account()["id"]
    operator.call("POST", "/messages", {"account": account_id, "phone": PHONE})
    state = operator.call("GET", "/queue")

    assert set(state["lanes"]) == {"otp", "notification", "bulk"}
    assert state.items() >= {"dead_letters": 0, "parked": {}, "open": 1}.items()


class TestPortability:
    def test_import_and_remove(self, operator: Operator) -> None:
        """The table stands above the number's prefix."""
        account_id = operator.account()["id"]

        assert operator.call("POST", "/portability", {"numbers": {PHONE: "60301"}}) == {"imported": 1, "removed": 0}
        ported = operator.call("POST", "/messages", {"account": account_id, "phone": PHONE})["id"]
        assert operator.call("POST", "/portability", {"numbers": {"0770 00 00 01": ""}}) == {"imported": 0, "removed": 1}
        back = operator.call("POST", "/messages", {"account": account_id, "phone": PHONE})["id"]
        assert [operator.call("GET", f"/messages/{i}")["message"]["carrier"] for i in (ported, back)] == ["60301", "60302"]

    def test_ten_thousand(self, operator: Operator) -> None:
        numbers = {f"+21377{number:07d}": "60301" for number in range(10_001)}

        assert operator.refusal("POST", "/portability", {"numbers": numbers}) == (422, "numbers: at most 10000 in one call")
        numbers.popitem()
        assert operator.call("POST", "/portability", {"numbers": numbers}) == {"imported": 10_000, "removed": 0}

    @pytest.mark.parametrize(
        ("numbers", "told"),
        [
            ({"+213770000002": "60402"}, "carrier of MA"),
            ({"+213770000002": "Djezzy"}, "MCC+MNC"),
            ({"+213770000002": "٦٠٣٠٢"}, "MCC+MNC"),
            ({"12": "60301"}, "phone"),
            ({"x" * 10_000: "60301"}, "phone"),
            ({"0770000001": "60302"}, "the same number twice"),
            ({"+213770000002": 5}, "numbers"),
            (["+213770000002"], "numbers"),
        ],
    )
    def test_all_or_nothing(self, operator: Operator, redis_url: str, numbers: Any, told: str) -> None:
        """A wrong entry is told by its place, with its number masked, and nothing is imported."""
        mixed = {PHONE: "60301", **numbers} if isinstance(numbers, dict) else numbers
        status, text = operator.refusal("POST", "/portability", {"numbers": mixed})

        assert status == 422
        assert told in text
        assert "770000002" not in text
        with redis.Redis.from_url(redis_url) as client:
            assert list(client.scan_iter("ported:*")) == []


@pytest.mark.parametrize("content", [b"{", b"[" * 60_000, b"\xff\xfe", b'{"name":"\\ud800"}', b"", b"null", b'{"name":1e400}'])
def test_a_body_that_is_no_json(operator: Operator, content: bytes) -> None:
    answer = operator.raw("POST", "/accounts", content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.json()["error"]


def test_a_body_that_is_too_large(operator: Operator) -> None:
    assert operator.refusal("POST", "/accounts", {"name": "x" * 70_000})[0] == 413


FIELDS = (
    "name", "key", "login", "password", "balance", "price", "limits", "daily", "ambiguous_policy", "enabled", "otp_enabled",
    "amount", "label", "text", "code_length", "code_seconds", "default", "imsi", "msisdn", "carrier", "pace_seconds", "quota",
    "day", "draining", "account", "phone", "template_key", "lane", "numbers",
)  # fmt: skip
TEXTS = st.text(max_size=30) | st.sampled_from(
    (
        "ACCOUNT",
        IMSI,
        PHONE,
        "60301",
        "shop",
        "{code}",
        "otp",
        "wait",
        "login",
        "long-enough-password",
        "x" * 10_000,
        "٣",
        "\x00",
        "{}",
        "}",
    )
)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | TEXTS, inner, max_size=4),
    max_leaves=8,
)
BODIES = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6) | VALUES
ENDPOINTS = (
    ("POST", "/accounts"),
    ("PATCH", "/accounts/{}"),
    ("POST", "/accounts/{}/topup"),
    ("POST", "/accounts/{}/keys"),
    ("PUT", "/accounts/{}/templates/t"),
    ("POST", "/seeds"),
    ("PATCH", f"/seeds/{IMSI}"),
    ("POST", "/messages"),
    ("POST", "/messages/x/cancel"),
    ("POST", "/portability"),
)
NEEDED = {
    "/accounts": ("name",), "/accounts/{}/topup": ("amount",), "/accounts/{}/templates/t": ("text",), "/seeds": ("imsi",),
    "/messages": ("account", "phone"), "/portability": ("numbers",),
}  # fmt: skip


@given(data=st.data())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nothing_is_an_internal_error(operator: Operator, data: st.DataObject) -> None:
    """Whatever JSON comes to whichever endpoint, it is taken or refused with a reason."""
    known = operator.call("GET", "/accounts") or [operator.account(balance=10**6, limits={"daily": 0})]
    account_id = known[0]["id"]
    operator.call("POST", "/seeds", {"imsi": IMSI})
    method, path = data.draw(st.sampled_from(ENDPOINTS))
    body = data.draw(BODIES)
    if isinstance(body, dict):
        body = {name: data.draw(TEXTS | SCALARS, label=name) for name in NEEDED.get(path, ())} | body
        body = {name: account_id if value == "ACCOUNT" else value for name, value in body.items()}
    answer = operator.raw(method, path.format(account_id), body)

    assert answer.status_code < 500, answer.text
    assert answer.is_success or answer.json()["error"]
