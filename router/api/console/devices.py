"""Devices: the phones of SMSGate's app, each with its SIMs, which are seeds."""

from typing import Any, Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect, Template

from router.api.base_url import base_url
from router.api.console.addresses import is_part, whole_number, with_query
from router.api.console.pages import AnyRequest, back, page, partial, redirect
from router.api.parts import parts_of

_PATH: Final = "/console/devices"
_SHOWN: Final = 50
_MOST: Final = 10_000_000
_LONGEST_ID: Final = 64


@get("/devices")
async def list_devices(request: AnyRequest, q: str = "", offset: str = "") -> Template:
    """The phones, the newest first."""
    return await _page(request, q[:_LONGEST_ID], whole_number(offset, "offset", 0, _MOST))


async def _page(request: AnyRequest, words: str = "", start: int = 0, token: str = "") -> Template:
    parts = parts_of(request)
    devices, total = await parts.devices.page(words.partition(".")[0], start, _SHOWN)
    context: dict[str, Any] = {
        "rows": await parts.device_views.rows(devices), "total": total, "start": start, "words": words,
        "before": with_query(_PATH, q=words, offset=max(0, start - _SHOWN)) if start else "",
        "after": with_query(_PATH, q=words, offset=start + _SHOWN) if start + _SHOWN < total else "",
    }  # fmt: skip
    if is_part(request):
        return partial(request, "_devices.html", **context)
    return page(
        request, "devices.html", title="Devices", section="devices", **context, here=with_query(_PATH, q=words, offset=start),
        api_url=f"{base_url(request, parts.settings)}/mobile/v1", token=token,
    )  # fmt: skip


@post("/devices/token", status_code=200)
async def show_token(request: AnyRequest) -> Template:
    """The same page, with the private token that a phone registers with. It is no redirect, so that the token stands in no address."""
    return await _page(request, token=parts_of(request).secrets.mobile_private_token)


@get("/devices/token")
async def loaded_again() -> Response[Any]:
    """The page with the token bears this address; a form is not posted again."""
    return redirect(_PATH)


@get("/devices/{device_id:str}/remove")
async def ask_to_remove(request: AnyRequest, device_id: str) -> Template:
    """What removing it does, and a button."""
    parts = parts_of(request)
    (row,) = await parts.device_views.rows([await parts.devices.get(device_id)])
    return page(request, "device_remove.html", title=f"Remove {row.device.name or device_id}?", section="devices", row=row)


@post("/devices/{device_id:str}/remove", status_code=200)
async def remove(request: AnyRequest, device_id: str) -> Redirect:
    """Its token is void, and its SIMs send nothing more."""
    parts = parts_of(request)
    await parts.devices.delete(device_id)
    parts.seed_list.forget()
    return back(request, _PATH, "Removed: the phone hears 401, and registers anew if its app still may.", "warn")


HANDLERS: list[HTTPRouteHandler] = [list_devices, show_token, loaded_again, ask_to_remove, remove]
