"""Virtual time: things happen in the order of their times, and nothing waits."""

import heapq
import itertools
from collections.abc import Callable
from typing import Any


class Agenda:
    """What is to happen, and when. `now` is seconds since the beginning of the run."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = itertools.count()

    def at(self, when: float, what: Callable[..., None], *arguments: Any) -> None:
        """Calls `what` then; in the order of calls to this where times are equal."""
        heapq.heappush(self._due, (when, next(self._count), what, arguments))

    def after(self, seconds: float, what: Callable[..., None], *arguments: Any) -> None:
        self.at(self.now + seconds, what, *arguments)

    def run(self, until: float) -> None:
        """Everything up to that time."""
        due = self._due
        while due and due[0][0] <= until:
            self.now, _, what, arguments = heapq.heappop(due)
            what(*arguments)
        self.now = max(self.now, until)
