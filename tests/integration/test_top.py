"""`seedrouter top` and what it asks, over the whole router as processes: figures after a failover, a router that goes and comes back."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.stack import Stack, TestPhone, wait_for

FIRST, SECOND = "603010000000001", "603010000000002"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_HOME = "\x1b[H"
_OWN_TERMINAL = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
"""Makes it the terminal of the command, so that Ctrl-C there is its signal."""


@pytest.fixture(scope="module")
def stack(redis_server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Six messages sent, one of them by the second seed since the first did not fetch it; and a phone that is pinged by nobody any more."""
    url = f"unix://{redis_server}?db=7"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    made = Stack(url, tmp_path_factory.mktemp("top") / "data")
    try:
        made.start()
        key = made.account()["key"]
        with made.phone(FIRST).stays_online():
            message_id = wait_for(lambda: send(made, key, 0), "a message to be accepted")
            wait_for(lambda: made.trace(message_id)["attempts"], "its first attempt")
            made.operator("PATCH", f"/seeds/{FIRST}", {"draining": True})
        second = made.phone(SECOND)
        with second.stays_online():
            serve(second, 1)
            for number in range(1, 6):
                assert send(made, key, number)
                serve(second, 1)
            wait_for(lambda: all(flow_of(made)["total"][name] for name in ("failovers", "dispatched")), "the figures of all roles")
            wait_for(lambda: flow_of(made)["total"]["sent"] == 6, "the figures of six messages")
            wait_for(lambda: made.operator("GET", "/carriers")["carriers"][0]["hour"]["sent"] == 6, "the carriers' figures")
        yield made
    finally:
        made.stop()


