"""`bench streams`: many phones with an open event stream on one api process.

What a stream costs in memory, beside a bare stream on the same server (litestar's own, which only sleeps); and from the acceptance of a
message until the event that makes its phone pull it. Messages come at a steady pace, whatever the answers.
"""

import argparse
import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import aiohttp
import msgspec
import uvloop

from bench import pacing
from bench.figures import progress, say, tell
from bench.gauges import children
from bench.lines import Lines
from bench.load import post
from bench.ports import free_port
from bench.seeding import phone
from bench.servers import Bench, process, router, wait_until_ready

_LOGIN = ("bench-phones", "a password of the bench")
_PATIENCE_SECONDS = 60.0
_ACCEPTED = 202
_SETTLE_SECONDS = 3.0


def run(arguments: Sequence[str]) -> None:
    """Options: --phones, --rate, --seconds, --runs."""
    uvloop.run(_run(_options(arguments)))


async def _run(options: argparse.Namespace) -> None:
    ours: list[float] = []
    bare: list[float] = []
    times: list[list[float]] = []
    for turn in range(options.runs):
        progress(__name__, turn, options.runs)
        bare.append(await _bare_bytes(options.phones))
        async with _staged(options.phones) as (bench, lines):
            api = children(bench.pid)["api"]
            before = _resident_bytes(api)
            say(__name__, f"opens {options.phones} streams")
            await lines.listen()
            await asyncio.sleep(_SETTLE_SECONDS)
            ours.append((_resident_bytes(api) - before) / options.phones)
            times.append(await _hold(bench, lines, options))
    details = {"phones": float(options.phones)}
    tell("streams", "memory per open stream", "bytes", ours, bare, details)
    for share in (0.5, 0.99):
        figures = [found[min(len(found) - 1, int(share * len(found)))] * 1000 for found in times]
        measured = details | {"rate": options.rate, "messages": float(len(times[0]))}
        tell("streams", f"accepted to the event at the phone, p{share * 100:.0f}", "ms", figures, details=measured)


@contextlib.asynccontextmanager
async def _staged(phones: int) -> AsyncIterator[tuple[Bench, Lines]]:
    settings = {
        "SEEDROUTER_PARTS_PER_HALF_HOUR": "0",
        "SEEDROUTER_MAX_DEVICES_PER_ACCOUNT": str(phones),
        "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
        "SEEDROUTER_TIMEKEEPER_METRICS_PORT": "0",
        "SEEDROUTER_COURIER_METRICS_PORT": "0",
        "SEEDROUTER_DAILY_LIMIT": "0",
        "SEEDROUTER_PHONE_HOURLY_LIMIT": "0",
    }
    with router("up", free_port(), settings) as bench:
        login, password = _LOGIN
        bench.operator("POST", "/accounts", {"name": "bench", "balance": 10**9, "login": login, "password": password})
        lines = Lines(bench.url, login, password)
        try:
            say(__name__, f"registers {phones} phones")
            await lines.register(phones)
            yield bench, lines
        finally:
            await lines.close()


async def _hold(bench: Bench, lines: Lines, options: argparse.Namespace) -> list[float]:
    """Seconds from acceptance to event, of all messages, sorted. Raises RuntimeError where one is refused, or told to nobody."""
    headers = {"Authorization": aiohttp.BasicAuth(*_LOGIN).encode()}
    bodies = (
        msgspec.json.encode({"phoneNumbers": [phone(number)], "textMessage": {"text": "Your code is 123456"}})
        for number in itertools.count()
    )
    requests = (post("/3rdparty/v1/messages", body, headers) for body in bodies)
    paced = await pacing.run(bench.port, requests, pacing.steady(options.rate), options.seconds)
    if set(paced.statuses) != {_ACCEPTED}:
        raise RuntimeError(f"not all were accepted: {dict(paced.statuses)}")
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await lines.wait_for(len(paced.bodies))
    return sorted(lines.seconds.values())


async def _bare_bytes(phones: int) -> float:
    """What a stream costs that does nothing."""
    port = free_port()
    log = Path("/dev/null")
    with process(["-m", "bench.bare_stream", str(port)], {}, log) as server:
        wait_until_ready(f"http://127.0.0.1:{port}/ready", server, log)
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)) as session:
            before = _resident_bytes(server.pid)
            streams = [await session.get(f"http://127.0.0.1:{port}/events") for _ in range(phones)]
            for stream in streams:
                await stream.content.readline()
            await asyncio.sleep(_SETTLE_SECONDS)
            used = _resident_bytes(server.pid) - before
            for stream in streams:
                stream.close()
    return used / phones


def _resident_bytes(pid: int) -> int:
    """From Linux' /proc."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("this system does not tell the memory of a process")


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench streams")
    parser.add_argument("--phones", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=50.0, help="messages per second")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long the rate is held")
    parser.add_argument("--runs", type=int, default=1)
    return parser.parse_args(arguments)
