"""Priorities without starvation: in which order a consumer looks at the lanes."""

from collections.abc import Iterable, Sequence
from typing import Final

from router.domain.message import LANES

TURNS = 20
_NOTIFICATION_EVERY = 5
DEAD_QUEUE: Final = "seedrouter.dead"
QUEUES = {lane: f"seedrouter.{lane}" for lane in LANES}


def order_of_turn(turn: int) -> tuple[str, ...]:
    """The queues in the order of this turn: codes first, but every 5th turn notifications, and every 20th bulk."""
    otp, notification, bulk = (QUEUES[lane] for lane in LANES)
    if turn % TURNS == TURNS - 1:
        return bulk, otp, notification
    if turn % _NOTIFICATION_EVERY == _NOTIFICATION_EVERY - 1:
        return notification, otp, bulk
    return otp, notification, bulk


class LaneCycle:
    """kombu's `queue_order_strategy` for its virtual transports (kombu.utils.scheduling): a turn is one message received."""

    def __init__(self, it: Iterable[str] | None = None) -> None:
        self._active = set(it or ())
        self._turn = 0

    def update(self, it: Iterable[str]) -> None:
        self._active = set(it)

    def consume(self, n: int) -> Sequence[str]:
        """The first `n` active queues in the order of this turn; a queue that is no lane comes last."""
        ordered = [queue for queue in order_of_turn(self._turn) if queue in self._active]
        return [*ordered, *sorted(self._active.difference(ordered))][:n]

    def rotate(self, last_used: str) -> str:
        self._turn = (self._turn + 1) % TURNS
        return last_used
