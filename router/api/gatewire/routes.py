"""GateWire's endpoints, `/api/v1`."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from litestar import Request, Router, get, post
from litestar.response.base import ASGIResponse

from router.api.gatewire.schemas import Balance, Dispatch, OtpService, Reference, SendOtp, Services, Status, Verified, VerifyOtp
from router.api.parts import answer, answers, bearer_of, header_of, parts_of
from router.domain.account import Account, KeyCredential
from router.domain.errors import Invalid
from router.services import submit
from router.store.accounts import hash_key

_MINOR_UNITS = 100


class _Caller(msgspec.Struct, frozen=True):
    """Who is calling, as was found out before the handler."""

    account: Account
    credential: KeyCredential


# These stand before a handler as `before_request`, not as guards: litestar copies the handler for each guard of each request.


def _caller(request: "Request[Any, Any, Any]") -> _Caller:
    caller: _Caller = request.scope["state"]["caller"]
    return caller


async def _has_key(request: "Request[Any, Any, Any]") -> None:
    """Who is calling; before the body is looked at, since 401 comes before 422."""
    key_hash = hash_key(bearer_of(request))
    request.scope["state"]["caller"] = _Caller(await parts_of(request).accounts.authenticate(key_hash), KeyCredential(key_hash))


async def _may_send_codes(request: "Request[Any, Any, Any]") -> None:
    """403 comes before 422 too."""
    await _has_key(request)
    caller = _caller(request)
    account = await parts_of(request).submit.allowed(caller.account, is_code=True)
    if account is not caller.account:
        request.scope["state"]["caller"] = _Caller(account, caller.credential)


async def _has_valid_key(request: "Request[Any, Any, Any]") -> None:
    """For calls that no script of the account checks: the key, and the account, as they are now."""
    await _has_key(request)
    caller = _caller(request)
    account = await parts_of(request).accounts.fresh(caller.account, caller.credential)
    request.scope["state"]["caller"] = _Caller(account, caller.credential)


async def _submit(request: "Request[Any, Any, Any]", data: SendOtp | Dispatch) -> Reference:
    text = data.message if isinstance(data, Dispatch) else None
    urgent = text is None or (isinstance(data, Dispatch) and data.priority == "high")
    parts, caller = parts_of(request), _caller(request)
    asked = submit.Request(
        dialect="gatewire",
        credential=caller.credential,
        phone=data.phone,
        template_key=data.template_key,
        text=text,
        lane="otp" if urgent else "notification",
        idempotency_key=header_of(request, b"idempotency-key"),
    )
    try:
        accepted = await parts.submit.submit(caller.account, asked)
    except Invalid:
        # Found by a copy of the account, which may be old; 401 and 403 come before 422
        await parts.submit.allowed(await parts.accounts.fresh(caller.account, caller.credential), is_code=text is None)
        raise
    return Reference(accepted.message.id, "pending")


@post("/send-otp", status_code=200, before_request=_may_send_codes, responses=answers(Reference))
async def send_otp(request: "Request[Any, Any, Any]", data: SendOtp) -> ASGIResponse:
    """Makes a code and sends it."""
    return answer(await _submit(request, data))


@post("/dispatch", status_code=200, before_request=_has_key, responses=answers(Reference))
async def dispatch(request: "Request[Any, Any, Any]", data: Dispatch) -> ASGIResponse:
    """SDK 1.0's call: a code, or with `message` a plain SMS."""
    return answer(await _submit(request, data))


@post("/verify-otp", status_code=200, before_request=_has_valid_key)
async def verify_otp(request: "Request[Any, Any, Any]", data: VerifyOtp) -> Verified:
    """Was this the code?"""
    await parts_of(request).codes.verify(_caller(request).account, data.reference_id, data.code)
    return Verified("verified", "Success")


@get("/status/{reference_id:str}", before_request=_has_valid_key)
async def status(request: "Request[Any, Any, Any]", reference_id: str) -> Status:
    """What has become of a message; clients ask every three seconds."""
    message = await parts_of(request).codes.status(_caller(request).account, reference_id)
    created_at = datetime.fromtimestamp(int(message.created_at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Status(message.id, message.state, created_at)


@get("/balance", before_request=_has_valid_key)
async def balance(request: "Request[Any, Any, Any]") -> Balance:
    """SDK 1.0's call: what the wallet holds."""
    parts = parts_of(request)
    minor = await parts.admin.balance(_caller(request).account.id)
    return Balance(minor / _MINOR_UNITS, parts.settings.currency)


@get("/client/services", before_request=_has_valid_key)
async def services(request: "Request[Any, Any, Any]") -> Services:
    """The Dart client's call: what the account may use. Number verification by USSD is not offered."""
    account, currency = _caller(request).account, parts_of(request).settings.currency
    otp = OtpService(account.enabled and account.otp_enabled, account.price, currency)
    return Services({"otp": otp, "pnv": OtpService(enabled=False, price_per_request_cents=0, currency=currency, platform="android")})


router = Router("/api/v1", route_handlers=[send_otp, dispatch, verify_otp, status, balance, services], tags=["GateWire"])
