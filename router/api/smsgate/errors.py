"""Every refusal of both of SMSGate's APIs: `{"message": text}`."""

from typing import Any

import msgspec
from litestar import Request, Response

from router.api.problems import describe
from router.domain.errors import Invalid
from router.services import submit

_SUBMISSIONS = ("/3rdparty/v1/messages", "/3rdparty/v1/message")


class Error(msgspec.Struct, frozen=True):
    """All that a client reads of an error."""

    message: str


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Error]":
    """A wrong request is 400 here, where other dialects say 422."""
    if request.method == "POST" and request.scope["path"].rstrip("/").endswith(_SUBMISSIONS):
        submit.refused("smsgate", error)
    problem = describe(request, error)
    status = 400 if isinstance(error, Invalid) or problem.status == 422 else problem.status
    text = "Unauthorized" if status == 401 else problem.text
    return Response(Error(text), status_code=status, headers=problem.headers, media_type="application/json")
