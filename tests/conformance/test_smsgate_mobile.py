"""A phone's whole conversation as a device: it joins, tells of its SIMs, takes settings; and what applications see of it."""

import base64
import datetime as dt
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from android_sms_gateway import client, domain
from android_sms_gateway.enums import LimitPeriod, WebhookDelivery

from tests.app import App, private_token
from tests.conformance.conftest import Start, bearer
from tests.stack import Stack, wait_for

MOBILE = ("/mobile/v1", "/api/mobile/v1")
UNAUTHORIZED = {"message": "Unauthorized"}
MOBILIS_SIM = {"slotIndex": 0, "simNumber": 1, "phoneNumber": "+213661999999", "carrierName": "Mobilis"}
DJEZZY_SIM = {"slotIndex": 1, "simNumber": 2, "carrierName": "DJEZZY", "iccid": ""}
ONE_TIME_CODE = re.compile(r"[0-9A-Z]{6}")
A_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture(scope="module")
def stack(start: Start) -> Iterator[Stack]:
    """A router of this module's own, where an account may have three phones."""
    with start(SEEDROUTER_MAX_DEVICES_PER_ACCOUNT="3") as stack:
        yield stack


@pytest.fixture
def app(stack: Stack) -> Iterator[App]:
    made = App(stack, MOBILIS_SIM, DJEZZY_SIM)
    yield made
    made.close()


def basic(login: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{login}:{password}".encode()).decode()


def own(app: App) -> str:
    return basic(app.account["login"], app.account["password"])


def third_party(app: App, method: str, path: str, **arguments: Any) -> httpx.Response:
    """As an application that has the login of the phone's account."""
    url = str(app.http.base_url).replace("/mobile/v1/", f"/3rdparty/v1{path}")
    return httpx.request(method, url, headers={"Authorization": own(app)}, timeout=20, **arguments)


def seeds(stack: Stack, device: str) -> dict[str, dict[str, Any]]:
    return {seed["imsi"].removeprefix(f"{device}."): seed for seed in stack.operator("GET", "/seeds") if seed["imsi"].startswith(device)}


# Joining


@pytest.mark.parametrize("prefix", MOBILE)
def test_by_the_private_token(stack: Stack, prefix: str) -> None:
    """201 with an account of its own: id, token, login and password. Its SIMs are seeds for everybody at once."""
    body = {"name": "Pixel 8", "pushToken": "t" * 163, "simCards": [MOBILIS_SIM, DJEZZY_SIM]}
    answer = stack.http.post(f"{prefix}/device", json=body, headers=bearer(private_token(stack)))

    assert 201 == answer.status_code, answer.text
    made = answer.json()
    assert {"id", "token", "login", "password"} == set(made)
    assert re.fullmatch(r"[A-Za-z0-9_-]{21}", made["id"])
    assert 14 <= len(made["password"])
    assert {"1": ("60301", True, True), "2": ("60302", True, True)} == {
        number: (seed["carrier"], seed["enrolled"], seed["shared"]) for number, seed in seeds(stack, made["id"]).items()
    }


def test_by_a_login(stack: Stack, app: App) -> None:
    """201 without a password; the phone serves that account only."""
    second = App(stack, MOBILIS_SIM, auth=own(app))

    assert {"id", "token", "login"} == set(second.account)
    assert app.account["login"] == second.account["login"]
    assert not seeds(stack, second.id)["1"]["shared"]
    assert [app.id, second.id] == [device["id"] for device in third_party(app, "GET", "/devices").json()]


def test_by_a_code(stack: Stack, app: App) -> None:
    """Six characters, good for a minute and for one phone; a body that cannot be read does not use it up."""
    answer = app.http.get("/user/code", headers={"Authorization": own(app)})
    assert 200 == answer.status_code, answer.text
    code = answer.json()["code"]
    assert ONE_TIME_CODE.fullmatch(code)
    assert A_TIME.fullmatch(answer.json()["validUntil"])

    with_code = {"Authorization": f"Code {code}"}
    assert 400 == app.http.post("/device", json={"name": "x" * 129}, headers=with_code).status_code
    joined = App(stack, MOBILIS_SIM, auth=f"Code {code}")
    assert ({"id", "token", "login"}, app.account["login"]) == (set(joined.account), joined.account["login"])
    again = app.http.post("/device", json={"name": "x"}, headers=with_code)
    assert (401, UNAUTHORIZED) == (again.status_code, again.json())


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer x", "Bearer é", "Basic x", basic("NOBODY", "no such password"), "Code 000000", "Code x", "Digest x"],
)
def test_nobody(stack: Stack, authorization: str) -> None:
    """401 for each of the ways to join, whatever the body is."""
    headers = {b"Authorization": authorization.encode("latin-1")} if authorization else {}
    answer = stack.http.post("/mobile/v1/device", json={"name": "phone"}, headers=headers)

    assert (401, UNAUTHORIZED) == (answer.status_code, answer.json())
    if not authorization.startswith("Code"):
        assert 401 == stack.http.post("/mobile/v1/device", content=b"{", headers=headers).status_code


