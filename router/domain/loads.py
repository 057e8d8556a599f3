"""How many messages each seed was given lately, for the figure that says whether the choice is fair."""

from collections import Counter, deque

_MINUTES = 5


class Loads:
    """Counts of the running minute and the ones before it, five in all. Adding is one look into a dict."""

    def __init__(self) -> None:
        self._minute = 0.0
        self._counts: dict[str, int] = {}
        self._minutes: deque[tuple[float, dict[str, int]]] = deque(maxlen=_MINUTES)

    def add(self, seed_id: str, now: float) -> None:
        """It was given a message."""
        minute = now // 60
        if minute != self._minute:
            self._minute, self._counts = minute, {}
            self._minutes.append((minute, self._counts))
        counts = self._counts
        counts[seed_id] = counts.get(seed_id, 0) + 1

    def by_seed(self, now: float) -> Counter[str]:
        """Messages of the last five minutes, of seeds that had any."""
        total: Counter[str] = Counter()
        for minute, counts in self._minutes:
            if minute > now // 60 - _MINUTES:
                total.update(counts)
        return total


def unevenness(busiest: int, total: int, seeds: int) -> float:
    """The most that one of the seeds was given ÷ their mean; 1.0 = as even as can be, 0.0 = nothing was given.

    The mean counts as at least one: ten messages to ten of a thousand seeds are as even as ten messages can be.
    """
    return busiest / max(1.0, total / max(1, seeds)) if total else 0.0
