"""A phone's queue of reports: nothing in it is lost, and all that is in it goes in one call."""

import asyncio
import random
from typing import Literal

import msgspec

from workers.simulator.backoff import Backoff
from workers.simulator.client import Report, ReportAnswer, SeedClient, Unanswered
from workers.simulator.counts import Counts

Permission = Literal["granted", "refused", "unknown", "withdrawn"]
"""The answer to "radio". `unknown`: none came, or none that tells; `withdrawn`: the question was never put on the wire."""


class _Entry(msgspec.Struct, eq=False):
    report: Report
    permission: "asyncio.Future[Permission] | None" = None


class Reporter:
    """Reports are kept and tried again until they are answered, in order. A question is different: it is put once, and not again.

    `awake` holds everything back while it is not set.
    """

    def __init__(self, client: SeedClient, awake: asyncio.Event, counts: Counts, jitter: random.Random) -> None:
        self._client = client
        self._counts = counts
        self._awake = awake
        self._backoff = Backoff(jitter)
        self._queue: list[_Entry] = []
        self._on_wire: list[_Entry] = []
        self._later: dict[_Entry, asyncio.TimerHandle] = {}
        self._has_work = asyncio.Event()
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<Reporter {len(self._queue)} queued, {len(self._on_wire)} on the wire, {len(self._later)} later>"

    @property
    def unanswered_count(self) -> int:
        """Reports that the router is not known to have."""
        return len(self._later) + sum(entry.permission is None for entry in self._queue + self._on_wire)

    def put(self, report: Report, delay_seconds: float = 0.0, *, with_next: bool = False) -> None:
        """Report it, after a delay if so wished; no delay outlasts `close`. `with_next`: it may wait for the next report, or `flush`."""
        if delay_seconds <= 0.0 or self._is_closing:
            self._queue.append(_Entry(report))
            if not with_next or self._is_closing:
                self.flush()
            return
        entry = _Entry(report)
        self._later[entry] = asyncio.get_running_loop().call_later(delay_seconds, self._ripen, entry)

    def ask(self, report: Report) -> "asyncio.Future[Permission]":
        """Put a question; the future holds the answer."""
        permission: asyncio.Future[Permission] = asyncio.get_running_loop().create_future()
        self._enqueue(_Entry(report, permission))
        return permission

    def flush(self) -> None:
        """What waits for the next report goes now."""
        if self._queue:
            self._has_work.set()

    def withdraw_questions(self) -> None:
        """Questions that are not on the wire yet will not be put."""
        for entry in self._queue:
            _answer(entry, "withdrawn")
        self._queue = [entry for entry in self._queue if entry.permission is None]

    def close(self) -> None:
        """`run` ends when everything is answered; delayed reports go now."""
        self._is_closing = True
        for entry, _ in sorted(self._later.items(), key=lambda timed: timed[1].when()):
            self._ripen(entry)
        self._has_work.set()

    def discard(self) -> None:
        """The phone is gone, and what it had to say with it."""
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
        for entry in self._queue:
            _answer(entry, "unknown")
        self._queue.clear()

    async def run(self) -> None:
        """Deliver, until closed and empty. Raises TokenRefused."""
        while await self._wait_for_work():
            batch = self._on_wire = self._queue
            self._queue = []
            try:
                answer = await self._client.report([entry.report for entry in batch])
            except Unanswered:
                self._take_back(batch)
                await asyncio.sleep(self._backoff.next_seconds())
            except BaseException:
                self._take_back(batch)
                raise
            else:
                self._on_wire = []
                self._backoff.reset()
                self._settle(batch, answer)

    async def _wait_for_work(self) -> bool:
        while True:
            while not self._queue:
                if self._is_closing:
                    return False
                self._has_work.clear()
                await self._has_work.wait()
            await self._awake.wait()
            self._queue = [entry for entry in self._queue if not _is_given_up(entry)]
            if self._queue:
                return True

    def _ripen(self, entry: _Entry) -> None:
        self._later.pop(entry).cancel()
        self._enqueue(entry)

    def _enqueue(self, entry: _Entry) -> None:
        self._queue.append(entry)
        self.flush()

    def _take_back(self, batch: list[_Entry]) -> None:
        self._on_wire = []
        for entry in batch:
            _answer(entry, "unknown")
        self._queue[:0] = [entry for entry in batch if entry.permission is None]

    def _settle(self, batch: list[_Entry], answer: ReportAnswer) -> None:
        self._counts.stale += answer.stale
        for entry in batch:
            granted = answer.is_granted(entry.report)
            _answer(entry, "unknown" if granted is None else "granted" if granted else "refused")


def _is_given_up(entry: _Entry) -> bool:
    """Does nobody wait for the answer to this question any more?"""
    return entry.permission is not None and entry.permission.done()


def _answer(entry: _Entry, permission: Permission) -> None:
    if entry.permission is not None and not entry.permission.done():
        entry.permission.set_result(permission)
