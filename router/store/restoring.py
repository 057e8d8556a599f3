"""The mark of a restore that has not come to its end (`restore:{open}`), and of when a backup was made (`backup:{made}`).

While the first is there no role starts: what the backup holds as open would be sent again.
"""

import msgspec

from router.store.redis import Batch

UNFINISHED_KEY = "restore:{open}"
MADE_KEY = "backup:{made}"


class Made(msgspec.Struct, frozen=True):
    """`at`: Unix seconds by Redis' clock. `seal`: by which to know the seal key again, and no more than that."""

    at: float
    seal: int


class Restoring:
    """Adds its commands to a batch."""

    @staticmethod
    def is_unfinished(batch: Batch) -> int:
        """The answer at this place is 1 while a restore has not come to its end."""
        return batch.add("EXISTS", UNFINISHED_KEY)

    @staticmethod
    def begin(batch: Batch) -> None:
        batch.add("SET", UNFINISHED_KEY, "1")

    @staticmethod
    def end(batch: Batch) -> None:
        batch.add("DEL", UNFINISHED_KEY)

    @staticmethod
    def note_made(batch: Batch, made: Made) -> None:
        """Goes into the backup that is made right after it."""
        batch.add("SET", MADE_KEY, msgspec.json.encode(made))

    @staticmethod
    async def made(batch: Batch) -> Made | None:
        """When the backup was made that this store came from; None where it is from none of ours. Runs the (empty) batch."""
        batch.add("GET", MADE_KEY)
        (answer,) = await batch.run()
        return msgspec.json.decode(answer, type=Made) if answer is not None else None
