"""What came of a demo: judged, and printed."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from router.cli.output import print_rich, print_table

_LONGEST_TABLE: Final = 100


class Journey(msgspec.Struct, frozen=True, kw_only=True):
    """One code's way. `attempts`: (seed, how it ended). Seconds are from acceptance to the air, by the machine's clock."""

    id: str
    carrier: str
    state: str
    attempts: list[tuple[str, str]]
    seconds: float | None
    times_on_air: int


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the demo saw. Money is in minor units."""

    journeys: list[Journey]
    killed: list[str]
    balance_before: int
    balance_after: int
    price: int
    took_seconds: float

    @property
    def states(self) -> dict[str, int]:
        return dict(Counter(journey.state for journey in self.journeys))

    @property
    def failovers(self) -> dict[str, int]:
        """Attempts that another one followed, by how they ended."""
        return dict(Counter(state for journey in self.journeys for _, state in journey.attempts[:-1]))

    @property
    def twice(self) -> int:
        """Messages that were on the air more than once."""
        return sum(journey.times_on_air > 1 for journey in self.journeys)

    @property
    def expected_balance(self) -> int:
        return self.balance_before - self.price * len(self.journeys)

    @property
    def problems(self) -> list[str]:
        """Why the demo failed; empty when it did not."""
        found = []
        if unverified := sum(journey.state != "verified" for journey in self.journeys):
            found.append(f"{unverified} codes did not end verified")
        if self.twice:
            found.append(f"{self.twice} messages were on the air twice")
        if self.balance_after != self.expected_balance:
            found.append(f"the wallet holds {self.balance_after} minor units, not {self.expected_balance}")
        if not self.failovers:
            found.append("no failover was seen, although phones died: the demo has shown nothing")
        return found

    @property
    def ok(self) -> bool:
        return not self.problems

    def percentiles(self) -> dict[str, float | None]:
        """p50, p95 and p99 of the seconds from acceptance to the air, by the nearest rank."""
        seconds = sorted(journey.seconds for journey in self.journeys if journey.seconds is not None)
        return {f"p{rank}": _nearest_rank(seconds, rank) for rank in (50, 95, 99)}

    def as_document(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "problems": self.problems,
            "codes": len(self.journeys),
            "states": self.states,
            "killed": self.killed,
            "failovers": self.failovers,
            "seconds_to_air": self.percentiles(),
            "on_air_twice": self.twice,
            "balance": {"before": self.balance_before, "after": self.balance_after, "expected": self.expected_balance},
            "took_seconds": round(self.took_seconds, 1),
            "journeys": msgspec.to_builtins(self.journeys),
        }


def print_outcome(outcome: Outcome) -> None:
    """The journeys, those with failovers first, then the sums and the verdict."""
    journeys = sorted(outcome.journeys, key=lambda journey: (-len(journey.attempts), journey.carrier, journey.id))
    rows = [
        (
            journey.id,
            journey.carrier,
            " → ".join(f"…{seed[-3:]} {state}" for seed, state in journey.attempts),
            journey.state,
            None if journey.seconds is None else f"{journey.seconds:.2f}",
        )
        for journey in journeys[:_LONGEST_TABLE]
    ]
    print_table(("message", "carrier", "attempts (seed, outcome)", "state", "seconds"), rows, title="Journeys")
    if len(journeys) > _LONGEST_TABLE:
        print(f"… and {len(journeys) - _LONGEST_TABLE} more")
    times = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in outcome.percentiles().items() if seconds is not None)
    print(f"States: {_counted(outcome.states)}")
    print(f"Phones killed: {', '.join(outcome.killed) or 'none'}")
    print(f"Failovers: {_counted(outcome.failovers) or 'none'}")
    print(f"Accepted to sent: {times or 'nothing was sent'}")
    print(f"On the air twice: {outcome.twice}")
    charged = outcome.balance_before - outcome.balance_after
    print(f"Charged: {charged} minor units for {len(outcome.journeys)} codes of {outcome.price} each")
    verdict = "OK" if outcome.ok else f"FAILED: {'; '.join(outcome.problems)}"
    from rich.text import Text

    print_rich(Text(f"{verdict} ({outcome.took_seconds:.1f} s)", style="bold green" if outcome.ok else "bold red"))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def _nearest_rank(ordered: Sequence[float], rank: int) -> float | None:
    return round(ordered[math.ceil(rank / 100 * len(ordered)) - 1], 3) if ordered else None
