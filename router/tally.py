"""What this process has counted since it last told Redis: one place for all that happens here, as the metrics' registry is.

Who counts adds to `TALLY`; `services/statistics.py` takes it once a second and adds it to what the other processes have counted. Only the
event loop's thread adds. What a process that is killed has not told yet is lost: a second of statistics, never more than that.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec

GRAIN_SECONDS: Final = 60
"""What happens within it is kept as one sum, so that an hour without Redis costs an hour of sums; buckets are multiples of it."""
MAX_CELLS: Final = 100_000
"""Sums that are kept while nobody takes them; beyond it new ones are dropped, and counted as such."""
MAX_NOTES: Final = 200
"""Likewise the latest notes of each stream."""

Cell = tuple[str, int | None, str]
"""Family, the minute since 1970 (None: that of the flush), field."""


class Taken(msgspec.Struct):
    """What was counted: sums by cell, and the latest notes by stream, oldest first."""

    sums: dict[Cell, int] = {}
    notes: dict[str, list[bytes]] = {}
    dropped: int = 0
    """What was not kept, since there were too many cells."""

    def __bool__(self) -> bool:
        return bool(self.sums or self.notes)


class Tally:
    """Not thread-safe: it is the event loop's."""

    def __init__(self, max_cells: int = MAX_CELLS, max_notes: int = MAX_NOTES) -> None:
        self._max_cells = max_cells
        self._max_notes = max_notes
        self._sums: dict[Cell, int] = {}
        self._notes: dict[str, deque[bytes]] = {}
        self._dropped = 0

    def __repr__(self) -> str:
        return f"<Tally {len(self._sums)} sums, {sum(map(len, self._notes.values()))} notes>"

    def add(self, family: str, field: str, n: int = 1, at: float | None = None) -> None:
        """`n` more of `field` in the bucket of `at` (Unix seconds by the router's clock; None: when it is told to Redis)."""
        cell = (family, None if at is None else int(at) // GRAIN_SECONDS, field)
        sums = self._sums
        if cell in sums:
            sums[cell] += n
        elif len(sums) < self._max_cells:
            sums[cell] = n
        else:
            self._dropped += n

    def note(self, stream: str, item: bytes) -> None:
        """One more of the latest things of a stream; the oldest are forgotten beyond `max_notes`."""
        notes = self._notes.get(stream)
        if notes is None:
            notes = self._notes[stream] = deque(maxlen=self._max_notes)
        notes.append(item)

    def take(self) -> Taken:
        """All of it; it is forgotten here."""
        taken = Taken(self._sums, {stream: list(notes) for stream, notes in self._notes.items()}, self._dropped)
        self._sums, self._notes, self._dropped = {}, {}, 0
        return taken

    def put_back(self, sums: dict[Cell, int], notes: dict[str, list[bytes]] | None = None) -> None:
        """What could not be told goes to what was counted meanwhile, within the same bounds."""
        for (family, minute, field), n in sums.items():
            self.add(family, field, n, None if minute is None else float(minute * GRAIN_SECONDS))
        for stream, items in (notes or {}).items():
            self._put_before(stream, items)

    def _put_before(self, stream: str, older: Iterable[bytes]) -> None:
        newer = self._notes.get(stream, ())
        self._notes[stream] = deque((*older, *newer), maxlen=self._max_notes)


TALLY: Final = Tally()
