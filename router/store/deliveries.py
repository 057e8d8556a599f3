"""Deliveries of webhooks: what is still to be sent to whom, and what nobody could be told (the dead).

Sharded by the delivery's id, so that a webhook may move to another address without its deliveries changing their shard. In each shard
every target (scheme, host and port) has a sorted set of its own, and one more says where something is due: what waits for a target that is
slow, full or paused is not even looked at. `lua/delivery_lib.lua` lists the keys.
"""

import zlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from router.store.messages import Seals
from router.store.redis import Batch, Script, text

REMEMBERED_SECONDS = 86_400
"""For so long after it was made, and after it arrived, a delivery is not made again."""
_PUT = Script("delivery_put")
_CLAIM = Script("delivery_claim")
_DONE = Script("delivery_done")
_AGAIN = Script("delivery_again")
_BURY = Script("delivery_bury")
_FORGET = Script("delivery_forget")
_PAUSE = Script("delivery_pause")


class Delivery(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One event for one webhook. Fields are kept by their order: add new ones last, with a default. Times are Unix seconds."""

    id: str
    account: str
    webhook: str
    event: str
    url: str
    """Where the last try went; the next one asks the webhook."""
    target: str
    body: bytes
    made_at: float
    tries: int = 0
    """Those that failed."""
    status: int | None = None
    """What the last try was answered."""
    error: str = ""
    died_at: float | None = None
    is_sealed: bool = False
    """The body holds somebody's text; see `Deliveries.body_of`."""


class StoredDelivery(msgspec.Struct, frozen=True):
    """A delivery as it was read; `record` is what a change compares."""

    delivery: Delivery
    record: bytes


class Due(msgspec.Struct, frozen=True):
    """A target at which a shard has something due."""

    shard: int
    target: str
    at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Delivery).decode


