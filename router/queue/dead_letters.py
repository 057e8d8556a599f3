"""What an operator does with dead letters: look at them, put them back on their lanes, drop them. One connection for each call.

How far that goes is the broker's business (`dead_shelves`). For all of them: what is put back is on its lane before it is off the dead
letters, so that a crash in between leaves it in both places. An entry may be doubled, which is harmless, and is never lost.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import structlog
from kombu import Connection
from kombu.exceptions import OperationalError

from router.domain.errors import Conflict, NotFound, RouterError, Unavailable
from router.domain.message import Lane
from router.queue.broker import Broker
from router.queue.burial import DeadLetter
from router.queue.dead_shelves import Back, Held, Shelf, shelf_of
from router.queue.entries import Entry, encode

_log = structlog.get_logger()
MOST_AT_ONCE: Final = 10_000
"""Entries that one call puts back: it has to answer some time."""


class DeadLetterList(msgspec.Struct, frozen=True):
    """`count`: how many there are in all."""

    count: int
    letters: list[DeadLetter]


class ReplayedLetters(msgspec.Struct, frozen=True):
    """How many are on their lanes again, and how many are dead still."""

    replayed: int
    left: int


def look(broker: Broker, limit: int, *, latest: bool = True) -> DeadLetterList:
    """The last `limit` of them, the latest first; or the first, the oldest first. Raises `Unavailable`."""
    with _open(broker) as shelf:
        letters = [held.letter for held in shelf.look(limit, latest=latest)]
        return DeadLetterList(shelf.count(), letters)


def replay(broker: Broker, letter_id: str, now: float) -> ReplayedLetters:
    """Puts one back on its lane.

    Raises `NotFound`, `Conflict` where nobody knows its lane, and `Unavailable`: it may be in both places then.
    """
    with _open(broker) as shelf:
        held = shelf.find(letter_id)
        if held is None:
            raise NotFound("no such dead letter")
        if held.letter.lane is None:
            raise Conflict("it is no entry, and nobody knows from which lane it came: it can only be dropped")
        if not shelf.put_back([_for_lane(held, held.letter.lane, now)]):
            raise NotFound("it was taken away meanwhile")
        return ReplayedLetters(1, shelf.count())


def replay_all(broker: Broker, now: float) -> ReplayedLetters:
    """Puts back all that are there now, up to `MOST_AT_ONCE`; those without a lane stay. Raises `Unavailable`: call it again then."""
    replayed = 0
    with _open(broker) as shelf:
        for page in shelf.pages():
            back = [_for_lane(held, held.letter.lane, now) for held in page if held.letter.lane is not None]
            replayed += shelf.put_back(back[: MOST_AT_ONCE - replayed])
            if replayed >= MOST_AT_ONCE:
                break
        return ReplayedLetters(replayed, shelf.count())


def drop(broker: Broker, letter_id: str) -> None:
    """Takes one away for good. Raises `NotFound`, `Unavailable`."""
    with _open(broker) as shelf:
        held = shelf.find(letter_id)
        if held is None or not shelf.drop(held):
            raise NotFound("no such dead letter")


def _for_lane(held: Held, lane: Lane, now: float) -> Back:
    """As it is on its lane from `now` on. An entry is made anew; what is none goes as it is, for a newer dispatcher may read it."""
    letter = held.letter
    body = held.body if letter.message_id is None else encode(Entry(letter.message_id, lane, now))
    return Back(held, lane, body, {"deaths": letter.deaths})


@contextmanager
def _open(broker: Broker) -> Iterator[Shelf]:
    connection: Connection = broker.connect()
    try:
        with connection:
            shelf = shelf_of(broker, broker.open_channel(connection))
            try:
                yield shelf
            finally:
                shelf.close()
    except RouterError:
        raise
    except (OperationalError, OSError, *connection.connection_errors, *connection.channel_errors) as error:
        _log.warning("queue.dead_letters_not_reached", error=repr(error))
        raise Unavailable(f"the queue cannot be reached: {type(error).__name__}") from None
