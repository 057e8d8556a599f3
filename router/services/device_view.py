"""A phone of SMSGate's app as it is shown to operators: by the operator API, and by the console."""

from collections.abc import Mapping, Sequence

import msgspec

from router.clock import Clock
from router.domain.carriers import carrier_name
from router.domain.device import Device, seed_of_sim
from router.domain.numbering import mask
from router.domain.phone_clock import estimate
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.services.accounts import AccountAdmin
from router.services.devices import Devices
from router.services.seed_view import SeedState, state_of

_LINE_SECONDS = 3.0
"""An open stream is noted as a sign of life each second; nothing else of such a phone is that frequent for long."""


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


class DeviceRow(msgspec.Struct, frozen=True):
    """A phone on a page. `states`: its SIMs', in their order. `heard_at`: the last sign of life (Unix seconds), None where there was none.
    `has_line`: its event stream is open, at whichever api process.
    """

    device: DeviceView
    states: list[SeedState]
    heard_at: float | None
    has_line: bool


class DeviceViews:
    """One per api process."""

    def __init__(self, devices: Devices, admin: AccountAdmin, clock: Clock, rules: Rules) -> None:
        self._devices = devices
        self._admin = admin
        self._clock = clock
        self._rules = rules

    async def of(self, devices: Sequence[Device]) -> list[DeviceView]:
        """These phones, in order, with their SIMs and their owners' names."""
        return [row.device for row in await self.rows(devices)]

    async def rows(self, devices: Sequence[Device]) -> list[DeviceRow]:
        """The same, with what a page shows besides."""
        names = await self._admin.names(device.account for device in devices)
        seeds = await self._devices.seeds_of(devices)
        now = self._clock.now()
        found: list[DeviceRow] = []
        for device in devices:
            heard_at = max((seeds[seed].lps for seed in device.seed_ids if seed in seeds), default=0.0)
            view = _view(device, names.get(device.account, ""), seeds, now, self._rules)
            states = [state_of(seeds[seed], now, self._rules) if seed in seeds else "not enrolled" for seed in device.seed_ids]
            found.append(DeviceRow(view, states, heard_at or None, now - heard_at <= _LINE_SECONDS))
        return found


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
