"""Who may use the console, and what it tells browsers: what needs no browser to be seen."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import redis
from litestar.routes import HTTPRoute

from router.api.app import create_app
from router.api.console.security import HEADERS
from router.clock import Clock
from router.secrets import Secrets, load_secrets
from router.services.console import Signer
from router.settings import Settings
from tests.stack import Stack, wait_for

ENVIRONMENT = {
    "SEEDROUTER_TRUSTED_PROXIES": "127.0.0.1",
    "SEEDROUTER_CONSOLE_WRONG_TOKENS": "4",
    "SEEDROUTER_CONSOLE_WRONG_TOKENS_IN_ALL": "12",
    "SEEDROUTER_CONSOLE_LOCK_SECONDS": "60",
    "SEEDROUTER_CONSOLE_IDLE_SECONDS": "600",
}
NOWHERE = "redis://127.0.0.1:1"
"""For applications that are looked at, and not run."""
PUBLIC = {("GET", "/console/login"), ("POST", "/console/login"), ("GET", "/console/static/{version:str}/{path:path}")}
"""What needs no session."""


@pytest.fixture(scope="module")
def first(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """An api process."""
    url = f"unix://{redis_server}?db=0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    yield from _api(url, tmp_path_factory.mktemp("console") / "data")


@pytest.fixture(scope="module")
def second(first: Stack) -> Iterator[Stack]:
    """Another api process of the same router."""
    yield from _api(first.redis_url, first.data)


def _api(redis_url: str, data: Path) -> Iterator[Stack]:
    stack = Stack(redis_url, data, ENVIRONMENT)
    data.mkdir(mode=0o700, exist_ok=True)
    try:
        stack.start_role("api")
        wait_for(stack._is_ready, "the api to be ready")
        yield stack
    finally:
        stack.stop()


@pytest.fixture(autouse=True)
def _nobody_is_locked(request: pytest.FixtureRequest) -> None:
    if "first" in request.fixturenames:
        with redis.Redis.from_url(request.getfixturevalue("first").redis_url) as client:
            for key in client.scan_iter("console:*"):
                client.delete(key)


class Visitor:
    """A browser's cookies, without the browser."""

    def __init__(self, stack: Stack, address: str = "", **headers: str) -> None:
        self.stack = stack
        sent = {"X-Forwarded-For": address} if address else {}
        self.http = httpx.Client(base_url=stack.url, headers=sent | headers, timeout=20)

    def csrf(self, path: str = "/console") -> str:
        """The token of a page's forms."""
        found = re.search(r'name="csrf" value="([^"]*)"', self.http.get(path).text)
        assert found is not None
        return found[1]

    def sign_in(self, token: str | None = None, **fields: str) -> httpx.Response:
        given = self.stack.operator_token if token is None else token
        return self.http.post("/console/login", data={"token": given, "csrf": self.csrf("/console/login")} | fields)

    def is_in(self) -> bool:
        return self.http.get("/console").status_code == 200


@pytest.fixture
def operator(first: Stack) -> Visitor:
    """Somebody who is signed in."""
    visitor = Visitor(first)

    assert 303 == visitor.sign_in().status_code
    return visitor


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Secrets:
    """Of an application that is looked at, and not run."""
    return load_secrets(tmp_path_factory.mktemp("secrets"), {})


@pytest.fixture(scope="module")
def routes(secrets: Secrets) -> list[tuple[str, str]]:
    """Every method and path of the console, whoever has added it."""
    app = create_app(Settings(redis_url=NOWHERE), secrets)
    found = [route for route in app.routes if isinstance(route, HTTPRoute) and route.path.startswith("/console")]
    return sorted({(method, route.path) for route in found for method in route.methods if method != "OPTIONS"})


def _filled(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "x", path)


def test_every_page_needs_a_session(first: Stack, routes: list[tuple[str, str]]) -> None:
    """Whatever is asked for without a session leads to the login, scripts' requests are told so; nothing else is answered."""
    closed = [(method, path) for method, path in routes if (method, path) not in PUBLIC]
    answers = {(method, path): first.http.request(method, _filled(path)) for method, path in closed}
    scripts = {(method, path): first.http.request(method, _filled(path), headers={"HX-Request": "true"}) for method, path in closed}

    assert {("GET", "/console"), ("POST", "/console/logout")} <= set(closed)
    assert {303} == {answer.status_code for answer in answers.values()}
    assert all(answer.headers["Location"].startswith("/console/login") for answer in answers.values())
    assert {(401, "/console/login")} == {(answer.status_code, answer.headers["HX-Redirect"]) for answer in scripts.values()}


