"""`bench flow`: messages per second from acceptance to sent, with everything on this machine: api, dispatcher, timekeeper, Redis, phones.

The phones are simulated ones that speak the real protocol and send without a rest, so what is measured is the router. The baseline is
how fast the same number was accepted, while the rest was at work beside it.
"""

import argparse
import re
import time
from collections.abc import Sequence

import httpx
import msgspec
import uvloop

from bench import load
from bench.figures import progress, tell
from bench.servers import Bench, free_port, process, router

_OK = 200
_PREFIXES = ("+2136{:08d}", "+21377{:07d}", "+21355{:07d}")
_PATIENCE_SECONDS = 120.0
_SENT = re.compile(r"^seedrouter_messages_sent_total\{.*\} (\S+)$", re.MULTILINE)


def run(arguments: Sequence[str]) -> None:
    """Options: --messages, --phones, --connections, --runs."""
    options = _options(arguments)
    settings = {
        "SEEDROUTER_PARTS_PER_HALF_HOUR": "0",
        "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
        "SEEDROUTER_TIMEKEEPER_METRICS_PORT": "0",
        "SEEDROUTER_PACE_SECONDS": "0.05",
    }
    flows: list[float] = []
    accepts: list[float] = []
    with router("up", free_port(), settings) as ours:
        phones = ["-m", "router.cli.main", "simulate", str(options.phones), "--pace-seconds", "0.001"]
        environment = {"SEEDROUTER_DATA": str(ours.data), "SEEDROUTER_LOG_LEVEL": "warning"}
        with process(phones, environment, ours.data / "phones.log"):
            _wait_for_phones(ours, options.phones)
            headers = {"Authorization": f"Bearer {ours.account_key()}"}
            for turn in range(options.runs):
                progress(__name__, turn, options.runs)
                requests = _requests(turn, options.messages, headers)
                before = _sent(ours)
                started = time.perf_counter()
                outcome = uvloop.run(load.run(ours.port, requests, options.connections, warm_up=0))
                if set(outcome.statuses) != {_OK}:
                    raise RuntimeError(f"not all were accepted: {outcome.statuses}")
                _wait_for_sent(ours, before + options.messages)
                flows.append(options.messages / (time.perf_counter() - started))
                accepts.append(outcome.per_second)
    tell("flow", "accepted to sent", "messages/s", flows, accepts, {"phones": float(options.phones)})


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench flow")
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--phones", type=int, default=60)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(arguments)


def _requests(turn: int, count: int, headers: dict[str, str]) -> list[bytes]:
    """Codes to different phones of the three carriers in turn."""
    first = 1_000_000 + turn * count
    numbers = (_PREFIXES[i % 3].format(first + i + (60_000_000 if i % 3 == 0 else 0)) for i in range(count))
    return [load.post("/api/v1/send-otp", msgspec.json.encode({"phone": number}), headers) for number in numbers]


def _sent(ours: Bench) -> int:
    return int(sum(float(value) for value in _SENT.findall(httpx.get(f"{ours.url}/metrics").text)))


def _wait_for_sent(ours: Bench, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (sent := _sent(ours)) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{wanted - sent} messages were not sent within {_PATIENCE_SECONDS:.0f} s")
        time.sleep(0.02)


def _wait_for_phones(ours: Bench, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while len(httpx.get(f"{ours.url}/seeds").json()) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {count} phones came online")
        time.sleep(0.1)
    time.sleep(1.0)
