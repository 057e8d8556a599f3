"""Every refusal in GateWire's words: the texts of spec/gatewire.md, Errors."""

from typing import Any

from litestar import Request, Response

from router.api.gatewire.schemas import Error
from router.api.problems import describe
from router.domain.errors import (
    Conflict,
    Forbidden,
    InsufficientBalance,
    LimitReached,
    NoSeedAvailable,
    NotFound,
    Unauthorized,
)
from router.domain.lifecycle import CodeRefusal
from router.services import submit
from router.services.codes import CodeRefused

_CODE_TEXTS: dict[CodeRefusal, str] = {
    "wrong": "Invalid or expired code.",
    "used": "This OTP has already been used.",
    "cancelled": "This OTP has been cancelled.",
    "expired": "This OTP has expired.",
    "failed": "This OTP failed to deliver.",
}
_TEXTS: tuple[tuple[type[Exception], str], ...] = (
    (Unauthorized, "Unauthorized"),
    (Forbidden, "OTP service is not enabled for your account."),
    (InsufficientBalance, "Insufficient balance. Please top up your account."),
    (NotFound, "Not found"),
    (NoSeedAvailable, "No available devices."),
)
_LIMIT_TEXTS = {
    "daily": "Daily OTP limit of {} reached. Try again tomorrow.",
    "hourly": "Hourly OTP limit of {} reached. Try again later.",
    "phone": "Limit of {} OTPs per hour to this phone reached. Try again later.",
}


def error_response(request: "Request[Any, Any, Any]", error: Exception) -> "Response[Error]":
    """Always an object with a string `error`, whatever went wrong."""
    if request.method == "POST":
        submit.refused("gatewire", error)
    if isinstance(error, CodeRefused):
        return _response(400, _CODE_TEXTS[error.refusal])
    problem = describe(request, error)
    text = next((text for kind, text in _TEXTS if isinstance(error, kind)), problem.text)
    if isinstance(error, LimitReached):
        text = _LIMIT_TEXTS[error.limit].format(error.maximum)
    status = 422 if isinstance(error, Conflict) else problem.status
    return _response(status, text, problem.headers)


def _response(status: int, text: str, headers: dict[str, str] | None = None) -> "Response[Error]":
    return Response(Error(text, text), status_code=status, headers=headers, media_type="application/json")