def test_every_post_needs_the_forms_token(operator: Visitor, routes: list[tuple[str, str]]) -> None:
    """With a session, yet without the token of its pages, or from another site, nothing that changes anything is done."""
    csrf = operator.csrf()
    posts = [(method, path) for method, path in routes if method != "GET" and (method, path) not in PUBLIC]
    other = Visitor(operator.stack)
    other.sign_in()
    wrong: list[dict[str, Any]] = [
        {},
        {"data": {"csrf": ""}},
        {"data": {"csrf": "0" * 64}},
        {"data": {"csrf": other.csrf()}},
        {"headers": {"X-CSRF-Token": other.csrf()}},
        {"data": {"csrf": csrf}, "headers": {"Origin": "http://elsewhere.test"}},
        {"data": {"csrf": csrf}, "headers": {"Origin": "null"}},
        {"data": {"csrf": csrf}, "headers": {"Sec-Fetch-Site": "cross-site"}},
        {"data": {"csrf": csrf}, "headers": {"Sec-Fetch-Site": "same-site"}},
    ]
    statuses = {
        (method, path, place): operator.http.request(method, _filled(path), **given).status_code
        for method, path in posts
        for place, given in enumerate(wrong)
    }

    assert {403} == set(statuses.values())
    assert operator.is_in()


def test_no_route_changes_anything_by_get(routes: list[tuple[str, str]]) -> None:
    """GET and POST are all there is: what the guards hold to be safe is safe."""
    assert {"GET", "POST"} >= {method for method, _ in routes} - {"HEAD"}


@pytest.mark.parametrize("path", ["/console", "/console/login", "/console/flow", "/console/flow.json", "/console/there-is-no-such-page"])
def test_headers(operator: Visitor, path: str) -> None:
    """Every page, errors and redirects included, has the headers that keep it from being framed, cached, sniffed or scripted."""
    for answer in (operator.http.get(path), httpx.get(operator.stack.url + path)):
        told = {name: answer.headers.get(name) for name in HEADERS}

        assert dict(HEADERS) == told
        assert "unsafe" not in told["Content-Security-Policy"]
        assert "Server" not in answer.headers


