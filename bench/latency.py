"""`bench latency`: from acceptance until a phone has the message, at half of the rate that the whole can hold.

The times are the router's own, of each message's record: `created_at`, and `handed_at` of its first attempt. Requests are begun at a
steady pace, whatever the answers (`bench.pacing`). What the whole can hold is measured first, in the same call, unless a rate is given.
"""

import argparse
from collections.abc import Sequence

import uvloop

from bench.figures import medians, progress, say, tell
from bench.pacing import steady
from bench.stage import Flow, Stage, staged
from router.domain.message import Message


def run(arguments: Sequence[str]) -> None:
    """Options: --rate, --seconds, --find-seconds, --window, --phones, --runs."""
    uvloop.run(_run(_options(arguments)))


async def _run(options: argparse.Namespace) -> None:
    found: dict[float, list[float]] = {0.5: [], 0.99: []}
    flows: list[Flow] = []
    async with staged(__name__, options.phones) as stage:
        rate, shared = await _rate(stage, options)
        for turn in range(options.runs):
            progress(__name__, turn, options.runs)
            flow = await stage.hold(steady(rate), options.seconds)
            times = sorted(_handover_seconds(message) for message in await stage.records(flow.ids))
            for share, values in found.items():
                values.append(times[min(len(times) - 1, int(share * len(times)))] * 1000)
            flows.append(flow)
    details = {"phones": float(options.phones), "rate": round(rate, 1), **shared, **medians([flow.details for flow in flows])}
    for share, values in found.items():
        tell("latency", f"accepted to handed over, p{share * 100:.0f}", "ms", values, details=details)


async def _rate(stage: Stage, options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """The rate to hold, and details that tell where it comes from; either way everything is warm after that."""
    if options.rate:
        await stage.hold(steady(options.rate), 1.0)
        return options.rate, {}
    say(__name__, "looks for the rate that it can hold")
    most = (await stage.hold(stage.within(options.window), options.find_seconds)).sent_per_second
    return most / 2, {"most_per_second": round(most, 1)}


def _handover_seconds(message: Message) -> float:
    first = message.attempts[0]
    if first.handed_at is None:
        raise RuntimeError(f"{message.id} was not fetched by its first seed: {first.state}")
    return first.handed_at - message.created_at


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench latency")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second; 0 = half of what it can hold")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long the rate is held, in each run")
    parser.add_argument("--find-seconds", type=float, default=8.0, help="how long it is looked for what it can hold")
    parser.add_argument("--window", type=int, default=1000, help="while it is looked for: messages between request and radio at the most")
    parser.add_argument("--phones", type=int, default=60)
    parser.add_argument("--runs", type=int, default=1)
    return parser.parse_args(arguments)
