"""Sums of what all processes have counted, in buckets of time, and the latest things of a few kinds.

`stats:{<family>:<start>}` a hash, field → how many, of the bucket that begins then (Unix seconds) · `stats:{<stream>}` a list, the latest
first · `stats:{fleet}` what a dispatcher last told of its seeds. Each key has a tag of its own: one minute's load is one node's, the next
minute's another's. No script is needed, since sums come right in any order.
"""

from collections.abc import Mapping, Sequence

from router.domain.statistics import Family
from router.store.redis import Batch


class StatisticsStore:
    """Every method adds to a batch, or runs an empty one where it says so."""

    @staticmethod
    def bucket_key(family: str, start: int) -> str:
        return f"stats:{{{family}:{start}}}"

    @staticmethod
    def stream_key(stream: str) -> str:
        return f"stats:{{{stream}}}"

    @staticmethod
    def add(batch: Batch, family: Family, start: int, sums: Mapping[str, int]) -> None:
        """Adds to the fields of one bucket, and keeps it for another `keep_seconds`."""
        key = StatisticsStore.bucket_key(family.name, start)
        for field, n in sums.items():
            batch.add("HINCRBY", key, field, n)
        batch.add("EXPIRE", key, family.width_seconds + family.keep_seconds)

    @staticmethod
    async def buckets(batch: Batch, family: str, starts: Sequence[int]) -> list[dict[str, int]]:
        """The fields of these buckets, in order; empty where nothing was counted. Runs the (empty) batch."""
        for start in starts:
            batch.add("HGETALL", StatisticsStore.bucket_key(family, start))
        return [{flat[i].decode(): int(flat[i + 1]) for i in range(0, len(flat), 2)} for flat in await batch.run()]

    @staticmethod
    def note(batch: Batch, stream: str, items: Sequence[bytes], *, most: int, keep_seconds: int) -> None:
        """Puts items, oldest first, before those that are there; `most` are kept."""
        key = StatisticsStore.stream_key(stream)
        batch.add("LPUSH", key, *items)
        batch.add("LTRIM", key, 0, most - 1)
        batch.add("EXPIRE", key, keep_seconds)

    @staticmethod
    async def latest(batch: Batch, stream: str, limit: int) -> list[bytes]:
        """The latest first. Runs the (empty) batch."""
        batch.add("LRANGE", StatisticsStore.stream_key(stream), 0, limit - 1)
        found: list[bytes] = (await batch.run())[0]
        return found

    @staticmethod
    def tell_fleet(batch: Batch, fleet: bytes, keep_seconds: int) -> None:
        """What a dispatcher knows of its seeds; the last one that tells is believed."""
        batch.add("SET", StatisticsStore.stream_key("fleet"), fleet, "EX", keep_seconds)

    @staticmethod
    async def fleet(batch: Batch) -> bytes | None:
        """What `tell_fleet` told; None where nobody did. Runs the (empty) batch."""
        batch.add("GET", StatisticsStore.stream_key("fleet"))
        found: bytes | None = (await batch.run())[0]
        return found
