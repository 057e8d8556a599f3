"""What a choice looks at of every seed that is known, in columns of small numbers.

Five candidates of a hundred thousand are five places in memory that nobody has touched lately, and a seed's record with all its numbers is
a dozen such places. So what is asked of each candidate stands in a few columns, which the processor keeps near: whether it could take any
ordinary message, with what score, and whether its next sign of life is overdue. The record itself is looked at where that is not enough.
"""

import math
from array import array
from collections.abc import Iterator
from typing import Final

from router.domain.rules import Rules
from router.domain.seed import Seed

NOT_FREE: Final = math.inf
_PAUSE_FADES: Final = 0.8
"""What a longer pause between two signs of life weighs after the next sign."""
_LONGEST_PAUSE: Final = 0.5
"""Of a seed's online window: no longer pause is taken for usual."""
_SLACK_SECONDS: Final = 0.5
"""Signs of life travel, and are looked for every tenth of a second."""


class Standings:
    """A row for each seed, by its slot: a small number that it keeps for good. Who changes a seed notes it (`note`)."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._slots: dict[str, int] = {}
        self._pauses = array("f")
        """What is usual between two signs of life."""
        self._lps = array("d")
        self._turns = 0
        self.seeds: list[Seed] = []
        self.ids: list[str] = []
        self.score = array("d")
        """`Seed.score` of a seed that could take a message of one part that asks for nothing special; `NOT_FREE` where it could not, and
        where nobody has looked since it was given one.
        """
        self.overdue_at = array("I")
        """The second (Unix) from which its next sign of life is overdue, by the pauses that it makes. Never later than the end of its
        online window: until then it is online.
        """
        self.turn = array("I")
        """The number of the choice that gave it a message last; 0 = none yet."""

    def __len__(self) -> int:
        return len(self.seeds)

    def __iter__(self) -> Iterator[Seed]:
        return iter(self.seeds)

    def slot(self, seed_id: str) -> int | None:
        """Where a seed stands; None for one that nobody has heard of."""
        return self._slots.get(seed_id)

    def put(self, seed: Seed) -> int:
        """The latest word on a seed, to be noted by the caller; gives its slot."""
        slot = self._slots.get(seed.id)
        if slot is not None:
            self.seeds[slot] = seed
            return slot
        slot = self._slots[seed.id] = len(self.seeds)
        self.seeds.append(seed)
        self.ids.append(seed.id)
        self.score.append(NOT_FREE)
        self.overdue_at.append(0)
        self.turn.append(0)
        self._lps.append(seed.lps)
        self._pauses.append(0.0)
        return slot

    def note(self, slot: int, *, free: bool) -> None:
        """The seed has changed. `free`: could it take an ordinary message now?"""
        seed = self.seeds[slot]
        self.heard(slot, seed.lps)
        self._expect(slot)
        self.score[slot] = seed.score(self._rules) if free else NOT_FREE

    def given(self, slot: int) -> None:
        """It was just given a message: the next look is at the record."""
        # Four bytes: after four thousand million choices the first ones of the next round look idle, once
        self._turns = (self._turns + 1) & 0xFFFF_FFFF
        self.turn[slot] = self._turns
        self.score[slot] = NOT_FREE

    def heard(self, slot: int, at: float) -> None:
        """A sign of life, and nothing else has changed."""
        pause = at - self._lps[slot]
        if pause <= 0.0:
            return
        self._lps[slot] = at
        self._pauses[slot] = max(pause, self._pauses[slot] * _PAUSE_FADES)
        self._expect(slot)

    def _expect(self, slot: int) -> None:
        """When the next sign of life is overdue."""
        window = self.seeds[slot].window_seconds or self._rules.online_window_seconds
        pause = self._pauses[slot] = min(self._pauses[slot], _LONGEST_PAUSE * window)
        at = self._lps[slot]
        self.overdue_at[slot] = max(0, min(math.ceil(at + pause + _SLACK_SECONDS), math.floor(at + window)))
