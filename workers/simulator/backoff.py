"""How long to wait before trying again."""

import random


class Backoff:
    """Doubles up to a cap; each wait is drawn from the upper half, so that a fleet does not come back as one."""

    def __init__(self, rng: random.Random, first_seconds: float = 0.1, cap_seconds: float = 5.0) -> None:
        self._rng = rng
        self._first_seconds = first_seconds
        self._cap_seconds = cap_seconds
        self._next_seconds = first_seconds

    def __repr__(self) -> str:
        return f"<Backoff next {self._next_seconds:.1f} s>"

    def next_seconds(self) -> float:
        """The wait before the next try."""
        ceiling = self._next_seconds
        self._next_seconds = min(2.0 * ceiling, self._cap_seconds)
        return ceiling * (0.5 + 0.5 * self._rng.random())

    def reset(self) -> None:
        """It worked."""
        self._next_seconds = self._first_seconds
