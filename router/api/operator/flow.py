"""Live figures: what became of messages minute by minute, what failed over, and how the carriers stand."""

from typing import Any

import msgspec
from litestar import Request, get
from litestar.handlers import HTTPRouteHandler

from router.api.parts import parts_of
from router.domain.statistics import COUNTED, CarrierView, Counts, Failover, total

_RECENT_MINUTES = 5


class CountsView(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a time. `conversion`: verified ÷ sent codes. Seconds from acceptance to sent: half of the messages, 95 of 100, took
    no longer. All three are null where nothing was sent.
    """

    accepted: int
    dispatched: int
    sent: int
    verified: int
    failed: int
    expired: int
    cancelled: int
    failovers: int
    ambiguous: int
    codes_sent: int
    conversion: float | None
    sent_p50_seconds: float | None
    sent_p95_seconds: float | None


class MinuteView(msgspec.Struct, frozen=True, kw_only=True):
    """The minute that begins `at`. `carriers`: by MCC+MNC; empty for messages of which no table knows the carrier."""

    at: float
    total: CountsView
    carriers: dict[str, CountsView]


class FlowView(msgspec.Struct, frozen=True, kw_only=True):
    """`minutes`: oldest first, the running one last. `recent`: the last five of them, `total`: all. `now`: the router's clock."""

    now: float
    recent: CountsView
    total: CountsView
    minutes: list[MinuteView]


class CarrierFigures(msgspec.Struct, frozen=True, kw_only=True):
    """`ready` seeds may be given a message now; `room` and `in_flight` are parts. `hour`: the last 60 minutes; `failed_over`: the share of
    its attempts that ended in a failover, null where there was none.
    """

    carrier: str
    carrier_name: str
    online: int
    ready: int
    tripped: int
    room: int
    in_flight: int
    parked: int
    failed_over: float | None
    hour: CountsView


class CarriersView(msgspec.Struct, frozen=True, kw_only=True):
    """`age_seconds`: how long ago a dispatcher told of the seeds; null where none did. Normally a few seconds at the most."""

    age_seconds: float | None
    carriers: list[CarrierFigures]


@get("/flow")
async def flow(request: "Request[Any, Any, Any]", minutes: int = 60) -> FlowView:
    """1 to 1440 minutes, as they were up to two seconds ago."""
    parts = parts_of(request)
    found = await parts.statistics.minutes(minutes)
    totals = [minute.total() for minute in found]
    return FlowView(
        now=parts.clock.now(),
        recent=_counts(total(totals[-_RECENT_MINUTES:])),
        total=_counts(total(totals)),
        minutes=[
            MinuteView(
                at=minute.at, total=_counts(of_all), carriers={carrier: _counts(counts) for carrier, counts in minute.carriers.items()}
            )
            for minute, of_all in zip(found, totals, strict=True)
        ],
    )


@get("/failovers")
async def failovers(request: "Request[Any, Any, Any]", limit: int = 50) -> list[Failover]:
    """The latest, newest first; at most 1000 are kept."""
    return await parts_of(request).statistics.failovers(limit)


@get("/carriers")
async def carriers(request: "Request[Any, Any, Any]") -> CarriersView:
    """Every carrier that has seeds, waiting messages, or had any messages in the last hour."""
    parts = parts_of(request)
    found = await parts.statistics.carriers()
    as_of = found[0].as_of if found else None
    return CarriersView(
        age_seconds=None if as_of is None else round(max(0.0, parts.clock.now() - as_of), 3), carriers=[_carrier(view) for view in found]
    )


def _counts(counts: Counts) -> CountsView:
    return CountsView(
        conversion=_rounded(counts.conversion),
        sent_p50_seconds=_rounded(counts.sent_quantile(0.5)),
        sent_p95_seconds=_rounded(counts.sent_quantile(0.95)),
        **{name: getattr(counts, name) for name in COUNTED},
    )


def _carrier(view: CarrierView) -> CarrierFigures:
    return CarrierFigures(
        carrier=view.carrier, carrier_name=view.carrier_name, online=view.online, ready=view.ready, tripped=view.tripped, room=view.room,
        in_flight=view.in_flight, parked=view.parked, failed_over=_rounded(view.failed_over), hour=_counts(view.hour),
    )  # fmt: skip


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


HANDLERS: list[HTTPRouteHandler] = [flow, failovers, carriers]