def test_only_a_login_gets_codes(stack: Stack, app: App) -> None:
    """Neither a phone's token nor nothing."""
    assert [401, 401, 401] == [
        stack.http.get("/mobile/v1/user/code", headers=headers).status_code
        for headers in ({}, bearer(app.account["token"]), {"Authorization": basic(app.account["login"], "wrong password")})
    ]


def test_an_accounts_bound(stack: Stack, app: App) -> None:
    """The fourth phone of an account that may have three: 429."""
    for _ in range(2):
        App(stack, MOBILIS_SIM, auth=own(app)).close()
    answer = stack.http.post("/mobile/v1/device", json={"name": "one too many"}, headers={"Authorization": own(app)})

    assert (429, "devices limit of 3 reached") == (answer.status_code, answer.json()["message"])
    assert 3 == len(third_party(app, "GET", "/devices").json())


@pytest.mark.parametrize(
    ("body", "name", "carriers"),
    [
        ({}, "phone", {"0": ""}),
        ({"name": None, "pushToken": None, "simCards": None}, "phone", {"0": ""}),
        ({"name": " Galaxy\u0000 \n S\u202e23 ", "simCards": []}, "Galaxy S 23", {"0": ""}),
        ({"name": "p", "simCards": [{"slotIndex": 1, "carrierName": "Ooredoo"}], "later": {"a": 1}}, "p", {"2": "60303"}),
        ({"name": "p", "simCards": [{"simNumber": 3, "phoneNumber": "", "carrierName": "x" * 500, "iccid": None}]}, "p", {"3": ""}),
        ({"name": "p", "simCards": [{"simNumber": 1, "phoneNumber": "not a number", "carrierName": "Mobilis"}]}, "p", {"1": "60301"}),
    ],
)
def test_odd_words(stack: Stack, body: dict[str, Any], name: str, carriers: dict[str, str]) -> None:
    """What real phones leave out, or say oddly, is no reason to refuse them."""
    answer = stack.http.post("/mobile/v1/device", json=body, headers=bearer(private_token(stack)))

    assert 201 == answer.status_code, answer.text
    assert name == stack.operator("GET", f"/devices/{answer.json()['id']}")["name"]
    assert carriers == {number: seed["carrier"] for number, seed in seeds(stack, answer.json()["id"]).items()}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", ""), (b"[]", ""), (b"{", ""), (b'{"name": 5}', "name"), (json.dumps({"name": "x" * 129}).encode(), "name"),
        (json.dumps({"pushToken": "x" * 257}).encode(), "pushToken"), (b'{"pushToken": "a\\u0000"}', "pushToken"),
        (b'{"simCards": {}}', "simCards"), (b'{"simCards": [1]}', "simCards"), (b'{"simCards": [{}]}', "simCards"),
        (b'{"simCards": [{"simNumber": 0}]}', "simCards"), (b'{"simCards": [{"simNumber": 4}]}', "simCards"),
        (b'{"simCards": [{"simNumber": "one"}]}', "simCards"), (b'{"simCards": [{"simNumber": 1, "iccid": 89}]}', "simCards"),
        (b'{"simCards": [{"simNumber": 1}, {"slotIndex": 0}]}', "simCards"),
        (b'{"simCards": [{"simNumber": 1}, {"simNumber": 2}, {"simNumber": 3}, {"simNumber": 1}]}', "simCards"),
    ],
)  # fmt: skip
def test_bad_words(stack: Stack, body: bytes, field: str) -> None:
    """400 that says what is wrong; nothing is kept of it."""
    before = len(stack.operator("GET", "/devices"))
    answer = stack.http.post("/mobile/v1/device", content=body, headers=bearer(private_token(stack)))

    assert 400 == answer.status_code, answer.text
    assert {"message"} == set(answer.json())
    assert answer.json()["message"].startswith(field)
    assert before == len(stack.operator("GET", "/devices"))


