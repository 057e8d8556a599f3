"""What stands on the queue: a message's id and where it belongs. Never a text, never a number."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from router.domain.message import Lane, Message


class Entry(msgspec.Struct, frozen=True):
    """One message to be dispatched. `at`: when it was put on the queue, in Unix seconds."""

    id: str
    lane: Lane
    at: float

    @classmethod
    def of(cls, message: Message, now: float) -> "Entry":
        return cls(message.id, message.lane, now)


class LaneState(msgspec.Struct, frozen=True):
    """How full a lane is. `oldest_at` is None where it is empty, or the broker cannot tell; `in_hands` is 0 then."""

    depth: int
    oldest_at: float | None = None
    in_hands: int = 0
    """Entries that consumers have and have not acknowledged."""


encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Entry).decode


class Publisher(Protocol):
    """Puts entries on the queue."""

    async def publish(self, entries: Sequence[Entry]) -> None:
        """Returns when all of them are on the queue. Raises `Unavailable` when that is not certain; twice is harmless."""
        ...


class QueuePublisher(Publisher, Protocol):
    """A publisher with a connection, to be started and stopped. `lanes` is how full the queue was about a second ago."""

    lanes: dict[Lane, LaneState]
    dead_letters: int

    @property
    def depth(self) -> int: ...

    def start(self) -> None: ...

    async def stop(self) -> None: ...
