"""A simulated phone with one SIM: what stays of it over power-offs, and the switch."""

import asyncio
import random
from typing import Final

import structlog

from workers.simulator.air import Air
from workers.simulator.behaviour import Behaviour
from workers.simulator.client import SeedClient
from workers.simulator.clock import PhoneClock
from workers.simulator.counts import Counts
from workers.simulator.life import Life, Memory
from workers.simulator.numbers import Sim

WAIT_SECONDS: Final = 25.0
"""How long a pull waits at the router."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Phone:
    """Speaks the seed API and writes to the air. `rng` decides its behaviour, message by message."""

    def __init__(
        self,
        sim: Sim,
        air: Air,
        behaviour: Behaviour | None = None,
        rng: random.Random | None = None,
        *,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self.sim = sim
        self.counts = Counts()
        self._air = air
        self._behaviour = behaviour or Behaviour()
        self._rng = rng or random.Random(sim.imsi)
        self._wait_seconds = wait_seconds
        self._clock = PhoneClock(self._behaviour.clock_offset_seconds)
        self._memory = Memory()
        self._client: SeedClient | None = None
        self._life: Life | None = None
        self._running: dict[asyncio.Task[None], Life] = {}

    def __repr__(self) -> str:
        state = "alive" if self.alive else "dead"
        return f"<Phone {self.imsi} {state} holding={self.holding} sent={self.sent_count}>"

    @property
    def imsi(self) -> str:
        return self.sim.imsi

    @property
    def msisdn(self) -> str:
        return self.sim.msisdn

    @property
    def carrier(self) -> str:
        return self.sim.carrier

    @property
    def sent_count(self) -> int:
        """SMS that it put on the air."""
        return self.counts.sent

    @property
    def holding(self) -> int:
        """Messages that it has and has not dealt with."""
        return sum(life.holding for life in self._running.values())

    @property
    def unanswered_count(self) -> int:
        """Reports that the router is not known to have."""
        return sum(life.unanswered_count for life in self._running.values())

    @property
    def alive(self) -> bool:
        """Is it on? A dead phone may still be finishing what was permitted, see `wait_silent`."""
        return self._life is not None and not self._life.is_over

    def start(self, client: SeedClient) -> None:
        """Power on, with the token of an enrolment."""
        self._client = client
        self.revive()

    def kill(self) -> None:
        """Power off at once: what it holds is lost. Only a message already permitted is seen through, with its report."""
        if self._life is not None:
            self._life.end(give_back=False)

    def switch_off(self) -> None:
        """Power off in order: no new pulls, what is permitted is sent, what is not is given back, all of it reported."""
        if self._life is not None:
            self._life.end(give_back=True)

    def revive(self) -> None:
        """Power on again; nothing if it is on, or was never started."""
        if self.alive or self._client is None:
            return
        self._life = Life(
            self.sim,
            self._client,
            self._air,
            self._behaviour,
            self._clock,
            self._memory,
            self.counts,
            self._rng,
            wait_seconds=self._wait_seconds,
        )
        task = asyncio.create_task(self._life.run(), name=f"phone {self.imsi}")
        self._running[task] = self._life
        task.add_done_callback(self._forget)

    async def wait_silent(self, timeout_seconds: float | None = None) -> int:
        """Wait until a phone that is off has said all, and cut it off after the timeout; returns how many reports got lost."""
        if not self._running:
            return 0
        _, unfinished = await asyncio.wait(list(self._running), timeout=timeout_seconds)
        undelivered = sum(self._running[task].unanswered_count for task in unfinished)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        return undelivered

    def _forget(self, task: "asyncio.Task[None]") -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("phone_crashed", seed=self.imsi, exc_info=error)
