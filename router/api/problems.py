"""What went wrong, before it takes a dialect's shape: a status, a text that is safe to show, and headers."""

from typing import Any, Final

import msgspec
import structlog
from litestar import Request
from litestar.exceptions import HTTPException, InternalServerException, ValidationException

from router.domain.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    Invalid,
    LimitReached,
    NoSeedAvailable,
    NotFound,
    RouterError,
    Unauthorized,
    Unavailable,
)
from router.domain.lifecycle import Stale

_log = structlog.get_logger()
INTERNAL = "Internal server error."
_BROKEN_OFF = "client disconnected prematurely"
"""litestar's detail where the client left in the middle of its body; nobody hears the answer."""
_WIRE_NAMES: Final = {"data": "body", "in_state": "state"}
"""What the handlers' parameters are called on the wire, where it differs."""
_STATUSES: tuple[tuple[type[RouterError], int], ...] = (
    (Invalid, 422),
    (NotFound, 404),
    (Unauthorized, 401),
    (Forbidden, 403),
    (Conflict, 409),
    (Stale, 409),
    (LimitReached, 429),
    (InsufficientBalance, 402),
    (NoSeedAvailable, 503),
    (Unavailable, 503),
)


class Problem(msgspec.Struct, frozen=True):
    """An error on its way out."""

    status: int
    text: str
    headers: dict[str, str] = {}


def describe(request: "Request[Any, Any, Any]", error: Exception) -> Problem:
    """The status and text of any exception; what nobody foresaw is logged, and told as nothing but an internal error."""
    problem = _of_ours(error) if isinstance(error, RouterError) else _of_the_framework(error)
    if problem is None:
        _log.error("request.failed", path=request.scope["path"], method=request.method, exc_info=error)
        return Problem(500, INTERNAL)
    return problem


def _of_ours(error: RouterError) -> Problem | None:
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            seconds = getattr(error, "retry_after_seconds", None)
            return Problem(status, str(error), {} if seconds is None else {"Retry-After": str(max(1, int(seconds)))})
    return None


def _of_the_framework(error: Exception) -> Problem | None:
    if isinstance(error, (RecursionError, UnicodeDecodeError)):
        # The JSON decoder's, for a body nested too deep, or not UTF-8
        return Problem(422, "the body is not valid JSON")
    if isinstance(error, InternalServerException) and error.detail == _BROKEN_OFF:
        return Problem(400, "the body was broken off")
    if not isinstance(error, HTTPException) or error.status_code >= 500:
        return None
    headers = dict(error.headers or {})
    if isinstance(error, ValidationException):
        return Problem(422, _field_errors(error))
    texts = {400: "the body is not valid JSON", 404: "Not found", 405: "Method not allowed"}
    status = 422 if error.status_code == 400 else error.status_code
    return Problem(status, texts.get(error.status_code, str(error.detail)), headers)


def _field_errors(error: ValidationException) -> str:
    """Which fields, and why; litestar lists them in `extra`."""
    faults = [fault for fault in error.extra if isinstance(fault, dict)] if isinstance(error.extra, list) else []
    return "; ".join(_fault(str(fault.get("key")), str(fault.get("message"))) for fault in faults) or "not what this call takes"


def _fault(name: str, reason: str) -> str:
    # litestar's words for no body at all: a KeyError
    reason = "an object is expected" if reason == "'data'" else reason
    return f"{_WIRE_NAMES.get(name, name)}: {reason}"
