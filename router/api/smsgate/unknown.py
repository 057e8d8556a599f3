"""Unknown paths: 401 for a caller that we do not know, and only then 404.

An error of routing has no route, hence no `before_request`; and its handler may not wait for anything. So the answer itself asks who is
calling when it is sent.
"""

from typing import Any

from litestar import Request, Response
from litestar.exceptions import NotFoundException
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from router.api.smsgate import errors
from router.api.smsgate.auth import authenticate
from router.domain.errors import RouterError


class _Asks(ASGIResponse):
    def __init__(self, request: "Request[Any, Any, Any]", error: Exception) -> None:
        super().__init__()
        self._request = request
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = self._error
        try:
            await authenticate(self._request)
        except RouterError as refusal:
            error = refusal
        response = errors.error_response(self._request, error)
        await response.to_asgi_response(None, self._request)(scope, receive, send)


class _Unknown(Response[None]):
    def __init__(self, request: "Request[Any, Any, Any]", error: Exception) -> None:
        super().__init__(None)
        self._asks = _Asks(request, error)

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return self._asks


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Any]":
    """The error's answer; for a path of the 3rd-party API that is none, the caller has to be known first."""
    if isinstance(error, NotFoundException) and "/3rdparty/v1" in request.scope["path"][: len("/api/3rdparty/v1")]:
        return _Unknown(request, error)
    return errors.error_response(request, error)
