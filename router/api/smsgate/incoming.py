"""`/incoming/{secret}`: where phones post what they have received, by the webhook of the router's own that is on their list."""

from typing import Any

from litestar import Request, post
from litestar.types import ControllerRouterHandler

from router.api.parts import header_of, parts_of


@post("/incoming/{secret:str}", status_code=200)
async def incoming(request: "Request[Any, Any, Any]", secret: str) -> dict[str, Any]:
    """The app's `sms:received`, signed as all its webhooks are. A refusal is posted again by the app, some hours long."""
    received = parts_of(request).phone_incoming
    body = await request.body()
    signature, timestamp = header_of(request, b"x-signature"), header_of(request, b"x-timestamp")
    device = await received.authenticate(secret, body, signature, timestamp)
    await received.take(device, body)
    return {}


HANDLERS: list[ControllerRouterHandler] = [incoming]
