"""Every refusal of the operator API, and of paths that are no dialect's: `{"error": text}`."""

from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import ValidationException

from router.api.problems import Problem, describe
from router.services import submit

_SUBMIT_PATH: Final = "/operator/v1/messages"
_UNAUTHORIZED: Final = 401
_WIRE_NAMES: Final = {"data": "body", "in_state": "state"}
"""What the handlers' parameters are called on the wire, where it differs."""


class Error(msgspec.Struct, frozen=True):
    """For 422, the text is `field: reason`."""

    error: str


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Error]":
    """The status and the text of any exception."""
    if request.method == "POST" and request.url.path == _SUBMIT_PATH:
        submit.refused("operator", error)
    problem = _invalid(error) if isinstance(error, (ValidationException, RecursionError)) else describe(request, error)
    headers = dict(problem.headers)
    if problem.status == _UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    return Response(Error(problem.text), status_code=problem.status, headers=headers, media_type="application/json")


def _invalid(error: ValidationException | RecursionError) -> Problem:
    """Every field, and why; an unknown one is named too. A body that is nested too deep makes the JSON decoder give up."""
    if isinstance(error, RecursionError):
        return Problem(422, "body: nested too deep")
    faults = [fault for fault in error.extra if isinstance(fault, dict)] if isinstance(error.extra, list) else []
    return Problem(422, "; ".join(map(_fault, faults)) or "the call is not what this endpoint takes")


def _fault(fault: dict[str, Any]) -> str:
    name, reason = str(fault.get("key")), str(fault.get("message"))
    # litestar's words for no body at all: a KeyError
    reason = "an object is expected" if reason == "'data'" else reason
    return f"{_WIRE_NAMES.get(name, name)}: {reason}"