# Being a device


def test_own_device(stack: Stack, app: App) -> None:
    """Whence the call came, by the connection and not by what it says; and the phone, if it is one."""
    answer = app.http.get("/device", headers={"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"})

    assert 200 == answer.status_code
    assert "127.0.0.1" == answer.json()["externalIp"]
    device = answer.json()["device"]
    assert (app.id, "test phone") == (device["id"], device["name"])
    assert {"id", "name", "createdAt", "updatedAt", "lastSeen"} == set(device)
    assert all(A_TIME.fullmatch(device[name]) for name in ("createdAt", "updatedAt", "lastSeen"))
    assert {"externalIp": "127.0.0.1"} == stack.http.get("/mobile/v1/device").json()
    assert 401 == stack.http.get("/mobile/v1/device", headers=bearer("nonsense")).status_code


def test_sims_that_change(stack: Stack, app: App) -> None:
    """204 without a body. A new SIM is a seed, one that is gone is disabled, one that is back is enabled."""
    for sims, enabled in (
        ([DJEZZY_SIM, {"simNumber": 3, "phoneNumber": "0551000001"}], {"1": False, "2": True, "3": True}),
        ([MOBILIS_SIM], {"1": True, "2": False, "3": False}),
        ([], {"0": True, "1": False, "2": False, "3": False}),
        ([MOBILIS_SIM, DJEZZY_SIM], {"0": False, "1": True, "2": True, "3": False}),
    ):
        answer = app.http.patch("/device", json={"id": app.id, "simCards": sims})
        assert (204, b"") == (answer.status_code, answer.content)
        assert enabled == {number: seed["enabled"] for number, seed in seeds(stack, app.id).items()}
    assert {"0": "", "1": "60301", "2": "60302", "3": "60303"} == {n: seed["carrier"] for n, seed in seeds(stack, app.id).items()}


def test_a_push_token_alone(stack: Stack, app: App) -> None:
    """The SIMs stay as they are."""
    assert 204 == app.http.patch("/device", json={"id": app.id, "pushToken": "another"}).status_code
    assert {"1", "2"} == set(seeds(stack, app.id))
    assert all(seed["enabled"] for seed in seeds(stack, app.id).values())


def test_another_phones_id(stack: Stack, app: App) -> None:
    """403, and nothing changes; 400 for a body that is none; 401 without a token, whatever the body says."""
    other = App(stack, MOBILIS_SIM)

    assert 403 == app.http.patch("/device", json={"id": other.id, "simCards": []}).status_code
    assert ["1"] == list(seeds(stack, other.id))
    assert [400, 400] == [app.http.patch("/device", content=body).status_code for body in (b"{}", b"[")]
    assert 401 == stack.http.patch("/mobile/v1/device", content=b"[").status_code


def test_an_operators_word_stands_above_the_phones(stack: Stack, app: App) -> None:
    """A corrected carrier and a disabled SIM stay so, whatever the phone says next."""
    stack.operator("PATCH", f"/seeds/{app.id}.1", {"carrier": "60303"})
    stack.operator("PATCH", f"/seeds/{app.id}.2", {"enabled": False})
    for sims in ([], [MOBILIS_SIM | {"carrierName": "Djezzy"}, DJEZZY_SIM]):
        assert 204 == app.http.patch("/device", json={"id": app.id, "simCards": sims}).status_code

    found = seeds(stack, app.id)
    assert ("60303", True) == (found["1"]["carrier"], found["1"]["enabled"])
    assert ("60302", False) == (found["2"]["carrier"], found["2"]["enabled"])


