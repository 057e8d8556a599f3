"""What a choice costs, for a fleet of each size: `Chooser.choose` and the reasons that it gives, in memory, everybody online with room.

After each choice the seed's copy is read again, as a report would have it, outside the clock.
"""

import random
import time
from typing import Final

from router.domain.choosing import Chooser
from router.domain.directory import Directory
from router.domain.message import Message
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import FailoverBudget

_CARRIERS: Final = ("60301", "60302", "60303")
_NOW: Final = 1_000.0
_BLOCK: Final = 25


class Ground:
    """A dispatcher's copy of a fleet of that size."""

    def __init__(self, size: int) -> None:
        rules = Rules()
        rng = random.Random(size)
        self.directory = Directory(rules, rng)
        self.chooser = Chooser(self.directory, FailoverBudget(rules), rules)
        for number in range(size):
            seed = Seed(
                id=f"{_CARRIERS[number % 3]}{number:010}", carrier=_CARRIERS[number % 3], country="DZ", enrolled=True, lps=_NOW, sent=50,
                outcomes=20.0, bad=rng.random(), seconds_to_sent=2.0 + rng.random(),
            )  # fmt: skip
            self.directory.update(seed, _NOW)
        self._messages = [
            Message(
                id=f"m{number}", account="a", dialect="gatewire", kind="otp", lane="otp", to="+213661000222", country="DZ",
                carrier=_CARRIERS[number % 3], parts=1, price=0, created_at=_NOW, expires_at=_NOW + 300.0,
            )
            for number in range(_BLOCK)
        ]  # fmt: skip

    def seconds_per_choice(self, choices: int) -> float:
        """The mean over so many choices, in small blocks, so that the smallest fleet has room."""
        spent = 0.0
        blocks = max(1, choices // _BLOCK)
        choose = self.chooser.choose
        chosen: list[Seed] = []
        for _ in range(blocks):
            began = time.perf_counter()
            for message in self._messages:
                choice = choose(message, _NOW)
                if choice.seed is not None and choice.why:
                    chosen.append(choice.seed)
            spent += time.perf_counter() - began
            if len(chosen) < _BLOCK:
                raise RuntimeError(f"{_BLOCK - len(chosen)} messages found no seed")
            for seed in chosen:
                seed.in_flight = 0
                seed.used = (0, 0, 0)
                self.directory.update(seed, _NOW)
            chosen.clear()
        return spent / (blocks * _BLOCK)
