"""Policies side by side: each is the rules with other numbers, or a dispatcher's view of a seed that says another score."""

from collections.abc import Callable

import msgspec

from bench.routing.phones import Phone
from router.domain.record import Record
from router.domain.rules import Rules
from router.domain.seed import Seed

View = Callable[[Record, Phone, float], Seed]
_FIELDS = Seed.__struct_fields__


class _LeastInFlight(Seed, kw_only=True):
    """Nothing counts but what it holds."""

    def score(self, rules: Rules) -> float:
        return float(self.in_flight)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One way to choose."""

    about: str
    view: View
    changes: dict[str, object] = {}
    """What it changes of the rules."""
    newest_first: bool = False
    """What is parked goes out in the other order."""


def _as(kind: type[Seed]) -> View:
    def view(record: Record, phone: Phone, now: float) -> Seed:
        return kind(**{name: getattr(record, name) for name in _FIELDS})

    return view


def _known(record: Record, phone: Phone, now: float) -> Seed:
    """It sees the phones that would not send as disabled, and blames none of the others."""
    seed = Seed(**{name: getattr(record, name) for name in _FIELDS})
    seed.enabled = record.enabled and phone.is_good
    seed.lps = now
    seed.consecutive_failures = 0
    seed.bad = 0.0
    return seed


POLICIES: dict[str, Policy] = {
    "ours": Policy(about="balanced, as the router does it", view=_as(Seed)),
    "random-once": Policy(about="any seed with room, and no failover", view=_as(Seed), changes={"choices": 1, "max_attempts": 1}),
    "random": Policy(about="any seed with room", view=_as(Seed), changes={"choices": 1}),
    "round-robin": Policy(about="the seed that was idle longest", view=_as(Seed), changes={"policy": "round-robin"}),
    "freshest": Policy(about="the seed that was heard of last", view=_as(Seed), changes={"policy": "freshest"}),
    "least-in-flight": Policy(about="of five, the one that holds least", view=_as(_LeastInFlight)),
    "newest-first": Policy(about="ours, but of what waits the newest goes out first", view=_as(Seed), newest_first=True),
    "oracle": Policy(about="knows which phones would send", view=_known),
}