def test_deleted_and_registered_anew(stack: Stack, app: App) -> None:
    """204; then every call of the phone is 401, its seeds are not enrolled; it registers anew and is another device."""
    assert 404 == third_party(app, "DELETE", "/devices/no-such-device").status_code
    assert (204, b"") == ((answer := third_party(app, "DELETE", f"/devices/{app.id}")).status_code, answer.content)
    # An api process may believe its copy for a second
    wait_for(lambda: app.http.get("/settings").status_code == 401, "the phone to be unknown", 5)

    calls = [("PATCH", "/device"), ("GET", "/device"), ("GET", "/message"), ("PATCH", "/user/password"), ("GET", "/events")]
    assert {401} == {app.http.request(method, path).status_code for method, path in calls}
    assert not any(seed["enrolled"] or seed["enabled"] for seed in seeds(stack, app.id).values())
    assert 404 == third_party(app, "DELETE", f"/devices/{app.id}").status_code
    assert [] == third_party(app, "GET", "/devices").json()
    again = App(stack, MOBILIS_SIM, auth=own(app))
    assert app.id != again.id
    assert 200 == again.http.get("/settings").status_code


def test_password(stack: Stack, app: App) -> None:
    """204; 400 for one that is too short, 401 for a wrong current one. The phones stay, the old password is nobody's."""
    change = {"currentPassword": app.account["password"], "newPassword": "fourteen chars"}
    assert 400 == app.http.patch("/user/password", json=change | {"newPassword": "thirteen char"}).status_code
    assert 401 == app.http.patch("/user/password", json=change | {"currentPassword": "x"}).status_code
    assert 400 == app.http.patch("/user/password", json={}).status_code
    assert 401 == stack.http.patch("/mobile/v1/user/password", json=change).status_code
    assert (204, b"") == ((answer := app.http.patch("/user/password", json=change)).status_code, answer.content)

    assert 401 == third_party(app, "GET", "/devices").status_code
    app.account["password"] = "fourteen chars"
    assert 200 == third_party(app, "GET", "/devices").status_code
    assert 200 == app.http.get("/settings").status_code


# What applications do with phones


def test_devices(stack: Stack, app: App) -> None:
    """Exactly `application/json`, with a count; both the plural and the singular; not another account's."""
    for path in ("/devices", "/device"):
        answer = third_party(app, "GET", path)
        assert (200, "application/json", "1") == (answer.status_code, answer.headers["Content-Type"], answer.headers["X-Total-Count"])
        assert [app.id] == [device["id"] for device in answer.json()]
        assert {"id", "name", "createdAt", "updatedAt", "lastSeen"} == set(answer.json()[0])
    other = App(stack, MOBILIS_SIM)
    assert 404 == third_party(app, "DELETE", f"/device/{other.id}").status_code
    assert 200 == other.http.get("/settings").status_code


def test_scopes(stack: Stack, app: App) -> None:
    """A token may do what its scopes say."""
    granted = third_party(app, "POST", "/auth/token", json={"scopes": ["devices:list", "settings:read"]})
    assert 201 == granted.status_code, granted.text
    headers = bearer(granted.json()["access_token"])
    statuses = {
        (method, path): stack.http.request(method, f"/3rdparty/v1{path}", headers=headers, json={} if method != "GET" else None).status_code
        for method, path in (
            ("GET", "/devices"), ("GET", "/settings"), ("DELETE", f"/devices/{app.id}"), ("PUT", "/settings"), ("PATCH", "/settings"),
            ("POST", "/inbox/refresh"), ("GET", "/inbox"), ("GET", "/logs"),
        )
    }  # fmt: skip

    assert [200, 200, 403, 403, 403, 403, 403, 403] == list(statuses.values())
    refused = stack.http.get("/3rdparty/v1/logs", headers=headers)
    assert {"message": "scope required: logs:read"} == refused.json()


