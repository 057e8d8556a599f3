"""How far a phone's clock is ahead of ours, learned from the times in its reports; and so a lease's end as the phone's clock will show it.

A phone does a thing between the hand-over and the moment its report reaches us, and says when by its own clock. So each report bounds the
offset (phone minus ours): at least `told - received`, at most `told - handed over`. Reports that come quickly bound it closely; late ones
say little, and nothing wrong. Bounds of several reports are cut with each other, and widen as they grow old, since clocks drift.

Before the first report a phone is taken to be right within `unknown_skew_seconds`, as phones that take their time from the network are.
What is not known becomes margin: how much later than we think the phone may still believe in its lease. To that comes what its word takes
to reach us: a phone on a slow network that began in time must not be taken for a silent one. Its quickest report took no longer than its
bounds are apart.
"""

import math

import msgspec

from router.domain.rules import Rules

_DRIFT = 1e-4
"""Seconds per second. A phone's quartz is ten times better; this leaves room for its clock being set a little."""


class Bounds(msgspec.Struct, frozen=True):
    """What reports say of a phone's offset, in seconds, and when the last of them came. Infinite while nobody has said anything."""

    low: float = -math.inf
    high: float = math.inf
    at: float = 0.0


class Clock(msgspec.Struct, frozen=True):
    """What to work with: ours + `offset` is the phone's time; `margin_seconds` is how much later it may stop, and be heard of."""

    offset: float
    margin_seconds: float


def learn(bounds: Bounds, told_at: float, handed_at: float, received_at: float) -> Bounds:
    """The bounds after one more report. `told_at` is by the phone's clock, the others are ours."""
    if received_at < handed_at:
        return bounds
    low, high = told_at - received_at, told_at - handed_at
    known = _aged(bounds, received_at)
    if known.low > high or known.high < low:
        # The phone's clock was set since
        return Bounds(low, high, received_at)
    return Bounds(max(low, known.low), min(high, known.high), received_at)


def estimate(bounds: Bounds, now: float, rules: Rules) -> Clock:
    """The offset that is nearest to zero among those that can be; and the margin that covers the others, and the way of its word."""
    known = _aged(bounds, now)
    low, high = max(known.low, -rules.unknown_skew_seconds), min(known.high, rules.unknown_skew_seconds)
    if low > high:
        low, high = known.low, known.high
    offset = min(max(0.0, low), high)
    word = 0.0 if math.isinf(known.high - known.low) else min(rules.skew_seconds, known.high - known.low)
    return Clock(offset, max(rules.skew_seconds + word, offset - low))


def _aged(bounds: Bounds, now: float) -> Bounds:
    slack = max(0.0, now - bounds.at) * _DRIFT if bounds.at else 0.0
    return Bounds(bounds.low - slack, bounds.high + slack, bounds.at)
