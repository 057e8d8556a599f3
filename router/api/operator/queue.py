"""How full the queue is, and what waits for a seed."""

from typing import Any

from litestar import Request, get

from router.api.operator.schemas import LaneView, QueueState
from router.api.parts import parts_of


@get("/queue")
async def state(request: "Request[Any, Any, Any]") -> QueueState:
    """The lanes as they were about a second ago, `inbound` as it was a few seconds ago; the others as they are now."""
    parts = parts_of(request)
    found, now = await parts.queue_view.now(), parts.clock.now()
    return QueueState(
        lanes={
            lane: LaneView(known.depth, None if known.oldest_at is None else round(max(0.0, now - known.oldest_at), 3))
            for lane, known in found.lanes.items()
        },
        dead_letters=found.dead_letters,
        parked=dict(found.parked),
        open=found.open,
        inbound=found.inbound,
        webhooks_waiting=found.webhooks_waiting,
        webhooks_dead=found.webhooks_dead,
    )