def test_the_scopes_of_the_inbox(stack: Stack, app: App) -> None:
    """`inbox:refresh` for all its names, `messages:export` for the older ones."""
    span = {"since": "2026-01-31T12:00:00Z", "until": "2026-01-31T13:00:00Z"}

    def statuses(scope: str) -> list[int]:
        headers = bearer(third_party(app, "POST", "/auth/token", json={"scopes": [scope]}).json()["access_token"])
        paths = ("/inbox/refresh", "/inbox/export", "/messages/inbox/export")
        return [stack.http.post(f"/3rdparty/v1{path}", json=span, headers=headers).status_code for path in paths]

    assert [202, 202, 202] == statuses("inbox:refresh")
    assert [403, 202, 202] == statuses("messages:export")
    assert [403, 403, 403] == statuses("messages:send")


def test_settings(stack: Stack, app: App) -> None:
    """Merged, replaced, pushed; the passphrase goes to phones only, and 400 tells the field."""
    app.listen()
    defaults = {"gateway": {"notification_channel": "SSE_ONLY"}, "ping": {"interval_seconds": 2}}
    assert defaults == third_party(app, "GET", "/settings").json() == app.http.get("/settings").json()

    change = {"messages": {"send_interval_min": 1, "limit_value": 5, "limit_period": "PerHour"}, "encryption": {"passphrase": "secret"}}
    answer = third_party(app, "PATCH", "/settings", json=change)
    assert (200, defaults | {"messages": change["messages"]}) == (answer.status_code, answer.json())
    wait_for(lambda: app.heard("SettingsUpdated"), "SettingsUpdated")
    assert [None] == app.heard("SettingsUpdated")
    assert defaults | change == app.http.get("/settings").json()

    answer = third_party(app, "PUT", "/settings", json={"ping": {"interval_seconds": 9}})
    assert defaults | {"ping": {"interval_seconds": 9}} == answer.json()
    assert {"passphrase": "secret"} == app.http.get("/settings").json()["encryption"]
    for bad, text in (
        ({"ping": {"interval_seconds": 0}}, "ping.interval_seconds: a whole number from 1 to 86400"),
        ({"messages": {"limit_period": "Often"}}, "messages.limit_period: one of Disabled, PerMinute, PerHour, PerDay"),
        ({"ping": 3}, "ping: an object is expected"),
    ):
        refused = third_party(app, "PATCH", "/settings", json=bad)
        assert (400, {"message": text}) == (refused.status_code, refused.json())
    assert [400, 400] == [third_party(app, "PUT", "/settings", content=body).status_code for body in (b"[]", b"{")]
    assert 401 == stack.http.get("/mobile/v1/settings").status_code
    app.close()


def test_inbox_refresh(stack: Stack, app: App) -> None:
    """One phone or all of the account's are asked; all that they are told are texts, as the app reads it."""
    second = App(stack, MOBILIS_SIM, auth=own(app)).listen()
    app.listen()
    span = {"since": "2026-01-31T12:00:00", "until": "2026-01-31T14:00:00.5+01:00"}
    told = {"since": "2026-01-31T12:00:00.000Z", "until": "2026-01-31T13:00:00.500Z"}
    more = {"messageTypes": ["SMS", "MMS"], "webhookDelivery": "Batch", "later": 1}
    for path, body in (("/inbox/refresh", span), ("/inbox/export", span | {"deviceId": app.id}), ("/messages/inbox/export", span | more)):
        answer = third_party(app, "POST", path, json=body)
        assert (202, {}) == (answer.status_code, answer.json()), answer.text
    wait_for(lambda: len(app.heard("MessagesExportRequested")) == 3, "three events at the first phone")
    wait_for(lambda: len(second.heard("MessagesExportRequested")) == 2, "two events at the second phone")

    last = told | {"messageTypes": "SMS,MMS", "webhookDelivery": "Batch", "triggerWebhooks": "true"}
    assert [told, told, last] == app.heard("MessagesExportRequested")
    assert [told, last] == second.heard("MessagesExportRequested")
    for bad, field in (
        ({"since": span["until"], "until": span["since"]}, "since"),
        (span | {"deviceId": "V1StGXR8_Z5jdHi6B-myT"}, "deviceId"),
        ({"since": span["since"]}, ""),
        (span | {"until": "tomorrow"}, "until"),
        (span | {"messageTypes": ["CALL"]}, ""),
        (span | {"webhookDelivery": "Often"}, ""),
    ):
        refused = third_party(app, "POST", "/inbox/refresh", json=bad)
        assert 400 == refused.status_code, refused.text
        assert refused.json()["message"].startswith(field)
    second.close()


