"""Phones of SMSGate's app: look at them, delete them. Each SIM is a seed, and is changed as one."""

from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Request, delete, get
from litestar.handlers import HTTPRouteHandler

from router.api.parts import parts_of
from router.domain.carriers import carrier_name
from router.domain.device import Device, seed_of_sim
from router.domain.errors import NotFound
from router.domain.numbering import mask
from router.domain.phone_clock import estimate
from router.domain.rules import Rules
from router.domain.seed import Seed


class SimView(msgspec.Struct, frozen=True, kw_only=True):
    """`carrier` is the seed's, empty where nobody knows it: it is given nothing then. `told` is the name that the phone shows."""

    seed: str
    number: int
    carrier: str
    carrier_name: str
    told: str
    phone_number: str
    enabled: bool
    online: bool


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """`clock_offset`: how many seconds its clock is ahead of ours, give or take `clock_margin`; null before its first report."""

    id: str
    name: str
    account: str
    account_name: str
    shared: bool
    created_at: float
    updated_at: float
    last_seen: float
    clock_offset: float | None
    clock_margin: float | None
    sims: list[SimView]


def _view(device: Device, account_name: str, seeds: Mapping[str, Seed], now: float, rules: Rules) -> DeviceView:
    clock = estimate(device.clock, now, rules) if device.clock.at else None
    sims: list[SimView] = []
    for sim in device.sims:
        seed = seeds.get(seed_of_sim(device.id, sim.number), Seed(id=seed_of_sim(device.id, sim.number), enabled=False))
        sims.append(SimView(
            seed=seed.id, number=sim.number, carrier=seed.carrier, carrier_name=carrier_name(seed.carrier) if seed.carrier else "",
            told=sim.carrier_name, phone_number=mask(seed.msisdn), enabled=seed.enabled, online=seed.is_online(now, rules),
        ))  # fmt: skip
    return DeviceView(
        id=device.id, name=device.name, account=device.account, account_name=account_name, shared=device.shared,
        created_at=device.created_at, updated_at=device.updated_at, last_seen=device.last_seen,
        clock_offset=round(clock.offset, 3) if clock else None, clock_margin=round(clock.margin_seconds, 3) if clock else None, sims=sims,
    )  # fmt: skip


async def _views(request: "Request[Any, Any, Any]", devices: list[Device]) -> list[DeviceView]:
    parts = parts_of(request)
    names: dict[str, str] = {}
    for account in {device.account for device in devices}:
        try:
            names[account] = (await parts.admin.get(account)).name
        except NotFound:
            names[account] = ""
    seeds = await parts.devices.seeds_of(devices)
    now, rules = parts.clock.now(), parts.settings.rules()
    return [_view(device, names[device.account], seeds, now, rules) for device in devices]


@get("/devices")
async def list_devices(request: "Request[Any, Any, Any]", account: str | None = None) -> list[DeviceView]:
    """All phones, oldest first; those of an account."""
    devices = parts_of(request).devices
    return await _views(request, list(await (devices.every() if account is None else devices.list(account))))


@get("/devices/{device_id:str}")
async def show_device(request: "Request[Any, Any, Any]", device_id: str) -> DeviceView:
    """One phone."""
    return (await _views(request, [await parts_of(request).devices.get(device_id)]))[0]


@delete("/devices/{device_id:str}")
async def delete_device(request: "Request[Any, Any, Any]", device_id: str) -> None:
    """It hears 401 from then on; its seeds are nobody's."""
    await parts_of(request).devices.delete(device_id)


HANDLERS: list[HTTPRouteHandler] = [list_devices, show_device, delete_device]
