"""Is it flowing: the page that is open at 3 a.m."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from litestar import Request, get
from litestar.response import Template

from router.api.console.pages import AnyRequest, page, partial
from router.api.console.warnings import warnings
from router.api.parts import parts_of
from router.domain.lifecycle import FAILOVER_REASONS
from router.domain.statistics import MAX_FAILOVERS, MINUTE_SECONDS, Counts, Failover, Minute, total

_HOUR: Final = 60
_RECENT: Final = 5
_FAILOVERS: Final = 15
REASONS: Final = {
    "failed": "the phone said that it failed",
    "returned": "the phone gave it back unsent",
    "unfetched": "the phone did not fetch it in time",
    "silent": "the phone took it and went silent",
    "ambiguous": "nobody knows whether it went out, and the account lets it be sent again",
}
"""Why a message was taken from its seed."""
assert set(REASONS) == set(FAILOVER_REASONS)  # noqa: S101 - a reason added later needs its words here


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Per minute, over the last minutes."""

    accepted: float
    sent: float
    verified: float
    failovers: float


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The plots' points, one a minute, oldest first, without the running one. `failovers`: by reason, those alone that there were; `all`
    where there were more than are kept with their reason. Seconds are null where nothing was sent.
    """

    at: list[float]
    accepted: list[int]
    sent: list[int]
    verified: list[int]
    p50: list[float | None]
    p95: list[float | None]
    failovers: dict[str, list[int]]


@get("/")
async def overview(request: "Request[Any, Any, Any]") -> Template:
    """The whole page."""
    return page(request, "overview.html", title="Overview", section="overview", **await _figures(request))


@get("/overview/live")
async def live(request: "Request[Any, Any, Any]") -> Template:
    """What changes on it."""
    return partial(request, "_overview_live.html", **await _figures(request))


@get("/flow")
async def flow_table(request: "Request[Any, Any, Any]") -> Template:
    """The plots' figures as a table, newest first."""
    minutes = await parts_of(request).statistics.minutes(_HOUR)
    rows = [(minute.at, minute.total()) for minute in reversed(minutes)]
    return page(request, "flow.html", title="The last hour", section="overview", rows=rows)


@get("/flow.json")
async def flow(request: "Request[Any, Any, Any]") -> Flow:
    """The plots' figures."""
    statistics = parts_of(request).statistics
    whole = (await statistics.minutes(_HOUR + 1))[:-1]
    totals = [minute.total() for minute in whole]
    return Flow(
        at=[minute.at for minute in whole],
        accepted=[counts.accepted for counts in totals],
        sent=[counts.sent for counts in totals],
        verified=[counts.verified for counts in totals],
        p50=[counts.sent_quantile(0.5) for counts in totals],
        p95=[counts.sent_quantile(0.95) for counts in totals],
        failovers=_by_reason(whole, totals, await statistics.failovers(MAX_FAILOVERS)),
    )


def _by_reason(minutes: Sequence[Minute], totals: Sequence[Counts], latest: Sequence[Failover]) -> dict[str, list[int]]:
    """How many failovers of each reason in each minute."""
    first = minutes[0].at
    if len(latest) == MAX_FAILOVERS and latest[-1].at > first:
        return {"all": [counts.failovers for counts in totals]}
    found: dict[str, list[int]] = {}
    for failover in latest:
        place = int((failover.at - first) // MINUTE_SECONDS)
        if 0 <= place < len(minutes):
            found.setdefault(failover.reason, [0] * len(minutes))[place] += 1
    return {reason: found[reason] for reason in FAILOVER_REASONS if reason in found}


async def _figures(request: AnyRequest) -> dict[str, Any]:
    parts = parts_of(request)
    now = parts.clock.now()
    minutes = await parts.statistics.minutes(_HOUR)
    hour, recent = total(minute.total() for minute in minutes), total(minute.total() for minute in minutes[-_RECENT:])
    carriers = await parts.statistics.carriers()
    queue = await parts.queue_view.look()
    elapsed = max(1.0, now - minutes[-_RECENT].at) / MINUTE_SECONDS
    return {
        "warnings": warnings(queue=queue, carriers=carriers, recent=recent, redis=await parts.queue_view.redis(), now=now),
        "hour": hour,
        "recent": recent,
        "rates": Rates(**{name: getattr(recent, name) / elapsed for name in Rates.__struct_fields__}),
        "queue": queue,
        "carriers": carriers,
        "in_flight": sum(view.in_flight for view in carriers),
        "parked": sum(queue.parked.values()),
        "failovers": await parts.statistics.failovers(_FAILOVERS),
        "reasons": REASONS,
    }


HANDLERS = [overview, live, flow_table, flow]
