"""A simulated phone that runs SMSGate's app: the switch, and what its owner, Android and the network can do to it."""

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Final

import aiohttp
import structlog

from workers.simulator.air import Air
from workers.simulator.client import EnrolmentRefused
from workers.simulator.counts import Counts
from workers.simulator.smsgate.behaviour import AppBehaviour
from workers.simulator.smsgate.client import BASE_PATH, MobileClient
from workers.simulator.smsgate.conditions import Conditions
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.events import ServerEvent
from workers.simulator.smsgate.handset import Handset
from workers.simulator.smsgate.life import Life
from workers.simulator.smsgate.registrar import Registrar
from workers.simulator.smsgate.settings import PhoneSettings
from workers.simulator.smsgate.sims import PhoneSims
from workers.simulator.smsgate.store import Stored

_REMEMBERED: Final = 1000

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class AppPhone:
    """Speaks SMSGate's mobile API and writes to the air. `rng` decides its behaviour, message by message."""

    def __init__(self, sims: PhoneSims, air: Air, behaviour: AppBehaviour | None = None, rng: random.Random | None = None) -> None:
        self.sims = sims
        self.on_event: Callable[[AppPhone, ServerEvent], None] | None = None
        """Called with each event of its stream, when the app has it."""
        self._rng = rng or random.Random(sims.name)
        self._handset = Handset(sims, air, behaviour or AppBehaviour(), random.Random(f"{sims.name}/reports"))
        self._processed: deque[float] = deque(maxlen=_REMEMBERED)
        self._client: MobileClient | None = None
        self._registrar: Registrar | None = None
        self._life: Life | None = None
        self._running: dict[asyncio.Task[None], Life] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        state = "alive" if self.alive else "dead"
        return f"<AppPhone {self.device_id or self.sims.name} {state} holding={self.holding} sent={self.sent_count}>"

    # What it is

    @property
    def name(self) -> str:
        return self.sims.name

    @property
    def carrier(self) -> str:
        """Of its first SIM."""
        return self.sims.sims[0].carrier

    @property
    def device_id(self) -> str | None:
        """What the router calls it; None before its registration."""
        return self._handset.registered.id if self._handset.registered is not None else None

    @property
    def token(self) -> str:
        return self._handset.registered.token if self._handset.registered is not None else ""

    @property
    def login(self) -> tuple[str, str | None]:
        """Login and password as the registration told them; the password only where an account was made."""
        registered = self._handset.registered
        return (registered.login, registered.password) if registered is not None else ("", None)

    @property
    def seeds(self) -> list[str]:
        """The seeds of its SIMs; none before its registration."""
        if self.device_id is None:
            return []
        tells = self._handset.behaviour.tells_sims
        return [self._handset.seed_of(slot.number) for slot in self._handset.radio.slots[: None if tells else 1]]

    @property
    def behaviour(self) -> AppBehaviour:
        return self._handset.behaviour

    @property
    def conditions(self) -> Conditions:
        """Its sleep, its network and its clock."""
        return self._handset.conditions

    @property
    def settings(self) -> PhoneSettings:
        """As the router told them last."""
        return self._handset.settings

    # What came of it

    @property
    def app(self) -> AppCounts:
        return self._handset.app_counts

    @property
    def counts(self) -> Counts:
        """Of all its SIMs."""
        total = Counts()
        for counts in self._handset.sim_counts:
            total.add(counts)
        return total

    @property
    def counts_by_carrier(self) -> list[tuple[str, Counts]]:
        """Of each SIM."""
        return [(sim.carrier, counts) for sim, counts in zip(self.sims.sims, self._handset.sim_counts, strict=True)]

    @property
    def sent_count(self) -> int:
        """SMS that it put on the air."""
        return sum(counts.sent for counts in self._handset.sim_counts)

    @property
    def holding(self) -> int:
        """Messages that it has and has not dealt with."""
        return self._handset.store.pending

    @property
    def unanswered_count(self) -> int:
        """Reports that the router is not known to have."""
        return self._handset.reporter.unsaid_count

    @property
    def alive(self) -> bool:
        return self._life is not None and not self._life.is_over

    @property
    def is_streaming(self) -> bool:
        """Does it think that its event stream is open?"""
        return self._life is not None and self._life.is_streaming

    def stored(self, id: str) -> Stored | None:
        """A message by the id that the phone knows it by."""
        return self._handset.store.get(id)

    # The switch

    def start(self, session: aiohttp.ClientSession, url: str, credentials: str, base_path: str = BASE_PATH) -> None:
        """Power on, with the address of the router and what to say to register: `client.with_private_token(…)` and its like."""
        behaviour = self._handset.behaviour
        self._client = MobileClient(session, url, self._handset.conditions, behaviour.times, base_path)
        self._registrar = Registrar(self._handset, self._client, credentials, random.Random(f"{self.name}/registrar"))
        self.revive()

    async def wait_registered(self) -> None:
        """Until the router took its registration. Raises EnrolmentRefused when it refuses it; the phone goes on trying."""
        if self._registrar is None:
            raise RuntimeError("the phone was never started")
        await self._registrar.is_answered.wait()
        if self._handset.registered is None:
            raise EnrolmentRefused(f"the router refused the registration of {self.name}")

    def kill(self, *, forgets: bool = False) -> None:
        """The app is dead at once, its stream and its calls with it. Its messages stay, and what is to be said is said when it is on again.

        `forgets`: it says nothing of that by itself then, and the results of the radio that have not come are lost. The router
        learns of it by listing the message again.
        """
        self._end_alarm()
        if self._life is not None:
            self._life.is_over = True
        for task in self._running:
            task.cancel()
        if forgets:
            self._handset.reporter.forget()
            self._handset.lose_results()

    def switch_off(self) -> None:
        """The end in order: it takes and sends nothing more, and says what became of what it sent. See `wait_silent`."""
        self._end_alarm()
        self.restore()
        if self._life is None or self._life.is_over:
            return
        if self._life.has_begun:
            self._life.close()
        else:
            self.kill()

    def revive(self) -> None:
        """Start the app again; nothing if it is on, or was never started."""
        self._end_alarm()
        if self.alive or self._client is None or self._registrar is None:
            return
        life = Life(self._handset, self._client, self._registrar, self._rng, self._processed, self._tell)
        self._life = life
        task = asyncio.create_task(self._live(life), name=f"phone {self.name}")
        self._running[task] = life
        task.add_done_callback(self._forget)

    async def wait_silent(self, timeout_seconds: float | None = None) -> int:
        """Wait until a phone that is off has said all, and cut it off after the timeout; returns how many reports it still has."""
        if self._running:
            _, unfinished = await asyncio.wait(list(self._running), timeout=timeout_seconds)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        self._handset.lose_results()
        self._handset.conditions.end()
        return self.unanswered_count

    # What happens to it

    def doze(self, seconds: float | None = None) -> None:
        """Everything stops, requests too; the open stream hangs. None: until `wake` or `restore`."""
        self._handset.conditions.doze(seconds)

    def wake(self) -> None:
        self._handset.conditions.wake()

    def lose_network(self, seconds: float | None = None) -> None:
        """Calls fail, the stream breaks in the middle. None: until `restore`."""
        self._handset.conditions.lose_network(seconds)

    def restore(self) -> None:
        """Awake, and connected."""
        self._handset.conditions.wake()
        self._handset.conditions.restore_network()

    def set_clock(self, offset_seconds: float) -> None:
        """Somebody sets the phone's clock: so far ahead of this machine's."""
        self._handset.conditions.clock_offset_seconds = offset_seconds

    def break_stream(self) -> None:
        """Only the stream breaks; the phone opens it again."""
        if self._life is not None:
            self._life.break_stream()

    async def _live(self, life: Life) -> None:
        """Two lives never overlap: what the one before was still saying is said by this one."""
        before = [task for task, other in self._running.items() if other is not life]
        for task in before:
            task.cancel()
        await asyncio.gather(*before, return_exceptions=True)
        await life.run()

    def _tell(self, event: ServerEvent) -> None:
        if self.on_event is not None:
            self.on_event(self, event)

    def _forget(self, task: "asyncio.Task[None]") -> None:
        life = self._running.pop(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            log.error("phone_crashed", phone=self.name, exc_info=error)
        elif life.dead_seconds is not None and life is self._life:
            self._alarm = asyncio.get_running_loop().call_later(life.dead_seconds, self.revive)

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