def test_what_is_not_kept(app: App) -> None:
    """501 that says what to do instead."""
    for path in ("/inbox", "/logs", "/inbox?type=SMS&limit=5"):
        answer = third_party(app, "GET", path)
        assert (501, {"message"}) == (answer.status_code, set(answer.json()))


def test_the_python_client(stack: Stack, app: App) -> None:
    """SMSGate's own client, unchanged: devices, settings and inbox."""
    base_url = f"{stack.url}/api/3rdparty/v1"
    now = dt.datetime.now()
    with client.APIClient(app.account["login"], app.account["password"], base_url=base_url) as gateway:
        (device,) = gateway.list_devices()
        gateway.update_settings(domain.DeviceSettings(messages=domain.SettingsMessages(limit_period=LimitPeriod.PER_DAY, limit_value=7)))
        gateway.patch_settings(domain.DeviceSettings(webhooks=domain.SettingsWebhooks(signing_key="a key")))
        read = gateway.get_settings()
        span: dict[str, Any] = {"since": now - dt.timedelta(hours=1), "until": now}
        refreshed = gateway.refresh_inbox(domain.InboxRefreshRequest(**span, webhook_delivery=WebhookDelivery.INDIVIDUAL))
        exported = gateway.export_inbox(domain.MessagesExportRequest(device_id=app.id, **span))
        gateway.remove_device(app.id)
        left = gateway.list_devices()

    assert (app.id, "test phone", None) == (device.id, device.name, device.deleted_at)
    assert device.created_at is not None
    assert dt.timedelta(0) == device.created_at.utcoffset()
    assert (LimitPeriod.PER_DAY, 7, "a key") == (read.messages.limit_period, read.messages.limit_value, read.webhooks.signing_key)
    assert "SSE_ONLY" == read.gateway.notification_channel
    assert ({}, {}, []) == (refreshed, exported, left)


# What operators see


def test_the_operators_list(stack: Stack, app: App) -> None:
    """Owner, SIMs with their seeds and carriers; the clock once it has reported."""
    shown = stack.operator("GET", f"/devices/{app.id}")

    assert shown in stack.operator("GET", "/devices")
    assert [shown] == stack.operator("GET", "/devices", account=shown["account"])
    assert ("test phone", "test phone", True, None) == tuple(shown[name] for name in ("name", "account_name", "shared", "clock_offset"))
    assert [(f"{app.id}.1", "60301", "Mobilis", "Mobilis"), (f"{app.id}.2", "60302", "Djezzy", "DJEZZY")] == [
        (sim["seed"], sim["carrier"], sim["carrier_name"], sim["told"]) for sim in shown["sims"]
    ]
    assert "+2136*****99" == shown["sims"][0]["phone_number"]


def test_the_command(stack: Stack, app: App) -> None:
    """`devices list` for people and for programs; `devices delete`."""

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "router.cli.main", "devices", *words]
        environment = {"SEEDROUTER_URL": stack.url, "SEEDROUTER_OPERATOR_TOKEN": stack.operator_token, "PATH": "/usr/bin:/bin"}
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert 0 == ran.returncode, ran.stderr
        return ran.stdout

    assert app.id in [device["id"] for device in json.loads(run("list", "--json"))]
    table = run("list")
    for word in (app.id, "everybody", "Mobilis 60301", "Djezzy 60302"):
        assert word in table
    assert {"id": app.id, "deleted": True} == json.loads(run("delete", app.id, "--json"))
    assert app.id not in run("list")
