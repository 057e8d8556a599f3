"""Seeds as a choice sees them: records, and rows of them."""

from collections.abc import Iterable, Iterator

from router.domain.directory import Directory
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import Choice, Need, choose_seed, why_not
from router.domain.standing import Standings


def easiest(seed: Seed) -> Need:
    """The message that any seed like this could take."""
    return Need(carrier=seed.carrier, country=seed.country, account=seed.account, only="" if seed.carrier else seed.device or seed.account)


def standings_of(seeds: Iterable[Seed], now: float, rules: Rules) -> Standings:
    """Just read from the store."""
    standings = Standings(rules)
    for seed in seeds:
        standings.note(standings.put(seed), free=why_not(seed, easiest(seed), now, rules) is None)
    return standings


class Counted:
    """Candidates, each looked up when it is drawn, and how many of them were drawn."""

    def __init__(self, *slots: int) -> None:
        self.slots = slots
        self.drawn = 0

    def __iter__(self) -> Iterator[int]:
        for slot in self.slots:
            self.drawn += 1
            yield slot


def choose(fleet: Iterable[Seed], need: Need, now: float, rules: Rules) -> tuple[Choice, int]:
    """The choice among seeds (ids of their own) that were just read, in that order; and how many were looked at."""
    standings = standings_of(fleet, now, rules)
    candidates = Counted(*range(len(standings)))
    return choose_seed(candidates, standings, need, now, rules), candidates.drawn


def give(directory: Directory, seed_id: str, parts: int, now: float = 0.0) -> None:
    """As if this seed had been chosen there."""
    slot = directory._standings.slot(seed_id)
    assert slot is not None, seed_id
    directory.take(Choice(slot=slot), parts, now)
