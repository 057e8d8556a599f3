"""What Redis' memory is spent on."""

import os
import re
import time
from collections.abc import Iterator
from itertools import islice

import msgspec
import redis

_SAMPLE = 1000
"""Keys of a kind that are weighed; the others of that kind are taken to weigh the same on average."""
_REWRITE_SECONDS = 300.0
_TAG = re.compile(r"\{[^}]*\}")
_WORD = re.compile(r"[a-zA-Z_.{}]+")


class Memory(msgspec.Struct, frozen=True):
    """Bytes. `kinds` by what a key's name says but for the ids in it; what they do not sum up to is the tables of all keys."""

    used: int
    kinds: dict[str, float]

    def since(self, before: "Memory", messages: int) -> dict[str, float]:
        """Bytes per message that came since then, by kind, those of less than a byte left out."""
        grown = {kind: (size - before.kinds.get(kind, 0.0)) / messages for kind, size in self.kinds.items()}
        rest = (self.used - before.used) / messages - sum(grown.values())
        return {kind: round(size, 1) for kind, size in sorted({**grown, "tables_and_rest": rest}.items()) if size >= 1.0}


def weigh(url: str) -> Memory:
    """Weighs what stands in a Redis; waits for its append-only file to be rewritten, if it is, since that needs memory of its own."""
    with redis.Redis.from_url(url, socket_timeout=120.0) as client:
        _wait_for_rewrite(client)
        info = client.info("memory")
        # Not data: what connections and the append-only file have not been given yet
        used = info["used_memory"] - info.get("mem_clients_normal", 0) - info.get("mem_aof_buffer", 0)
        return Memory(used, _weigh_kinds(client))


def kind_of(key: str) -> str:
    """`acct:{ac_1}:phone:+213661000001` → `acct:{}:phone`: the words of a key's name."""
    return ":".join(word for word in _TAG.sub("{}", key).split(":") if _WORD.fullmatch(word)) or "other"


def _weigh_kinds(client: "redis.Redis") -> dict[str, float]:
    counts: dict[str, int] = {}
    samples: dict[str, list[bytes]] = {}
    for key in client.scan_iter(count=10_000):
        kind = kind_of(key.decode(errors="replace"))
        counts[kind] = counts.get(kind, 0) + 1
        sample = samples.setdefault(kind, [])
        # SCAN walks the keys in the order of their hashes: the first are as good as any
        if len(sample) < _SAMPLE:
            sample.append(key)
    return {kind: counts[kind] * _average(client, keys) for kind, keys in samples.items()}


def _average(client: "redis.Redis", keys: list[bytes]) -> float:
    # Of one large key 1,000 elements are looked at, of a small one all
    sizes: list[int] = [size for some in _pieces(iter(keys)) for size in _sizes(client, some)]
    return sum(sizes) / len(sizes) if sizes else 0.0


def _sizes(client: "redis.Redis", keys: list[bytes]) -> list[int]:
    pipe = client.pipeline(transaction=False)
    for key in keys:
        pipe.memory_usage(key, samples=1000)
    return [size for size in pipe.execute() if size is not None]


def _pieces(keys: Iterator[bytes]) -> Iterator[list[bytes]]:
    while some := list(islice(keys, 200)):
        yield some


def compact(url: str) -> None:
    """Rewrites the append-only file now, so that Redis does not choose to while something is measured: that takes a core for seconds."""
    with redis.Redis.from_url(url, socket_timeout=120.0) as client:
        _wait_for_rewrite(client)
        client.bgrewriteaof()
        _wait_for_rewrite(client)
    # A disk that is still busy with the preparations would hold up Redis' own flush, and with it Redis
    os.sync()


def _wait_for_rewrite(client: "redis.Redis") -> None:
    deadline = time.monotonic() + _REWRITE_SECONDS
    while True:
        info = client.info("persistence")
        if not info["aof_rewrite_in_progress"] and not info.get("aof_rewrite_scheduled", 0):
            return
        if time.monotonic() > deadline:
            raise RuntimeError(f"the append-only file is still being rewritten after {_REWRITE_SECONDS:.0f} s")
        time.sleep(0.2)