def test_static_files(first: Stack) -> None:
    """They are kept for ever under the address that the pages name, not under another version's; and nothing beside them is served."""
    page = first.http.get("/console/login").text
    addresses = re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page)
    answers = [first.http.get(address) for address in addresses]
    other = first.http.get(re.sub("static/[0-9a-f]+", "static/000000000000", addresses[0]))
    outside = [first.http.get(f"/console/static/0/{path}") for path in ("../pages.py", "%2e%2e/pages.py", "vendor/manifest.json", "")]

    assert len(addresses) >= 4
    assert {200} == {answer.status_code for answer in answers}
    assert {"public, max-age=31536000, immutable"} == {answer.headers["Cache-Control"] for answer in answers}
    assert {"nosniff"} == {answer.headers["X-Content-Type-Options"] for answer in answers}
    kinds = {address.rpartition(".")[2]: answer.headers["Content-Type"] for address, answer in zip(addresses, answers, strict=True)}
    assert {"svg": "image/svg+xml", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"} == kinds
    assert (200, "no-store") == (other.status_code, other.headers["Cache-Control"])
    assert {404} == {answer.status_code for answer in outside}


def test_forged_sessions(operator: Visitor) -> None:
    """What we did not sign, signed for something else, or signed and did not keep, opens nothing."""
    token, good = operator.stack.operator_token, operator.http.cookies["seedrouter_session"]
    claims = jwt.decode(good, options={"verify_signature": False})
    ours, theirs = Signer(token, Clock()), Signer(token + "x", Clock())
    head, body, signature = good.split(".")
    forged = {
        "of another operator token": theirs.sign("session", {"id": claims["id"]}, 600),
        "without a signature": jwt.encode(claims, "", algorithm="none"),
        "of another signature": f"{head}.{body}.{signature[::-1]}",
        "of the operator token itself": jwt.encode(claims, token, algorithm="HS256"),
        "signed for the login page": ours.sign("visit", {"id": claims["id"]}, 600),
        "signed for a known browser": ours.sign("known", {"id": claims["id"]}, 600),
        "that is over": ours.sign("session", {"id": claims["id"]}, -1),
        "that nobody keeps": ours.sign("session", {"id": "A" * 32}, 600),
        "with an odd id": ours.sign("session", {"id": "*"}, 600),
        "without an id": ours.sign("session", {}, 600),
        "of one letter": "x",
        "endless": "x" * 5000,
    }
    statuses = {
        name: httpx.get(f"{operator.stack.url}/console", headers={"Cookie": f"seedrouter_session={value}"}).status_code
        for name, value in forged.items()
    }
    same = ours.sign("session", {"id": claims["id"]}, 600)

    assert dict.fromkeys(forged, 303) == statuses
    # The signature is what lets in: made with the right key, it is the same session
    assert 200 == httpx.get(f"{operator.stack.url}/console", headers={"Cookie": f"seedrouter_session={same}"}).status_code


def test_session_ends(operator: Visitor, second: Stack) -> None:
    """A session is good at every api process. Signing out ends it at all of them; not used for long enough, it ends by itself.

    What a page's own script asks for does not keep it alive.
    """
    with redis.Redis.from_url(operator.stack.redis_url) as client:
        (key,) = client.scan_iter("console:{sessions}:*")
        client.expire(key, 100)
        operator.http.get("/console", headers={"X-Console-Poll": "1"})
        after_poll = client.ttl(key)
        operator.http.get("/console")
        after_use = client.ttl(key)
    cookies = {name: operator.http.cookies[name] for name in ("seedrouter_session",)}
    there = httpx.Client(base_url=second.url, cookies=cookies)
    before = there.get("/console").status_code
    operator.http.post("/console/logout", data={"csrf": operator.csrf()})

    assert after_poll <= 100
    assert 590 < after_use <= 600
    assert 200 == before
    assert 303 == there.get("/console").status_code
    assert 303 == httpx.get(f"{operator.stack.url}/console", cookies=cookies).status_code


def test_guessing_is_stopped(first: Stack, second: Stack) -> None:
    """Wrong tokens count at all api processes together; then none is heard from that address, the right one neither, till the lock ends."""
    here, there = Visitor(first, "203.0.113.7"), Visitor(second, "203.0.113.7")
    statuses = [visitor.sign_in("wrong").status_code for visitor in (here, there, here, there)]
    locked = [visitor.sign_in() for visitor in (here, there)]
    elsewhere = Visitor(second, "203.0.113.8").sign_in()

    assert [401] * 4 == statuses
    assert [429, 429] == [answer.status_code for answer in locked]
    assert all(0 < int(answer.headers["Retry-After"]) <= 61 for answer in locked)
    assert "Try again at" in locked[0].text
    assert 303 == elsewhere.status_code
    with redis.Redis.from_url(first.redis_url) as client:
        (lock,) = client.scan_iter("console:{logins}:locked:*203.0.113.7*")
        assert 0 < client.pttl(lock) <= 60_000
        client.pexpire(lock, 1)
    wait_for(lambda: here.sign_in().status_code == 303, "the lock to end", 10)


def test_guessing_from_everywhere_is_stopped(first: Stack) -> None:
    """Many addresses together are locked out as well; but not a browser that has signed in before, so that nobody can lock operators out.

    An address that is locked out already does not use up what all have together.
    """
    known = Visitor(first, "198.51.100.1")
    known.sign_in()
    known.http.cookies.delete("seedrouter_session", path="/console")
    alone = Visitor(first, "198.51.100.2")
    of_one = [alone.sign_in("wrong").status_code for _ in range(15)]
    unharmed = Visitor(first, "198.51.100.3").sign_in().status_code
    statuses = [Visitor(first, f"198.51.100.{100 + place}").sign_in("wrong").status_code for place in range(13)]
    stranger = Visitor(first, "198.51.100.250").sign_in().status_code

    assert [401] * 4 + [429] * 11 == of_one
    assert 303 == unharmed
    assert [401] * 12 + [429] == statuses
    assert 429 == stranger
    assert 303 == known.sign_in().status_code


def test_addresses_are_not_made_up(first: Stack) -> None:
    """What a client itself puts before the proxy's word is not believed: it stays one address."""
    statuses = [Visitor(first, f"10.0.0.{place}, 192.0.2.9").sign_in("wrong").status_code for place in range(5)]
    # An IPv6 client can choose among the addresses of its network
    of_network = [Visitor(first, f"2001:db8:1:2::{place}").sign_in("wrong").status_code for place in range(1, 6)]

    assert [401] * 4 + [429] == statuses
    assert [401] * 4 + [429] == of_network


def test_login_form_is_bound_to_its_browser(first: Stack) -> None:
    """The right token is not enough: the form must have come to this browser, so nobody can sign others in to what is not theirs."""
    visitor, other = Visitor(first), Visitor(first)
    given = {"token": first.operator_token, "csrf": other.csrf("/console/login")}
    answers = [
        visitor.http.post("/console/login", data=given),
        visitor.http.post("/console/login", data=given | {"csrf": visitor.csrf("/console/login")}, headers={"Origin": "http://x.test"}),
        visitor.http.post("/console/login", json=given),
    ]

    assert [403, 403, 422] == [answer.status_code for answer in answers]
    assert not visitor.is_in()


@pytest.mark.parametrize(("wanted", "leads_to"), [
    ("/console/flow?a=b", "/console/flow?a=b"),
    ("//elsewhere.test/console", "/console"),
    ("https://elsewhere.test/console", "/console"),
    ("/console/../operator/v1/queue", "/console"),
    ("/console\\@elsewhere.test", "/console"),
    ("/consolette", "/console"),
    ("/console/login", "/console"),
    ("/console/x\r\nSet-Cookie: a=b", "/console"),
    ("", "/console"),
])  # fmt: skip
def test_login_leads_nowhere_else(first: Stack, wanted: str, leads_to: str) -> None:
    """After the login one comes to a page of the console, whatever the address line said."""
    answer = Visitor(first).sign_in(next=wanted)

    assert (303, leads_to) == (answer.status_code, answer.headers["Location"])


def test_cookies(first: Stack) -> None:
    """Scripts cannot read them, other sites' requests do not bring them; over TLS, as a trusted proxy says, they stay on TLS."""
    plain, secure = Visitor(first), Visitor(first, "192.0.2.1", **{"X-Forwarded-Proto": "https"})
    secure.http.cookies = httpx.Cookies()
    page = secure.http.get("/console/login")
    (visit,) = page.headers.get_list("Set-Cookie")
    token = re.search(r'name="csrf" value="([^"]*)"', page.text)
    assert token is not None
    # httpx keeps a Secure cookie from plain http, as a browser would
    over_tls = secure.http.post(
        "/console/login", data={"token": first.operator_token, "csrf": token[1]}, headers={"Cookie": visit.partition(";")[0]}
    ).headers.get_list("Set-Cookie")
    over_http = plain.sign_in().headers.get_list("Set-Cookie")

    assert {"seedrouter_session", "seedrouter_known", "seedrouter_visit"} == {cookie.partition("=")[0] for cookie in over_http}
    for cookie in (*over_http, *over_tls, visit):
        attributes = {word.strip().lower() for word in cookie.split(";")[1:]}
        if not cookie.startswith("seedrouter_visit=") or cookie is visit:
            assert {"httponly", "samesite=strict", "path=/console"} <= attributes
            assert ("secure" in attributes) == (cookie not in over_http)


def test_token_is_nowhere(operator: Visitor) -> None:
    """Neither the cookies, nor Redis, nor the log have the operator token; nor does Redis alone let anybody in."""
    token = operator.stack.operator_token
    with redis.Redis.from_url(operator.stack.redis_url) as client:
        kept = b" ".join(client.scan_iter("*"))
    cookies = " ".join(operator.http.cookies.values())

    assert token not in cookies
    assert token.encode() not in kept
    assert token not in operator.stack.log("api")


def test_errors_are_pages(operator: Visitor) -> None:
    """What is not there is told as a page, and to a script as a line."""
    page = operator.http.get("/console/there/is/no/such/page")
    line = operator.http.get("/console/there/is/no/such/page", headers={"HX-Request": "true"})

    assert (404, 404) == (page.status_code, line.status_code)
    assert "<h1>There is no such page</h1>" in page.text
    assert "<" not in line.text


def test_too_large_a_form(operator: Visitor) -> None:
    """A form of more than the router's bound is refused."""
    answer = operator.http.post("/console/logout", data={"csrf": "x" * 100_000})

    assert 413 == answer.status_code
    assert operator.is_in()


def test_console_can_be_off(secrets: Secrets) -> None:
    """With the setting off there is no such path."""
    app = create_app(Settings(redis_url=NOWHERE, console=False), secrets)

    assert [] == [route.path for route in app.routes if route.path.startswith("/console")]
