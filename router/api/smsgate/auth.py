"""Who is calling the 3rd-party API, found out before the body is read: 401 comes before 403, and 403 before 400."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

from litestar import Request

from router.api.parts import header_of, parts_of
from router.domain.errors import Forbidden
from router.services.logins import Caller


async def authenticate(request: "Request[Any, Any, Any]") -> Caller:
    """The caller, who is kept for `caller_of`. Raises `Unauthorized`, `Forbidden`, `Unavailable`."""
    caller = await parts_of(request).logins.authenticate(header_of(request, b"authorization"))
    request.scope["state"]["caller"] = caller
    return caller


def check(caller: Caller, scope: str) -> None:
    """Raises `Forbidden`."""
    if not caller.may(scope):
        raise Forbidden(f"scope required: {scope}")


@cache
def needs(scope: str) -> "Callable[[Request[Any, Any, Any]], Awaitable[None]]":
    """What stands before a route as `before_request`: only who has this scope comes through."""

    async def may_pass(request: "Request[Any, Any, Any]") -> None:
        check(await authenticate(request), scope)

    return may_pass


def caller_of(request: "Request[Any, Any, Any]") -> Caller:
    """Who is calling, as was found out before the handler."""
    caller: Caller = request.scope["state"]["caller"]
    return caller
