"""`bench queue`: entries published and consumed per second by one process, ours beside kombu's stock Redis transport, in turn.

Both run over the same Redis with its append-only file on, and again with a millisecond of latency between: over a network, what counts
is how often a transport waits for an answer.
"""

import argparse
import contextlib
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import redis

from bench import queue_load
from bench.figures import progress, tell
from bench.ports import free_port
from bench.queue_brokers import Side
from bench.queue_redis import RedisChild
from bench.servers import process

_PROXY_SECONDS = 10.0
_PINGS = 200


class _Sizes(msgspec.Struct, frozen=True):
    """Entries per run of each figure: the stock transport's are fewer where it is slow."""

    publish: int
    publish_stock: int
    batch: int
    batch_stock: int
    one: int
    one_stock: int
    hundred: int
    hundred_stock: int

    def scaled(self, factor: float) -> "_Sizes":
        return _Sizes(*(max(1, round(value * factor)) for value in msgspec.structs.astuple(self)))


_NEAR = _Sizes(8_000, 5_000, 40_000, 40_000, 6_000, 2_500, 40_000, 2_500)
_FAR = _Sizes(600, 600, 20_000, 20_000, 600, 300, 20_000, 300)

Table = dict[str, list[float]]


def run(arguments: Sequence[str]) -> None:
    """Options: --runs, --latency-ms (0 for none), --scale, --only near|far."""
    options = _options(arguments)
    with tempfile.TemporaryDirectory(prefix="seedrouter-bench-") as folder, RedisChild(Path(folder) / "redis") as server:
        if options.only != "far":
            table = _measure(server, server.port, _NEAR.scaled(options.scale), options.runs, "near")
            _tell(table, "", {})
        if options.only != "near" and options.latency_ms > 0:
            with _proxy(server.port, options.latency_ms / 1000, Path(folder) / "proxy.log") as port:
                added = (_round_trip(port) - _round_trip(server.port)) * 1000
                table = _measure(server, port, _FAR.scaled(options.scale), options.runs, "far")
            _tell(table, f", {options.latency_ms:g} ms away", {"added_ms": round(added, 3)})


def _measure(server: RedisChild, port: int, sizes: _Sizes, runs: int, way: str) -> Table:
    """Every figure `runs` times, the two sides in turn; `port` is the way to the server."""
    near = {name: Side(name, server.port) for name in ("stock", "ours")}
    far = {name: side.through(port) for name, side in near.items()}
    table: Table = defaultdict(list)

    def timed(figure: str, name: str, work: Callable[[], float | None], left: int) -> None:
        """`left`: how many entries must be on the broker afterwards; what drops them is quick, and worth nothing."""
        value = work()
        if value is None:
            return
        if (held := server.held()) != left:
            raise RuntimeError(f"{name}, {figure}: {held} entries on the broker instead of {left}")
        table[f"{name}: {figure}"].append(value)

    for turn in range(runs):
        progress(f"{__name__} ({way})", turn, runs)
        for name in ("stock", "ours"):
            stock = name == "stock"
            publish, batch = (sizes.publish_stock, sizes.batch_stock) if stock else (sizes.publish, sizes.batch)
            server.flush()
            # One more each time: the first that is published opens the connection
            timed("publish", name, partial(queue_load.publish_each, far[name], publish), publish + 1)
            server.flush()
            timed("publish in batches", name, partial(queue_load.publish_batches, far[name], batch), batch + 1)
            if not stock:
                server.flush()
                timed("publish_many", name, partial(queue_load.publish_many, far[name], batch), batch + 1)
            counts = {1: sizes.one_stock, 100: sizes.hundred_stock} if stock else {1: sizes.one, 100: sizes.hundred}
            for prefetch, count in counts.items():
                server.flush()
                queue_load.publish_batches(near[name], count)
                timed(f"consume {prefetch}", name, partial(queue_load.consume, far[name], count + 1, prefetch), 0)
    return table


def _tell(table: Table, suffix: str, details: dict[str, float]) -> None:
    size = queue_load.BATCH
    rows = [
        ("publish one by one", "publish", "publish"),
        (f"publish in batches of {size} : stock one by one", "publish in batches", "publish"),
        (f"publish in batches of {size} : stock in batches", "publish in batches", "publish in batches"),
        (f"publish_many of {size} : stock one by one", "publish_many", "publish"),
        *((f"consume and acknowledge, prefetch {prefetch}", f"consume {prefetch}", f"consume {prefetch}") for prefetch in (1, 100)),
    ]
    for figure, ours, stock in rows:
        values, baselines = table[f"ours: {ours}"], table[f"stock: {stock}"]
        spread = {"lowest": round(min(values)), "highest": round(max(values))}
        spread |= {"baseline_lowest": round(min(baselines)), "baseline_highest": round(max(baselines))}
        tell("queue", f"{figure}{suffix}", "entries/s", values, baselines, {**spread, **details})


@contextlib.contextmanager
def _proxy(target: int, seconds: float, log: Path) -> Iterator[int]:
    port = free_port()
    with process(["-m", "bench.latency_proxy", str(port), str(target), str(seconds / 2)], {}, log) as child:
        deadline = time.monotonic() + _PROXY_SECONDS
        while True:
            with contextlib.suppress(redis.RedisError):
                _round_trip(port, 1)
                break
            if child.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the latency proxy did not come up: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.02)
        yield port


def _round_trip(port: int, pings: int = _PINGS) -> float:
    """The median of as many PINGs, in seconds."""
    with redis.Redis(port=port, socket_timeout=5.0) as client:
        times: list[float] = []
        for _ in range(pings):
            started = time.perf_counter()
            client.ping()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench queue")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--latency-ms", type=float, default=1.0)
    parser.add_argument("--scale", type=float, default=1.0, help="makes every run that much longer")
    parser.add_argument("--only", choices=("near", "far"))
    return parser.parse_args(arguments)


if __name__ == "__main__":
    import sys

    run(sys.argv[1:])
