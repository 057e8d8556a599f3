"""Entries of the queue that could not be handled: look at them, put them back on their lanes, drop them."""

from typing import Any

from litestar import Request, delete, get, post
from litestar.handlers import HTTPRouteHandler

from router.api.parts import parts_of
from router.queue.dead_letters import DeadLetterList, ReplayedLetters
from router.services.dead_letters import Order


@get("/dead-letters")
async def list_letters(request: "Request[Any, Any, Any]", limit: int = 50, order: Order = "latest") -> DeadLetterList:
    """The latest first, or with `order=oldest` the oldest first; they stay where they are."""
    return await parts_of(request).dead_letters.look(limit, order)


@post("/dead-letters/{letter_id:str}/replay", status_code=200)
async def replay(request: "Request[Any, Any, Any]", letter_id: str) -> ReplayedLetters:
    """It is on its lane again; 409 where nobody knows which that is."""
    return await parts_of(request).dead_letters.replay(letter_id)


@post("/dead-letters/replay", status_code=200)
async def replay_all(request: "Request[Any, Any, Any]") -> ReplayedLetters:
    """All that are dead now, up to 10,000 at once; those whose lane nobody knows stay."""
    return await parts_of(request).dead_letters.replay_all()


@delete("/dead-letters/{letter_id:str}", status_code=204)
async def drop(request: "Request[Any, Any, Any]", letter_id: str) -> None:
    """It is gone for good."""
    await parts_of(request).dead_letters.drop(letter_id)


HANDLERS: list[HTTPRouteHandler] = [list_letters, replay, replay_all, drop]
