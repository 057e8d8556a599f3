"""The names of pools, where seeds are chosen from, and of parking lots, where messages wait for them.

A name is who may serve, and `#` with what they must be able to do:

- `60302` the shared seeds of a carrier · `60302@ac_1` those, and the account's own ones of that carrier · `DZ`, `DZ@ac_1` likewise for a
  country · `@ac_1`, `@<device>` a group: an account's phones, or the SIMs of one phone, whatever their carrier · `@=<seed>` one seed, for
  probes; that one is a parking lot only, since a seed that is known needs no pool to be found in.
- `#2` the SIM of that number in its phone · `#d` SMSGate's app, which alone sends data and ciphertexts. A SIM with a number is in such a
  phone anyway.

What asks for something special waits by itself: else it would stand at the head of its carrier's lot and hold up what any seed could
take. The same goes for the messages of an account with phones of its own, which can go when nobody else's can.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from router.domain.carriers import country_of_carrier
from router.domain.message import ONE_SEED, Lane, Message
from router.domain.seed import Seed
from router.domain.selection import Need

_HEAD_START_SECONDS: Final[Mapping[Lane, float]] = {"otp": 0.0, "notification": 30.0, "bulk": 300.0}
"""A code goes before what waits already, but not before what has waited so much longer: nothing starves."""


class Lot(msgspec.Struct, frozen=True, kw_only=True):
    """What the name of a lot says."""

    home: str
    """A carrier, or a country; empty for a group."""
    owner: str
    """The account, or for a group its id; empty where any."""
    demands: str
    """`#2`, `#d` or empty."""

    @property
    def carrier(self) -> str:
        """MCC+MNC; empty where the lot is a country's or a group's."""
        return self.home if self.home.isdigit() else ""

    @property
    def country(self) -> str:
        """Its two letters; empty for a group's lot."""
        return (country_of_carrier(self.home) or "") if self.carrier else self.home

    @property
    def is_group(self) -> bool:
        return not self.home

    @property
    def seed(self) -> str:
        """The one seed that its messages are for; empty in all other lots."""
        return self.owner.removeprefix(ONE_SEED) if self.owner.startswith(ONE_SEED) else ""


@functools.lru_cache(maxsize=1000)
def parse_lot(name: str) -> Lot:
    """The parts of a lot's name."""
    rest, hash_sign, demands = name.partition("#")
    home, _, owner = rest.partition("@")
    return Lot(home=home, owner=owner, demands=hash_sign + demands)


def is_special(name: str) -> bool:
    """Is it another lot than those of carriers and countries?"""
    return "@" in name or "#" in name


def carrier_of_lot(name: str) -> str:
    """The carrier whose messages wait in a lot; empty where they are of several."""
    return parse_lot(name).carrier


def lot_of(message: Message, *, own: bool = False) -> str:
    """The lot where a message waits. `own`: its account has phones of its own."""
    wanted = demands(message.sim, phone_only=needs_phone(message))
    if message.only:
        return group(message.only, wanted)
    home = message.carrier or message.country
    return f"{home}@{message.account}{wanted}" if own else f"{home}{wanted}"


def place_in_lot(message: Message) -> float:
    """Its place in the order of a lot, lowest first: by age, codes with a head start."""
    return message.created_at + _HEAD_START_SECONDS[message.lane]


def needs_phone(message: Message) -> bool:
    """Can only SMSGate's app send it?"""
    return message.data_port > 0 or message.encrypted


def demands(sim: int, *, phone_only: bool) -> str:
    """What a seed must be able to do, as names have it."""
    if sim:
        return f"#{sim}"
    return "#d" if phone_only else ""


def demands_of(need: Need) -> str:
    """See `demands`."""
    return demands(need.sim, phone_only=need.phone_only)


def group(id: str, wanted: str) -> str:
    """The name of a group's pool, and of its lot."""
    return f"@{id}{wanted}"


def pools_of(seed: Seed) -> Iterator[str]:
    """Every pool that a seed belongs to while it is ready."""
    if seed.shared and not seed.device and not seed.account:
        yield seed.carrier
        return
    homes = [seed.pool] if seed.carrier else []
    homes += [group(id, "") for id in (seed.device, seed.account) if id]
    for home in homes:
        yield home
        if seed.device:
            yield f"{home}#d"
        if seed.sim:
            yield f"{home}#{seed.sim}"
