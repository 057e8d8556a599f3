"""Deliveries of webhooks that were given up: look at them, and begin anew."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from router.api.operator.schemas import Body
from router.api.parts import parts_of
from router.domain.errors import Invalid
from router.store.deliveries import Delivery

_MAX_LIMIT = 1000


class DeadDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """`status` and `error` of the last try; the status is null where there was no answer. What was to be told is not shown."""

    id: str
    account: str
    webhook: str
    event: str
    url: str
    tries: int
    status: int | None
    error: str
    made_at: float
    died_at: float


class ReplayAll(Body, frozen=True):
    """`account`: only this one's."""

    account: str | None = None


class Replayed(msgspec.Struct, frozen=True):
    """How many are tried again."""

    replayed: int


@get("/webhooks/dead")
async def list_dead(request: "Request[Any, Any, Any]", account: str | None = None, limit: int = 50) -> list[DeadDelivery]:
    """The latest first."""
    if not 1 <= limit <= _MAX_LIMIT:
        raise Invalid("limit", f"1 to {_MAX_LIMIT}")
    return [_view(delivery) for delivery in await parts_of(request).dead_deliveries.latest(account or "", limit)]


@post("/webhooks/dead/{delivery_id:str}/replay", status_code=200)
async def replay(request: "Request[Any, Any, Any]", delivery_id: str) -> Replayed:
    """It is due at once; 409 where its webhook was deleted."""
    await parts_of(request).dead_deliveries.replay(delivery_id)
    return Replayed(1)


@post("/webhooks/dead/replay", status_code=200)
async def replay_all(request: "Request[Any, Any, Any]", data: ReplayAll) -> Replayed:
    """All that are dead, or all of one account."""
    return Replayed(await parts_of(request).dead_deliveries.replay_all(data.account or ""))


def _view(delivery: Delivery) -> DeadDelivery:
    return DeadDelivery(
        id=delivery.id, account=delivery.account, webhook=delivery.webhook, event=delivery.event, url=delivery.url, tries=delivery.tries,
        status=delivery.status, error=delivery.error, made_at=delivery.made_at, died_at=delivery.died_at or 0.0,
    )  # fmt: skip


HANDLERS: list[HTTPRouteHandler] = [list_dead, replay, replay_all]
