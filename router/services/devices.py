"""Phones of SMSGate's app: they register, tell of their SIMs, each of which is a seed, and are deleted.

The order of writes is such that a crash between two of them hurts nothing. Registering: the place in the account's list, the record, the
seeds, the token; without the token nobody can be the phone, and the app registers anew. A change of SIMs: the seeds, then the record; the
app, which has had no answer, tells them again. Deleting: the token, the seeds, then the record; it can be deleted again.
"""

import hmac
import secrets
import time
from collections.abc import Sequence
from typing import Any

import structlog
from msgspec.structs import replace

from router.clock import Clock
from router.domain.carriers import country_of_carrier
from router.domain.device import MOST_SIMS, Device, Sim, seed_of_sim, with_sims
from router.domain.errors import LimitReached, NotFound, Unauthorized
from router.domain.phone_clock import learn
from router.domain.rules import Rules
from router.domain.seed import Seed, pool_of
from router.domain.sims import Told, told_of
from router.ids import random_id
from router.settings import Settings
from router.store.accounts import hash_key
from router.store.devices import SimKept
from router.store.phones import HANG_UP
from router.store.redis import Batch
from router.store.seeds import Seeds
from router.store.store import Store

_log = structlog.get_logger()
_KIND = "smsgate"
_KEPT = 10_000
_KEPT_SECONDS = 1.0
_RETRY_SECONDS = 3600


