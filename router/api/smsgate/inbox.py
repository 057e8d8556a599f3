"""What phones have received: they can be asked to tell it again, by their own webhooks. The router itself keeps none of it."""

from typing import Any, Literal

import msgspec
from litestar import Request, Response, get, post
from litestar.types import ControllerRouterHandler

from router.api.parts import parts_of
from router.api.smsgate.auth import authenticate, caller_of, check, needs
from router.api.smsgate.errors import Error
from router.api.smsgate.times import format_time, parse_time
from router.domain.errors import Invalid, NotFound

_EVENT = "MessagesExportRequested"
MessageType = Literal["SMS", "DATA_SMS", "MMS", "MMS_DOWNLOADED"]
Delivery = Literal["Disabled", "Individual", "Batch"]


class InboxRefresh(msgspec.Struct, frozen=True, rename="camel"):
    """`triggerWebhooks` is the older word for `webhookDelivery`: false is Disabled."""

    since: str
    until: str
    device_id: str | None = None
    message_types: list[MessageType] | None = None
    webhook_delivery: Delivery | None = None
    trigger_webhooks: bool | None = None


async def _may_export(request: "Request[Any, Any, Any]") -> None:
    """The older paths have a scope of their own."""
    caller = await authenticate(request)
    if not caller.may("inbox:refresh"):
        check(caller, "messages:export")


@post("/inbox/refresh", status_code=202, before_request=needs("inbox:refresh"))
async def refresh(request: "Request[Any, Any, Any]", data: InboxRefresh) -> dict[str, Any]:
    """Asks one phone of the account, or all of them. Those that have no open event stream do not hear of it."""
    return await _ask(request, data)


@post(["/inbox/export", "/messages/inbox/export"], status_code=202, before_request=_may_export)
async def export(request: "Request[Any, Any, Any]", data: InboxRefresh) -> dict[str, Any]:
    """The older names of `/inbox/refresh`."""
    return await _ask(request, data)


async def _ask(request: "Request[Any, Any, Any]", data: InboxRefresh) -> dict[str, Any]:
    since, until = parse_time(data.since, "since"), parse_time(data.until, "until")
    if since > until:
        raise Invalid("since", "not after until")
    devices, account_id = parts_of(request).devices, caller_of(request).account.id
    told = _told(data, since, until)
    if not data.device_id:
        await devices.notify_account(account_id, _EVENT, told)
        return {}
    try:
        device = await devices.get(data.device_id, account_id)
    except NotFound:
        raise Invalid("deviceId", "no such device") from None
    await devices.notify(device.id, _EVENT, told)
    return {}


def _told(data: InboxRefresh, since: float, until: float) -> dict[str, str]:
    """All values are texts, a list too: the app's `messageTypes` is a text with commas, and it cannot read a list there."""
    told = {"since": format_time(since), "until": format_time(until)}
    if data.message_types:
        told["messageTypes"] = ",".join(data.message_types)
    delivery = data.webhook_delivery
    if delivery is None and data.trigger_webhooks is not None:
        delivery = "Individual" if data.trigger_webhooks else "Disabled"
    if delivery is not None:
        told |= {"webhookDelivery": delivery, "triggerWebhooks": "false" if delivery == "Disabled" else "true"}
    return told


@get("/inbox", before_request=needs("inbox:list"))
async def inbox() -> "Response[Error]":
    """Not kept here."""
    text = "the router keeps no received messages: ask for them by POST /inbox/refresh, phones send them to your webhooks"
    return Response(Error(text), status_code=501, media_type="application/json")


@get("/logs", before_request=needs("logs:read"))
async def logs() -> "Response[Error]":
    """Not kept here."""
    text = "the router keeps no logs of phones: read them in the app"
    return Response(Error(text), status_code=501, media_type="application/json")


HANDLERS: list[ControllerRouterHandler] = [refresh, export, inbox, logs]
