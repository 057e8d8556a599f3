"""Prefixes: what their traffic looks like, which are blocked and why, and blocking and lifting by hand."""

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.handlers import HTTPRouteHandler

from router.api.operator.schemas import Body
from router.api.parts import parts_of
from router.domain.fraud import FraudRules, Reason
from router.domain.prefix_blocks import Author, Block
from router.domain.verdicts import PrefixView


class BlockView(msgspec.Struct, frozen=True, kw_only=True):
    """A block that is in force, or was lately. Times are Unix seconds; `until` null: until it is lifted.

    `active`: it is in force. `refuses`: messages are refused for it; else it marks only, by the setting `SEEDROUTER_FRAUD`.
    """

    prefix: str
    carrier: str
    reason: Reason
    why: str
    since: float
    until: float | None
    by: Author
    strikes: int
    active: bool
    refuses: bool
    lifted: bool
    lifted_at: float | None
    lifted_by: Author | None


class NewBlock(Body, frozen=True):
    """`seconds` absent: until it is lifted."""

    prefix: str
    why: str = ""
    seconds: float | None = None


class Lift(Body, frozen=True):
    """`prefix`: as it stands in the list of blocks."""

    prefix: str


def _view(block: Block, now: float, rules: FraudRules) -> BlockView:
    is_active = block.is_active(now)
    return BlockView(
        prefix=block.prefix, carrier=block.carrier, reason=block.reason, why=block.why, since=block.since, until=block.until, by=block.by,
        strikes=block.strikes, active=is_active, refuses=is_active and block.refuses(rules), lifted=block.lifted,
        lifted_at=block.lifted_at, lifted_by=block.lifted_by,
    )  # fmt: skip


@get("/fraud/prefixes")
async def prefixes(request: "Request[Any, Any, Any]", limit: int = 50) -> list[PrefixView]:
    """Prefixes by what there is against them, then by what is wanted of them."""
    return await parts_of(request).fraud.prefixes(limit)


@get("/fraud/blocks")
async def blocks(request: "Request[Any, Any, Any]") -> list[BlockView]:
    """Those in force first, then those that ended lately."""
    parts = parts_of(request)
    found = await parts.fraud.blocks()
    now = parts.clock.now()
    return [_view(block, now, parts.fraud.rules) for block in found]


@post("/fraud/blocks", status_code=201)
async def block(request: "Request[Any, Any, Any]", data: NewBlock) -> BlockView:
    """Blocks numbers that begin so, codes and other messages, whatever the mode; every api process refuses them within a second."""
    parts = parts_of(request)
    made = await parts.fraud.block(data.prefix, data.why, data.seconds)
    return _view(made, parts.clock.now(), parts.fraud.rules)


@post("/fraud/lift", status_code=200)
async def lift(request: "Request[Any, Any, Any]", data: Lift) -> BlockView:
    """Ends a block; the router does not block that prefix again for a while. 404 where there is none."""
    parts = parts_of(request)
    made = await parts.fraud.lift(data.prefix)
    return _view(made, parts.clock.now(), parts.fraud.rules)


HANDLERS: list[HTTPRouteHandler] = [prefixes, blocks, block, lift]
