"""SMS pumping: somebody has codes sent to numbers that earn him money, and never types one in. Who can tell, by figures of one prefix.

A **prefix** is the beginning of a number, finer than its carrier: `+21366123` is 10,000 numbers of Mobilis. Three things are looked at:
how fast codes go there (velocity), how many come back (conversion), and whether the numbers stand next to each other (sequence). Velocity
alone proves nothing: a morning rush is fast, and in a small country one prefix may be a tenth of all numbers. So a prefix is judged when
it is much faster than is usual *for it*, and beside that its numbers are in a row, or its codes do not come back. Low conversion counts
only where the carrier's other prefixes convert: else it is the carrier that is down.

Pure: figures, what is usual and the rules in, a verdict out. Source of the three signs: Twilio's guides on SMS pumping.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final, Literal

import msgspec

from router.domain.statistics import MINUTE_SECONDS

Mode = Literal["off", "watch", "block"]
Reason = Literal["velocity", "sequential", "conversion", "operator"]
REASONS: Final[tuple[Reason, ...]] = ("velocity", "sequential", "conversion", "operator")
State = Literal["normal", "fast", "velocity", "sequential", "conversion"]
"""`fast`: much faster than usual, and nothing else against it."""

PREFIX: Final = "prefix"
"""The family of the sums that are counted per minute."""
_KNOWN_CODES: Final = 100
"""Codes (aged) from which on a carrier's usual conversion is known."""
_VOICE: Final = 3.0
"""Codes with which one prefix counts in its carrier's conversion at the most: a loud one does not outvote the many."""
_TROUBLED_SHARE: Final = 0.5
"""Of its usual conversion: below it a carrier is in trouble, and no prefix of it is judged by what comes back."""


