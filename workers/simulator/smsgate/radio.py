"""The radio of a phone: a SIM's way to the air, with Android's own limit in front."""

import time
from collections import deque
from collections.abc import Callable

import msgspec

from router.domain.segments import count_segments
from workers.simulator.air import Air, Sms
from workers.simulator.numbers import Sim
from workers.simulator.smsgate.behaviour import AppBehaviour
from workers.simulator.smsgate.store import Stored


class Slot(msgspec.Struct, eq=False):
    """One SIM, and what went over it lately: when, and how many parts."""

    number: int
    sim: Sim
    lately: deque[tuple[float, int]] = msgspec.field(default_factory=deque)


class Radio:
    """`seed_of` names the seed of a SIM by its number."""

    def __init__(self, sims: tuple[Sim, ...], air: Air, behaviour: AppBehaviour, seed_of: Callable[[int], str]) -> None:
        self.slots = [Slot(place + 1, sim) for place, sim in enumerate(sims)]
        self._air = air
        self._behaviour = behaviour
        self._seed_of = seed_of

    def __repr__(self) -> str:
        return f"<Radio {len(self.slots)} SIMs>"

    def has_room(self, slot: Slot, stored: Stored) -> bool:
        """Does Android let it through? It counts parts."""
        limit = self._behaviour.radio_limit_parts
        if limit == 0:
            return True
        since = time.monotonic() - self._behaviour.radio_limit_seconds
        while slot.lately and slot.lately[0][0] <= since:
            slot.lately.popleft()
        return sum(parts for _, parts in slot.lately) + _parts(stored) <= limit

    def transmit(self, slot: Slot, stored: Stored) -> None:
        """On the air, once for each recipient. Nothing calls it back."""
        message_id, attempt = split_id(stored.id)
        for number in stored.numbers:
            self._air.write(
                Sms(
                    at=time.time(),
                    seed=self._seed_of(slot.number),
                    carrier=slot.sim.carrier,
                    id=message_id,
                    attempt=attempt,
                    to=number,
                    text=stored.text,
                )
            )
        if self._behaviour.radio_limit_parts:
            slot.lately.append((time.monotonic(), _parts(stored)))


def split_id(device_id: str) -> tuple[str, int]:
    """The router's id of a message, and the attempt, from what a phone knows it by: `<message id>_<attempt>`."""
    message_id, underscore, attempt = device_id.rpartition("_")
    return (message_id, int(attempt)) if underscore and attempt.isdecimal() else (device_id, 1)


def _parts(stored: Stored) -> int:
    """A data message is one SMS."""
    one = 1 if stored.port else count_segments(stored.text).parts
    return one * len(stored.numbers)
