"""The judge of `bench kill`: set algebra over ledgers, which outlive the processes that wrote them.

Prior art: Jepsen's total-queue checker, in the words of which the counts are told (https://github.com/jepsen-io/jepsen,
jepsen/src/jepsen/checker.clj). A ledger's line is one write to an `O_APPEND` descriptor: what the kernel took survives a kill -9 of the
writer. All lines of a kind are of one length, so that a file's size is its number of lines; a torn last line counts as not written.
"""

import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

ID_CHARACTERS: Final = 26
LINE_BYTES: Final = 47
"""A mark, a space, an id, a space, Unix seconds with six places, a newline."""
ATTEMPT: Final = "A"
CONFIRM: Final = "C"
TAKE: Final = "T"
AGAIN: Final = "R"
"""Taken, and marked by the transport as delivered before."""


class Counts(msgspec.Struct, frozen=True):
    """What became of the entries.

    `acknowledged`: the producer was told that they are on the queue. `ok`: consumed at least once. `lost`: acknowledged and never consumed.
    `recovered`: consumed though never acknowledged (the confirmation went down with the producer). `unexpected`: consumed and never
    attempted. `duplicated`: consumptions beyond the first of each entry; at least once allows them.
    """

    attempted: int
    acknowledged: int
    ok: int
    lost: int
    duplicated: int
    unexpected: int
    recovered: int


def judge(attempted: Iterable[str], acknowledged: Iterable[str], consumed: Iterable[str]) -> Counts:
    """`consumed` has an id as often as it was consumed."""
    wanted, confirmed, seen = set(attempted), set(acknowledged), Counter(consumed)
    ok = seen.keys() & wanted
    return Counts(
        attempted=len(wanted),
        acknowledged=len(confirmed),
        ok=len(ok),
        lost=len(confirmed - seen.keys()),
        duplicated=seen.total() - len(seen),
        unexpected=len(seen.keys() - wanted),
        recovered=len(ok - confirmed),
    )


class Ledger:
    """Appends lines. Raises OSError where the disk does not take one."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, mark: str, ids: Sequence[str]) -> None:
        """One write for all of them."""
        now = time.time()
        lines = "".join(f"{mark} {each} {now:017.6f}\n" for each in ids).encode()
        if os.write(self._descriptor, lines) != len(lines):
            raise OSError("the ledger took a part of a line only")

    def close(self) -> None:
        os.close(self._descriptor)


def confirmations_of(path: Path) -> Path:
    """Where a producer notes what was confirmed: apart from its attempts, so that either file's size is a count."""
    return path.with_suffix(".confirmed")


def lines_in(path: Path) -> int:
    """Whole lines of a ledger; 0 where there is no such file yet."""
    try:
        return path.stat().st_size // LINE_BYTES
    except FileNotFoundError:
        return 0


def read(paths: Iterable[Path], marks: str) -> list[str]:
    """The ids of all whole lines that bear one of these marks. Raises ValueError where a line is none of ours."""
    return [entry for path in paths for mark, entry, _ in _lines(path) if mark in marks]


def taken_from_the_living(killed: Iterable[Path], living: Iterable[Path]) -> int:
    """Consumptions of what another consumer, or the same one, had consumed before and was not killed: it had not died, and lost it still.

    Takes the ledgers of the consumers that were killed, and of those that were not.
    """
    lines = [(at, entry, False) for path in killed for _, entry, at in _lines(path)]
    lines += [(at, entry, True) for path in living for _, entry, at in _lines(path)]
    count = 0
    last_taker_lived: dict[str, bool] = {}
    for _, entry, lived in sorted(lines):
        count += last_taker_lived.get(entry, False)
        last_taker_lived[entry] = lived
    return count


def _lines(path: Path) -> Iterable[tuple[str, str, float]]:
    """Mark, id and time."""
    text = path.read_text() if path.exists() else ""
    for first in range(0, len(text) - LINE_BYTES + 1, LINE_BYTES):
        line = text[first : first + LINE_BYTES]
        if line[1] != " " or line[-1] != "\n":
            raise ValueError(f"{path}: {line!r}")
        yield line[0], line[2 : 2 + ID_CHARACTERS], float(line[3 + ID_CHARACTERS :])
