"""`top`: the router at a glance, live in a terminal."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from router.cli.errors import CliError
from router.cli.options import Data
from router.cli.output import print_json, print_rich

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from router.cli.client import OperatorClient
    from router.cli.top_view import Snapshot

_MINUTES = 60
_FAILOVERS = 50
_LOOK_AT_KEYS_SECONDS = 0.25
_QUIT = b"qQ"
_FILE_COLUMNS = 120

Interval = Annotated[float, typer.Option("--interval", min=0.5, max=3600.0, help="Seconds between looks.")]
Once = Annotated[bool, typer.Option("--once", help="Print it once; so does every output that is no terminal.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document: what the API answers at /flow, /carriers, /queue, /failovers.")]


def top(data: Data = None, interval: Interval = 2.0, once: Once = False, as_json: Json = False) -> None:
    """Is it flowing, which carriers have seeds, what failed over: live. q ends it."""
    watch = Watch(data)
    watch.look()
    if watch.snapshot is None:
        raise CliError(watch.trouble)
    if as_json:
        print_json(msgspec.to_builtins(watch.snapshot))
    elif once or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        _print(watch.snapshot)
    else:
        _live(watch, interval)
        return
    watch.close()


class Watch:
    """Asks the router, and keeps what it last answered. While it is away, `trouble` says why."""

    def __init__(self, data: Path | None) -> None:
        self._data = data
        self._client: OperatorClient | None = None
        self.snapshot: Snapshot | None = None
        self.url = ""
        self.trouble = ""
        self.answered_at = 0.0

    def look(self) -> None:
        """Raises nothing of the router's: it may be back at the next look, at another address."""
        from router.cli.client import OperatorClient, find_router
        from router.cli.top_view import Snapshot

        try:
            if self._client is None:
                place = find_router(self._data, os.environ)
                self.url = place.url
                self._client = OperatorClient(place)
            client = self._client
            self.snapshot = Snapshot(
                flow=client.get("/flow", minutes=_MINUTES), carriers=client.get("/carriers"), queue=client.get("/queue"),
                failovers=client.get("/failovers", limit=_FAILOVERS),
            )  # fmt: skip
        except CliError as error:
            self.trouble = str(error)
            self.close()
        else:
            self.trouble = ""
            self.answered_at = time.monotonic()

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.__exit__(None, None, None)


def _print(snapshot: "Snapshot") -> None:
    from rich.console import Group

    from router.cli.top_view import render

    width = os.get_terminal_size().columns if sys.stdout.isatty() else _FILE_COLUMNS
    print_rich(Group(*render(snapshot, width=width)))


def _live(watch: Watch, interval: float) -> None:
    """Looks in a thread of its own, so that a router that hangs does not keep the keys from being heard."""
    from rich.console import Console
    from rich.live import Live

    ended, looked = threading.Event(), threading.Event()

    def look() -> None:
        while not ended.wait(interval):
            watch.look()
            looked.set()
        watch.close()

    console = Console(highlight=False, emoji=False)
    thread = threading.Thread(target=look, name="top", daemon=True)
    signal.signal(signal.SIGTERM, _end)
    try:
        with _keys() as is_over, Live(_screen(watch, console), console=console, screen=True, auto_refresh=False) as live:
            thread.start()
            drawn_at, size = time.monotonic(), console.size
            while not is_over():
                # Once a second the times move on, though nothing was heard
                if looked.is_set() or console.size != size or time.monotonic() - drawn_at >= 1.0:
                    looked.clear()
                    drawn_at, size = time.monotonic(), console.size
                    live.update(_screen(watch, console), refresh=True)
    except KeyboardInterrupt:
        # As asked
        return
    finally:
        ended.set()


def _end(number: int, frame: object) -> None:
    """The terminal is put right on the way out."""
    sys.exit(128 + number)


@contextmanager
def _keys() -> Iterator[Callable[[], bool]]:
    """Gives what waits a moment for a key, and says whether that was q, or nobody is at the terminal any more. No Enter is needed."""
    if not sys.stdin.isatty():
        # Never set: only the signals end it
        yield lambda: threading.Event().wait(_LOOK_AT_KEYS_SECONDS)
        return
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def is_over() -> bool:
        readable, _, _ = select.select([terminal], [], [], _LOOK_AT_KEYS_SECONDS)
        if not readable:
            return False
        try:
            pressed = os.read(terminal, 64)
        except OSError:
            return True
        return not pressed or any(key in pressed for key in _QUIT)

    tty.setcbreak(terminal)
    try:
        yield is_over
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _screen(watch: Watch, console: "Console") -> "RenderableType":
    """A line of its own says how the router is; the figures below it are the last ones that it told."""
    from rich.console import Group
    from rich.text import Text

    from router.cli.top_view import printable, render

    width, height = console.size
    now = datetime.now(UTC).strftime("%H:%M:%S")
    title = Text(printable(f"Seedrouter {watch.url}   {now} UTC   q ends"), style="bold")
    if watch.trouble:
        silent = time.monotonic() - watch.answered_at
        title = Text(printable(f"no answer for {silent:.0f} s, {now} UTC: {watch.trouble}"), style="bold white on red")
    title.truncate(width, overflow="ellipsis")
    snapshot = watch.snapshot
    return Group(title, *(render(snapshot, width=width, height=height - 1) if snapshot else ()))
