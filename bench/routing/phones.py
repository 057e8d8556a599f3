"""A simulated SIM: what it does with what it is given, and what it says of that, early, late or never."""

import random
from typing import TYPE_CHECKING, Final

from bench.routing.clock import Agenda
from bench.routing.fleet import Behaviour, Fleet
from router.domain import lifecycle

if TYPE_CHECKING:
    from bench.routing.router import Router

_FAILS_AFTER: Final = (0.5, 3.0)
_SLOW: Final = (4.0, 15.0)


class Job:
    """An attempt in a phone's hands. `valid_until` is by the phone's own clock."""

    __slots__ = ("message_id", "number", "parts", "valid_until")

    def __init__(self, message_id: str, number: int, parts: int, valid_until: float) -> None:
        self.message_id = message_id
        self.number = number
        self.parts = parts
        self.valid_until = valid_until


class Phone:
    """One SIM in one phone. It sends one part after the other; while it is away nothing of it happens, and it goes on after."""

    def __init__(self, seed_id: str, carrier: str, behaviour: Behaviour, fleet: Fleet, agenda: Agenda, rng: random.Random) -> None:
        self.seed_id = seed_id
        self.carrier = carrier
        self.behaviour = behaviour
        self.tells_after = rng.random() < fleet.app_share
        off = fleet.clock_off_seconds if rng.random() < fleet.clock_off else 0.5
        self.clock_offset = rng.uniform(-off, off)
        self.sent = 0
        self.since = agenda.now
        self._fleet = fleet
        self._agenda = agenda
        self._rng = rng
        self._away = 0
        """By how many causes it is offline."""
        self._jobs: list[Job] = []
        self._states: dict[tuple[str, int], lifecycle.ReportState] = {}
        """The last that it knows of each attempt that it had."""
        self._network_seconds = fleet.slow_network_seconds if rng.random() < fleet.slow_network else fleet.network_seconds
        self._seems_here_until = 0.0
        self._is_busy = False
        self._is_fetching = False
        self._waiting: list[tuple[object, ...]] = []
        """What was to happen while it was away."""
        self._calls: list[tuple[object, ...]] = []
        self.router: Router
        if behaviour == "dozing":
            agenda.after(rng.expovariate(1.0 / fleet.doze_every_seconds), self._doze)

    @property
    def is_good(self) -> bool:
        """Would a message that it is given now go out in time? What an oracle knows."""
        barred = 0 < self._fleet.blocked_after <= self.sent
        return not self._away and self.behaviour in ("good", "dozing") and not barred

    @property
    def seems_online(self) -> bool:
        """It is, or the router has not noticed yet that it is gone."""
        return not self._away or self._agenda.now < self._seems_here_until

    def leave(self) -> None:
        """The network is gone, or the phone sleeps."""
        self._away += 1
        if self._away == 1:
            self._seems_here_until = self._agenda.now + self._rng.random() * self._fleet.linger_seconds
        self.router.phone_changed(self)

    def come_back(self) -> None:
        """It goes on where it stopped."""
        self._away -= 1
        if self._away:
            return
        self.router.phone_changed(self)
        waiting, self._waiting = self._waiting, []
        for what, *arguments in waiting:
            self._agenda.after(self._network(), what, *arguments)  # type: ignore[arg-type]
        self.fetch()

    def _doze(self) -> None:
        self.leave()
        seconds = self._rng.expovariate(1.0 / self._fleet.doze_seconds)
        self._agenda.after(seconds, self.come_back)
        self._agenda.after(seconds + self._rng.expovariate(1.0 / self._fleet.doze_every_seconds), self._doze)

    def _network(self) -> float:
        least, most = self._network_seconds
        return least + self._rng.random() * (most - least)

    def fetch(self) -> None:
        """There may be something for it."""
        if self._is_fetching:
            return
        if not self._away:
            self._is_fetching = True
            self._agenda.after(self._network(), self._fetch)
        elif not self.tells_after and self.seems_online:
            # Its open long-poll is answered, and nobody is there to read it
            self.router.take(self)
            self._seems_here_until = 0.0

    def _fetch(self) -> None:
        self._is_fetching = False
        if self._away:
            return
        for job in self.router.take(self):
            self._jobs.append(job)
        self._next()

    def _next(self) -> None:
        if self._is_busy or not self._jobs or self.behaviour == "silent":
            return
        self._is_busy = True
        job = self._jobs.pop(0)
        if self.tells_after:
            self._begin(job)
        else:
            self._when_here(self._ask, job)

    def _when_here(self, what: object, *arguments: object) -> None:
        if self._away:
            self._waiting.append((what, *arguments))
        else:
            self._agenda.after(self._network(), what, *arguments)  # type: ignore[arg-type]

    def _ask(self, job: Job) -> None:
        """The question before the radio; without an answer there is no sending."""
        if self._away:
            self._waiting.append((self._ask, job))
        elif self.router.report(self, job, "radio"):
            self._transmit(job)
        else:
            self._done()

    def _begin(self, job: Job) -> None:
        if self._away and self.behaviour == "dozing":
            # It sleeps: it does not even look at its clock
            self._waiting.append((self._begin, job))
        elif self._agenda.now + self.clock_offset >= job.valid_until:
            self._tell(job, "cancelled", "the lease is over")
            self._done()
        else:
            self._tell(job, "radio")
            self._transmit(job)

    def _transmit(self, job: Job) -> None:
        fleet, rng = self._fleet, self._rng
        barred = 0 < fleet.blocked_after <= self.sent
        if self.behaviour == "failing" or barred or rng.random() < fleet.fails:
            self._agenda.after(rng.uniform(*_FAILS_AFTER), self._failed, job)
            return
        spread = fleet.pace_spread
        seconds = rng.uniform(*_SLOW) if self.behaviour == "slow" else fleet.pace_seconds * rng.uniform(1 - spread, 1 + spread)
        self._agenda.after(seconds * job.parts, self._on_air, job)

    def _failed(self, job: Job) -> None:
        if self._away and self.behaviour == "dozing":
            self._waiting.append((self._failed, job))
            return
        self._tell(job, "failed", "the network refused it")
        self._done()

    def _on_air(self, job: Job) -> None:
        if self._away and self.behaviour != "dozing":
            # Without a network there is no SMS. A phone that sleeps has one, and only its app and its data rest
            self._waiting.append((self._failed, job))
            return
        self.sent += 1
        self.router.on_air(self, job)
        self._tell(job, "sent")
        self._done()

    def _done(self) -> None:
        self._is_busy = False
        self._next()

    def _tell(self, job: Job, state: lifecycle.ReportState, error: str | None = None) -> None:
        fleet = self._fleet
        if self.tells_after:
            self._states[job.message_id, job.number] = state
        chance = self._rng.random()
        if chance < fleet.reports_lost:
            return
        late = self._rng.random() * fleet.late_seconds if chance < fleet.reports_lost + fleet.reports_late else 0.0
        self._agenda.after(late + self._network(), self._post, job, state, error, self._agenda.now + self.clock_offset)

    def asked(self, message_id: str, number: int) -> None:
        """It is listed again what it has, and tells that state again."""
        if not self._away:
            self._agenda.after(self._network(), self._tell_again, message_id, number)

    def _tell_again(self, message_id: str, number: int) -> None:
        state = self._states.get((message_id, number))
        if state is not None:
            self._tell(Job(message_id, number, 1, 0.0), state)

    def recalled(self, message_id: str, number: int) -> None:
        """It hears that it is not to send this any more. What it has begun it goes on with; what it does not hear of it does not know."""
        if not self._away:
            self._agenda.after(self._network(), self._drop, message_id, number)

    def _drop(self, message_id: str, number: int) -> None:
        for job in self._jobs:
            if (job.message_id, job.number) == (message_id, number):
                self._jobs.remove(job)
                self._tell(job, "cancelled", "it was taken back")
                return

    def _post(self, job: Job, state: lifecycle.ReportState, error: str | None, told_at: float) -> None:
        if self._away:
            self._waiting.append((self._post, job, state, error, told_at))
        else:
            self.router.report(self, job, state, error, told_at)
