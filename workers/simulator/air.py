"""The air: a ledger of every SMS that simulated phones gave to their radio. It is what tests and the demo hold the router to."""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

_POLL_SECONDS: Final = 0.05
_CHUNK_BYTES: Final = 1 << 20


class Sms(msgspec.Struct, frozen=True, kw_only=True):
    """One SMS on the air. `at` is Unix seconds by this machine's clock, whatever the phone's own clock says."""

    at: float
    seed: str
    carrier: str
    id: str
    attempt: int
    to: str
    text: str


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Sms)


class Air:
    """Appends to a ledger of JSON lines. Several processes may share it: a line is one write to an `O_APPEND` descriptor."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.count = 0
        """Lines written through this object."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __repr__(self) -> str:
        return f"<Air {self.path} {self.count} sms>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def write(self, sms: Sms) -> None:
        """From here on it is on the air. Raises OSError when the ledger cannot hold it."""
        line = _encoder.encode(sms) + b"\n"
        if os.write(self._descriptor, line) != len(line):
            raise OSError(f"the ledger {self.path} took a part of a line only")
        self.count += 1

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def read_ledger(path: Path) -> list[Sms]:
    """All SMS so far, in the order of the file; a last line without its end is left out. No file, no SMS."""
    try:
        written = path.read_bytes()
    except FileNotFoundError:
        return []
    return [_decoder.decode(line) for line in written.split(b"\n")[:-1] if line]


async def follow(path: Path, *, from_start: bool = True, poll_seconds: float = _POLL_SECONDS) -> AsyncIterator[Sms]:
    """Every SMS as it comes, without end; waits for the file if there is none yet. `from_start`: those before now as well."""
    offset = 0 if from_start else _size(path)
    unfinished = b""
    while True:
        chunk = _read_from(path, offset)
        offset += len(chunk)
        *lines, unfinished = (unfinished + chunk).split(b"\n")
        for line in lines:
            if line:
                yield _decoder.decode(line)
        if not chunk:
            await asyncio.sleep(poll_seconds)


def on_air_twice(ledger: Iterable[Sms]) -> dict[str, int]:
    """The messages that were on the air more than once: id to how often."""
    return {message: count for message, count in Counter(sms.id for sms in ledger).items() if count > 1}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as ledger:
            ledger.seek(offset)
            return ledger.read(_CHUNK_BYTES)
    except FileNotFoundError:
        return b""
