"""`bench flow`: messages per second from the HTTP request to the radio, with everything on this machine: api, dispatcher, timekeeper,
Redis, phones, and the load.

Held for some time, at a given rate or as fast as it goes with so many messages on their way. Then all that was accepted must be reported
sent, and be on the simulated air once. The baseline is how fast messages were accepted in that time: at a ratio below 1 they pile up.
"""

import argparse
from collections.abc import Sequence

import uvloop

from bench.figures import medians, progress, tell
from bench.pacing import steady
from bench.stage import Flow, staged


def run(arguments: Sequence[str]) -> None:
    """Options: --seconds, --rate, --window, --phones, --runs."""
    uvloop.run(_run(_options(arguments)))


async def _run(options: argparse.Namespace) -> None:
    flows: list[Flow] = []
    async with staged(__name__, options.phones) as stage:
        for turn in range(options.runs):
            progress(__name__, turn, options.runs)
            pace = steady(options.rate) if options.rate else stage.within(options.window)
            flows.append(await stage.hold(pace, options.seconds))
    details = {"phones": float(options.phones), **({"rate": options.rate} if options.rate else {"window": float(options.window)})}
    values, baselines = [flow.sent_per_second for flow in flows], [flow.accepted_per_second for flow in flows]
    tell("flow", "accepted to sent", "messages/s", values, baselines, details | medians([flow.details for flow in flows]))


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench flow")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long requests are begun, in each run")
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second; 0 = as fast as it goes")
    parser.add_argument("--window", type=int, default=1000, help="without a rate: messages between request and radio at the most")
    parser.add_argument("--phones", type=int, default=60)
    parser.add_argument("--runs", type=int, default=1)
    return parser.parse_args(arguments)
