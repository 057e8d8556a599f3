"""Signing in and out, in a real browser."""

import contextlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import redis
from playwright.sync_api import expect

from tests.browser.conftest import SMALL, Console, fits, shot

_FRAMES = {"trap": "/console/login", "free": "/health/live"}


@contextlib.contextmanager
def another_site(body: str) -> Iterator[str]:
    """The address of a page of another host, on this machine."""

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html><link rel=icon href=data:,><title>Elsewhere</title>{body}".encode())

        def log_message(self, *_: object) -> None:
            """Nobody wants to read it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://localhost:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return {"SEEDROUTER_CONSOLE_WRONG_TOKENS": "3", "SEEDROUTER_CONSOLE_LOCK_SECONDS": "60"}


def test_sign_in_and_out(visitor: Console) -> None:
    """A page that needs a session leads to the login, the login back to that page, and after signing out its cookie opens nothing."""
    page = visitor.page
    visitor.open("/console/flow?from=a-bookmark")
    expect(page).to_have_url(re.compile(r"/console/login\?next="))
    shot(page, "login")
    page.get_by_label("Operator token").fill(visitor.stack.operator_token)
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{visitor.url}/console/flow?from=a-bookmark")
    kept = visitor.context.cookies()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(f"{visitor.url}/console/login")
    # The cookies of before, as a thief would have them
    visitor.context.clear_cookies()
    visitor.context.add_cookies(kept)  # type: ignore[arg-type]
    visitor.open("/console")

    expect(page).to_have_url(f"{visitor.url}/console/login")
    assert "seedrouter_session" in {cookie["name"] for cookie in kept}
    assert {True} == {cookie["httpOnly"] for cookie in kept}
    assert {"Strict"} == {cookie["sameSite"] for cookie in kept}


def test_wrong_tokens_lock(visitor: Console) -> None:
    """A wrong token is told so; after some of them none is heard, and the page says when one will be; then the right one is."""
    visitor.allow("status (401|429)|status of (401|429)")
    page = visitor.page
    for _ in range(3):
        visitor.sign_in("not the token")
        expect(page.get_by_role("alert")).to_have_text("That is not the operator token.")
    visitor.sign_in()
    expect(page.get_by_role("alert")).to_contain_text(re.compile(r"Too many wrong tokens. Try again at \d\d:\d\d:\d\d UTC, in \d"))
    with redis.Redis.from_url(visitor.stack.redis_url) as client:
        (lock,) = [key for key in client.scan_iter("console:{logins}:locked:*") if client.pttl(key) > 0]
        client.delete(lock)
    visitor.sign_in()

    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


def test_no_form_without_its_cookie(visitor: Console) -> None:
    """A login form that comes from a browser that was not given it is refused, with the right token too, and nothing is kept."""
    visitor.allow("status (403|401)|status of (403|401)")
    page = visitor.page
    visitor.open("/console/login")
    visitor.context.clear_cookies()
    page.get_by_label("Operator token").fill(visitor.stack.operator_token)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("Please try again")

    assert "seedrouter_session" not in {cookie["name"] for cookie in visitor.context.cookies()}


def test_another_site_posts(console: Console) -> None:
    """A page of another site posts a form here: the operator's cookies do not come along, and nothing happens."""
    console.allow(".*")
    page = console.context.new_page()
    page.route("http://elsewhere.test/", lambda route: route.fulfill(
        content_type="text/html", body=f'<form method="post" action="{console.url}/console/logout"><button>Win</button></form>'
    ))  # fmt: skip
    page.goto("http://elsewhere.test/")
    with page.expect_response("**/console/logout") as answer:
        page.get_by_role("button", name="Win").click()
    console.open("/console")

    assert 403 == answer.value.status
    expect(console.page.get_by_role("heading", name="Overview")).to_be_visible()


def test_page_is_not_framed(console: Console) -> None:
    """Another page cannot show the console in a frame of its own."""
    console.allow(".*")
    page = console.context.new_page()
    frames = "".join(f'<iframe name="{name}" src="{console.url}{path}"></iframe>' for name, path in _FRAMES.items())
    with another_site(frames) as url:
        page.goto(url, wait_until="load")
        free = page.frame(name="free")

        assert free is not None
        expect(free.get_by_text("pass")).to_be_visible()
        assert [0] * len(page.frames) == [frame.get_by_label("Operator token").count() for frame in page.frames]


def test_link_from_another_site(console: Console) -> None:
    """Who is signed in and follows a link of another site, a dashboard's for one, comes to its page and not to the login."""
    page = console.page
    with another_site(f'<a href="{console.url}/console/flow?from=a-dashboard">Look</a>') as url:
        console.allow(re.escape(url))
        page.goto(url)
        page.get_by_role("link", name="Look").click()

        expect(page).to_have_url(f"{console.url}/console/flow?from=a-dashboard")
        expect(page.get_by_role("heading", name="The last hour")).to_be_visible()
        console.context.clear_cookies()
        page.goto(url)
        page.get_by_role("link", name="Look").click()
        expect(page.get_by_label("Operator token")).to_be_visible()


def test_login_fits_a_phone(visitor: Console) -> None:
    """At 360 px nothing is cut off."""
    visitor.page.set_viewport_size(SMALL)  # type: ignore[arg-type]
    visitor.open("/console/login")

    assert fits(visitor.page)
    expect(visitor.page.get_by_label("Operator token")).to_be_focused()