class Devices:
    """One per process."""

    def __init__(self, store: Store, clock: Clock, rules: Rules, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._most = settings.max_devices_per_account
        self._guest_seconds = settings.guest_seconds
        self._known: dict[str, tuple[float, Device]] = {}
        """Whom a token proved to be lately, by its hash, and until when that is believed. What hands over texts asks again."""

    # The phone itself

    async def register(
        self, account_id: str, *, shared: bool, name: str, push_token: str, sims: tuple[Sim, ...]
    ) -> tuple[Device, str]:
        """A new phone, and its token, which is told this once. Its SIMs are enrolled at once. Raises `LimitReached`."""
        now = self._clock.now()
        token = secrets.token_urlsafe(32)
        device = Device(
            id=random_id(), account=account_id, name=name, shared=shared,
            token_hash=hash_key(token), push_token=push_token, sims=sims, created_at=now, updated_at=now, last_seen=now,
        )  # fmt: skip
        batch = self._store.batch()
        place = self._store.devices.add(batch, account_id, device.id, now, self._most)
        if not (await batch.run())[place]:
            raise LimitReached("devices", self._most, _RETRY_SECONDS)
        batch = self._store.batch()
        self._store.devices.put(batch, device)
        await batch.run()
        await self._put_sims(device, ())
        batch = self._store.batch()
        self._store.devices.set_token(batch, device)
        await batch.run()
        _log.info("device.registered", device=device.id, account=account_id, shared=shared, sims=len(sims))
        return device, token

    async def authenticate(self, token: str) -> Device:
        """The phone of a token; a copy of it is believed for a second. Raises `Unauthorized`: the app then registers anew."""
        token_hash = hash_key(token)
        kept = self._known.get(token_hash)
        if kept is not None and time.monotonic() < kept[0]:
            return kept[1]
        batch = self._store.batch()
        place = self._store.devices.owner_of_token(batch, token_hash)
        owner = self._store.devices.parse_owner((await batch.run())[place])
        found = await self._store.devices.load(self._store.batch(), [owner]) if owner else []
        if not found or not hmac.compare_digest(found[0].token_hash, token_hash):
            self._known.pop(token_hash, None)
            raise Unauthorized("unknown phone")
        self._keep(found[0])
        return found[0]

    async def update(self, device: Device, *, push_token: str | None = None, sims: tuple[Sim, ...] | None = None) -> Device:
        """What a phone says anew of itself. Raises `Unauthorized` where it was deleted meanwhile."""
        found = await self._store.devices.load(self._store.batch(), [(device.account, device.id)])
        if not found:
            raise Unauthorized("unknown phone")
        before = found[0]
        after = replace(before, push_token=before.push_token if push_token is None else push_token, updated_at=self._clock.now())
        if sims is not None:
            after = with_sims(after, sims)
            await self._put_sims(after, (*before.gone, *before.sims))
        batch = self._store.batch()
        place = self._store.devices.change(batch, after)
        if not (await batch.run())[place]:
            await self._take_out(after)
            raise Unauthorized("unknown phone")
        self._keep(after)
        if after.seed_ids != before.seed_ids:
            await self.notify(after.id, HANG_UP)
        return after

    def seen(self, batch: Batch, device: Device, now: float) -> None:
        """Adds that it was heard of. Its seeds' last pings are another matter."""
        self._store.devices.seen(batch, device, now)

    def learn(self, batch: Batch, device: Device, *, told_at: float, handed_at: float, received_at: float) -> Device:
        """Adds what a time in a report says of the phone's clock; answers the phone as it is known now."""
        clock = learn(device.clock, told_at, handed_at, received_at)
        if clock == device.clock:
            return device
        self._store.devices.set_clock(batch, device.id, clock)
        device = replace(device, clock=clock)
        self._keep(device)
        return device

    def _keep(self, device: Device) -> None:
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[device.token_hash] = (time.monotonic() + _KEPT_SECONDS, device)

    # Its SIMs

    async def _put_sims(self, device: Device, before: tuple[Sim, ...]) -> None:
        """Each SIM is an enrolled seed; those that are gone are given nothing until they come back."""
        now = self._clock.now()
        known = {sim.number: sim for sim in before}
        told = {seed_of_sim(device.id, sim.number): told_of(known.get(sim.number), sim, self._rules.default_region) for sim in device.sims}
        gone = [seed_of_sim(device.id, sim.number) for sim in device.gone]
        batch = self._store.batch()
        for seed_id, word in told.items():
            country = country_of_carrier(word.carrier) if word.carrier else None
            self._store.devices.put_sim(
                batch, seed_id, is_another=word.is_another, kind=_KIND, msisdn=word.msisdn, carrier=word.carrier, country=country or ""
            )
        for seed_id in gone:
            self._store.devices.sim_gone(batch, seed_id)
        answers = await batch.run()
        batch = self._store.batch()
        for sim, (seed_id, word), answer in zip(device.sims, told.items(), answers, strict=False):
            self._list(batch, device, sim.number, seed_id, word, self._store.devices.parse_sim(answer), now)
        for seed_id in gone:
            Seeds.mark_changed(batch, seed_id, now)
        await batch.run()

    def _list(self, batch: Batch, device: Device, number: int, seed_id: str, word: Told, kept: SimKept, now: float) -> None:
        if kept.enrolled:
            seed = Seed(id=seed_id, lps=kept.lps, carrier=kept.carrier_before, account=kept.account, shared=kept.shared)
            if kept.carrier != kept.carrier_before:
                self._store.seeds.move(batch, seed, pool_of(kept.carrier, kept.account, shared=kept.shared))
            Seeds.mark_changed(batch, seed_id, now)
        else:
            country = country_of_carrier(kept.carrier) if kept.carrier else None
            seed = Seed(
                id=seed_id, device=device.id, sim=number, account=device.account, shared=device.shared, kind=_KIND, msisdn=word.msisdn,
                carrier=kept.carrier, country=country or "",
            )  # fmt: skip
            self._store.seeds.enrol(batch, seed, device.token_hash, now)
        if not kept.carrier:
            _log.warning("seed.carrier_unknown", seed=seed_id, hint="seedrouter seeds set ID --carrier MCCMNC")
        elif word.is_another or not kept.enrolled:
            _log.info("seed.enrolled", seed=seed_id, carrier=kept.carrier, by="phone")

    # Its account, and operators

    async def list(self, account_id: str) -> Sequence[Device]:
        """The account's phones, oldest first."""
        ids = await self._store.devices.ids_of(self._store.batch(), account_id)
        found = await self._store.devices.load(self._store.batch(), [(account_id, device_id) for device_id in ids])
        return sorted(found, key=lambda device: device.created_at)

    async def every(self) -> Sequence[Device]:
        """All phones, oldest first."""
        ids = await self._store.devices.all_ids(self._store.batch())
        return await self._store.devices.load(self._store.batch(), await self._store.devices.owners(self._store.batch(), ids))

    async def page(self, part_of_id: str, offset: int, limit: int) -> tuple[Sequence[Device], int]:
        """Some phones whose id has that in it, newest first; and how many there are. Only those are read."""
        ids = [device_id for device_id in await self._store.devices.all_ids(self._store.batch()) if part_of_id in device_id]
        shown = ids[::-1][offset : offset + limit]
        return await self._store.devices.load(self._store.batch(), await self._store.devices.owners(self._store.batch(), shown)), len(ids)

    async def get(self, device_id: str, account_id: str = "") -> Device:
        """A phone of that account, or of any. Raises `NotFound`."""
        owners = [(account_id, device_id)] if account_id else await self._store.devices.owners(self._store.batch(), [device_id])
        found = await self._store.devices.load(self._store.batch(), owners)
        if not found:
            raise NotFound("no such device")
        return found[0]

    async def seeds_of(self, devices: Sequence[Device]) -> dict[str, Seed]:
        """The seeds of these phones, by their ids; those of SIMs that are gone are not among them."""
        ids = [seed_id for device in devices for seed_id in device.seed_ids]
        found = await self._store.seeds.load(self._store.batch(), ids, self._clock.now())
        return {seed.id: seed for seed in found if seed is not None}

    async def delete(self, device_id: str, account_id: str = "") -> None:
        """A phone of that account, or of any: it hears 401, and what it held moves when its leases are over. Raises `NotFound`."""
        device = await self.get(device_id, account_id)
        batch = self._store.batch()
        self._store.devices.void_token(batch, device)
        await batch.run()
        self._known.pop(device.token_hash, None)
        await self._take_out(device)
        batch = self._store.batch()
        self._store.phones.notify(batch, device.id, HANG_UP)
        self._store.devices.remove(batch, device)
        await batch.run()
        _log.info("device.deleted", device=device.id, account=device.account)

    async def _take_out(self, device: Device) -> None:
        """Its seeds are nobody's any more, those of SIMs that it had too; the timekeeper forgets them as it forgets guests."""
        now = self._clock.now()
        ids = [seed_of_sim(device.id, number) for number in range(MOST_SIMS + 1)]
        known = [seed for seed in await self._store.seeds.load(self._store.batch(), ids, now) if seed is not None]
        batch = self._store.batch()
        for seed in known:
            fields = {"enrolled": "0", "enabled": "0", "token_hash": "", "disabled_by": "phone"}
            self._store.seeds.change(batch, seed.id, fields, now)
            self._store.seeds.keep_guest(batch, seed.id, now, self._guest_seconds)
        await batch.run()

    # News

    async def notify(self, device_id: str, event: str, data: Any = None) -> None:
        """Tells the phone's open event stream, if it has one: a hint, that may be lost."""
        batch = self._store.batch()
        self._store.phones.notify(batch, device_id, event, data)
        await batch.run()

    async def notify_account(self, account_id: str, event: str, data: Any = None) -> None:
        """Tells all phones of the account."""
        batch = self._store.batch()
        for device_id in await self._store.devices.ids_of(self._store.batch(), account_id):
            self._store.phones.notify(batch, device_id, event, data)
        await batch.run()
