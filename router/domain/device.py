"""A phone of SMSGate's app, and its SIMs. Each SIM is a seed: `<device id>.<sim number>`."""

import re

import msgspec
from msgspec.structs import replace

from router.domain.phone_clock import Bounds

NO_SIMS = 0
"""The number of the one seed of a phone that tells no SIMs. It is never told which SIM is to send."""
MOST_SIMS = 3
_SEED_SHAPE = re.compile(r"([A-Za-z0-9_-]{21})\.([0-3])")


class Sim(msgspec.Struct, frozen=True):
    """A SIM as its phone tells it. Since Android 10 an app is told no ICCID, and often no phone number."""

    number: int
    """1 to 3, the app's `simNumber`; `NO_SIMS` where the phone tells no SIMs."""
    phone_number: str = ""
    carrier_name: str = ""
    iccid: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One phone. Times are Unix seconds by the router's clock."""

    id: str
    """21 of A-Z a-z 0-9 _ -"""
    account: str
    name: str
    shared: bool
    """Registered with the router's private token: its SIMs serve every account, else only the one that it belongs to."""
    token_hash: str
    push_token: str = ""
    sims: tuple[Sim, ...]
    """At least one: a phone that tells none has `Sim(NO_SIMS)`."""
    gone: tuple[Sim, ...] = ()
    """SIMs that it had, as it told them last: what comes back may be the same card, or another."""
    created_at: float
    updated_at: float
    last_seen: float
    clock: Bounds = Bounds()
    """What its reports have said of its clock."""

    @property
    def seed_ids(self) -> tuple[str, ...]:
        """Its seeds, in the order of its SIMs."""
        return tuple(seed_of_sim(self.id, sim.number) for sim in self.sims)


def with_sims(device: Device, sims: tuple[Sim, ...]) -> Device:
    """The phone with these SIMs; those that are not among them are gone."""
    present = {sim.number for sim in sims}
    return replace(device, sims=sims, gone=tuple(sim for sim in (*device.gone, *device.sims) if sim.number not in present))


def seed_of_sim(device_id: str, number: int) -> str:
    """The id of a SIM's seed."""
    return f"{device_id}.{number}"


def device_of_seed(seed_id: str) -> str:
    """The device of a seed; empty for one that is no SIM of such a phone."""
    found = _SEED_SHAPE.fullmatch(seed_id)
    return found[1] if found else ""


def sim_of_seed(seed_id: str) -> int:
    """The SIM number of a seed, 0 where the phone tells no SIMs, and for one that is no SIM of such a phone."""
    found = _SEED_SHAPE.fullmatch(seed_id)
    return int(found[2]) if found else NO_SIMS
