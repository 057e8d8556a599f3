"""What `torture` breaks, and when: a plan that its seed alone decides."""

import random
from typing import Final, Literal

import msgspec

from workers.simulator.behaviour import Behaviour

Kind = Literal["kill", "pause", "kill phones", "revive phones"]

_GAP_SECONDS: Final = (0.3, 1.1)
_PAUSE_SECONDS: Final = (1.0, 3.0)
_MOST_PHONES: Final = 3
"""Killed at once."""
_DECK: Final[tuple[tuple[Kind, str], ...]] = (
    ("kill", "dispatcher"),
    ("kill", "timekeeper"),
    ("kill", "api"),
    ("kill", "redis"),
    ("pause", "dispatcher"),
    ("pause", "timekeeper"),
    ("kill phones", ""),
    ("revive phones", ""),
)

TROUBLED: Final = Behaviour(
    pace_seconds=0.1,
    fail_rate=0.03,
    silent_rate=0.01,
    die_after_send_rate=0.005,
    doze_rate=0.02,
    doze_seconds=1.5,
    late_report_rate=0.05,
    late_report_seconds=2.0,
    repeat_report_rate=0.05,
    delivered_rate=0.2,
)
"""Every bad behaviour of a phone, each often enough to be seen in a run of half a minute."""


class Nemesis(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is broken, `at` seconds after the start. `seconds`: how long a pause lasts; `phones`: the places of those killed."""

    at: float
    kind: Kind
    target: str = ""
    seconds: float = 0.0
    phones: tuple[int, ...] = ()


def plan(rng: random.Random, seconds: float, phones: int) -> list[Nemesis]:
    """From the first second to the last. Each thing comes once before any comes again, so that a short run shows most of them."""
    nemeses: list[Nemesis] = []
    deck: list[tuple[Kind, str]] = []
    at = rng.uniform(*_GAP_SECONDS)
    while at < seconds:
        if not deck:
            deck = rng.sample(_DECK, len(_DECK))
        kind, target = deck.pop()
        nemeses.append(
            Nemesis(
                at=round(at, 3),
                kind=kind,
                target=target,
                seconds=round(rng.uniform(*_PAUSE_SECONDS), 3) if kind == "pause" else 0.0,
                phones=tuple(rng.sample(range(phones), rng.randint(1, min(_MOST_PHONES, phones)))) if kind == "kill phones" else (),
            )
        )
        at += rng.uniform(*_GAP_SECONDS)
    return nemeses
