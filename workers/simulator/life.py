"""A simulated phone between power-on and power-off: it pulls, sends one message at a time, and reports.

Three tasks: pulling, sending, and the reporter's. The one subtle thing is the end, because a phone that is killed must leave no
doubt behind: a message whose permission may be on its way is seen to its end (sent, or given back), and the reports go out before
the silence. So `end` cancels the sender only while it is between two messages, and takes back a question that was not put yet.
"""

import asyncio
import random
import time
from collections import deque
from typing import Final

import structlog

from router.domain.lifecycle import ReportState
from router.domain.segments import count_segments
from workers.simulator.air import Air, Sms
from workers.simulator.backoff import Backoff
from workers.simulator.behaviour import Behaviour, Fate, draw_fate
from workers.simulator.client import HandedMessage, Report, SeedClient, TokenRefused, Unanswered
from workers.simulator.clock import PhoneClock
from workers.simulator.counts import Counts
from workers.simulator.numbers import Sim
from workers.simulator.reporter import Permission, Reporter

PING_SECONDS: Final = 10.0
MAX_HELD: Final = 50
"""A phone never asks for more than so many in all."""
_REFILL_BELOW: Final = 6
"""A phone that holds so many has enough to do: it pulls when it has sent some of them."""
_REFILL_SECONDS: Final = 0.05
_HASTY_SECONDS: Final = 0.5
"""An empty answer to a pull that comes sooner is not asked for again at once."""
_TOGETHER_SECONDS: Final = 0.05
"""What a phone asks and says within so long goes in one call: leave for all that it will send by then, and that the last ones were sent."""
_REMEMBERED: Final = 10_000
LEASE_OVER: Final = "lease over"
NO_ANSWER: Final = "no answer to radio"
SWITCHED_OFF: Final = "switched off"

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Memory:
    """Which attempts a phone has had, the latest ones; it outlives a power-off."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, int], None] = {}

    def is_new(self, message: HandedMessage) -> bool:
        """Is this the first time? It is not, from now on."""
        key = (message.id, message.attempt)
        if key in self._attempts:
            return False
        self._attempts[key] = None
        if len(self._attempts) > _REMEMBERED:
            del self._attempts[next(iter(self._attempts))]
        return True


class _Died(Exception):
    """Right after the send, as `Behaviour.die_after_send_rate` has it."""


class Life:
    """One power-on of a phone. `run` lasts until `end` is called, the phone dies of its behaviour, or its token is refused."""

    def __init__(
        self,
        sim: Sim,
        client: SeedClient,
        air: Air,
        behaviour: Behaviour,
        clock: PhoneClock,
        memory: Memory,
        counts: Counts,
        rng: random.Random,
        *,
        wait_seconds: float,
    ) -> None:
        self.is_over = False
        """It takes nothing more; what is under way may still be finished."""
        self._sim = sim
        self._client = client
        self._air = air
        self._behaviour = behaviour
        self._clock = clock
        self._memory = memory
        self._counts = counts
        self._rng = rng
        self._wait_seconds = wait_seconds
        self._awake = asyncio.Event()
        self._awake.set()
        self._reporter = Reporter(client, self._awake, counts, random.Random(sim.imsi))
        self._backoff = Backoff(random.Random(sim.msisdn))
        self._held: deque[HandedMessage] = deque()
        self._has_message = asyncio.Event()
        self._in_hand: HandedMessage | None = None
        self._asked: dict[HandedMessage, asyncio.Future[Permission]] = {}
        """Messages that it holds and has asked leave for already."""
        fastest_pace = _TOGETHER_SECONDS / MAX_HELD
        self._asks_at_once = max(1, int(_TOGETHER_SECONDS / max(behaviour.pace_seconds, fastest_pace))) if behaviour.is_steady else 1
        self._was_killed = False
        self._pinged_at = 0.0
        self._tasks: tuple[asyncio.Task[None], asyncio.Task[None]] | None = None

    def __repr__(self) -> str:
        return f"<Life of {self._sim.imsi} {'over' if self.is_over else 'on'} holding={self.holding}>"

    @property
    def holding(self) -> int:
        """Messages that it has and has not dealt with."""
        return len(self._held) + (self._in_hand is not None)

    @property
    def unanswered_count(self) -> int:
        """Reports that the router is not known to have."""
        return self._reporter.unanswered_count

    async def run(self) -> None:
        """Live. Raises what is a fault of this program only, as an ExceptionGroup."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reporter.run())
                self._tasks = group.create_task(self._pull()), group.create_task(self._send())
                if self.is_over:
                    self._cancel_idle()
                await asyncio.wait(self._tasks)
                self._reporter.close()
        except* TokenRefused:
            log.warning("phone_refused", seed=self._sim.imsi)
        except* _Died:
            pass
        finally:
            self.is_over = True
            self._drop_held()
            self._reporter.discard()

    def end(self, *, give_back: bool) -> None:
        """Take nothing more; finish what is permitted, with its report. What it holds besides is given back, or lost with it."""
        if self.is_over:
            return
        self.is_over = True
        self._was_killed = not give_back
        if give_back:
            while self._held:
                message = self._held.popleft()
                self._asked.pop(message, None)
                self._give_back(message, SWITCHED_OFF)
        self._reporter.withdraw_questions()
        self._end_asked()
        self._drop_held()
        self._awake.set()
        self._cancel_idle()

    def _cancel_idle(self) -> None:
        if self._tasks is None:
            return
        pulling, sending = self._tasks
        pulling.cancel()
        if self._in_hand is None:
            sending.cancel()

    def _end_asked(self) -> None:
        """The router may have noted a permission for what is not in hand yet: it is told that nothing was sent."""
        for message, answer in self._asked.items():
            if not (answer.done() and answer.result() == "withdrawn"):
                self._held.remove(message)
                self._give_back(message, SWITCHED_OFF)
        self._asked.clear()

    def _drop_held(self) -> None:
        self._counts.lost += len(self._held)
        self._held.clear()

    # Pulling

    async def _pull(self) -> None:
        await self._ping_until_answered()
        while True:
            await self._awake.wait()
            if len(self._held) >= _REFILL_BELOW:
                await asyncio.sleep(max(self._behaviour.pace_seconds, _REFILL_SECONDS))
                await self._ping_if_due()
                continue
            began = time.monotonic()
            try:
                messages = await self._client.pull(self._wait_seconds, MAX_HELD - len(self._held))
            except Unanswered:
                await asyncio.sleep(self._backoff.next_seconds())
                await self._ping_if_due()
                continue
            await self._awake.wait()
            self._take(messages)
            if messages or time.monotonic() - began >= min(_HASTY_SECONDS, self._wait_seconds):
                self._backoff.reset()
            else:
                await asyncio.sleep(self._backoff.next_seconds())

    def _take(self, messages: list[HandedMessage]) -> None:
        for message in messages:
            if self._memory.is_new(message):
                self._counts.taken += 1
                self._held.append(message)
                self._has_message.set()

    async def _ping_until_answered(self) -> None:
        """Nothing can be sent before the router's time is known."""
        while True:
            if await self._ping():
                self._backoff.reset()
                return
            await asyncio.sleep(self._backoff.next_seconds())

    async def _ping_if_due(self) -> None:
        if self._clock.now() - self._pinged_at >= PING_SECONDS:
            await self._ping()

    async def _ping(self) -> bool:
        await self._awake.wait()
        asked_at = self._clock.now()
        try:
            lps = await self._client.ping(self._sim.msisdn)
        except Unanswered:
            return False
        self._clock.learn(lps, asked_at, self._clock.now())
        self._pinged_at = asked_at
        return True

    # Sending

    async def _send(self) -> None:
        while not self.is_over:
            message = await self._next_message()
            fate = draw_fate(self._rng, self._behaviour)
            if fate.is_silent:
                self._counts.lost += 1
                continue
            if fate.doze_seconds is not None and not fate.dozes_after_permission:
                self._held.appendleft(message)
                self._reporter.flush()
                await asyncio.sleep(0)  # the reporter's turn: it says nothing while the phone dozes
                await self._doze(fate.doze_seconds)
                message = self._held.popleft()
            if self._is_lease_over(message):
                self._give_back(message, LEASE_OVER)
                continue
            self._in_hand = message
            parts = await self._see_through(message, fate)
            self._in_hand = None
            if parts and not self.is_over:
                await asyncio.sleep(parts * self._behaviour.pace_seconds)

    async def _next_message(self) -> HandedMessage:
        while not self._held:
            self._reporter.flush()
            self._has_message.clear()
            await self._has_message.wait()
        return self._held.popleft() if self._behaviour.order == "fifo" else self._held.pop()

    async def _see_through(self, message: HandedMessage, fate: Fate) -> int:
        """From the question to the report; returns the parts that went to the radio."""
        permission = await self._ask_for_radio(message)
        if permission == "refused":
            self._counts.refused += 1
            return 0
        if self.is_over and self._was_killed:
            self._end_unsent_at_kill(message, permission)
            return 0
        if permission == "granted" and fate.doze_seconds is not None and fate.dozes_after_permission:
            await self._doze(fate.doze_seconds)
        if self._is_lease_over(message):
            self._give_back(message, LEASE_OVER)
            return 0
        if permission != "granted":
            self._give_back(message, NO_ANSWER if permission == "unknown" else SWITCHED_OFF)
            return 0
        self._transmit(message, fate)
        return count_segments(message.text).parts

    async def _ask_for_radio(self, message: HandedMessage) -> Permission:
        """Puts the question once, and waits for the answer no longer than the lease lasts."""
        answer = self._asked.pop(message, None) or self._ask(message)
        try:
            async with asyncio.timeout(message.valid_until - self._clock.router_now()):
                return await answer
        except TimeoutError:
            return "unknown"

    def _ask(self, message: HandedMessage) -> "asyncio.Future[Permission]":
        """Asks for this one, and for the next ones that it will send within a moment."""
        for following in list(self._held)[: self._asks_at_once - 1] if self._behaviour.order == "fifo" else ():
            if following not in self._asked and not self._is_lease_over(following):
                self._asked[following] = self._reporter.ask(self._make_report(following, "radio"))
        return self._reporter.ask(self._make_report(message, "radio"))

    def _end_unsent_at_kill(self, message: HandedMessage, permission: Permission) -> None:
        """Killed while it asked: nothing more goes on the air, but the router may have noted a permission, so it is told."""
        if permission == "withdrawn":
            self._counts.lost += 1
        else:
            self._give_back(message, SWITCHED_OFF)

    def _transmit(self, message: HandedMessage, fate: Fate) -> None:
        """The radio: nothing here waits, so that no end of a life comes between the air and the report."""
        if fate.fails:
            self._counts.failed += 1
            self._reporter.put(self._make_report(message, "failed", "generic failure (simulated)"))
            return
        self._air.write(
            Sms(
                at=time.time(),
                seed=self._sim.imsi,
                carrier=self._sim.carrier,
                id=message.id,
                attempt=message.attempt,
                to=message.to,
                text=message.text,
            )
        )
        self._counts.sent += 1
        if fate.dies:
            raise _Died
        sent = self._make_report(message, "sent")
        rest_seconds = count_segments(message.text).parts * self._behaviour.pace_seconds
        self._reporter.put(sent, fate.late_seconds, with_next=bool(self._held) and rest_seconds <= _TOGETHER_SECONDS)
        if fate.repeats_after_seconds is not None:
            self._reporter.put(sent, fate.late_seconds + fate.repeats_after_seconds)
        if fate.delivered_after_seconds is not None:
            self._reporter.put(self._make_report(message, "delivered"), fate.late_seconds + fate.delivered_after_seconds)

    def _give_back(self, message: HandedMessage, error: str) -> None:
        self._counts.cancelled += 1
        self._reporter.put(self._make_report(message, "cancelled", error))

    def _make_report(self, message: HandedMessage, state: ReportState, error: str | None = None) -> Report:
        return Report(id=message.id, attempt=message.attempt, state=state, error=error, at=self._clock.now())

    def _is_lease_over(self, message: HandedMessage) -> bool:
        return self._clock.router_now() >= message.valid_until

    async def _doze(self, seconds: float) -> None:
        """Everything stops; only the end of this life wakes it sooner."""
        if self.is_over:
            return
        self._awake.clear()
        alarm = asyncio.get_running_loop().call_later(seconds, self._awake.set)
        try:
            await self._awake.wait()
        finally:
            alarm.cancel()
            self._awake.set()