def send(stack: Stack, key: str, number: int) -> str:
    """The id of the message; empty while no seed is known to be online."""
    body = {"phone": f"+21366100000{number}"}
    answer = stack.http.post("/api/v1/send-otp", json=body, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code in (200, 503), answer.text
    return str(answer.json().get("reference_id", ""))


def serve(phone: TestPhone, count: int) -> None:
    """Sends so many messages, as they come."""
    done = 0
    while done < count:
        for message in phone.pull(wait=20):
            phone.report(message, "radio")
            phone.report(message, "sent")
            done += 1


def flow_of(stack: Stack) -> Any:
    return stack.operator("GET", "/flow", minutes=10)


def command(stack: Stack, *words: str) -> tuple[list[str], dict[str, str]]:
    environment = os.environ | {"SEEDROUTER_URL": stack.url, "SEEDROUTER_OPERATOR_TOKEN": stack.operator_token}
    for name in ("COLUMNS", "LINES", "NO_COLOR"):
        environment.pop(name, None)
    return [sys.executable, "-m", "router.cli.main", *words], environment


def output_of(stack: Stack, *words: str) -> str:
    """What a command prints, where its output is no terminal."""
    arguments, environment = command(stack, *words)
    return subprocess.run(arguments, env=environment, capture_output=True, check=True, timeout=60, text=True).stdout


class Terminal:
    """`top` in a terminal of 80 × 24, and what stands on its screen."""

    def __init__(self, stack: Stack, *words: str, term: str = "xterm-256color") -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.theirs = theirs
        self.before = termios.tcgetattr(theirs)
        arguments, environment = command(stack, "top", *words)
        environment["TERM"] = term
        arguments = [sys.executable, "-c", _OWN_TERMINAL, *arguments]
        self.process = subprocess.Popen(arguments, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
        self._written = b""

    def read(self) -> str:
        """Everything that was written until now."""
        while select.select([self._ours], [], [], 0)[0]:
            self._written += os.read(self._ours, 65536)
        # What was just read may end within a character
        return self._written.decode(errors="ignore")

    def screen(self) -> list[str]:
        """The lines of the last frame that is whole, since another one follows it; else of the first."""
        *before, last = self.read().split(_HOME)
        whole = [frame for frame in before if "\n" in frame] or [last]
        return _ANSI.sub("", whole[-1]).replace("\r", "").split("\n")

    def wait_for(self, condition: Callable[[str], object], what: str) -> None:
        wait_for(lambda: condition("\n".join(self.screen())), f"{what}; the screen shows\n{self.read()[-3000:]}")

    def press(self, keys: bytes) -> None:
        os.write(self._ours, keys)

    def end(self) -> int:
        """The exit code, when it has ended by itself; reads on meanwhile, for whoever writes must not wait for us."""
        wait_for(lambda: self.read() is not None and self.process.poll() is not None, "top to end")
        return int(self.process.returncode)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        os.close(self._ours)
        os.close(self.theirs)


@pytest.fixture
def terminal(stack: Stack) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def make(*words: str, **options: str) -> Terminal:
        opened.append(Terminal(stack, *words, **options))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_the_flow_is_told(stack: Stack) -> None:
    """Counted by the api (accepted, sent), by the dispatcher (dispatched) and by the timekeeper (failovers), and added up."""
    flow = flow_of(stack)
    (failover,) = stack.operator("GET", "/failovers", limit=5)
    figures = stack.operator("GET", "/carriers")

    assert 10 == len(flow["minutes"])
    assert (6, 6, 6, 1) == tuple(flow["total"][name] for name in ("accepted", "dispatched", "sent", "failovers"))
    assert flow["total"] == flow["recent"]
    assert 6 == sum(minute["carriers"].get("60301", {"sent": 0})["sent"] for minute in flow["minutes"])
    assert 0 < flow["total"]["sent_p50_seconds"] <= flow["total"]["sent_p95_seconds"]
    assert (FIRST, "unfetched", 1, "60301") == (failover["seed"], failover["reason"], failover["attempt"], failover["carrier"])
    assert "*" in failover["to"]
    assert 0 <= figures["age_seconds"] < 30
    (mobilis,) = [carrier for carrier in figures["carriers"] if carrier["carrier"] == "60301"]
    assert ("Mobilis", 6, 0.143) == (mobilis["carrier_name"], mobilis["hour"]["sent"], mobilis["failed_over"])


def test_it_is_in_the_openapi_document(stack: Stack) -> None:
    document = stack.http.get("/schema/openapi.json").json()
    answers = {
        path: document["paths"][f"/operator/v1/{path}"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
        for path in ("flow", "carriers", "failovers", "queue")
    }

    assert answers["flow"]["$ref"].endswith("FlowView")
    assert answers["carriers"]["$ref"].endswith("CarriersView")
    assert answers["failovers"]["items"]["$ref"].endswith("Failover")
    assert answers["queue"]["$ref"].endswith("QueueState")


@pytest.mark.parametrize("path", ["/flow?minutes=0", "/flow?minutes=1441", "/flow?minutes=x", "/failovers?limit=", "/failovers?limit=9999"])
def test_bounds(stack: Stack, path: str) -> None:
    answer = stack.http.get(f"/operator/v1{path}", headers={"Authorization": f"Bearer {stack.operator_token}"})

    assert answer.status_code in (400, 422)
    assert answer.json()["error"]


def test_the_queue_tells_of_what_comes_in(stack: Stack) -> None:
    """An SMS that a forwarder posts waits on seedrouter.inbound, and is counted."""
    before = stack.operator("GET", "/queue")
    posted = stack.http.post("/sms/platform/gmail", json={"MSISDN": "+213661000001", "text": "hello"})
    assert posted.is_success, posted.text
    wait_for(lambda: stack.operator("GET", "/queue")["inbound"] == before["inbound"] + 1, "one more that waits")
    printed = output_of(stack, "queue")

    assert 0 == before["webhooks_dead"] == before["webhooks_waiting"]
    assert f"{before['inbound'] + 1} SMS that came in wait" in printed


def test_json_is_one_document(stack: Stack) -> None:
    document = json.loads(output_of(stack, "top", "--json"))

    assert {"flow", "carriers", "queue", "failovers"} == set(document)
    assert 6 == document["flow"]["total"]["sent"]
    assert 60 == len(document["flow"]["minutes"])
    assert FIRST == document["failovers"][0]["seed"]


def test_without_a_terminal_it_prints_once(stack: Stack) -> None:
    printed = output_of(stack, "top")

    assert "\x1b" not in printed
    assert "60301 Mobilis" in printed
    assert "unfetched: the seed did not fetch it" in printed


def test_a_dumb_terminal_is_told_once(terminal: Callable[..., Terminal]) -> None:
    shown = terminal(term="dumb")

    assert 0 == shown.end()
    assert "60301 Mobilis" in shown.read()
    assert "\x1b[?1049h" not in shown.read()


def test_once_in_a_terminal(terminal: Callable[..., Terminal]) -> None:
    shown = terminal("--once")

    assert 0 == shown.end()
    assert "60301 Mobilis" in shown.read()
    assert "\x1b[?1049h" not in shown.read()


def test_live(terminal: Callable[..., Terminal]) -> None:
    """All of it in 80 × 24; q ends it, and the terminal is as it was."""
    shown = terminal("--interval", "0.5")
    shown.wait_for(lambda screen: "unfetched" in screen, "the failover")
    lines = shown.screen()
    while_live = termios.tcgetattr(shown.theirs)
    shown.press(b"xq")

    assert 0 == shown.end()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for words in ("Seedrouter http://", "accepted", "sent p50", "60301 Mobilis", FIRST, "unfetched: the seed did not fetch", "letters 0"):
        assert words in text
    assert shown.before != while_live
    assert shown.before == termios.tcgetattr(shown.theirs)
    assert shown.read().rstrip().endswith(("\x1b[?1049l", "\x1b[?25h"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_signals_leave_the_terminal_as_it_was(terminal: Callable[..., Terminal], number: signal.Signals, code: int) -> None:
    """Ctrl-C is as asked; a SIGTERM is told in the exit code."""
    shown = terminal()
    shown.wait_for(lambda screen: "Mobilis" in screen, "the carriers")
    if number == signal.SIGINT:
        shown.press(b"\x03")
    else:
        shown.process.send_signal(number)

    assert code == shown.end()
    assert shown.before == termios.tcgetattr(shown.theirs)
    assert "\x1b[?1049l" in shown.read()
    assert "Traceback" not in shown.read()


def test_the_router_goes_away_and_comes_back(stack: Stack, terminal: Callable[..., Terminal]) -> None:
    """It says so and keeps the last figures; keys are heard meanwhile; then it goes on by itself."""
    shown = terminal("--interval", "0.5")
    shown.wait_for(lambda screen: "Mobilis" in screen, "the carriers")
    stack.kill_role("api")
    shown.wait_for(lambda screen: "no answer for" in screen, "that nobody answers")
    away = "\n".join(shown.screen())
    stack.start_role("api")
    wait_for(stack._is_ready, "the api to be ready")
    shown.wait_for(lambda screen: "Seedrouter http://" in screen, "that the router is back")
    shown.press(b"q")

    assert 0 == shown.end()
    assert "Mobilis" in away
    assert "unfetched" in away
    assert len(away.split("\n")) <= 24


def test_a_killed_process_takes_a_second_of_figures_with_it_at_the_most(stack: Stack) -> None:
    """The dispatcher and the api are killed after the figures were told: they are still there."""
    before = flow_of(stack)["total"]
    for role in ("dispatcher", "timekeeper"):
        stack.kill_role(role)
        stack.start_role(role)

    assert before == flow_of(stack)["total"]
