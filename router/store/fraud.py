"""Blocked prefixes, and what is usual for each: all under one tag, since it is little and all of it belongs together.

- `fraud:{prefixes}:blocks` hash: prefix → JSON of its `Block`, also of those that ended lately · `fraud:{prefixes}:changes` a counter of
  changes there, which api processes look at twice a second.
- `fraud:{prefixes}:usual` hash: prefix or carrier → its aged sums · `fraud:{prefixes}:learned` up to which minute, and since when.
- `fraud:{prefixes}:turn` string: whoever judges now; it expires.

No number stands here, nor any part of one behind its prefix: what is near to what is found out in the memory of the process that accepts.
"""

from collections.abc import Mapping, Sequence

import msgspec
import structlog

from router.domain.fraud import Usual
from router.domain.prefix_blocks import MAX_BLOCKS, Block
from router.store.redis import Batch, Script, text

_log = structlog.get_logger()
_BLOCK = Script("fraud_block")
_LEARN = Script("fraud_learn")
_BLOCKS = "fraud:{prefixes}:blocks"
_CHANGES = "fraud:{prefixes}:changes"
_USUAL = "fraud:{prefixes}:usual"
_LEARNED = "fraud:{prefixes}:learned"
_TURN = "fraud:{prefixes}:turn"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Block).decode


class StoredBlock(msgspec.Struct, frozen=True):
    """A block as it was read; `raw` is what a change compares."""

    block: Block | None = None
    raw: bytes = b""


class Learned(msgspec.Struct, frozen=True):
    """`upto`: the minute that was added last; `since`: the first one; both as Unix seconds of their beginning. `raw`: as it was read."""

    upto: int
    since: int
    raw: bytes = b""


class FraudStore:
    """Every method adds to a batch, or runs an empty one where it says so."""

    # Blocks

    @staticmethod
    def changes(batch: Batch) -> int:
        """Adds a look; the answer at this place is another one after each change of any block."""
        return batch.add("GET", _CHANGES)

    @staticmethod
    async def blocks(batch: Batch) -> dict[str, StoredBlock]:
        """All that is remembered, by prefix. Runs the (empty) batch."""
        batch.add("HGETALL", _BLOCKS)
        (flat,) = await batch.run()
        return {text(flat[i]): _read(text(flat[i]), flat[i + 1]) for i in range(0, len(flat), 2)}

    @staticmethod
    async def block(batch: Batch, prefix: str) -> StoredBlock:
        """That of one prefix. Runs the (empty) batch."""
        batch.add("HGET", _BLOCKS, prefix)
        (raw,) = await batch.run()
        return _read(prefix, raw or b"")

    @staticmethod
    def change(batch: Batch, prefix: str, stored: StoredBlock, block: Block | None) -> int:
        """The answer at this place is 1, or 0 where somebody else was first, or too many prefixes are remembered."""
        return batch.call(_BLOCK, (_BLOCKS, _CHANGES), prefix, stored.raw, b"" if block is None else _encode(block), MAX_BLOCKS)

    # What is usual

    @staticmethod
    async def usual(batch: Batch, names: Sequence[str]) -> dict[str, Usual]:
        """Of these prefixes and carriers; those that nothing is known of have nothing. Runs the (empty) batch."""
        if names:
            batch.add("HMGET", _USUAL, *names)
        answers = (await batch.run())[0] if names else []
        return {name: Usual() if value is None else _usual(value) for name, value in zip(names, answers, strict=True)}

    @staticmethod
    async def all_usual(batch: Batch) -> dict[str, Usual]:
        """Everything that is known. Runs the (empty) batch."""
        batch.add("HGETALL", _USUAL)
        (flat,) = await batch.run()
        return {text(flat[i]): _usual(flat[i + 1]) for i in range(0, len(flat), 2)}

    @staticmethod
    def forget_usual(batch: Batch, names: Sequence[str]) -> None:
        batch.add("HDEL", _USUAL, *names)

    @staticmethod
    async def learned(batch: Batch) -> Learned | None:
        """None where nothing was learned yet. Runs the (empty) batch."""
        batch.add("GET", _LEARNED)
        (raw,) = await batch.run()
        if raw is None:
            return None
        upto, since = map(int, raw.split())
        return Learned(upto, since, raw)

    @staticmethod
    def learn(batch: Batch, before: Learned | None, after: Learned, usual: Mapping[str, Usual]) -> int:
        """The answer at this place is 1, or 0 where somebody else was first."""
        fields = [word for name, known in usual.items() for word in (name, _told(known))]
        return batch.call(_LEARN, (_USUAL, _LEARNED), before.raw if before else b"", f"{after.upto} {after.since}", *fields)

    # Whose turn it is

    @staticmethod
    async def takes_turn(batch: Batch, seconds: float) -> bool:
        """For so long nobody else judges. Runs the (empty) batch."""
        batch.add("SET", _TURN, 1, "NX", "PX", int(seconds * 1000))
        (answer,) = await batch.run()
        return answer is not None


def _read(prefix: str, raw: bytes) -> StoredBlock:
    try:
        return StoredBlock(_decode(raw), raw) if raw else StoredBlock()
    except msgspec.MsgspecError as error:
        # Written by another version: the next change writes it anew
        _log.error("block.unreadable", prefix=prefix, error=str(error))
        return StoredBlock(raw=raw)


def _usual(value: bytes) -> Usual:
    return Usual(*map(float, value.split()))


def _told(usual: Usual) -> str:
    return f"{usual.accepted:.6g} {usual.sent:.6g} {usual.verified:.6g} {usual.at:.0f}"
