"""Every refusal of the operator API, and of paths that are no dialect's: `{"error": text}`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response

from router.api.problems import describe
from router.domain.errors import Blocked
from router.services import submit

_SUBMIT_PATH: Final = "/operator/v1/messages"
_UNAUTHORIZED: Final = 401


class Error(msgspec.Struct, frozen=True):
    """For 422, the text is `field: reason`."""

    error: str


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Error]":
    """The status and the text of any exception. That a prefix is blocked, and why, is told here alone."""
    if request.method == "POST" and request.scope["path"] == _SUBMIT_PATH:
        submit.refused("operator", error)
    problem = describe(request, error)
    headers = dict(problem.headers)
    if problem.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    text = f"{error.prefix} is blocked ({error.reason}): {error.why}" if isinstance(error, Blocked) else problem.text
    return Response(Error(text), status_code=problem.status, headers=headers, media_type="application/json")
