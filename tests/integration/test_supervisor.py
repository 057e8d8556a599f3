import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from bench.ports import free_port
from router.lifeline import PARENT_PID, follow_parent
from workers.supervisor import Child, Supervisor

LONG_SECONDS = 30.0

ROLE = """
import os, signal, sys, time
from pathlib import Path

name, folder = sys.argv[1], Path(sys.argv[2])

def note(what):
    with (folder / "events").open("a") as file:
        file.write(f"{what} {name}\\n")

def end(*_):
    note("end")
    sys.exit(0)

signal.signal(signal.SIGTERM, end)
note("begin")
(folder / f"{name}.{os.getpid()}").touch()
"""
"""Writes when it begins and ends, and leaves a file with its pid."""

RUNS = ROLE + "while True: time.sleep(0.05)"
DEAF = ROLE + "signal.signal(signal.SIGTERM, lambda *_: note('deaf'))\nnote('ready')\nwhile True: time.sleep(0.05)"
FOLLOWS = (
    ROLE
    + """
from router.lifeline import follow_parent
follow_parent(lambda: os.kill(os.getpid(), signal.SIGTERM), 0.05)
while True: time.sleep(0.05)
"""
)
SERVES = (
    ROLE
    + """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.tries = Handler.tries = getattr(Handler, "tries", 0) + 1
        note("answer" if self.tries == 4 else "wait")
        self.send_response(200 if self.tries > 3 else 503)
        self.end_headers()
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[3])), Handler).serve_forever()
"""
)
DRIVER = """
import asyncio, sys
import msgspec
from workers.supervisor import Child, Supervisor
sys.exit(asyncio.run(Supervisor().run(msgspec.json.decode(sys.argv[1], type=list[Child]))))
"""
"""A supervisor in a process of its own, to which a test can send signals."""


