"""How reliable a seed is: probes, SMS that go through that seed alone, and the share of them that arrived (spec/relaysms.md, /v3).

A probe is pending, and then a success or timed out; both are final. What proves a success depends on what there is:

- `needs_arrival`: somebody who gets the probe tells the router of it. Only that counts, whatever the seed says.
- else the seed's own `sent`. Not its `delivered`: many carriers and phones give no delivery reports, and a seed would be blamed for its
  carrier's habits. So without a receiving side a test finds seeds that fail or go silent, and none that say "sent" and send nothing.
  An arrival that is told all the same counts too.

What counts is when something happened, not when it was looked at: a late look finds the same. A failure that a seed reports ends no
test, since a later word may prove it wrong; the test then times out, and the seed's own failure share knows of it at once.

A seed's probes are one value, `History`, oldest first; each function gives the next one, for a compare-and-set.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from router.domain.errors import LimitReached
from router.domain.rules import Rules

Status = Literal["pending", "success", "timedout"]
STATUSES: tuple[Status, ...] = ("pending", "success", "timedout")

_HOUR_SECONDS = 3600.0
_SOONEST_LOOK_SECONDS = 1.0
_LATEST_LOOK_SECONDS = 60.0


class Probe(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One reliability test. Times are Unix seconds by the router's clock. Fields are kept by their order: add new ones last."""

    id: int
    message: str
    """The id of the SMS."""
    started_at: float
    deadline: float
    needs_arrival: bool
    sent_at: float | None = None
    """The seed said that it was sent."""
    received_at: float | None = None
    """Who it was sent to had it."""
    routed_at: float | None = None
    """The router was told of that."""
    status: Status = "pending"


History = tuple[Probe, ...]


class Score(msgspec.Struct, frozen=True):
    """The share of `finished` probes that are successes in time; 0.0 where there is none yet."""

    share: float
    finished: int

    @property
    def as_text(self) -> str:
        """As gateway clients are listed: `0.67`."""
        return f"{self.share:.2f}"


def begin(history: History, probe: Probe, rules: Rules) -> History:
    """With one more probe. Raises `LimitReached` where the seed had its share of this hour."""
    recent = [other.started_at for other in history if other.started_at > probe.started_at - _HOUR_SECONDS]
    if len(recent) >= rules.probes_per_hour:
        free_at = recent[-rules.probes_per_hour] + _HOUR_SECONDS if rules.probes_per_hour else probe.started_at + _HOUR_SECONDS
        raise LimitReached("hourly test", rules.probes_per_hour, max(1, int(free_at - probe.started_at) + 1))
    return (*history, probe)[-rules.probes_kept :]


def received(history: History, probe_id: int, at: float, now: float) -> History:
    """The router was told now that this probe arrived, at a time that its receiver's clock says: it lies between start and now."""
    return tuple(_received(probe, at, now) if probe.id == probe_id else probe for probe in history)


def _received(probe: Probe, at: float, now: float) -> Probe:
    if probe.status != "pending" or now > probe.deadline:
        return probe
    return replace(probe, received_at=min(max(at, probe.started_at), now), routed_at=now, status="success")


def look(history: History, sent: Mapping[int, float], now: float) -> History:
    """What is known of the SMS of pending probes (`sent`: by the probe's id, when its seed had sent it), and what time does to them."""
    return tuple(_look(probe, sent.get(probe.id), now) for probe in history)


def _look(probe: Probe, sent_at: float | None, now: float) -> Probe:
    if probe.sent_at is None and sent_at is not None:
        # Also of one that has arrived: the report may come after the news of its arrival
        probe = replace(probe, sent_at=sent_at)
    if probe.status != "pending":
        return probe
    if probe.sent_at is not None and probe.sent_at <= probe.deadline and not probe.needs_arrival:
        return replace(probe, status="success")
    return replace(probe, status="timedout") if now >= probe.deadline else probe


def wants_look(probe: Probe, now: float) -> bool:
    """Could a look at its SMS tell something new?"""
    return probe.status == "pending" or (probe.sent_at is None and probe.status == "success" and now < probe.deadline)


def next_look(history: History, now: float) -> float | None:
    """When to look again, later and later as a probe grows older; None when nothing is pending."""
    times = []
    for probe in history:
        if wants_look(probe, now):
            pause = min(max(now - probe.started_at, _SOONEST_LOOK_SECONDS), _LATEST_LOOK_SECONDS)
            times.append(max(now + _SOONEST_LOOK_SECONDS, min(now + pause, probe.deadline)))
    return min(times, default=None)


def score(history: History, rules: Rules) -> Score:
    """The reliability by the latest finished probes."""
    finished = [probe for probe in history if probe.status != "pending"][-rules.probes_counted :]
    if not finished:
        return Score(0.0, 0)
    return Score(sum(_is_in_time(probe, rules) for probe in finished) / len(finished), len(finished))


def _is_in_time(probe: Probe, rules: Rules) -> bool:
    if probe.status != "success":
        return False
    return probe.received_at is None or probe.routed_at is None or probe.routed_at - probe.received_at <= rules.probe_route_seconds
