"""How full the queue is, and what waits for a seed."""

from typing import Any

from litestar import Request, get

from router.api.operator.schemas import LaneView, QueueState
from router.api.parts import parts_of


@get("/queue")
async def state(request: "Request[Any, Any, Any]") -> QueueState:
    """The lanes as they were about a second ago; lots and open messages as they are now."""
    parts = parts_of(request)
    store, now = parts.store, parts.clock.now()
    parked = await store.parking.counts(store.batch(), await store.parking.lots(store.batch()))
    return QueueState(
        lanes={
            lane: LaneView(known.depth, None if known.oldest_at is None else round(max(0.0, now - known.oldest_at), 3))
            for lane, known in parts.publisher.lanes.items()
        },
        dead_letters=parts.publisher.dead_letters,
        parked={lot: count for lot, count in parked.items() if count},
        open=await store.timers.count(store.batch()),
    )
