"""Measures one dispatcher process at work: from the queue into the seeds' outboxes.

The dispatcher is started when the queue is full, and its start (imports, connections, loading its copy of the fleet) does not count: the
clock begins when the first of the messages is seen dispatched, and counted are those whose records tell a later time. So nothing of the
router is asked, and nothing slowed down, while it works; the records are read afterwards, and so are the outboxes, in which each message
must stand once.
"""

import asyncio
import subprocess
import time
from collections import Counter
from typing import Any

import msgspec

from bench.gauges import Cpu
from bench.memory import compact
from bench.seeding import Ground, chunks
from bench.servers import process
from router.domain.message import Message
from router.store.seeds import Slip

_FIRST_LOOK_SECONDS = 0.002
_LOOK_SECONDS = 0.02
_LEAST_SHARE = 0.25
"""Of the messages under the clock; with fewer the figure would be that of a moment."""
_LAST = 10
_START_SECONDS = 120.0
_SECONDS_PER_MESSAGE = 0.005
"""A dispatcher that is slower than this has stopped."""


class Speed(msgspec.Struct, frozen=True):
    """How fast it was. `cpu` is microseconds per message, by process."""

    per_second: float
    messages: int
    cpu: dict[str, float]


async def measure(ground: Ground, ids: list[str]) -> Speed:
    """Starts a dispatcher and stops it when all of these messages, the next on the queue, are dispatched.

    Raises RuntimeError where that takes too long, or one of them was parked, or dispatched twice.
    """
    await asyncio.to_thread(compact, ground.redis.url)
    with process(["-m", "router.cli.main", "dispatcher"], ground.environment, ground.log) as dispatcher:
        await _wait_until_dispatched(ground, ids[:1], dispatcher, _START_SECONDS, _FIRST_LOOK_SECONDS)
        cpu = Cpu({"dispatcher": dispatcher.pid, "redis": ground.redis.pid})
        since = ground.parts.clock.now()
        patience = 60.0 + len(ids) * _SECONDS_PER_MESSAGE
        await _wait_until_dispatched(ground, ids[-_LAST:], dispatcher, patience)
        spent = cpu.seconds()
        # Those before are dispatched as well, but for a few that the queue may have given in another order
        await _wait_until_dispatched(ground, ids, dispatcher, patience)
    messages = await _load(ground, ids)
    times = [message.dispatched_at for message in messages if message.dispatched_at is not None and message.dispatched_at > since]
    _check_records(messages)
    if len(times) < len(ids) * _LEAST_SHARE:
        raise RuntimeError(f"only {len(times)} of {len(ids)} messages were dispatched under the clock: take more messages")
    costs = {f"{name}_cpu_us_per_message": seconds / len(times) * 1e6 for name, seconds in spent.items()}
    return Speed(len(times) / (max(times) - since), len(times), costs)


async def check_outboxes(ground: Ground, seed_ids: list[str], ids: list[str]) -> None:
    """Takes all out of the outboxes; each of these messages must have stood there once, at the seed that its record names.

    Raises RuntimeError.
    """
    found: Counter[tuple[str, str]] = Counter()
    for some in chunks(seed_ids):
        batch = ground.parts.store.batch()
        for seed_id in some:
            batch.add("ZRANGE", f"outbox:{{{seed_id}}}", 0, -1)
        answers: list[Any] = await batch.run()
        found.update((Slip.parse(member).message_id, seed_id) for seed_id, slips in zip(some, answers, strict=True) for member in slips)
        batch = ground.parts.store.batch()
        batch.add("UNLINK", *(f"outbox:{{{seed_id}}}" for seed_id in some))
        await batch.run()
    wanted = Counter((message.id, message.attempts[0].seed) for message in await _load(ground, ids))
    asked = set(ids)
    there = Counter({place: count for place, count in found.items() if place[0] in asked})
    if there != wanted:
        raise RuntimeError(f"{len(wanted - there)} messages are in no outbox, {len(there - wanted)} in one too many")


async def pending(ground: Ground, ids: list[str], limit: int) -> list[str]:
    """The first of these that no dispatcher has taken."""
    found: list[str] = []
    for some in chunks(ids):
        found += [message.id for message in await _load(ground, some) if message.state == "pending"]
        if len(found) >= limit:
            break
    return found[:limit]


async def _wait_until_dispatched(
    ground: Ground, ids: list[str], dispatcher: "subprocess.Popen[bytes]", seconds: float, look_seconds: float = _LOOK_SECONDS
) -> None:
    deadline = time.monotonic() + seconds
    waiting = ids
    while waiting := await pending(ground, waiting, len(waiting)):
        if dispatcher.poll() is not None or time.monotonic() > deadline:
            said = ground.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{len(waiting)} messages were not dispatched within {seconds:.0f} s: {said}")
        await asyncio.sleep(look_seconds)


def _check_records(messages: list[Message]) -> None:
    for message in messages:
        if message.state != "dispatched" or len(message.attempts) != 1 or message.parked_at is not None:
            raise RuntimeError(f"{message.id} is {message.state} with {len(message.attempts)} attempts, parked at {message.parked_at}")


async def _load(ground: Ground, ids: list[str]) -> list[Message]:
    messages: list[Message] = []
    for some in chunks(ids):
        records = await ground.parts.store.messages.load(ground.parts.store.batch(), some)
        messages += [stored.message for stored in records if stored is not None]
    if len(messages) != len(ids):
        raise RuntimeError(f"{len(ids) - len(messages)} records are gone")
    return messages
