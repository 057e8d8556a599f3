"""Phones of SMSGate's app: look at them, delete them. Each SIM is a seed, and is changed as one."""

from typing import Any

from litestar import Request, delete, get
from litestar.handlers import HTTPRouteHandler

from router.api.parts import parts_of
from router.services.device_view import DeviceView


@get("/devices")
async def list_devices(request: "Request[Any, Any, Any]", account: str | None = None) -> list[DeviceView]:
    """All phones, oldest first; those of an account."""
    parts = parts_of(request)
    return await parts.device_views.of(await (parts.devices.every() if account is None else parts.devices.list(account)))


@get("/devices/{device_id:str}")
async def show_device(request: "Request[Any, Any, Any]", device_id: str) -> DeviceView:
    """One phone."""
    parts = parts_of(request)
    return (await parts.device_views.of([await parts.devices.get(device_id)]))[0]


@delete("/devices/{device_id:str}")
async def delete_device(request: "Request[Any, Any, Any]", device_id: str) -> None:
    """It hears 401 from then on; its seeds are nobody's."""
    await parts_of(request).devices.delete(device_id)


HANDLERS: list[HTTPRouteHandler] = [list_devices, show_device, delete_device]
