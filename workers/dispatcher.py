"""The dispatcher: takes messages from the queue and from the parking lots, and gives each to a seed.

Run as many as you like: what two of them decide about one message or one seed is settled by the scripts of the store.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

import structlog

from router import metrics
from router.domain.choosing import Chooser
from router.domain.directory import Directory
from router.domain.selection import FailoverBudget
from router.queue.consumer import BatchConsumer, DeadReason
from router.queue.entries import Entry
from router.secrets import Secrets
from router.services.dispatch import Dispatch
from router.services.fleet import FleetCopy
from router.services.wiring import Wiring
from router.settings import Settings
from workers.role import run as run_role
from workers.role import starting

_log = structlog.get_logger()
_LOOK_EVERY_SECONDS = 0.1
_SHORTEST_PAUSE_SECONDS = 0.09
_LONGEST_PAUSE_SECONDS = 1.0
_HEARD_PER_LOOK = 1000
_OBSERVE_EVERY_SECONDS = 1.0
_SEEDS_PER_OBSERVED_SECOND = 10_000


class Dispatcher:
    """The loop's work: batches from the queue, several at a time, and a look round every tenth of a second."""

    def __init__(self, wiring: Wiring) -> None:
        store, clock, rules = wiring.store, wiring.clock, wiring.rules
        self._clock = clock
        self._statistics = wiring.statistics
        self._prefetch = wiring.settings.prefetch
        self._directory = Directory(rules)
        self._fleet = FleetCopy(store, self._directory, clock, rules)
        self._chooser = Chooser(self._directory, FailoverBudget(rules), rules)
        self._dispatch = Dispatch(store, wiring.transitions, self._chooser, clock)
        self._looking = asyncio.Lock()
        self._observe_at = 0.0

    async def handle(self, entries: Sequence[Entry]) -> Mapping[str, DeadReason]:
        """A batch from the queue."""
        await self._look()
        missing = await self._dispatch.run([entry.id for entry in entries])
        return dict.fromkeys(missing, "unknown_message")

    async def look_round(self) -> None:
        """Keeps the copy of the fleet fresh while the queue is idle, and lets parked messages go."""
        await self._look()
        for lot, waiting in list(self._fleet.parked.items()):
            if waiting:
                await self._empty(lot, waiting)
        metrics.LAST_RUN.labels("dispatcher").set(time.time())

    async def _look(self) -> None:
        """One look at a time: who comes while another looks is content with what that one saw before."""
        # A large fleet pings some thousand times a second: looked at more seldom, each look finds as many. Accounts with phones of their
        # own are a list each, and a lot each while they wait
        size = self._fleet.heard + self._fleet.pools + len(self._fleet.parked)
        pause = min(_LONGEST_PAUSE_SECONDS, _SHORTEST_PAUSE_SECONDS * max(1.0, size / _HEARD_PER_LOOK))
        is_due = self._clock.now() - self._fleet.looked_at >= pause
        if is_due and (not self._looking.locked() or not self._fleet.looked_at):
            async with self._looking:
                await self._fleet.refresh()

    async def _empty(self, lot: str, waiting: int) -> None:
        now = self._clock.now()
        if self._chooser.is_worth_a_look(lot, now):
            looked, parked = await self._dispatch.run_parked(lot, min(waiting, self._prefetch))
            self._chooser.looked(lot, now, in_vain=looked == parked)

    async def observe(self) -> None:
        """Sets the gauges of the fleet, and tells of it: it has to be walked, so for a large one more seldom."""
        if time.monotonic() >= self._observe_at:
            self._observe_at = time.monotonic() + len(self._directory) / _SEEDS_PER_OBSERVED_SECOND
            await self._fleet.observe()
            await self._statistics.tell_fleet(self._fleet.tallies, self._fleet.parked)


async def _main(settings: Settings, secrets: Secrets) -> None:
    async with starting(settings, secrets, "dispatcher", settings.dispatcher_metrics_port) as role:
        dispatcher = Dispatcher(role.wiring)
        consumer = BatchConsumer(
            role.wiring.broker, dispatcher.handle, prefetch=settings.prefetch, on_dead=_count_dead, on_redelivered=metrics.REDELIVERED.inc
        )
        metrics.QUEUE_CONSUMERS.set_function(lambda: consumer.is_connected)
        consumer.start()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(role.every(_LOOK_EVERY_SECONDS, dispatcher.look_round))
            tasks.create_task(role.every(_OBSERVE_EVERY_SECONDS, dispatcher.observe))
        await consumer.stop()


def _count_dead(reason: DeadReason) -> None:
    metrics.DEAD_LETTERS.labels(reason).inc()


def run(settings: Settings, secrets: Secrets) -> int:
    """The dispatcher role, until SIGTERM or SIGINT: the batch in hand is finished first. Gives the exit code."""
    return run_role(_main(settings, secrets))
