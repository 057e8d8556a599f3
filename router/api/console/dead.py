"""What came to nothing: entries of the queue that could not be handled, and webhooks that nobody could be told; each may be tried again."""

from typing import Any, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from router.api.console.pages import AnyRequest, back, form, page
from router.api.console.security import PREFIX
from router.api.parts import parts_of
from router.domain.errors import Conflict, NotFound, Unavailable
from router.queue.dead_letters import DeadLetterList

_SECTION = "dead"
_PATH = f"{PREFIX}/dead"
_SHOWN: Final = 100
WHY: Final = {
    "undecodable": "its bytes are no entry of ours",
    "unknown_message": "the message has no record any more",
    "error": "handling it failed; the dispatcher's log has the trace",
    "delivery_limit": "given out too often and never acknowledged: it may take its dispatcher down",
    "rejected": "rejected by a consumer",
    "expired": "too old when it was taken",
    "unknown": "put there by another program",
}
"""Reasons in words."""


@get("/dead")
async def show_dead(request: AnyRequest) -> "Response[Any]":
    """The latest of both. Where the queue cannot be asked, the webhooks are shown all the same."""
    parts = parts_of(request)
    fault: Unavailable | None = None
    try:
        letters = await parts.dead_letters.look(_SHOWN)
    except Unavailable as error:
        letters, fault = DeadLetterList(0, []), error
    deliveries = await parts.dead_deliveries.latest(limit=_SHOWN)
    names = await parts.admin.names(delivery.account for delivery in deliveries)
    return page(
        request, "dead.html", title="Dead letters", section=_SECTION, letters=letters, fault=fault, why=WHY, deliveries=deliveries,
        names=names, shown=_SHOWN, is_amqp=parts.wiring.broker.is_amqp,
    )  # fmt: skip


@post("/dead/letters/replay")
async def replay_letter(request: AnyRequest) -> "Response[Any]":
    """One of them back on its lane, or with no `id` all."""
    parts, letter_id = parts_of(request), (await form(request)).get("id", "")
    if not letter_id:
        done = await parts.dead_letters.replay_all()
        left = f" {done.left} are still dead." if done.left else ""
        return back(request, _PATH, f"{done.replayed} back on the queue.{left}", "warn" if done.left else "ok")
    try:
        await parts.dead_letters.replay(letter_id)
    except (NotFound, Conflict) as error:
        return back(request, _PATH, f"Not put back: {error}.", "error")
    return back(request, _PATH, "Back on its lane. If it cannot be handled again, it is here again with one more death.")


@post("/dead/letters/drop")
async def drop_letter(request: AnyRequest) -> "Response[Any]":
    """It is gone."""
    parts, letter_id = parts_of(request), (await form(request)).get("id", "")
    try:
        await parts.dead_letters.drop(letter_id)
    except NotFound as error:
        return back(request, _PATH, f"Not dropped: {error}.", "error")
    return back(request, _PATH, "Dropped.", "warn")


@post("/dead/webhooks/replay")
async def replay_delivery(request: AnyRequest) -> "Response[Any]":
    """One of them, or with no `id` all; they are due at once."""
    parts, delivery_id = parts_of(request), (await form(request)).get("id", "")
    if not delivery_id:
        count = await parts.dead_deliveries.replay_all()
        return back(request, _PATH, f"{count} webhooks are tried again now.")
    try:
        await parts.dead_deliveries.replay(delivery_id)
    except (NotFound, Conflict) as error:
        return back(request, _PATH, f"Not tried again: {error}.", "error")
    return back(request, _PATH, f"{delivery_id} is tried again now, with all its tries before it.")


HANDLERS: list[HTTPRouteHandler] = [show_dead, replay_letter, drop_letter, replay_delivery]
