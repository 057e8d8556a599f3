"""The verdict on a prefix: its figures, and what they are compared with, against the rules of `fraud`. Pure."""

from typing import Final

import msgspec

from router.domain.fraud import Figures, FraudRules, Reason, Reference, State
from router.domain.statistics import MINUTE_SECONDS

_ASSUMED_CONVERSION: Final = 0.5
"""Of a carrier of which it is not."""
_HONEST_SHARE: Final = 0.5
"""Of the usual conversion: so many codes that came back speak for a prefix whose numbers stand in a row (a company's)."""
_HONEST_LEAST: Final = 5
"""Codes sent, for that to be known."""


class Verdict(msgspec.Struct, frozen=True):
    """`why`: the figures in words, for operators only."""

    state: State = "normal"
    why: str = ""

    @property
    def reason(self) -> Reason | None:
        """What a block would be for; None where there is no ground for one."""
        return None if self.state == "normal" or self.state == "fast" else self.state  # noqa: PLR1714 - mypy narrows by `==`


def judge(figures: Figures, reference: Reference, rules: FraudRules) -> Verdict:
    """What these figures come to. One case after the other: the first that holds."""
    minutes = rules.window_seconds // MINUTE_SECONDS
    speed = f"{figures.demand} messages in {minutes} min, usually {reference.count:.1f}"
    if rules.limit and figures.now.accepted > rules.limit:
        return Verdict("velocity", f"{speed}; the limit is {rules.limit}")
    if figures.demand < rules.floor or figures.demand <= rules.velocity_factor * reference.count:
        return Verdict()
    if _is_sequential(figures, rules) and not _is_honest(figures, reference):
        return Verdict("sequential", f"{speed}; {figures.now.near} of {figures.now.distinct} numbers next to another one{_came(figures)}")
    expected, got = reference.expected, figures.conversion
    enough = min(figures.ripe.sent, figures.ripe.distinct) >= rules.floor and not reference.is_troubled
    if enough and expected is not None and got is not None and got < rules.conversion_share * expected:
        return Verdict("conversion", f"{speed}{_came(figures)}, where {expected:.0%} can be expected")
    return Verdict("fast", speed)


def _came(figures: Figures) -> str:
    return f"; {figures.now.verified} of {figures.ripe.sent} codes came back"


def _is_sequential(figures: Figures, rules: FraudRules) -> bool:
    enough = figures.ripe.distinct >= rules.floor and figures.now.near >= rules.floor / 2
    return enough and figures.now.near >= rules.near_share * figures.now.distinct


def _is_honest(figures: Figures, reference: Reference) -> bool:
    """Numbers of one company stand in a row as well, and log in together of a morning. Their codes come back, if anybody's do."""
    expected = _ASSUMED_CONVERSION if reference.expected is None else reference.expected
    if reference.is_troubled:
        return True
    return figures.ripe.sent >= _HONEST_LEAST and figures.now.verified >= _HONEST_SHARE * expected * figures.ripe.sent


def is_calm(figures: Figures, reference: Reference, rules: FraudRules) -> bool:
    """Is a blocked prefix asked for as usual again? At half of what a block takes, so that it does not come and go."""
    return figures.demand < rules.floor / 2 or figures.demand <= rules.velocity_factor / 2 * reference.count


class PrefixView(msgspec.Struct, frozen=True, kw_only=True):
    """A prefix as operators see it, within the window."""

    prefix: str
    carrier: str
    accepted: int
    sent: int
    """Codes that are old enough to have come back; `verified`: those that did."""
    verified: int
    refused: int
    conversion: float | None
    usual_conversion: float | None
    """The carrier's."""
    usual_accepted: float
    """In a usual window of this prefix."""
    verdict: State
    why: str
