"""Messages at rest: `msg:{<id>}`, a hash of v (version), b (the record, JSON) and t (the text, sealed; gone when no seed needs it).

The record is written whole, by compare-and-set on its version: `lifecycle` decides, this makes it so. It goes by itself, `retention`
after its message's time is over. `phone:{<number>}` lists a phone's messages for operators.
"""

from collections.abc import Sequence
from typing import Protocol

import msgspec
import structlog

from router.domain.message import Message
from router.store.redis import Batch, Script, text

_log = structlog.get_logger()
_CREATE = Script("message_create")
_COMMIT = Script("message_commit")
_VOID = Script("message_void")
_TOMBSTONE_MS = 86_400_000

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class Seals(Protocol):
    """What seals texts (router.secrets.Sealer)."""

    def seal(self, text: str, message_id: str) -> bytes: ...

    def open(self, sealed: bytes, message_id: str) -> str: ...


class Stored(msgspec.Struct, frozen=True):
    """A message as it was read; `version` is what a commit compares."""

    version: int
    message: Message
    sealed_text: bytes | None = None


class Messages:
    """Reads and commits, all in batches."""

    def __init__(self, sealer: Seals, retention_seconds: int) -> None:
        self._sealer = sealer
        self._retention_seconds = retention_seconds

    @staticmethod
    def key(message_id: str) -> str:
        return f"msg:{{{message_id}}}"

    def create(self, batch: Batch, message: Message, body: str) -> int:
        """Adds the record; the answer at this place is 1, or 0 where it was voided meanwhile."""
        gone_at = message.expires_at + self._retention_seconds
        sealed = self._sealer.seal(body, message.id)
        place = batch.call(_CREATE, (self.key(message.id),), _encode(message), sealed, int(gone_at * 1000))
        listing = f"phone:{{{message.to}}}"
        batch.add("ZADD", listing, repr(message.created_at), message.id)
        batch.add("PEXPIREAT", listing, int(gone_at * 1000))
        return place

    def commit(self, batch: Batch, stored: Stored, message: Message) -> int:
        """Adds the compare-and-set; the answer at this place is 1, or 0 where somebody else was first."""
        erase = "0" if message.needs_text else "1"
        return batch.call(_COMMIT, (self.key(message.id),), stored.version, _encode(message), erase)

    def void(self, batch: Batch, message_id: str) -> int:
        """Adds a tombstone where no record stands; the answer at this place is 1 where the message is void."""
        return batch.call(_VOID, (self.key(message_id),), _TOMBSTONE_MS)

    @staticmethod
    def _parse(message_id: str, answer: Sequence[bytes | None]) -> Stored | None:
        version, record, *rest = answer
        if version is None or record is None:
            return None
        try:
            return Stored(int(version), _decode(record), rest[0] if rest else None)
        except msgspec.MsgspecError as error:
            # Written by another version, or by somebody else: one such record must not hold up all that are read with it
            _log.error("message.unreadable", message_id=message_id, error=str(error))
            return None

    @staticmethod
    def is_recorded(batch: Batch, message_id: str) -> int:
        """Adds the question whether there is a record at all, readable or not; the answer at this place is 1 or 0."""
        return batch.add("HEXISTS", Messages.key(message_id), "b")

    def open_text(self, stored: Stored) -> str:
        """The text of a message read `with_text`. Raises `SealBroken`, or ValueError where it is erased."""
        if stored.sealed_text is None:
            raise ValueError("the text is erased")
        return self._sealer.open(stored.sealed_text, stored.message.id)

    @staticmethod
    async def load(batch: Batch, ids: Sequence[str], *, with_text: bool = False) -> list[Stored | None]:
        """The records of these ids, in order; None where there is none, only a tombstone, or one that cannot be read (it is logged).

        Runs the (empty) batch.
        """
        for message_id in ids:
            batch.add("HMGET", Messages.key(message_id), "v", "b", *(["t"] if with_text else []))
        return [Messages._parse(message_id, answer) for message_id, answer in zip(ids, await batch.run(), strict=True)]

    @staticmethod
    async def ids_of_phone(batch: Batch, phone: str, limit: int) -> list[str]:
        """The newest messages to a phone, latest first. Runs the (empty) batch."""
        batch.add("ZREVRANGE", f"phone:{{{phone}}}", 0, limit - 1)
        return [text(message_id) for message_id in (await batch.run())[0]]
