"""How a simulated phone behaves, and what that comes to for one message: all its chance is here, in one draw per message."""

import math
import random
from typing import Final, Literal

import msgspec

_AFTERWARDS_SECONDS: Final = 1.0
"""A repeated report and a delivery report follow the sent report within this time."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are probabilities per message, 0 to 1."""

    pace_seconds: float = 0.5
    """Rest after a send, for each part."""
    order: Literal["fifo", "lifo"] = "fifo"
    """Which of the messages that it holds goes first."""
    fail_rate: float = 0.0
    """Permitted, but reported as failed instead of sent."""
    die_after_send_rate: float = 0.0
    """Goes dead right after giving it to the air, without a report."""
    silent_rate: float = 0.0
    """Takes it and never does anything with it."""
    doze_rate: float = 0.0
    """Stops everything for a while, one time in two between the permission and the send."""
    doze_seconds: float = 120.0
    """Mean of an exponential distribution."""
    late_report_rate: float = 0.0
    late_report_seconds: float = 10.0
    repeat_report_rate: float = 0.0
    """Says twice that it was sent."""
    delivered_rate: float = 0.0
    """Gets a delivery report from the network and passes it on."""
    clock_offset_seconds: float = 0.0
    """How far the phone's own clock is ahead of this machine's."""

    @property
    def is_steady(self) -> bool:
        """Does it nothing but send and report in time?"""
        return not (self.fail_rate or self.die_after_send_rate or self.silent_rate or self.doze_rate or self.late_report_rate)


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """What one phone will do with one message. A delay is None where the thing does not happen."""

    fails: bool
    dies: bool
    is_silent: bool
    doze_seconds: float | None
    dozes_after_permission: bool
    late_seconds: float
    repeats_after_seconds: float | None
    delivered_after_seconds: float | None


def draw_fate(rng: random.Random, behaviour: Behaviour) -> Fate:
    """Takes the same count of random numbers each time, so that a phone's n-th message has the same fate in every run."""
    failing, dying, silence, dozing, doze, place, lateness, repeating, repeat, delivering, delivery = (
        rng.random() for _ in range(11)
    )
    return Fate(
        fails=failing < behaviour.fail_rate,
        dies=dying < behaviour.die_after_send_rate,
        is_silent=silence < behaviour.silent_rate,
        doze_seconds=-math.log(1.0 - doze) * behaviour.doze_seconds if dozing < behaviour.doze_rate else None,
        dozes_after_permission=place < 0.5,
        late_seconds=behaviour.late_report_seconds if lateness < behaviour.late_report_rate else 0.0,
        repeats_after_seconds=repeat * _AFTERWARDS_SECONDS if repeating < behaviour.repeat_report_rate else None,
        delivered_after_seconds=delivery * _AFTERWARDS_SECONDS if delivering < behaviour.delivered_rate else None,
    )
