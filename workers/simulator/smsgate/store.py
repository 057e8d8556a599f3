"""The app's own database of messages: it outlives power-offs, and knows each id for ever, which is how a message is sent once."""

import math
from collections.abc import Mapping
from typing import Final

import msgspec

from workers.simulator.smsgate.settings import Order
from workers.simulator.smsgate.times import read_time
from workers.simulator.smsgate.wire import MobileMessage, State

EXPEDITED: Final = 100
"""From this priority on a message goes without rest and limit."""
_KEPT: Final = 10_000
_MAY_BECOME: Final[Mapping[State, frozenset[State]]] = {
    "Pending": frozenset({"Processed", "Sent", "Delivered", "Failed", "Cancelled"}),
    "Cancelled": frozenset({"Sent", "Delivered", "Failed"}),
    "Processed": frozenset({"Sent", "Delivered", "Failed"}),
    "Sent": frozenset({"Delivered", "Failed"}),
    "Delivered": frozenset({"Failed"}),
    "Failed": frozenset(),
}


class Stored(msgspec.Struct, kw_only=True, eq=False):
    """One message at the phone. Times are Unix seconds by the phone's own clock, or as it read them."""

    id: str
    serial: int
    numbers: list[str]
    text: str
    port: int = 0
    """Above 0 it is a data message, and `text` is base64."""
    sim: int = 0
    """The number of the SIM that the router asks for; 0 = it leaves that to the phone."""
    wants_delivery: bool = True
    valid_until: float = math.inf
    not_before: float = 0.0
    priority: int = 0
    created_at: float
    state: State = "Pending"
    states: dict[State, float]
    error: str | None = None

    def __repr__(self) -> str:
        return f"<Stored {self.id} {self.state}>"

    @property
    def is_expedited(self) -> bool:
        return self.priority >= EXPEDITED

    def has_expired(self, now: float) -> bool:
        """By the phone's clock, and the router's word as the app read it."""
        return now > self.valid_until


class Store:
    """All messages that the phone has ever had, the latest ones."""

    def __init__(self) -> None:
        self._messages: dict[str, Stored] = {}
        self._pending: dict[str, Stored] = {}
        self._serial = 0

    def __repr__(self) -> str:
        return f"<Store {len(self._pending)} of {len(self._messages)} pending>"

    def __len__(self) -> int:
        return len(self._messages)

    @property
    def pending(self) -> int:
        return len(self._pending)

    def get(self, id: str) -> Stored | None:
        return self._messages.get(id)

    def add(self, listed: MobileMessage, now: float) -> Stored:
        """Take a new message. Raises ValueError for one that the app cannot read."""
        text, port = _content(listed)
        self._serial += 1
        stored = Stored(
            id=listed.id,
            serial=self._serial,
            numbers=listed.phone_numbers,
            text=text,
            port=port,
            sim=listed.sim_number or 0,
            wants_delivery=listed.with_delivery_report is not False,
            valid_until=math.inf if listed.valid_until is None else read_time(listed.valid_until),
            not_before=0.0 if listed.schedule_at is None else read_time(listed.schedule_at),
            priority=listed.priority or 0,
            created_at=now if listed.created_at is None else read_time(listed.created_at),
            states={"Pending": now},
        )
        self._messages[stored.id] = self._pending[stored.id] = stored
        self._truncate()
        return stored

    def move(self, stored: Stored, state: State, now: float, error: str | None = None) -> bool:
        """Did it go to that state? Not where the app's table forbids it."""
        if state not in _MAY_BECOME[stored.state]:
            return False
        stored.state, stored.error = state, error
        stored.states[state] = now
        self._pending.pop(stored.id, None)
        return True

    def choose(self, order: Order, now: float) -> Stored | None:
        """The next one to send: highest priority, then the newest (LIFO) or the oldest (FIFO)."""
        due = [stored for stored in self._pending.values() if stored.not_before <= now]
        if order == "LIFO":
            return max(due, key=lambda stored: (stored.priority, stored.created_at, stored.serial), default=None)
        return min(due, key=lambda stored: (-stored.priority, stored.created_at, stored.serial), default=None)

    def next_due(self) -> float | None:
        """When the next message that waits for its time may be sent, by the phone's clock."""
        return min((stored.not_before for stored in self._pending.values()), default=None)

    def _truncate(self) -> None:
        while len(self._messages) > _KEPT:
            oldest = next(iter(self._messages))
            del self._messages[oldest]
            self._pending.pop(oldest, None)


def _content(listed: MobileMessage) -> tuple[str, int]:
    if listed.data_message is not None:
        return listed.data_message.data, listed.data_message.port
    text = listed.message if listed.text_message is None else listed.text_message.text
    if text is None or not listed.phone_numbers:
        raise ValueError(f"message {listed.id} has no text or no recipient")
    return text, 0
