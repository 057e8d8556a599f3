"""Fraud: which prefixes are blocked or suspected and why, and how well the codes of each come back."""

from typing import Any, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler

from router.api.console.pages import AnyRequest, back, form, page
from router.api.console.security import PREFIX
from router.api.parts import parts_of
from router.domain.errors import Conflict, Invalid, NotFound

_SECTION = "fraud"
_PATH = f"{PREFIX}/fraud"
_SHOWN: Final = 100
_UNTIL_LIFTED: Final = "0"
_TIMES: Final = (
    ("900", "15 minutes"), ("3600", "an hour"), ("21600", "6 hours"), ("86400", "a day"), ("604800", "a week"),
    (_UNTIL_LIFTED, "until it is lifted"),
)  # fmt: skip
_MODES: Final = {
    "off": "nobody judges; only blocks by hand are carried out",
    "watch": "suspects are shown here, and nobody is refused; blocks by hand are carried out",
    "block": "suspects are refused for a while",
}


@get("/fraud")
async def show_fraud(request: AnyRequest) -> "Response[Any]":
    """Blocks, and the prefixes of the window."""
    return await _show(request, {"prefix": "", "why": "", "seconds": "3600"})


async def _show(request: AnyRequest, given: dict[str, str], fault: Invalid | Conflict | None = None) -> "Response[Any]":
    parts = parts_of(request)
    fraud, now = parts.fraud, parts.clock.now()
    status = 200 if fault is None else 422 if isinstance(fault, Invalid) else 409
    rows = [(block, block.is_active(now), block.refuses(fraud.rules)) for block in await fraud.blocks()]
    return page(
        request, "fraud.html", title="Fraud", section=_SECTION, status=status, blocks=rows, prefixes=await fraud.prefixes(_SHOWN),
        rules=fraud.rules, mode=_MODES[fraud.rules.mode], times=_TIMES, given=given, fault=fault,
    )  # fmt: skip


@post("/fraud/block")
async def block(request: AnyRequest) -> "Response[Any]":
    """By hand: all messages to numbers that begin so are refused."""
    parts, fields = parts_of(request), await form(request)
    given = {name: fields.get(name, "") for name in ("prefix", "why", "seconds")}
    try:
        if given["seconds"] not in dict(_TIMES):
            raise Invalid("time", "one of the list")
        seconds = None if given["seconds"] == _UNTIL_LIFTED else float(given["seconds"])
        made = await parts.fraud.block(given["prefix"], given["why"], seconds)
    except (Invalid, Conflict) as fault:
        return await _show(request, given, fault)
    return back(request, _PATH, f"{made.prefix} is blocked. It holds in all processes within seconds.", "warn")


@post("/fraud/lift")
async def lift(request: AnyRequest) -> "Response[Any]":
    """Ends a block at once."""
    parts, prefix = parts_of(request), (await form(request)).get("prefix", "")
    try:
        lifted = await parts.fraud.lift(prefix)
    except (Invalid, NotFound) as error:
        return back(request, _PATH, f"Not lifted: {error}.", "error")
    return back(request, _PATH, f"{lifted.prefix} is free. The router leaves it alone for a while.")


HANDLERS: list[HTTPRouteHandler] = [show_fraud, block, lift]
