"""RelaySMS's incoming SMS: a forwarder on some phone posts what it has received, for a platform."""

import hmac
from typing import Any

import orjson
from litestar import Request, Response, Router, post

from router.api.parts import bearer_of, parts_of
from router.api.relaysms.errors import TEXT
from router.domain.errors import Invalid, Unauthorized
from router.services.incoming import Moment

_TAKEN = "message published successfully"


async def _may_post(request: "Request[Any, Any, Any]") -> None:
    """Anybody, as upstream has it, unless the operator has set a token."""
    token = parts_of(request).settings.inbound_token.get_secret_value()
    if token and not hmac.compare_digest(bearer_of(request).encode("utf-8", "replace"), token.encode()):
        raise Unauthorized("wrong token")


@post("/platform/{platform:str}", status_code=200)
async def incoming(request: "Request[Any, Any, Any]", platform: str) -> "Response[str]":
    """An SMS: `text`, `MSISDN` or `address` (who sent it), and if you like `date` (it came) and `date_sent`, in seconds or milliseconds.

    What cannot be taken now is 503, never 400: forwarders take that for final.
    """
    body = _object(await request.body())
    text = body.get("text")
    if text is None:
        return _refuse("missing key - text")
    sender = body.get("address") if body.get("MSISDN") is None else body["MSISDN"]
    if sender is None:
        return _refuse("missing key - MSISDN")
    if not isinstance(text, str):
        raise Invalid("text", "must be a string")
    if not isinstance(sender, str):
        raise Invalid("MSISDN", "must be a string")
    await parts_of(request).incoming.from_platform(
        platform, sender=sender, text=text, date=_moment(body, "date"), date_sent=_moment(body, "date_sent")
    )
    return Response(_TAKEN, media_type=TEXT)


def _refuse(text: str) -> "Response[str]":
    return Response(text, status_code=400, media_type=TEXT)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise Invalid("body", "poorly formed json") from None
    if not isinstance(body, dict):
        raise Invalid("body", "must be a JSON object")
    return body


def _moment(body: dict[str, Any], name: str) -> Moment:
    """Which of many forms a forwarder takes is no reason to refuse an SMS; what is no moment at all is."""
    value = body.get(name)
    if value is None or (isinstance(value, (int, float, str)) and not isinstance(value, bool)):
        return value
    raise Invalid(name, "must be a number or a string")


router = Router("/sms", route_handlers=[incoming], before_request=_may_post, tags=["RelaySMS"])
