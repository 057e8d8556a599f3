"""The SIMs of phones that run SMSGate's app: one to three in a phone, of different carriers where there are several."""

from collections.abc import Mapping
from typing import Final

import msgspec

from router.domain.carriers import carrier_name
from workers.simulator.numbers import Sim, make_sims
from workers.simulator.smsgate.wire import SimCard

MOST_SIMS: Final = 3
_SHOWN: Final = 4


class PhoneSims(msgspec.Struct, frozen=True):
    """A phone by its name, and its SIMs: the first is number 1."""

    name: str
    sims: tuple[Sim, ...]

    def cards(self, *, masked: bool) -> list[SimCard]:
        """As the app tells them."""
        return [_card(place, sim, masked=masked) for place, sim in enumerate(self.sims)]


def make_phones(phones: Mapping[str, int], sims: int = 1, first_number: int = 0) -> list[PhoneSims]:
    """So many phones by the carrier of their first SIM; the second and third are of the carriers that follow. Raises Invalid."""
    total = sum(phones.values())
    carriers = list(phones)
    stocks = {carrier: iter(make_sims({carrier: total * MOST_SIMS}, first_number * MOST_SIMS)) for carrier in carriers}
    made: list[PhoneSims] = []
    for place, carrier in enumerate(carriers):
        following = [carriers[(place + step) % len(carriers)] for step in range(sims)]
        made += [
            PhoneSims(f"Simulated/{carrier}-{number}", tuple(next(stocks[one]) for one in following))
            for number in range(first_number, first_number + phones[carrier])
        ]
    return made


def iccid_of(sim: Sim) -> str:
    """A number of 19 digits as this SIM's card could bear (ITU-T E.118): 89, the country, the network, the card."""
    return f"89213{sim.carrier[-2:]}{sim.imsi[-10:]:>010}00"[:19]


def mask(text: str) -> str:
    """A star for each character but the last four; a short text is four stars."""
    return "*" * (len(text) - _SHOWN) + text[-_SHOWN:] if len(text) > _SHOWN else "*" * _SHOWN


def _card(place: int, sim: Sim, *, masked: bool) -> SimCard:
    number, carrier, iccid = sim.msisdn, carrier_name(sim.carrier), iccid_of(sim)
    if masked:
        number, carrier, iccid = mask(number), mask(carrier), mask(iccid)
    return SimCard(slot_index=place, sim_number=place + 1, phone_number=number, carrier_name=carrier, iccid=iccid)
