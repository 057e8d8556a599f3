"""What happens to a fleet during a run, beside its traffic. Times are seconds since the beginning; a run measures after a warm-up."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from bench.routing.run import Run

WARM_UP_SECONDS = 120.0
AT = 300.0
"""When the trouble begins."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One story. `load` is what it is told at, as a share of what all SIMs could send."""

    about: str
    load: float
    seconds: float = 1200.0
    """Of traffic that is measured."""
    arrange: Callable[["Run"], None]
    factor: Callable[[float], float] = lambda _: 1.0
    """How many times the usual traffic there is at a time."""


def _nothing(run: "Run") -> None:
    """The usual misery is in the fleet."""


def _die(run: "Run") -> None:
    """Two fifths of all phones are gone at once, for 90 s, with what they hold."""
    gone = run.some(0.4)
    run.note("dies", AT, AT + 90.0)
    for phone in gone:
        run.agenda.at(AT, phone.leave)
        run.agenda.at(AT + 90.0, phone.come_back)


def _cell(run: "Run") -> None:
    """A third of one carrier stands under one cell, which goes down for five minutes."""
    carrier = run.fleet.carriers[0].code
    gone = run.some(1 / 3, carrier)
    run.note("cell", AT, AT + 300.0)
    for phone in gone:
        run.agenda.at(AT, phone.leave)
        run.agenda.at(AT + 300.0, phone.come_back)


def _renewal(run: "Run") -> None:
    """Half of the SIMs are taken out, and others put in of which nobody knows anything."""
    run.note("renewal", AT, AT)
    run.agenda.at(AT, run.renew, 0.5)


def _hurry(run: "Run") -> None:
    """What `_rush` does to the traffic."""
    run.note("rush", AT, AT + 60.0)


def _rush(at: float) -> float:
    return 5.0 if AT <= at < AT + 60.0 else 1.0


SCENARIOS: dict[str, Scenario] = {
    "usual": Scenario(about="the fleet's usual misery", load=0.6, arrange=_nothing),
    "die": Scenario(about="40 % of the phones are gone for 90 s", load=0.5, arrange=_die, seconds=600.0),
    "cell": Scenario(about="a third of one carrier is gone for 5 minutes", load=0.5, arrange=_cell, seconds=900.0),
    "rush": Scenario(about="five times the traffic for a minute", load=0.2, arrange=_hurry, seconds=600.0, factor=_rush),
    "renewal": Scenario(about="half of the SIMs are new, without a history", load=0.5, arrange=_renewal, seconds=900.0),
}
