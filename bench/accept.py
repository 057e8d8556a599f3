"""`bench accept`: codes accepted per second by one api process, beside a bare litestar endpoint, in turn.

Accepted means all of it: key checked, wallet and limits, template, record and queue entry written to an embedded Redis with its
append-only file on. No dispatcher runs: that is `bench flow`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from bench import load
from bench.figures import medians, progress, tell
from bench.gauges import Cpu
from bench.ports import free_port
from bench.servers import process, router, wait_until_ready
from router.embedded import EmbeddedRedis

_OK = 200


def run(arguments: Sequence[str]) -> None:
    """Options: --requests, --connections, --runs."""
    options = _options(arguments)
    bare_port, port = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="seedrouter-bench-") as folder, EmbeddedRedis(Path(folder) / "redis") as redis:
        settings = {"SEEDROUTER_REDIS_URL": redis.url, "SEEDROUTER_ACCEPT_WHEN": "always"}
        log = Path(folder) / "bare.log"
        with router("api", port, settings) as ours, process(["-m", "bench.bare", str(bare_port)], {}, log) as bare:
            wait_until_ready(f"http://127.0.0.1:{bare_port}/api/v1/send-otp", bare, log)
            headers = {"Authorization": f"Bearer {ours.account_key()}"}
            values: list[float] = []
            baselines: list[float] = []
            found: list[dict[str, float]] = []
            for turn in range(options.runs):
                progress(__name__, turn, options.runs)
                requests = _requests(turn, options.requests, headers)
                baselines.append(uvloop.run(load.run(bare_port, requests, options.connections)).per_second)
                cpu = Cpu({"api": ours.pid, "redis": redis.pid})
                outcome = uvloop.run(load.run(port, requests, options.connections))
                if set(outcome.statuses) != {_OK}:
                    raise RuntimeError(f"not all were accepted: {outcome.statuses}")
                values.append(outcome.per_second)
                found.append(_details(outcome) | cpu.per(len(requests), "request"))
    tell("accept", "accepted", "requests/s", values, baselines, {"connections": float(options.connections), **medians(found)})


def _details(outcome: load.Outcome) -> dict[str, float]:
    return {"p50_ms": round(outcome.quantile(0.5) * 1000, 2), "p99_ms": round(outcome.quantile(0.99) * 1000, 2)}


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench accept")
    parser.add_argument("--requests", type=int, default=6000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(arguments)


def _requests(turn: int, count: int, headers: dict[str, str]) -> list[bytes]:
    """Codes to that many different phones."""
    first = 61_000_000 + turn * count
    bodies = (msgspec.json.encode({"phone": f"+2136{first + i:08d}"}) for i in range(count))
    return [load.post("/api/v1/send-otp", body, headers) for body in bodies]
