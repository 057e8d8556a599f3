"""What an app has to say of its messages: each report waits for its turn, is tried again until the router took it, and outlives the app.

A report says where the message is when it goes out, not when it was asked for, as in the app, where a worker reads the database then.
"""

import asyncio
import heapq
import random
from collections.abc import Awaitable, Callable

import msgspec

from workers.simulator.client import Unanswered
from workers.simulator.smsgate.behaviour import AppBehaviour
from workers.simulator.smsgate.conditions import Conditions
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.store import Store, Stored
from workers.simulator.smsgate.times import write_time
from workers.simulator.smsgate.wire import RecipientState, StateReport

Send = Callable[[list[StateReport]], Awaitable[None]]


class _Job(msgspec.Struct, eq=False):
    """`said`: a report as it was; without it the message is looked up."""

    id: str
    said: StateReport | None = None
    tries: int = 0


class Reporter:
    """One phone's. `run` works while the app is on; what was not said by then stays."""

    def __init__(self, store: Store, conditions: Conditions, behaviour: AppBehaviour, counts: AppCounts, rng: random.Random) -> None:
        self._store = store
        self._conditions = conditions
        self._behaviour = behaviour
        self._counts = counts
        self._rng = rng
        self._waiting: list[tuple[float, int, _Job]] = []
        self._on_wire: list[_Job] = []
        self._serial = 0
        self._muted: set[str] = set()
        self._has_more = asyncio.Event()
        self._is_closing = False

    def __repr__(self) -> str:
        return f"<Reporter {len(self._waiting)} waiting, {len(self._on_wire)} on the wire>"

    @property
    def unsaid_count(self) -> int:
        """Reports that the router is not known to have."""
        return len(self._waiting) + len(self._on_wire)

    def put(self, id: str, delay_seconds: float = 0.0, said: StateReport | None = None) -> None:
        """Say where this message is, after a delay if so wished; or what is `said`, which may be out of date by then."""
        if id not in self._muted:
            self._push(_Job(id, said), 0.0 if self._is_closing else delay_seconds)

    def ask(self, id: str) -> None:
        """The router wants to know."""
        self._muted.discard(id)
        self.put(id)

    def mute(self, id: str) -> None:
        """Say nothing of this message unless asked."""
        self._muted.add(id)

    def forget(self) -> None:
        """Say nothing of all that was to be said, unless asked."""
        self._muted.update(job.id for job in self._on_wire)
        self._muted.update(job.id for _, _, job in self._waiting)
        self._waiting.clear()
        self._on_wire.clear()

    def open(self) -> None:
        """The app is on."""
        self._is_closing = False

    def close(self) -> None:
        """Everything that waits goes now; `run` ends when all is said."""
        self._is_closing = True
        now = asyncio.get_running_loop().time()
        self._waiting = [(min(due, now), serial, job) for due, serial, job in self._waiting]
        heapq.heapify(self._waiting)
        self._has_more.set()

    def say(self, stored: Stored) -> StateReport:
        """What the router would be told now."""
        recipients = [RecipientState(phone_number=number, state=stored.state, error=stored.error) for number in stored.numbers]
        states = {state: write_time(at, self._behaviour.utc_offset_minutes) for state, at in stored.states.items()}
        return StateReport(id=stored.id, state=stored.state, recipients=recipients, states=states)

    async def run(self, send: Send) -> None:
        """Report, until closed and empty. `send` raises Unanswered where the router did not take it."""
        while await self._wait_for_due():
            batch = self._take_due()
            reports = [report for job in batch if (report := self._report_of(job)) is not None]
            if not reports:
                continue
            self._on_wire = batch
            try:
                await send(reports)
            except Unanswered:
                self._try_later()
            except BaseException:
                for job in self._on_wire:
                    self._push(job, 0.0)
                self._on_wire = []
                raise
            else:
                self._counts.reports += len(reports)
                self._on_wire = []

    async def _wait_for_due(self) -> bool:
        while True:
            if not self._waiting:
                if self._is_closing:
                    return False
                await self._wait(None)
                continue
            seconds = self._waiting[0][0] - asyncio.get_running_loop().time()
            if seconds <= 0:
                await self._conditions.ready()
                if self._waiting:
                    return True
                continue
            await self._wait(seconds)

    async def _wait(self, seconds: float | None) -> None:
        self._has_more.clear()
        await self._conditions.wait(self._has_more, seconds)

    def _take_due(self) -> list[_Job]:
        now = asyncio.get_running_loop().time()
        batch: list[_Job] = []
        while self._waiting and len(batch) < self._behaviour.reports_at_once and self._waiting[0][0] <= now:
            batch.append(heapq.heappop(self._waiting)[2])
        return batch

    def _report_of(self, job: _Job) -> StateReport | None:
        if job.said is not None:
            return job.said
        stored = self._store.get(job.id)
        return None if stored is None else self.say(stored)

    def _try_later(self) -> None:
        times = self._behaviour.times
        batch, self._on_wire = self._on_wire, []
        for job in batch:
            job.tries += 1
            if times.report_tries and job.tries >= times.report_tries:
                self._counts.given_up += 1
                continue
            seconds = min(times.retry_seconds * 2.0 ** min(job.tries - 1, 30), times.longest_retry_seconds)
            self._push(job, seconds * (0.5 + 0.5 * self._rng.random()))

    def _push(self, job: _Job, delay_seconds: float) -> None:
        self._serial += 1
        heapq.heappush(self._waiting, (asyncio.get_running_loop().time() + delay_seconds, self._serial, job))
        self._has_more.set()
