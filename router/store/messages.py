"""Messages at rest: `msg:{<id>}`, a string of `<version>:<length of the text>:<text, sealed><record, msgpack>`.

One string and not a hash: it takes half of the memory and of the commands. The record is written whole, by compare-and-set on its
version: `lifecycle` decides, this makes it so. The text is gone when no seed needs it. The whole goes by itself, `retention` after its
message's time is over. A record begins with version 1; a tombstone stands where a message must never be recorded any more.

Each is listed by its phone, for operators: `listings`.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog

from router.domain.message import Message
from router.store.listings import Listings, by_phone
from router.store.redis import Batch, Script, text

_log = structlog.get_logger()
_COMMIT = Script("message_commit")
_VOID = Script("message_void")
_TOMBSTONE = b"0:0:"
_TOMBSTONE_MS = 86_400_000
_HEARTBEAT_MS = 3_600_000
_PAGE = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode


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

    def __init__(self, sealer: Seals, retention_seconds: int, listings: Listings) -> None:
        self._sealer = sealer
        self._listings = listings
        self._retention_seconds = retention_seconds

    @staticmethod
    def key(message_id: str) -> str:
        return f"msg:{{{message_id}}}"

    def create(self, batch: Batch, message: Message, body: str) -> int:
        """Adds the record; the answer at this place is None where it was voided meanwhile."""
        if message.is_heartbeat:
            # In no list, and soon gone: one a minute is made
            return batch.add("SET", self.key(message.id), self._record(message, body), "PX", _HEARTBEAT_MS, "NX")
        gone_at = message.expires_at + self._retention_seconds
        place = batch.add("SET", self.key(message.id), self._record(message, body), "PXAT", int(gone_at * 1000), "NX")
        since = self._listings.since_ms(message.created_at)
        batch.add("XADD", by_phone(message.to), "MINID", "~", since, "*", "p", message.to, "i", message.id)
        return place

    def _record(self, message: Message, body: str) -> bytes:
        sealed = self._sealer.seal(body, message.id)
        return b"1:%d:%b%b" % (len(sealed), sealed, _encode(message))

    def commit(self, batch: Batch, stored: Stored, message: Message) -> int:
        """Adds the compare-and-set; the answer at this place is 1, or 0 where somebody else was first."""
        erase = "0" if message.needs_text else "1"
        return batch.call(_COMMIT, (self.key(message.id),), stored.version, _encode(message), erase)

    def void(self, batch: Batch, message_id: str) -> int:
        """Adds a tombstone where no record stands; the answer at this place is 1 where the message is void."""
        return batch.call(_VOID, (self.key(message_id),), _TOMBSTONE, _TOMBSTONE_MS)

    @staticmethod
    def _parse(message_id: str, answer: bytes | None) -> Stored | None:
        if answer is None or answer == _TOMBSTONE:
            return None
        try:
            version, length, rest = answer.split(b":", 2)
            split = int(length)
            return Stored(int(version), _decode(rest[split:]), rest[:split] or None)
        except (msgspec.MsgspecError, ValueError) as error:
            # Written by another version, or by somebody else: one such record must not hold up all that are read with it
            _log.error("message.unreadable", message_id=message_id, error=str(error))
            return None

    @staticmethod
    def is_recorded(batch: Batch, message_id: str) -> int:
        """Adds the question whether there is a record at all, readable or not; the answer at this place goes to `parse_recorded`."""
        return batch.add("STRLEN", Messages.key(message_id))

    @staticmethod
    def parse_recorded(answer: int) -> bool:
        """A tombstone is no record."""
        return answer > len(_TOMBSTONE)

    def open_text(self, stored: Stored) -> str:
        """The text of a message as it was read. Raises `SealBroken`, or ValueError where it is erased."""
        if stored.sealed_text is None:
            raise ValueError("the text is erased")
        return self._sealer.open(stored.sealed_text, stored.message.id)

    @staticmethod
    async def load(batch: Batch, ids: Sequence[str]) -> list[Stored | None]:
        """The records of these ids, in order; None where there is none, only a tombstone, or one that cannot be read (it is logged).

        Runs the (empty) batch.
        """
        for message_id in ids:
            batch.add("GET", Messages.key(message_id))
        return [Messages._parse(message_id, answer) for message_id, answer in zip(ids, await batch.run(), strict=True)]

    async def ids_of_phone(self, make_batch: Callable[[], Batch], phone: str, limit: int) -> list[str]:
        """The newest messages to a phone, latest first. Looks through the phone's bucket, a page per round trip."""
        found: list[str] = []
        before = "+"
        while len(found) < limit:
            batch = make_batch()
            batch.add("XREVRANGE", by_phone(phone), before, "-", "COUNT", _PAGE)
            (page,) = await batch.run()
            found += [text(fields[3]) for _, fields in page if text(fields[1]) == phone]
            if len(page) < _PAGE:
                break
            before = f"({text(page[-1][0])}"
        return found[:limit]
