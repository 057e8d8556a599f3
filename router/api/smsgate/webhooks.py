"""`/webhooks`: what an account wants to be told, and what its phones have to tell themselves."""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.types import ControllerRouterHandler

from router.api.parts import parts_of
from router.api.smsgate.auth import caller_of, needs
from router.api.smsgate.mobile import device_of, is_a_phone
from router.domain.webhooks import Webhook


class NewWebhook(msgspec.Struct, frozen=True, rename="camel"):
    """`id`: made where it is not given; one that is there is replaced. `deviceId`: only what happens at this phone."""

    url: str
    event: str
    id: str | None = None
    device_id: str | None = None


class WebhookView(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook as both APIs show it. `deviceId` is null where it is for all phones."""

    id: str
    device_id: str | None
    url: str
    event: str


def _view(webhook: Webhook) -> WebhookView:
    return WebhookView(webhook.id, webhook.device_id, webhook.url, webhook.event)


def _list(webhooks: list[Webhook]) -> Response[list[WebhookView]]:
    found = [_view(webhook) for webhook in webhooks]
    return Response(found, headers={"X-Total-Count": str(len(found))}, media_type="application/json")


@get("/webhooks", before_request=needs("webhooks:list"))
async def list_webhooks(request: "Request[Any, Any, Any]") -> Response[list[WebhookView]]:
    """All of the account, by id."""
    return _list(await parts_of(request).webhooks.of(caller_of(request).account.id))


@post("/webhooks", status_code=201, before_request=needs("webhooks:write"))
async def put_webhook(request: "Request[Any, Any, Any]", data: NewWebhook) -> WebhookView:
    """Makes or replaces it, by its id."""
    account = caller_of(request).account
    webhook = await parts_of(request).webhooks.put(
        account.id, id=data.id, url=data.url, event=data.event, device_id=data.device_id
    )
    return _view(webhook)


@delete("/webhooks/{webhook_id:str}", status_code=204, before_request=needs("webhooks:delete"))
async def delete_webhook(request: "Request[Any, Any, Any]", webhook_id: str) -> None:
    """Also where there is none. What still waits for it is not delivered any more."""
    await parts_of(request).webhooks.remove(caller_of(request).account.id, webhook_id)


@get("/webhooks", before_request=is_a_phone)
async def mobile_webhooks(request: "Request[Any, Any, Any]") -> Response[list[WebhookView]]:
    """Those that the phone has to tell itself, since only it knows of them; one may be the router's own. What it tells is never here."""
    device, parts = device_of(request), parts_of(request)
    found = await parts.webhooks.for_phone(device.account, device.id)
    ours = await parts.phone_incoming.webhook(device)
    return _list([*found, ours] if ours is not None else found)


HANDLERS: list[ControllerRouterHandler] = [list_webhooks, put_webhook, delete_webhook]
MOBILE_HANDLERS: list[ControllerRouterHandler] = [mobile_webhooks]
