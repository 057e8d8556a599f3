"""The app's worker that sends: one message at a time for the whole phone, the highest priority first, newest or oldest.

As in the app, a message is chosen before the wait for the limit, its `validUntil` is looked at right before the radio, and the rest
comes after it. A message of priority 100 or more skips limit and rest; where several of them follow each other, only the first does.
"""

import asyncio
import random
import time
from collections import deque
from typing import Final

from workers.simulator.smsgate.behaviour import draw_app_fate
from workers.simulator.smsgate.handset import Handset
from workers.simulator.smsgate.radio import Slot
from workers.simulator.smsgate.store import Stored

EXPIRED: Final = "TTL expired"
_LOWEST: Final = -128
_MARGIN_MINUTES: Final = 1.0 / 60.0
"""What the app adds to the end of a limit's period."""


class Died(Exception):
    """Between the radio and the report, as `AppBehaviour.die_rate` has it."""

    def __init__(self, dead_seconds: float | None) -> None:
        super().__init__("died")
        self.dead_seconds = dead_seconds


class Sender:
    """One start of the worker. `rng` decides the fates."""

    def __init__(self, handset: Handset, rng: random.Random, processed: "deque[float]") -> None:
        self._handset = handset
        self._rng = rng
        self._has_more = asyncio.Event()
        self._is_urgent = asyncio.Event()
        self._previous = _LOWEST
        self._processed = processed
        """When messages were given to the radio lately; it outlives the worker."""

    def __repr__(self) -> str:
        return f"<Sender {self._handset.store.pending} to send>"

    def wake(self, *, urgent: bool = False) -> None:
        """There is more to send. `urgent`: no wait of the message before holds it up."""
        self._has_more.set()
        if urgent:
            self._is_urgent.set()

    async def run(self) -> None:
        """Send without end. Raises Died."""
        handset = self._handset
        while True:
            await handset.conditions.wait_awake()
            self._has_more.clear()
            self._is_urgent.clear()
            stored = handset.store.choose(handset.settings.order, handset.conditions.now())
            if stored is None:
                await self._wait_for_more()
                self._previous = _LOWEST
                continue
            has_leave = stored.is_expedited and self._previous < stored.priority
            if not has_leave and await self._wait_for_limit():
                continue
            if stored.state != "Pending" or not await self._send(stored):
                continue
            self._previous = stored.priority
            if not has_leave and await self._rest():
                self._previous = _LOWEST

    async def _wait_for_more(self) -> None:
        due = self._handset.store.next_due()
        await self._handset.conditions.wait(
            self._has_more, None if due is None else max(0.0, due - self._handset.conditions.now())
        )

    async def _wait_for_limit(self) -> bool:
        """Was it cut short by a more urgent message?"""
        settings, minute = self._handset.settings, self._handset.behaviour.times.minute_seconds
        if settings.limit_value <= 0 or settings.limit_minutes <= 0:
            return False
        period, now = settings.limit_minutes * minute, time.monotonic()
        while self._processed and self._processed[0] <= now - period:
            self._processed.popleft()
        if len(self._processed) < settings.limit_value:
            return False
        seconds = period - (now - self._processed[-1]) + _MARGIN_MINUTES * minute
        return await self._handset.conditions.wait(self._is_urgent, seconds)

    async def _rest(self) -> bool:
        interval = self._handset.settings.interval_seconds
        if interval is None:
            return False
        return await self._handset.conditions.wait(self._is_urgent, float(self._rng.randint(*interval)))

    async def _send(self, stored: Stored) -> bool:
        """Did it go to the radio?"""
        handset = self._handset
        fate = draw_app_fate(self._rng, handset.behaviour)
        if fate.doze_seconds is not None and fate.dozes_before:
            handset.conditions.doze(fate.doze_seconds)
            await handset.conditions.wait_awake()
            if stored.state != "Pending":
                return False
        if stored.has_expired(handset.conditions.now()):
            handset.app_counts.expired += 1
            handset.note(stored, "Failed", EXPIRED)
            return False
        slot = self._choose_slot(stored)
        if slot is None:
            handset.note(stored, "Failed", f"Can't send message: SIM {stored.sim} not found")
            return False
        handset.hand_to_radio(slot, stored, fate)
        self._processed.append(time.monotonic())
        if fate.dies:
            raise Died(fate.dead_seconds)
        if fate.offline_seconds is not None:
            handset.conditions.lose_network(fate.offline_seconds)
        if fate.doze_seconds is not None and not fate.dozes_before:
            handset.conditions.doze(fate.doze_seconds)
        return True

    def _choose_slot(self, stored: Stored) -> Slot | None:
        slots = self._handset.radio.slots
        if stored.sim:
            return slots[stored.sim - 1] if stored.sim <= len(slots) else None
        match self._handset.settings.sim_selection:
            case "RoundRobin":
                return slots[stored.serial % len(slots)]
            case "Random":
                return self._rng.choice(slots)
            case "OSDefault":
                return slots[0]
