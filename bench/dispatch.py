"""`bench dispatch`: messages per second from the queue into the seeds' outboxes, by one dispatcher process, for fleets of several sizes.

The ratio is a fleet's figure to that of the first size, measured in turn. All seeds are online, have room and no quota; nobody fetches.
"""

import argparse
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from bench.dispatching import Speed, check_outboxes, measure
from bench.figures import medians, progress, say, tell
from bench.seeding import Ground, prepared


def run(arguments: Sequence[str]) -> None:
    """Options: --seeds, --messages, --runs."""
    options = _options(arguments)
    uvloop.run(_run(options.seeds, options.messages, options.runs))


async def _run(sizes: list[int], messages: int, runs: int) -> None:
    speeds: dict[int, list[Speed]] = {size: [] for size in sizes}
    async with AsyncExitStack() as stack:
        grounds: dict[int, tuple[Ground, list[str]]] = {}
        for size in sizes:
            say(__name__, f"enrols {size} seeds")
            ground = await stack.enter_async_context(prepared())
            grounds[size] = ground, await ground.enrol(size)
        for turn in range(runs):
            progress(__name__, turn, runs)
            for size, (ground, seed_ids) in grounds.items():
                speeds[size].append(await _turn(ground, seed_ids, messages))
        _tell(speeds, messages)


def _tell(speeds: dict[int, list[Speed]], messages: int) -> None:
    first, *_ = speeds
    baselines = [speed.per_second for speed in speeds[first]]
    for size, found in speeds.items():
        values = [speed.per_second for speed in found]
        details = {"seeds": float(size), "messages": float(messages), **medians([speed.cpu for speed in found])}
        tell("dispatch", f"queue to outbox, {size} seeds", "messages/s", values, () if size == first else baselines, details)


async def _turn(ground: Ground, seed_ids: list[str], messages: int) -> Speed:
    ids = await ground.accept(messages)
    speed = await measure(ground, ids)
    say(__name__, f"{len(seed_ids)} seeds: {speed.per_second:.0f} messages/s, {speed.messages} of {messages} under the clock")
    await check_outboxes(ground, seed_ids, ids)
    return speed


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench dispatch")
    parser.add_argument("--seeds", type=_sizes, default=[100, 10_000, 100_000], help="sizes of the fleet, the first is the baseline")
    parser.add_argument("--messages", type=int, default=20_000, help="in each run, for each size")
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(arguments)


def _sizes(text: str) -> list[int]:
    sizes = [int(word) for word in text.split(",")]
    if min(sizes) < 3 or len(set(sizes)) < len(sizes):
        raise argparse.ArgumentTypeError("each fleet has another size, at least one seed for each of the three carriers")
    return sizes
