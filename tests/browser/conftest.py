"""A running router with phones, and Chromium in front of its console."""

import contextlib
import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, expect, sync_playwright

from tests.conftest import require
from tests.stack import Stack, TestPhone, wait_for

IMAGES = Path(__file__).parents[2] / "docs" / "img"
WIDE = {"width": 1280, "height": 800}
SMALL = {"width": 360, "height": 740}
MOBILIS, DJEZZY, OOREDOO = "60301", "60302", "60303"
expect.set_options(timeout=20_000)
_TELL_CSP = "document.addEventListener('securitypolicyviolation', (e) => console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"


class ServingPhone:
    """A phone in a thread of its own: it fetches, and does with each message what `answer` says. `die` pulls its battery."""

    def __init__(self, phone: TestPhone, answer: Literal["sent", "failed", "silent"] = "sent") -> None:
        self.phone = phone
        self.imsi = phone.imsi
        self.answer = answer
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            # The api may be restarted, or end before this
            with contextlib.suppress(httpx.HTTPError, AssertionError, RuntimeError):
                for message in self.phone.pull(wait=0.5):
                    if self._ended.is_set() or self.answer == "silent":
                        continue
                    if self.answer == "sent":
                        self.phone.report(message, "radio")
                    self.phone.report(message, self.answer, "RESULT_ERROR_GENERIC_FAILURE" if self.answer == "failed" else None)
            self._ended.wait(0.05)

    def die(self) -> None:
        """It is heard of no more."""
        self._ended.set()
        self._thread.join(10)


class System:
    """The router of a module's tests: roles as processes, phones of three carriers that serve, one account."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.url = stack.url
        self.phones: dict[str, ServingPhone] = {}
        for number, carrier in enumerate((MOBILIS, MOBILIS, DJEZZY, OOREDOO)):
            self.phone(f"{carrier}000000010{number}", msisdn=f"+213{'6' if carrier == MOBILIS else '7'}6199990{number}")
        self.account = stack.account(name="Sahara Pay")
        self._sent = 0

    def phone(self, imsi: str, *, answer: Literal["sent", "failed", "silent"] = "sent", **fields: Any) -> ServingPhone:
        """One more phone, enrolled, that serves at once."""
        phone = self.phones[imsi] = ServingPhone(self.stack.phone(imsi, **fields), answer)
        return phone

    def code(self, number: str = "") -> str:
        """Sends a code, to a new number of Mobilis where none is given; its message's id."""
        self._sent += 1
        answer = self.stack.http.post(
            "/api/v1/send-otp",
            json={"phone": number or f"+2136612{self._sent:05d}"},
            headers={"Authorization": f"Bearer {self.account['key']}"},
        )
        assert answer.status_code == 200, answer.text
        return str(answer.json()["reference_id"])

    def sent_code(self, number: str = "") -> str:
        """Sends a code, and waits until it was sent."""
        message_id = self.code(number)
        self.stack.wait_for_state(message_id, "sent")
        return message_id

    def stop(self) -> None:
        for phone in self.phones.values():
            phone.die()


class Console:
    """A browser's page that is signed in. What goes wrong on it fails the test: `allow` what the test provokes."""

    def __init__(self, system: System, context: BrowserContext, page: Page) -> None:
        self.system = system
        self.stack = system.stack
        self.url = system.url
        self.context = context
        self.page = page
        self.problems: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """A problem that this regular expression is found in is meant."""
        self._allowed.append(pattern)

    def open(self, path: str = "/console") -> Page:
        """Goes to a page of the console."""
        self.page.goto(self.url + path)
        return self.page

    def sign_in(self, token: str | None = None) -> None:
        """As an operator does it."""
        self.open("/console/login")
        self.page.get_by_label("Operator token").fill(self.stack.operator_token if token is None else token)
        self.page.get_by_role("button", name="Sign in").click()

    def check(self) -> None:
        """Nothing went wrong but what is allowed."""
        left = [problem for problem in self.problems if not any(re.search(pattern, problem) for pattern in self._allowed)]

        assert [] == left

    def watch(self, page: Page) -> None:
        """Notes what goes wrong on a page."""
        host = urlsplit(self.url).netloc

        def on_console(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.problems.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

        def on_request(request: Request) -> None:
            parts = urlsplit(request.url)
            if parts.scheme not in ("data", "about", "blob") and parts.netloc != host:
                self.problems.append(f"request to another host: {request.url}")

        def on_response(response: Response) -> None:
            if response.status >= 400:
                self.problems.append(f"status {response.status}: {response.request.method} {response.url}")

        page.on("console", on_console)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("request", on_request)
        page.on("response", on_response)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, without a window. Of a module, not of the session: while Playwright is open, its event loop counts as running, and
    no other test of the process could run one.
    """
    program = require(shutil.which("chromium"), "chromium (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """More settings for the router of a module's tests: override it there."""
    return {}


@pytest.fixture(scope="module")
def system(redis_server: Path, tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Iterator[System]:
    """A running router, its phones online, for all tests of a module."""
    url = f"unix://{redis_server}?db=0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
        # As everybody should run it; the console warns of anything else
        client.config_set("appendonly", "yes")
    stack = Stack(url, tmp_path_factory.mktemp("console") / "data", environment)
    running: System | None = None
    try:
        stack.start()
        running = System(stack)
        wait_for(lambda: len(stack.http.get("/seeds").json()) == len(running.phones), "all phones to be online")
        yield running
    finally:
        if running is not None:
            running.stop()
        stack.stop()
        with redis.Redis.from_url(url) as client:
            client.config_set("appendonly", "no")


@pytest.fixture
def visitor(chromium: Browser, system: System) -> Iterator[Console]:
    """Like `console`, and nobody is signed in."""
    context = chromium.new_context(viewport=WIDE, color_scheme="light", reduced_motion="reduce", timezone_id="UTC", locale="en-GB")  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    context.add_init_script(_TELL_CSP)
    try:
        page = context.new_page()
        console = Console(system, context, page)
        console.watch(page)
        yield console
        console.check()
    finally:
        context.close()


@pytest.fixture
def console(visitor: Console) -> Console:
    """A page of a browser that is signed in, at the overview. Each test has a session of its own."""
    with httpx.Client(base_url=visitor.url, timeout=20) as http:
        found = re.search(r'name="csrf" value="([^"]+)"', http.get("/console/login").text)
        assert found is not None
        answer = http.post("/console/login", data={"token": visitor.stack.operator_token, "csrf": found[1]})
        assert answer.status_code == 303, answer.text
        for name, value in http.cookies.items():
            # As the router sets them
            visitor.context.add_cookies([{
                "name": name, "value": value, "domain": "127.0.0.1", "path": "/console", "httpOnly": True, "sameSite": "Strict",
            }])  # fmt: skip
    visitor.open("/console")
    return visitor


def shot(page: Page, name: str) -> None:
    """docs/img/console-<name>.png, made anew where SEEDROUTER_SCREENSHOTS=1."""
    if os.environ.get("SEEDROUTER_SCREENSHOTS") == "1":
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"console-{name}.png", animations="disabled", caret="hide")


def fits(page: Page) -> bool:
    """No part of the page makes the whole of it wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))
