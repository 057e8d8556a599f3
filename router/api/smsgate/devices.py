"""`/devices`: an account's phones, as applications see them."""

from typing import Any

import msgspec
from litestar import Request, Response, delete, get
from litestar.types import ControllerRouterHandler

from router.api.parts import parts_of
from router.api.smsgate.auth import caller_of, needs
from router.api.smsgate.times import format_time
from router.domain.device import Device


class DeviceView(msgspec.Struct, frozen=True, rename="camel"):
    """A phone. There is no `deletedAt`: one that is deleted is gone."""

    id: str
    name: str
    created_at: str
    updated_at: str
    last_seen: str


def view(device: Device) -> DeviceView:
    """A phone as both APIs show it."""
    created_at, updated_at, last_seen = map(format_time, (device.created_at, device.updated_at, device.last_seen))
    return DeviceView(device.id, device.name, created_at, updated_at, last_seen)


@get(["/devices", "/device"], before_request=needs("devices:list"))
async def list_devices(request: "Request[Any, Any, Any]") -> Response[list[DeviceView]]:
    """The account's phones, oldest first."""
    found = [view(device) for device in await parts_of(request).devices.list(caller_of(request).account.id)]
    return Response(found, headers={"X-Total-Count": str(len(found))}, media_type="application/json")


@delete(["/devices/{device_id:str}", "/device/{device_id:str}"], status_code=204, before_request=needs("devices:delete"))
async def delete_device(request: "Request[Any, Any, Any]", device_id: str) -> None:
    """The phone hears 401 from then on, and sends nothing more for anybody."""
    await parts_of(request).devices.delete(device_id, caller_of(request).account.id)


HANDLERS: list[ControllerRouterHandler] = [list_devices, delete_device]
