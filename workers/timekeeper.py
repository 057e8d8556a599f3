"""The timekeeper: what time does to messages. Run as many as you like; each timer is held by one at a time."""

import asyncio
import time

from router import metrics
from router.secrets import Secrets
from router.services.timekeeping import Timekeeping
from router.settings import Settings
from workers.role import Role, starting
from workers.role import run as run_role

_LOOK_EVERY_SECONDS = 0.1
_TESTS_EVERY_SECONDS = 0.5
_OBSERVE_EVERY_SECONDS = 1.0
_TIDY_EVERY_SECONDS = 10.0


class Timekeeper:
    """The loops' work."""

    def __init__(self, role: Role) -> None:
        wiring = role.wiring
        self._stopping = role.stopping
        self._publisher = wiring.publisher
        self._guest_seconds = wiring.settings.guest_seconds
        self._timekeeping = Timekeeping(wiring.store, wiring.transitions, wiring.clock, wiring.rules, lambda: wiring.publisher.lanes)

    async def run_due(self) -> None:
        """Handles all that is due now."""
        while await self._timekeeping.run_due() and not self._stopping.is_set():
            pass
        metrics.LAST_RUN.labels("timekeeper").set(time.time())

    async def run_tests(self) -> None:
        """Looks at the reliability tests that are due."""
        while await self._timekeeping.run_tests() and not self._stopping.is_set():
            pass

    async def observe(self) -> None:
        await self._timekeeping.observe()
        metrics.DEAD_LETTER_DEPTH.set(self._publisher.dead_letters)

    async def tidy(self) -> None:
        while await self._timekeeping.confirm_admissions() and not self._stopping.is_set():
            pass
        await self._timekeeping.tidy(self._guest_seconds)


async def _main(settings: Settings, secrets: Secrets) -> None:
    async with starting(settings, secrets, "timekeeper", settings.timekeeper_metrics_port) as role:
        timekeeper = Timekeeper(role)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(role.every(_LOOK_EVERY_SECONDS, timekeeper.run_due))
            tasks.create_task(role.every(_TESTS_EVERY_SECONDS, timekeeper.run_tests))
            tasks.create_task(role.every(_OBSERVE_EVERY_SECONDS, timekeeper.observe))
            tasks.create_task(role.every(_TIDY_EVERY_SECONDS, timekeeper.tidy))


def run(settings: Settings, secrets: Secrets) -> int:
    """The timekeeper role, until SIGTERM or SIGINT. Gives the exit code."""
    return run_role(_main(settings, secrets))