class Deliveries:
    """Every method adds to a batch, or runs an empty one where it says so. `shards` must be the same in all processes."""

    def __init__(self, shards: int, sealer: Seals) -> None:
        self._shards = shards
        self._sealer = sealer

    def shard_of(self, delivery_id: str) -> int:
        return zlib.crc32(delivery_id.encode()) % self._shards

    @staticmethod
    def _key(shard: int, part: str) -> str:
        return f"deliveries:{{{shard}}}:{part}"

    def _keys(self, shard: int, target: str, *more: str) -> tuple[str, ...]:
        parts = ("records", "made", "targets", "paused", "dead", f"at:{target}", *more)
        return tuple(self._key(shard, part) for part in parts)

    def _keys_of(self, delivery: Delivery, *more: str) -> tuple[str, ...]:
        return self._keys(self.shard_of(delivery.id), delivery.target, *more)

    def put(self, batch: Batch, delivery: Delivery) -> int:
        """It is due at once; the answer at this place is 0 where it was made before. One that is to be sealed comes with its body open."""
        if delivery.is_sealed:
            delivery = replace(delivery, body=self._sealer.seal(delivery.body.decode(), _seal_name(delivery)))
        return batch.call(
            _PUT, self._keys_of(delivery, f"told:{delivery.id}"), delivery.id, _encode(delivery), delivery.target,
            repr(delivery.made_at), REMEMBERED_SECONDS,
        )  # fmt: skip

    def body_of(self, delivery: Delivery) -> bytes:
        """What is to be posted. Raises `SealBroken` (router.secrets) where it was sealed with another key."""
        return self._sealer.open(delivery.body, _seal_name(delivery)).encode() if delivery.is_sealed else delivery.body

    async def due(self, batch: Batch, now: float, limit: int, skip: int = 0) -> list[Due]:
        """Targets at which something is due, the longest first, up to `limit` of each shard after `skip`. Runs the (empty) batch."""
        for shard in range(self._shards):
            batch.add("ZRANGEBYSCORE", self._key(shard, "targets"), "-inf", repr(now), "WITHSCORES", "LIMIT", skip, limit)
        found = [
            Due(shard, text(flat[i]), float(flat[i + 1])) for shard, flat in enumerate(await batch.run()) for i in range(0, len(flat), 2)
        ]
        return sorted(found, key=lambda due: due.at)

    def claim(self, batch: Batch, due: Due, now: float, limit: int, hold_seconds: float) -> int:
        """Takes up to `limit` due deliveries; hand the answer at this place to `parse`."""
        keys = self._keys(due.shard, due.target)
        return batch.call(_CLAIM, keys, due.target, repr(now), limit, repr(now + hold_seconds))

    @staticmethod
    def parse(records: Sequence[bytes]) -> list[StoredDelivery]:
        return [StoredDelivery(_decode(record), record) for record in records]

    def done(self, batch: Batch, delivery: Delivery) -> int:
        """It arrived, or nobody wants it any more; the answer at this place is 0 where it was gone."""
        keys = self._keys_of(delivery, f"told:{delivery.id}")
        return batch.call(_DONE, keys, delivery.id, delivery.target, REMEMBERED_SECONDS)

    def again(self, batch: Batch, read: StoredDelivery, changed: Delivery, due: float) -> int:
        """It waits (again) as `changed`; the answer at this place is 0 where somebody else was first, and nothing happened."""
        old = read.delivery
        keys = self._keys_of(old, f"at:{changed.target}")
        return batch.call(
            _AGAIN, keys, old.id, read.record, _encode(changed), old.target, changed.target, repr(due), repr(changed.made_at)
        )

    def bury(self, batch: Batch, read: StoredDelivery, changed: Delivery, most: int) -> int:
        """It is dead as `changed`, of which `died_at` is set; at most `most` dead are kept. 0 as for `again`."""
        old = read.delivery
        died_at = repr(changed.died_at or 0.0)
        kept = -(-most // self._shards)
        return batch.call(_BURY, self._keys_of(old), old.id, read.record, _encode(changed), old.target, died_at, kept)

    def pause(self, batch: Batch, target: str, until: float) -> None:
        """No courier takes anything for this target before then."""
        for shard in range(self._shards):
            batch.call(_PAUSE, self._keys(shard, target), target, repr(until))

    def forget(self, batch: Batch, before: float, limit: int) -> None:
        """Adds the forgetting of up to `limit` dead of each shard that died before then; the answers are how many."""
        for shard in range(self._shards):
            batch.call(_FORGET, (self._key(shard, "records"), self._key(shard, "dead")), repr(before), limit)

    async def too_old(self, batch: Batch, again: Batch, before: float, limit: int) -> list[StoredDelivery]:
        """Up to `limit` of each shard that wait and were made before then, held or not. Runs both (empty) batches."""
        for shard in range(self._shards):
            batch.add("ZRANGEBYSCORE", self._key(shard, "made"), "-inf", repr(before), "LIMIT", 0, limit)
        return await self._read(again, await batch.run())

    async def dead(self, batch: Batch, again: Batch, limit: int, skip: int = 0) -> list[StoredDelivery]:
        """The dead of each shard, the latest first, `limit` of each after `skip`. Runs both (empty) batches."""
        for shard in range(self._shards):
            batch.add("ZREVRANGE", self._key(shard, "dead"), skip, skip + limit - 1)
        return await self._read(again, await batch.run())

    async def _read(self, batch: Batch, ids: Sequence[Sequence[bytes]]) -> list[StoredDelivery]:
        for shard, of_shard in enumerate(ids):
            if of_shard:
                batch.add("HMGET", self._key(shard, "records"), *of_shard)
        return self.parse([record for records in await batch.run() for record in records if record is not None])

    async def get(self, batch: Batch, delivery_id: str) -> StoredDelivery | None:
        """One that waits or is dead. Runs the (empty) batch."""
        batch.add("HGET", self._key(self.shard_of(delivery_id), "records"), delivery_id)
        (record,) = await batch.run()
        return None if record is None else StoredDelivery(_decode(record), record)

    async def counts(self, batch: Batch) -> tuple[int, int]:
        """How many wait, and how many are dead. Runs the (empty) batch."""
        for part in ("made", "dead"):
            for shard in range(self._shards):
                batch.add("ZCARD", self._key(shard, part))
        counts = await batch.run()
        return sum(counts[: self._shards]), sum(counts[self._shards :])


def _seal_name(delivery: Delivery) -> str:
    """What the seal is bound to; no message has such an id."""
    return f"delivery {delivery.id}"
