"""What an operator has to know first, in plain words. Pure."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from router.domain.statistics import CarrierView, Counts
from router.services.queue_view import QueueFigures
from router.services.redis_health import NodeHealth

_SLOW_QUEUE_SECONDS = 15.0
_OLD_FIGURES_SECONDS = 15.0
_LEAST_MESSAGES = 20
"""Shares of fewer messages say nothing."""
_EXPIRED_SHARE = 0.05
_FAILED_OVER_SHARE = 0.3


class Warned(msgspec.Struct, frozen=True):
    """One warning; `path` is where to look, and `link` its name."""

    kind: Literal["error", "warn"]
    what: str
    text: str
    path: str = ""
    link: str = ""


def warnings(
    *, queue: QueueFigures, carriers: Sequence[CarrierView], recent: Counts, redis: Sequence[NodeHealth], now: float
) -> list[Warned]:
    """The worst first. `recent` is the sum of the last minutes."""
    found = [*_of_carriers(carriers, now), *_of_the_queue(queue, now), *_of_messages(recent), *_of_redis(redis)]
    return sorted(found, key=lambda warned: warned.kind != "error")


def _of_carriers(carriers: Sequence[CarrierView], now: float) -> list[Warned]:
    as_of = max((view.as_of for view in carriers if view.as_of is not None), default=None)
    if as_of is None or now - as_of > _OLD_FIGURES_SECONDS:
        since = "so far" if as_of is None else f"for {now - as_of:.0f} seconds"
        text = f"none has told of its seeds {since}. Where none runs, nothing is given to phones."
        return [Warned("error", "No dispatcher is heard of:", text)]
    return [warned for view in carriers if view.parked and (warned := _of_parked(view)) is not None]


def _of_parked(view: CarrierView) -> Warned | None:
    path = f"/console/seeds?q={view.carrier}"
    waiting = f"{view.parked:,} {'message waits' if view.parked == 1 else 'messages wait'}"
    if not view.carrier:
        return Warned("warn", "Messages wait for a seed:", f"{view.parked:,} that one phone alone, or more than one carrier's, could send.")
    if not view.online:
        return Warned("error", f"{view.carrier_name} has no seed:", f"{waiting}, and none of its seeds is online.", path, "Seeds")
    if not view.ready:
        seeds = "its only seed cannot" if view.online == 1 else f"none of its {view.online:,} seeds online can"
        return Warned("warn", f"{view.carrier_name} is full:", f"{waiting}, and {seeds} take one now.", path, "Seeds")
    return None


def _of_the_queue(queue: QueueFigures, now: float) -> list[Warned]:
    found = []
    if queue.oldest_at is not None and now - queue.oldest_at > _SLOW_QUEUE_SECONDS:
        text = f"{queue.depth:,} on it, and the first of them for {now - queue.oldest_at:.0f} seconds. Dispatchers are gone, or too slow."
        found.append(Warned("error", "The queue is not taken from:", text))
    if queue.dead_letters:
        text = f"{queue.dead_letters:,}: entries that could not be handled."
        found.append(Warned("warn", "There are dead letters:", text, "/console/dead", "Look at them"))
    if queue.webhooks_dead:
        text = f"{queue.webhooks_dead:,}: events that a client's server has not taken."
        found.append(Warned("warn", "There are dead webhooks:", text, "/console/dead", "Look at them"))
    return found


def _of_messages(recent: Counts) -> list[Warned]:
    found = []
    if recent.accepted >= _LEAST_MESSAGES and recent.expired > _EXPIRED_SHARE * recent.accepted:
        text = f"{recent.expired:,} in the last five minutes, of {recent.accepted:,} accepted."
        found.append(Warned("error", "Messages expire:", text, "/console/messages", "Messages"))
    if recent.dispatched >= _LEAST_MESSAGES and recent.failovers > _FAILED_OVER_SHARE * recent.dispatched:
        text = f"{recent.failovers:,} in the last five minutes, of {recent.dispatched:,} given to seeds."
        found.append(Warned("warn", "Many failovers:", text))
    return found


def _of_redis(nodes: Sequence[NodeHealth]) -> list[Warned]:
    found = []
    if any(not node.is_noeviction for node in nodes):
        found.append(Warned("error", "Redis may throw messages away:", "its maxmemory-policy is not noeviction."))
    if any(not node.is_written for node in nodes):
        found.append(Warned("error", "Redis cannot write to its disk:", "a crash of it now would lose what was accepted."))
    if any(not node.is_aof for node in nodes):
        text = "a crash of it would lose what was accepted since its last snapshot."
        found.append(Warned("warn", "Redis keeps no append-only file:", text))
    return found
