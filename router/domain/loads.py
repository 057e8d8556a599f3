"""How many messages each seed was given lately, for the figure that says whether the choice is fair."""

from collections import Counter, deque

_MINUTES = 5


class Loads:
    """Counts of the running minute and the ones before it, five in all. Adding is an append: a count per seed would be one more place in
    memory that no choice has touched lately.
    """

    def __init__(self) -> None:
        self._minute = 0.0
        self._given: list[str] = []
        """Of the running minute, in their order."""
        self._minutes: deque[tuple[float, Counter[str]]] = deque(maxlen=_MINUTES - 1)

    def add(self, seed_id: str, now: float) -> None:
        """It was given a message."""
        minute = now // 60
        if minute != self._minute:
            self._minutes.append((self._minute, Counter(self._given)))
            self._minute, self._given = minute, []
        self._given.append(seed_id)

    def by_seed(self, now: float) -> Counter[str]:
        """Messages of the last five minutes, of seeds that had any."""
        total: Counter[str] = Counter()
        for minute, counts in (*self._minutes, (self._minute, Counter(self._given))):
            if minute > now // 60 - _MINUTES:
                total.update(counts)
        return total


def unevenness(busiest: int, total: int, seeds: int) -> float:
    """The most that one of the seeds was given ÷ their mean; 1.0 = as even as can be, 0.0 = nothing was given.

    The mean counts as at least one: ten messages to ten of a thousand seeds are as even as ten messages can be.
    """
    return busiest / max(1.0, total / max(1, seeds)) if total else 0.0