class Folder:
    """What the children of one test wrote."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def child(self, name: str, code: str = RUNS, *more: str, **settings: Any) -> Child:
        return Child(name=name, argv=(sys.executable, "-c", code, name, str(self.path), *more), **settings)

    def events(self) -> list[str]:
        path = self.path / "events"
        return path.read_text().splitlines() if path.exists() else []

    def begun(self, name: str) -> int:
        return self.events().count(f"begin {name}")

    def has_begun(self, name: str, times: int) -> bool:
        return self.begun(name) == times

    def pids(self) -> list[int]:
        return [int(path.suffix[1:]) for path in self.path.iterdir() if path.suffix[1:].isdigit()]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    folder = Folder(tmp_path)
    yield folder
    try:
        wait_for(lambda: all(gone(pid) for pid in folder.pids()))
    finally:
        for pid in folder.pids():
            if not gone(pid):
                os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wait_for(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONG_SECONDS
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


async def until(done: Callable[[], object]) -> None:
    await asyncio.to_thread(wait_for, done)


def run(
    story: Callable[[Supervisor], Awaitable[None]],
    children: list[Child],
    on_ready: Callable[[], Coroutine[Any, Any, None]] | None = None,
    watch: Callable[[], None] | None = None,
) -> int:
    """Supervise the children while the story is told; stop them after it, and return the exit code."""

    async def main() -> int:
        supervisor = Supervisor()
        running = asyncio.create_task(supervisor.run(children, on_ready=on_ready, watch=watch))
        try:
            await story(supervisor)
        finally:
            supervisor.request_stop()
            code = await asyncio.wait_for(running, LONG_SECONDS)
        return code

    return asyncio.run(main())


def drive(children: list[Child]) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", DRIVER, msgspec.json.encode(children).decode()], start_new_session=True)


def finish(driver: subprocess.Popen[bytes]) -> int:
    try:
        return driver.wait(LONG_SECONDS)
    finally:
        driver.kill()
        driver.wait()


def supervise(children: list[Child]) -> int:
    """Run children that bring the supervisor to an end by themselves."""
    return asyncio.run(asyncio.wait_for(Supervisor().run(children), LONG_SECONDS))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stops_in_reverse_order(folder: Folder, number: signal.Signals) -> None:
    """SIGTERM, or one Ctrl-C, ends the children in the reverse of the order in which they were given; the exit code is 0."""
    driver = drive([folder.child(name) for name in ("first", "second", "third")])
    wait_for(lambda: len(folder.events()) == 3)
    driver.send_signal(number)

    assert finish(driver) == 0
    assert folder.events()[3:] == ["end third", "end second", "end first"]


def test_waits_until_ready(folder: Folder) -> None:
    """A child with a ready URL has to answer 200 there before the next one is started; on_ready comes after the last."""
    called: list[list[str]] = []

    async def on_ready() -> None:
        called.append(folder.events())

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("after") and called)

    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    server = folder.child("server", SERVES, str(port), ready_url=url)

    assert run(story, [server, folder.child("after")], on_ready) == 0
    assert folder.events()[:6] == ["begin server", "wait server", "wait server", "wait server", "answer server", "begin after"]
    assert len(called) == 1


def test_never_ready(folder: Folder) -> None:
    """A child that does not get ready in time ends all, and the next child is never started."""
    child = folder.child("mute", ready_url=f"http://127.0.0.1:{free_port()}/", ready_timeout_seconds=0.5)

    assert supervise([folder.child("before"), child, folder.child("after")]) == 1
    assert folder.begun("after") == 0


def test_another_on_the_port(folder: Folder) -> None:
    """Another program that answers on the ready URL is not taken for the child."""
    port = free_port()
    other = subprocess.Popen([sys.executable, "-c", SERVES, "other", str(folder.path), str(port)])
    try:
        wait_for(partial(listens, port))
        url = f"http://127.0.0.1:{port}/"
        child = folder.child("server", SERVES, str(port), ready_url=url, ready_timeout_seconds=1.0)

        assert supervise([child]) == 1
        assert folder.begun("server") == 0
    finally:
        other.kill()
        other.wait()


def test_restarts_what_was_killed(folder: Folder) -> None:
    """A child killed with -9, again and again, is started each time, with a delay that doubles; the others run on."""
    pids: list[int] = []

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("stays") and folder.begun("dies"))
        stays = await pid_of(supervisor, "stays")
        for round_ in range(1, 5):
            pids.append(await pid_of(supervisor, "dies"))
            os.kill(pids[-1], signal.SIGKILL)
            await until(partial(folder.has_begun, "dies", round_ + 1))
        pids.append(await pid_of(supervisor, "dies"))

        assert stays == supervisor.pids["stays"]
        assert supervisor.restarts == {"stays": 0, "dies": 4}

    with capture_logs() as logs:
        assert run(story, [folder.child("stays"), folder.child("dies")]) == 0

    ended = [entry for entry in logs if entry["event"] == "child_ended"]
    assert len(set(pids)) == 5
    assert [entry["exit"] for entry in ended] == ["SIGKILL"] * 4
    assert [entry["restarts"] for entry in ended] == [1, 2, 3, 4]
    assert all(later["again_in_seconds"] == 2 * earlier["again_in_seconds"] for earlier, later in pairwise(ended))


def test_many_kills_are_no_failed_starts(folder: Folder) -> None:
    """Ends that came from outside do not count as failed starts, however young the child was."""

    async def story(supervisor: Supervisor) -> None:
        for round_ in range(1, 7):
            await until(partial(folder.has_begun, "dies", round_))
            os.kill(await pid_of(supervisor, "dies"), signal.SIGKILL)
        await until(lambda: folder.begun("dies") == 7)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workers.keeper.BACKOFF_MAX_SECONDS", 0.2)
        assert run(story, [folder.child("dies")]) == 0


def test_backoff_begins_anew(folder: Folder) -> None:
    """After a child has lived for long, the delay begins anew."""

    async def story(supervisor: Supervisor) -> None:
        for round_ in range(1, 4):
            await until(partial(folder.has_begun, "dies", round_))
            os.kill(await pid_of(supervisor, "dies"), signal.SIGKILL)
        await until(lambda: folder.begun("dies") == 4)

    with pytest.MonkeyPatch.context() as patch, capture_logs() as logs:
        patch.setattr("workers.keeper.SETTLED_SECONDS", 0.0)
        assert run(story, [folder.child("dies")]) == 0

    assert [entry["again_in_seconds"] for entry in logs if entry["event"] == "child_ended"] == [0.2] * 3


def test_configuration_error(folder: Folder) -> None:
    """A child that exits with 78 is not tried again: all are stopped, and the exit code is 1."""
    assert supervise([folder.child("before"), folder.child("wrong", ROLE + "sys.exit(78)")]) == 1
    assert folder.begun("wrong") == 1
    assert folder.events().count("begin before") == folder.events().count("end before")


@pytest.mark.parametrize("how", ["sys.exit(1)", "sys.exit(0)", "os.abort()"])
def test_cannot_be_started(folder: Folder, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that ends by itself five times in a row before it ever ran for a while is given up, and all are stopped."""
    monkeypatch.setattr("workers.keeper.BACKOFF_MAX_SECONDS", 0.01)

    assert supervise([folder.child("fails", ROLE + how)]) == 1
    assert folder.begun("fails") == 5


def test_program_that_is_not_there(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that cannot be run is given up like one that ends at once."""
    monkeypatch.setattr("workers.keeper.BACKOFF_MAX_SECONDS", 0.01)

    assert supervise([Child(name="none", argv=(str(folder.path / "none"),))]) == 1


def test_one_that_had_started_is_never_given_up(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that once ran for a while is restarted however often it fails after."""
    monkeypatch.setattr("workers.keeper.BACKOFF_MAX_SECONDS", 0.01)
    monkeypatch.setattr("workers.keeper.STARTED_SECONDS", 0.0)

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("fails") > 6)

    assert run(story, [folder.child("fails", ROLE + "sys.exit(1)")]) == 0


