"""Due times of messages: the timekeeper's work list, and what makes every message reach an end whoever dies.

`timers:{n}`, a sorted set per shard: message id → when something is due at the earliest. Each message that is not settled has exactly
one timer. It may be early (then nothing is done and it is set anew), never missing.
"""

import zlib
from collections.abc import Callable, Iterable

from router.store.redis import Batch, Script, text

_CLAIM = Script("timers_claim")
_PAGE = 1000


class Timers:
    """The sharded sorted sets. `shards` must be the same in all processes of a deployment."""

    def __init__(self, shards: int) -> None:
        self._shards = shards

    def key(self, message_id: str) -> str:
        return self._key(zlib.crc32(message_id.encode()) % self._shards)

    @staticmethod
    def _key(shard: int) -> str:
        return f"timers:{{{shard}}}"

    def set(self, batch: Batch, message_id: str, due: float | None) -> None:
        """Sets the one timer of a message, or clears it (None)."""
        if due is None:
            batch.add("ZREM", self.key(message_id), message_id)
        else:
            batch.add("ZADD", self.key(message_id), repr(due), message_id)

    async def claim(self, batch: Batch, now: float, limit: int, hold_seconds: float) -> list[str]:
        """Up to `limit` due ids of each shard, held so that no other timekeeper takes them meanwhile. Runs the (empty) batch."""
        for shard in range(self._shards):
            batch.call(_CLAIM, (self._key(shard),), repr(now), limit, repr(now + hold_seconds))
        return [text(message_id) for ids in await batch.run() for message_id in ids]

    async def all(self, make_batch: Callable[[], Batch]) -> list[str]:
        """All messages that are not settled, each once. A page per round trip."""
        found: dict[str, None] = {}
        for shard in range(self._shards):
            cursor = b"0"
            while True:
                batch = make_batch()
                batch.add("ZSCAN", self._key(shard), cursor, "COUNT", _PAGE)
                ((cursor, pairs),) = await batch.run()
                found |= dict.fromkeys(text(message_id) for message_id in _flat(pairs)[::2])
                if cursor in (b"0", 0, "0"):
                    break
        return list(found)

    async def next(self, batch: Batch) -> float | None:
        """The earliest due time of all. Runs the (empty) batch."""
        for shard in range(self._shards):
            batch.add("ZRANGE", self._key(shard), 0, 0, "WITHSCORES")
        return min((float(answer[1]) for answer in map(_flat, await batch.run()) if answer), default=None)

    async def count(self, batch: Batch) -> int:
        """How many messages are not settled yet. Runs the (empty) batch."""
        for shard in range(self._shards):
            batch.add("ZCARD", self._key(shard))
        return sum(await batch.run())


def _flat(answer: Iterable[object]) -> list[bytes]:
    """redis-py pairs up sorted-set answers when it is told WITHSCORES by its own methods; raw commands come flat."""
    flat: list[bytes] = []
    for item in answer:
        flat.extend(item if isinstance(item, (list, tuple)) else [item])  # type: ignore[list-item]
    return flat
