"""`/settings`: what an account sets for its phones. Phones read it at `/mobile/v1/settings`, keys included."""

from typing import Any

from litestar import Request, get, patch, put
from litestar.types import ControllerRouterHandler

from router.api.parts import parts_of
from router.api.smsgate.auth import caller_of, needs


@get("/settings", before_request=needs("settings:read"))
async def read(request: "Request[Any, Any, Any]") -> dict[str, Any]:
    """What holds for the account's phones. The passphrase is never shown; the key that signs webhooks is: who checks them needs it."""
    return await parts_of(request).phone_settings.shown(caller_of(request).account.id)


@put("/settings", before_request=needs("settings:write"))
async def replace(request: "Request[Any, Any, Any]", data: dict[str, Any]) -> dict[str, Any]:
    """Sets these and no others. Only the passphrase and the signing key stay until they are given, as null or empty to remove them."""
    return await parts_of(request).phone_settings.replace(caller_of(request).account.id, data)


@patch("/settings", before_request=needs("settings:write"))
async def change(request: "Request[Any, Any, Any]", data: dict[str, Any]) -> dict[str, Any]:
    """Sets these; null removes a field or a section."""
    return await parts_of(request).phone_settings.patch(caller_of(request).account.id, data)


HANDLERS: list[ControllerRouterHandler] = [read, replace, change]
