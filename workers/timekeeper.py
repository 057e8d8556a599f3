"""The timekeeper: what time does to messages. Run as many as you like; each timer is held by one at a time."""

import asyncio
import contextlib
import time

from router import metrics
from router.domain.errors import Unavailable
from router.secrets import Secrets
from router.services.fraud import FraudJudge
from router.services.heartbeat import make_heartbeat
from router.services.redis_health import RedisHealth
from router.services.timekeeping import Timekeeping
from router.settings import Settings
from workers.role import Role, starting
from workers.role import run as run_role

_LOOK_EVERY_SECONDS = 0.1
_BEAT_EVERY_SECONDS = 0.1
_TESTS_EVERY_SECONDS = 0.5
_OBSERVE_EVERY_SECONDS = 1.0
_REDIS_EVERY_SECONDS = 2.0
_TIDY_EVERY_SECONDS = 10.0
_JUDGE_EVERY_SECONDS = 3.0
_TURN_SECONDS = 2.5


class Timekeeper:
    """The loops' work."""

    def __init__(self, role: Role) -> None:
        wiring = role.wiring
        self._stopping = role.stopping
        self._publisher = wiring.publisher
        self._guest_seconds = wiring.settings.guest_seconds
        self.heartbeat = make_heartbeat(wiring)
        self._timekeeping = Timekeeping(wiring.store, wiring.transitions, wiring.clock, wiring.rules, lambda: wiring.publisher.lanes)
        self._judge = FraudJudge(wiring.store, wiring.statistics, wiring.clock, wiring.settings.fraud_rules(), _TURN_SECONDS)

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
        await self._timekeeping.observe(apart=int(self.heartbeat.beat.is_open))
        metrics.DEAD_LETTER_DEPTH.set(self._publisher.dead_letters)

    async def judge(self) -> None:
        """Looks at the prefixes' traffic."""
        await self._judge.run()

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
            if settings.heartbeat_seconds:
                tasks.create_task(role.every(_BEAT_EVERY_SECONDS, timekeeper.heartbeat.turn))
            tasks.create_task(role.every(_REDIS_EVERY_SECONDS, RedisHealth(settings.redis_url).look))
            tasks.create_task(role.every(_JUDGE_EVERY_SECONDS, timekeeper.judge))
            tasks.create_task(role.every(_TIDY_EVERY_SECONDS, timekeeper.tidy))
        if settings.heartbeat_seconds:
            with contextlib.suppress(Unavailable):
                await timekeeper.heartbeat.leave()


def run(settings: Settings, secrets: Secrets) -> int:
    """The timekeeper role, until SIGTERM or SIGINT. Gives the exit code."""
    return run_role(_main(settings, secrets))
