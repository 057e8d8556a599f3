"""What of a phone outlives its app: the messages, the reports to make, the radio, the settings, and who it is to the router."""

import asyncio
import random

from workers.simulator.air import Air
from workers.simulator.counts import Counts
from workers.simulator.smsgate.behaviour import AppBehaviour, AppFate
from workers.simulator.smsgate.conditions import Conditions
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.radio import Radio, Slot
from workers.simulator.smsgate.reports import Reporter
from workers.simulator.smsgate.settings import PhoneSettings
from workers.simulator.smsgate.sims import PhoneSims
from workers.simulator.smsgate.store import Store, Stored
from workers.simulator.smsgate.wire import Registered, State, StateReport


class Handset:
    """One phone. The results of its radio come whether the app is on or not, as Android keeps them for it."""

    def __init__(self, sims: PhoneSims, air: Air, behaviour: AppBehaviour, rng: random.Random) -> None:
        self.sims = sims
        self.behaviour = behaviour
        self.conditions = Conditions(behaviour.clock_offset_seconds)
        self.app_counts = AppCounts()
        self.sim_counts = [Counts() for _ in sims.sims]
        """Of each SIM; what no SIM was asked for counts for the first."""
        self.store = Store()
        self.reporter = Reporter(self.store, self.conditions, behaviour, self.app_counts, rng)
        self.radio = Radio(sims.sims, air, behaviour, self.seed_of)
        self.settings = PhoneSettings()
        self.registered: Registered | None = None
        self._results: dict[asyncio.TimerHandle, tuple[Stored, State, str | None]] = {}
        self._held_back: dict[str, StateReport] = {}

    def __repr__(self) -> str:
        return f"<Handset {self.sims.name} {self.store}>"

    def seed_of(self, number: int) -> str:
        """The seed of the SIM of this number, from 1."""
        if self.registered is None:
            raise RuntimeError("a phone that was never registered has no seeds")
        return f"{self.registered.id}.{number if self.behaviour.tells_sims else 0}"

    def counts_of(self, stored: Stored) -> Counts:
        return self.sim_counts[stored.sim - 1 if 0 < stored.sim <= len(self.sim_counts) else 0]

    def note(self, stored: Stored, state: State, error: str | None = None, delay_seconds: float = 0.0) -> None:
        """Something became of a message; the router is told."""
        if not self.store.move(stored, state, self.conditions.now(), error):
            return
        counts = self.counts_of(stored)
        if state == "Failed":
            counts.failed += 1
        elif state == "Cancelled":
            counts.cancelled += 1
        self.reporter.put(stored.id, delay_seconds)
        if (said := self._held_back.pop(stored.id, None)) is not None:
            self.reporter.put(stored.id, delay_seconds, said)

    def hand_to_radio(self, slot: Slot, stored: Stored, fate: AppFate) -> None:
        """Nothing here waits: no end of the app comes between the air and the note that it was given to the radio."""
        error = fate.error or (None if self.radio.has_room(slot, stored) else "RESULT_ERROR_LIMIT_EXCEEDED")
        if error is None:
            self.radio.transmit(slot, stored)
            self.sim_counts[slot.number - 1].sent += 1
        if fate.dies:
            self.reporter.mute(stored.id)
        if fate.is_reordered and not fate.loses_result:
            self.store.move(stored, "Processed", self.conditions.now())
            self._held_back[stored.id] = self.reporter.say(stored)
        else:
            self.note(stored, "Processed", delay_seconds=fate.late_seconds)
        if fate.loses_result:
            return
        after, late = fate.radio_seconds, fate.late_seconds
        if error is not None:
            self._expect(after, late, stored, "Failed", f"Send result: {error}")
            return
        self._expect(after, late, stored, "Sent", None, fate.repeats_after_seconds)
        if stored.wants_delivery and fate.delivered_after_seconds is not None:
            self._expect(after + fate.delivered_after_seconds, late, stored, "Delivered", None)

    def hear_results(self) -> None:
        """What the radio has to say yet, at once, but for what the network would say later."""
        for handle, (stored, state, error) in list(self._results.items()):
            handle.cancel()
            if state != "Delivered":
                self.note(stored, state, error)
        self._results.clear()

    def lose_results(self) -> None:
        """What the radio has to say yet is never heard."""
        for handle in self._results:
            handle.cancel()
        self._results.clear()

    def _expect(
        self, seconds: float, late: float, stored: Stored, state: State, error: str | None, repeat: float | None = None
    ) -> None:
        def come() -> None:
            del self._results[handle]
            self.note(stored, state, error, late)
            if repeat is not None:
                self.reporter.put(stored.id, late + repeat)

        handle = asyncio.get_running_loop().call_later(seconds, come)
        self._results[handle] = (stored, state, error)
