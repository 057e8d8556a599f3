"""What a dispatcher decides: a seed for each message, whom a failover may still use, and which parking lots are worth a look.

No waiting in it: the caller hands in messages and the time, and makes true what is answered (`services/dispatch.py`).
"""

from typing import Final

from router.domain.directory import Directory
from router.domain.lots import needs_phone
from router.domain.message import Message
from router.domain.rules import Rules
from router.domain.selection import Choice, FailoverBudget, Need

FRUITLESS_SECONDS: Final = 0.5
"""A parking lot none of whose first messages could leave is left alone for so long."""

_LOTS_KEPT: Final = 1000


class Chooser:
    """One per dispatcher, over its copy of the fleet."""

    def __init__(self, directory: Directory, budget: FailoverBudget, rules: Rules) -> None:
        self.directory = directory
        self._budget = budget
        self._rules = rules
        self._left_alone_until: dict[str, float] = {}

    def choose(self, message: Message, now: float) -> Choice:
        """A seed for a pending message, or none; what is chosen counts in the copy at once, so that the next choice sees it."""
        choice = self.directory.find(self.need(message, now), now)
        if choice.seed is not None:
            self.directory.take(choice, message.parts, now)
            if message.handed_over:
                self._budget.failover()
            else:
                self._budget.first_attempt()
        return choice

    def need(self, message: Message, now: float) -> Need:
        """What a message asks of its next seed."""
        rest = self._rules.retry_seed_seconds
        return Need(
            carrier=message.carrier,
            country=message.country,
            parts=message.parts,
            account=message.account,
            only=message.only,
            sim=message.sim,
            phone_only=needs_phone(message),
            tried={attempt.seed: (attempt.ended_at or attempt.assigned_at) + rest for attempt in message.attempts},
            known_good_only=bool(message.handed_over) and self._budget.is_used_up(now),
        )

    def is_worth_a_look(self, lot: str, now: float) -> bool:
        """Could a message of that lot leave it now?"""
        return now >= self._left_alone_until.get(lot, 0.0) and self.directory.ready(lot, now) > 0

    def looked(self, lot: str, now: float, *, in_vain: bool) -> None:
        """Its first messages were looked at, and some left it or none."""
        if len(self._left_alone_until) > _LOTS_KEPT:
            self._left_alone_until = {name: until for name, until in self._left_alone_until.items() if until > now}
        if in_vain:
            self._left_alone_until[lot] = now + FRUITLESS_SECONDS
        else:
            self._left_alone_until.pop(lot, None)
