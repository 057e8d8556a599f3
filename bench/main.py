"""The benches by name. Each prints one JSON object a line: see `bench.figures.Figure`."""

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence

import msgspec

from bench import accept, backlog, dispatch, flow, kill, latency, queue, streams
from bench.routing.main import run_bench as run_routing


class Bench(msgspec.Struct, frozen=True):
    """A bench and, for `all`, options that make it short."""

    run: Callable[[Sequence[str]], None]
    short: tuple[str, ...]


BENCHES: dict[str, Bench] = {
    "queue": Bench(queue.run, ("--runs", "2", "--scale", "0.3")),
    "accept": Bench(accept.run, ("--requests", "4000", "--runs", "2")),
    "dispatch": Bench(dispatch.run, ("--seeds", "100,10000", "--messages", "5000", "--runs", "2")),
    "flow": Bench(flow.run, ("--seconds", "10")),
    "latency": Bench(latency.run, ("--seconds", "8", "--find-seconds", "5")),
    "streams": Bench(streams.run, ("--phones", "200", "--seconds", "5")),
    "backlog": Bench(backlog.run, ("--messages", "50000", "--dispatched", "5000", "--runs", "1")),
    "routing": Bench(run_routing, ("--fleet", "dz-50", "--cost")),
    "kill": Bench(kill.run, ("--messages", "2000", "--kills", "4", "--broker", "ours")),
}
"""The order is that of `all`."""


def run(name: str, arguments: Sequence[str] = ()) -> int:
    """Runs one bench, or `all` with short options; `list` names them. Gives the exit code; an unknown name is told with those there are."""
    if name == "list":
        print("\n".join(BENCHES))
        return 0
    if name != "all" and name not in BENCHES:
        print(f"no bench is called {name}: there are {', '.join(BENCHES)}, and all", file=sys.stderr)
        return 2
    with _stopped_in_order():
        for each, bench in BENCHES.items():
            if name == "all":
                bench.run([*bench.short, *arguments])
            elif each == name:
                bench.run(arguments)
    return 0


@contextlib.contextmanager
def _stopped_in_order() -> Iterator[None]:
    """SIGTERM ends a bench as Ctrl-C does: what it started (Redis is in a session of its own) ends with it.

    While a loop runs, Ctrl-C is asyncio's, which cancels: an exception raised just here could be lost in a callback of the garbage
    collector. asyncio leaves it alone where it is ignored, as in the background of a script; here it is not.
    """

    def stop(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