class FraudRules(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers behind the verdicts. Times are seconds."""

    mode: Mode = "watch"
    """`watch` marks and counts, and refuses nobody: what is usual has to be learned first, and a wrong block is a customer's lost login."""
    prefix_digits: int = 5
    """Digits behind the country code."""
    window_seconds: int = 600
    """What is judged: whole minutes."""
    floor: int = 20
    """Codes to one prefix within the window below which nothing is judged."""
    velocity_factor: float = 5.0
    """Faster than usual by more than this is fast."""
    limit: int = 0
    """Codes to one prefix and window, whatever else speaks for them; beyond it the prefix is blocked for a window. 0 = none."""
    conversion_share: float = 0.2
    """Below this share of the carrier's usual conversion a prefix converts badly."""
    near_share: float = 0.5
    """From this share of near numbers on they are in a row."""
    ripe_seconds: int = 120
    """From a minute's beginning until its codes should have come back."""
    usual_seconds: int = 86_400
    """What happened so long ago counts for a third (1/e) of what happens now."""
    block_seconds: int = 900
    block_max_seconds: int = 86_400
    """A block that follows another one is twice as long, up to this."""
    spare_seconds: int = 3600
    """A prefix that an operator has freed is not blocked by the router for so long."""
    plain: bool = False
    """Judge (and refuse) plain SMS as well: by velocity and sequence, since they have no conversion."""
    countries: frozenset[str] = frozenset()
    """ISO codes; empty = all."""

    @property
    def learn_seconds(self) -> int:
        """From a minute's beginning until it counts as past: it is out of the window, and all that it could be suspected of was found."""
        return self.window_seconds + self.ripe_seconds + MINUTE_SECONDS

    @property
    def keep_seconds(self) -> int:
        """How long the sums are needed: until they are learned, and for an hour in which nobody judged."""
        return self.learn_seconds + 60 * MINUTE_SECONDS


def are_served(countries: Iterable[str], served: frozenset[str]) -> bool:
    """Are they all on the list? An empty list has them all."""
    return not served or served.issuperset(countries)


# Figures


class Sums(msgspec.Struct, kw_only=True):
    """What happened to one prefix, of the kinds of messages that are judged."""

    accepted: int = 0
    distinct: int = 0
    """Numbers that were not among the latest of their prefix."""
    near: int = 0
    """Of those, next to one of them."""
    sent: int = 0
    """Codes only, as `verified`."""
    verified: int = 0
    refused: int = 0
    """Because the prefix is blocked."""

    def add(self, other: "Sums") -> None:
        # Written out: there may be tens of thousands to add
        self.accepted += other.accepted
        self.distinct += other.distinct
        self.near += other.near
        self.sent += other.sent
        self.verified += other.verified
        self.refused += other.refused


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One prefix within the window. `ripe`: of the minutes whose codes should have come back by now."""

    prefix: str
    carrier: str
    now: Sums
    ripe: Sums
    young: Sums
    """Of the others."""

    @property
    def demand(self) -> int:
        """What was wanted of us, accepted or not."""
        return self.now.accepted + self.now.refused

    @property
    def conversion(self) -> float | None:
        """Verified ÷ sent, 0.0 to 1.0; None where no code is old enough."""
        return min(1.0, self.now.verified / self.ripe.sent) if self.ripe.sent else None


Minute = Mapping[str, Mapping[str, Sums]]
"""Prefix → carrier → what happened in one minute."""


def figures_of(minutes: Mapping[int, Minute], now: float, rules: FraudRules) -> dict[str, Figures]:
    """By prefix, from the minutes of a window, each by its beginning. A prefix with ported numbers counts for its commonest carrier."""
    sums: dict[str, tuple[Sums, Sums, Sums, dict[str, int]]] = {}
    for start, prefixes in minutes.items():
        is_ripe = start + rules.ripe_seconds <= now
        for prefix, by_carrier in prefixes.items():
            if prefix not in sums:
                sums[prefix] = (Sums(), Sums(), Sums(), {})
            whole, ripe, young, carriers = sums[prefix]
            for carrier, part in by_carrier.items():
                whole.add(part)
                carriers[carrier] = carriers.get(carrier, 0) + part.accepted + part.refused
                (ripe if is_ripe else young).add(part)
    return {
        prefix: Figures(prefix=prefix, carrier=max(carriers.items(), key=lambda one: one[1])[0], now=whole, ripe=ripe, young=young)
        for prefix, (whole, ripe, young, carriers) in sums.items()
    }


class Usual(msgspec.Struct, frozen=True):
    """Sums of a prefix's or carrier's past in which each event fades with its age; as of `at`."""

    accepted: float = 0.0
    sent: float = 0.0
    verified: float = 0.0
    at: float = 0.0

    def aged(self, now: float, rules: FraudRules) -> "Usual":
        weight = math.exp(-max(0.0, now - self.at) / rules.usual_seconds)
        return Usual(self.accepted * weight, self.sent * weight, self.verified * weight, max(now, self.at))

    def plus(self, sums: Sums, at: float, rules: FraudRules) -> "Usual":
        """With what happened at that time."""
        before = self.aged(at, rules)
        return Usual(before.accepted + sums.accepted, before.sent + sums.sent, before.verified + sums.verified, before.at)


def usual_count(usual: Usual, recorded_seconds: float, now: float, rules: FraudRules) -> float:
    """How many messages a window usually has, by a record of so long: a short one is not held for a quiet past."""
    recorded = max(recorded_seconds, float(rules.window_seconds))
    weight = rules.usual_seconds * -math.expm1(-recorded / rules.usual_seconds)
    return usual.aged(now, rules).accepted / weight * rules.window_seconds


def usual_conversion(usual: Usual, now: float, rules: FraudRules) -> float | None:
    """Of a carrier; None where too few codes are known."""
    aged = usual.aged(now, rules)
    return min(1.0, aged.verified / aged.sent) if aged.sent >= _KNOWN_CODES else None


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What a prefix is compared with. `count`: messages in a usual window of its own."""

    count: float = 0.0
    conversion: float | None = None
    """The carrier's usual one."""
    others: float | None = None
    """That of the carrier's other prefixes in this window; None where they are too few to tell."""
    latest: float | None = None
    """Likewise of its last minutes, whose codes are not all back yet."""

    @property
    def expected(self) -> float | None:
        """The conversion that can be expected now; None where nobody knows."""
        if self.conversion is None:
            return None
        return self.conversion if self.others is None else min(self.conversion, self.others)

    @property
    def is_troubled(self) -> bool:
        """Do the codes of the whole carrier not come back?"""
        return self.conversion is not None and self.latest is not None and self.latest < _TROUBLED_SHARE * self.conversion


class Others(msgspec.Struct, frozen=True):
    """Codes of a carrier that went out and came back within the window, and in its last minutes; each prefix with a few of them only."""

    sent: float = 0.0
    verified: float = 0.0
    latest_sent: float = 0.0
    latest_verified: float = 0.0

    @classmethod
    def of(cls, figures: Iterable[Figures]) -> "Others":
        heard = [_heard(one) for one in figures]
        return cls(*map(sum, zip(*heard, strict=True))) if heard else cls()

    @classmethod
    def by_carrier(cls, figures: Iterable[Figures]) -> "dict[str, Others]":
        found: dict[str, list[Figures]] = {}
        for one in figures:
            found.setdefault(one.carrier, []).append(one)
        return {carrier: cls.of(them) for carrier, them in found.items()}

    def without(self, figures: Figures, floor: int) -> tuple[float | None, float | None]:
        """Their conversion but for this prefix: of the window, and of its last minutes; None where fewer than `floor` codes tell it."""
        sent, verified, latest_sent, latest_verified = _heard(figures)
        return (
            _share(self.verified - verified, self.sent - sent, floor),
            _share(self.latest_verified - latest_verified, self.latest_sent - latest_sent, floor),
        )


def _heard(figures: Figures) -> tuple[float, float, float, float]:
    return (*_voice(figures.ripe.sent, figures.now.verified), *_voice(figures.young.sent, figures.young.verified))


def _voice(sent: int, verified: int) -> tuple[float, float]:
    weight = min(1.0, _VOICE / sent) if sent else 1.0
    return sent * weight, min(verified * weight, _VOICE)


def _share(verified: float, sent: float, floor: int) -> float | None:
    return min(1.0, max(0.0, verified) / sent) if sent >= floor else None
