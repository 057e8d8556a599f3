"""`bench backlog`: what a waiting message costs in Redis' memory, and whether a dispatcher is as fast with many of them as with few.

The messages are made by acceptance itself, each to another phone, so that all that belongs to one is there: record, text, timer, queue
entry, the account's books and listings. Throughput is measured on the head of that queue, in turn with a queue that holds nothing else.
"""

import argparse
from collections.abc import Sequence

import uvloop

from bench.dispatching import Speed, check_outboxes, measure, pending
from bench.figures import medians, progress, say, tell
from bench.memory import weigh
from bench.seeding import Ground, prepared

_PIECE = 50_000
_IN_HAND = 5000
"""Messages passed over between two runs: what the last dispatcher had in hand when it was stopped may come back at any time."""


def run(arguments: Sequence[str]) -> None:
    """Options: --messages, --dispatched, --seeds, --runs."""
    options = _options(arguments)
    if options.runs * (options.dispatched + _IN_HAND) > options.messages:
        raise SystemExit(f"bench backlog: --messages must be at least {options.runs * (options.dispatched + _IN_HAND)} for these runs")
    uvloop.run(_run(options))


async def _run(options: argparse.Namespace) -> None:
    full: list[Speed] = []
    empty: list[Speed] = []
    async with prepared() as large, prepared() as small:
        seed_ids = await large.enrol(options.seeds)
        await small.enrol(options.seeds)
        await large.accept(1)
        before = weigh(large.redis.url)
        ids = await _fill(large, options.messages)
        say(__name__, "weighs the keys")
        after = weigh(large.redis.url)
        per_message = (after.used - before.used) / len(ids)
        tell("backlog", "memory of a waiting message", "bytes", [per_message], (), {
            "messages": float(len(ids)), **after.since(before, len(ids)),
        })  # fmt: skip
        for turn in range(options.runs):
            progress(__name__, turn, options.runs)
            few = await small.accept(options.dispatched)
            empty.append(await measure(small, few))
            await check_outboxes(small, seed_ids, few)
            head = await pending(large, ids[turn * (options.dispatched + _IN_HAND) :], options.dispatched)
            full.append(await measure(large, head))
            await check_outboxes(large, seed_ids, head)
    details = {"messages": float(options.messages), "seeds": float(options.seeds), **medians([speed.cpu for speed in full])}
    details |= {f"empty_{name}": value for name, value in medians([speed.cpu for speed in empty]).items()}
    values, baselines = [speed.per_second for speed in full], [speed.per_second for speed in empty]
    tell("backlog", "dispatch with the backlog", "messages/s", values, baselines, details)


async def _fill(ground: Ground, messages: int) -> list[str]:
    ids: list[str] = []
    while len(ids) < messages:
        say(__name__, f"{len(ids)} of {messages} messages are waiting")
        ids += await ground.accept(min(_PIECE, messages - len(ids)))
    return ids


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench backlog")
    parser.add_argument("--messages", type=int, default=1_000_000, help="that wait")
    parser.add_argument("--dispatched", type=int, default=20_000, help="messages whose dispatching is measured, in each run")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    return parser.parse_args(arguments)
