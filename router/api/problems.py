"""What went wrong, before it takes a dialect's shape: a status, a text that is safe to show, and headers."""

from typing import Any

import msgspec
import structlog
from litestar import Request
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException, ValidationException

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
    if isinstance(error, RouterError):
        for kind, status in _STATUSES:
            if isinstance(error, kind):
                seconds = getattr(error, "retry_after_seconds", None)
                return Problem(status, str(error), {} if seconds is None else {"Retry-After": str(max(1, int(seconds)))})
    if isinstance(error, RecursionError):
        return Problem(422, "the body is nested too deeply")
    if isinstance(error, ValidationException):
        return Problem(422, _field_errors(error))
    if isinstance(error, NotFoundException):
        return Problem(404, "Not found")
    if isinstance(error, MethodNotAllowedException):
        return Problem(405, "Method not allowed", dict(error.headers or {}))
    if isinstance(error, HTTPException) and error.status_code < 500:
        if error.status_code == 400:
            return Problem(422, "the body is not valid JSON")
        return Problem(error.status_code, str(error.detail), dict(error.headers or {}))
    _log.error("request.failed", path=request.url.path, method=request.method, exc_info=error)
    return Problem(500, INTERNAL)


def _field_errors(error: ValidationException) -> str:
    """Which field, and why; litestar lists them in `extra`."""
    faults = [item for item in error.extra or [] if isinstance(item, dict)] if isinstance(error.extra, list) else []
    named = [f"{item['key']}: {item.get('message', 'invalid')}" for item in faults if item.get("key") not in (None, "data")]
    return "; ".join(named) or "the body is not what this call takes"
