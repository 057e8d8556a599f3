"""What a message costs at rest.

A bucket of the phones' listing costs 4 to 5 KB from its first entry on (Redis makes room for a block of a stream at once). That is 5 MB
in all, whatever the number of messages, and much for the few of a test; so they go to phones of a few buckets, and the bucket has a test
of its own.
"""

import asyncio
import itertools
from collections import Counter
from typing import Any

import pytest

from router.domain.account import Limits
from router.store.listings import by_phone
from router.store.store import Store
from tests.integration.services.world import World
from tests.integration.store.kit import a_message, ask, everything

pytestmark = pytest.mark.anyio
MESSAGES = 2000
AT_ONCE = 200
BYTES_PER_MESSAGE = 1100
BYTES_PER_BUCKET = 5200
BUCKETS = 8
PHONES = list(
    itertools.islice(
        (
            phone
            for phone in (f"+21366{number:07}" for number in itertools.count(1_000_000))
            if int(by_phone(phone).partition("{")[2].rstrip("}")) < BUCKETS
        ),
        MESSAGES,
    )
)


async def accept(redis_url: str, **fields: Any) -> tuple[World, list[str]]:
    """A world that accepted many messages, each to a phone of its own; and their ids. By the real time: listings go by Redis' clock."""
    world = World(redis_url)
    world.clock.at = await world.store.time()
    await world.seed()
    text = "Your code is {code}, it is good for {minutes} minutes"
    account = await world.account(balance=10**9, limits=Limits(phone_hourly=5), text=text)
    ids: list[str] = []
    for start in range(0, MESSAGES, AT_ONCE):
        some = await asyncio.gather(*(world.submit(account, phone, **fields) for phone in PHONES[start : start + AT_ONCE]))
        ids += [accepted.message.id for accepted in some]
    return world, ids


async def bytes_of(world: World, keys: list[str]) -> Counter[str]:
    """By the kind of key."""
    batch = world.store.batch()
    for key in keys:
        batch.add("MEMORY", "USAGE", key, "SAMPLES", 0)
    found: Counter[str] = Counter()
    for key, size in zip(keys, await batch.run(), strict=True):
        kind, _, rest = key.partition(":")
        found[f"{kind}:{rest.partition('}:')[2].partition(':')[0]}"] += size
    return found


@pytest.mark.parametrize("fields", [{}, {"text": "x" * 160}], ids=["code", "plain"])
async def test_a_waiting_message(redis_url: str, fields: dict[str, Any]) -> None:
    """The record with its text, its timer, its share of the account's books and of the phones' listing: together below the bound."""
    world, ids = await accept(redis_url, **fields)
    found = everything(redis_url)
    sizes = await bytes_of(world, list(found))

    assert MESSAGES == len(set(ids))
    assert set(ids) == {key[5:-1] for key in found if key.startswith("msg:")}
    assert MESSAGES == await world.store.timers.count(world.store.batch())
    assert MESSAGES == sum(len(value) for key, value in found.items() if key.startswith("phones:"))
    assert sum(sizes.values()) / MESSAGES < BYTES_PER_MESSAGE, sizes.most_common()
    await world.close()


async def test_a_bucket_of_phones(store: Store) -> None:
    """What the listing costs before it holds much."""
    now = await store.time()
    message = a_message(created_at=now, expires_at=now + 300)
    await ask(store, lambda batch: store.messages.create(batch, message, "text"))

    assert await ask(store, lambda batch: batch.add("MEMORY", "USAGE", by_phone(message.to))) < BYTES_PER_BUCKET