def test_deaf_child_is_killed(folder: Folder) -> None:
    """A child that ignores SIGTERM is killed when its grace is over, with a warning; the others still end in order."""

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("polite") and "ready deaf" in folder.events())

    with capture_logs() as logs:
        assert run(story, [folder.child("polite"), folder.child("deaf", DEAF, stop_grace_seconds=2.0)]) == 0

    assert folder.events()[-2:] == ["deaf deaf", "end polite"]
    killed = [entry for entry in logs if entry["event"] == "child_killed"]
    assert [(entry["role"], entry["log_level"]) for entry in killed] == [("deaf", "warning")]


def test_second_ctrl_c_kills(folder: Folder) -> None:
    """A second Ctrl-C does not wait for any grace."""
    driver = drive([folder.child("deaf", DEAF, stop_grace_seconds=600.0)])
    wait_for(lambda: "ready deaf" in folder.events())
    driver.send_signal(signal.SIGINT)
    wait_for(lambda: "deaf deaf" in folder.events())
    driver.send_signal(signal.SIGINT)

    assert finish(driver) == 130


def test_what_a_child_left_is_ended(folder: Folder) -> None:
    """A process that a child started does not outlive it: its successor would find the port taken."""
    helper = "subprocess.Popen([sys.executable, '-c', sys.orig_argv[2], 'helper', str(folder)])"
    code = ROLE + f"import subprocess\nif name != 'helper': {helper}\nwhile True: time.sleep(0.05)"

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("helper"))

    assert run(story, [folder.child("parent", code)]) == 0
    assert folder.begun("helper") == 1


def test_stop_during_the_backoff(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that waits for its restart is not started any more once the stop was asked for."""
    monkeypatch.setattr("workers.keeper.BACKOFF_SECONDS", 600.0)

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: folder.begun("fails") and not supervisor.pids)

    assert run(story, [folder.child("fails", ROLE + "sys.exit(1)")]) == 0
    assert folder.begun("fails") == 1


def test_error_of_on_ready(folder: Folder) -> None:
    """What on_ready raises is raised by run, after the children were stopped."""

    async def on_ready() -> None:
        await until(lambda: folder.begun("role"))
        raise LookupError("on_ready")

    with pytest.raises(LookupError, match="on_ready"):
        run(nothing_until_over, [folder.child("role")], on_ready)
    assert folder.events() == ["begin role", "end role"]


async def pid_of(supervisor: Supervisor, name: str) -> int:
    """A child may have begun before the supervisor hears that it was started."""
    await until(lambda: name in supervisor.pids)
    return supervisor.pids[name]


async def nothing_until_over(supervisor: Supervisor) -> None:
    await until(lambda: supervisor.pids)
    await until(lambda: not supervisor.pids)


def test_watch(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch is called again and again, off the event loop's thread, and what it raises ends nothing."""
    monkeypatch.setattr("workers.supervisor.WATCH_SECONDS", 0.01)
    calls: list[int] = []

    def watch() -> None:
        calls.append(1)
        raise RuntimeError("watch")

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: len(calls) > 3 and folder.begun("role"))

    with capture_logs() as logs:
        assert run(story, [folder.child("role")], watch=watch) == 0

    assert "watch_failed" in {entry["event"] for entry in logs}


def test_env_is_added(folder: Folder) -> None:
    """A child sees the supervisor's environment, its own additions, and the supervisor's pid."""
    code = (
        ROLE
        + "import json\n(folder / 'env').write_text(json.dumps(dict(os.environ)))\nnote('told')\nwhile True: time.sleep(0.05)"
    )

    async def story(supervisor: Supervisor) -> None:
        await until(lambda: "told role" in folder.events())

    assert run(story, [folder.child("role", code, env={"SEEDROUTER_TEST": "added"})]) == 0
    env = json.loads((folder.path / "env").read_text())
    assert env["SEEDROUTER_TEST"] == "added"
    assert env["PATH"] == os.environ["PATH"]
    assert env[PARENT_PID] == str(os.getpid())


def test_two_of_one_name(folder: Folder) -> None:
    """Two children of one name are refused before anything is started."""
    with pytest.raises(ValueError, match="same name"):
        supervise([folder.child("same"), folder.child("same")])


def test_children_of_a_killed_supervisor_end(folder: Folder) -> None:
    """Children whose supervisor was killed with -9 end in their own order through the lifeline."""
    driver = drive([folder.child("one", FOLLOWS), folder.child("two", FOLLOWS)])
    wait_for(lambda: len(folder.events()) == 2)
    driver.kill()
    driver.wait()

    wait_for(lambda: all(gone(pid) for pid in folder.pids()))
    assert sorted(folder.events()[2:]) == ["end one", "end two"]


def test_lifeline_without_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A role that was started by hand follows nobody; one whose parent is gone already stops at once."""
    stops: list[int] = []
    monkeypatch.delenv(PARENT_PID, raising=False)
    follow_parent(lambda: stops.append(1), 0.01)
    monkeypatch.setenv(PARENT_PID, str(os.getppid()))
    follow_parent(lambda: stops.append(2), 0.01)
    assert PARENT_PID not in os.environ
    monkeypatch.setenv(PARENT_PID, str(os.getpid()))
    follow_parent(lambda: stops.append(3), 0.01)
    wait_for(lambda: stops)

    assert stops == [3]
