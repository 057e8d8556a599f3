"""SIM cards for simulated phones: carriers in Algeria's proportions, IMSIs and numbers as their carrier could give out."""

from collections.abc import Mapping
from typing import Final

import msgspec

from router.domain.errors import Invalid

_PER_MILLE: Final[Mapping[str, int]] = {"60301": 420, "60302": 340, "60303": 240}
"""Shares of subscribers, about: Mobilis, Djezzy, Ooredoo."""
_MSISDN_PREFIX: Final[Mapping[str, str]] = {"60301": "+21366", "60302": "+21377", "60303": "+21355"}
_NUMBERS_PER_PREFIX: Final = 10_000_000


class Sim(msgspec.Struct, frozen=True):
    """One SIM. `carrier` is MCC+MNC, `msisdn` E.164 with its plus."""

    imsi: str
    msisdn: str
    carrier: str


def split_by_carrier(count: int) -> dict[str, int]:
    """`count` phones over Algeria's carriers by their shares (largest remainder); from three phones on, each carrier has one."""
    phones = {carrier: count * share // 1000 for carrier, share in _PER_MILLE.items()}
    by_remainder = sorted(_PER_MILLE, key=lambda carrier: count * _PER_MILLE[carrier] % 1000, reverse=True)
    for carrier in by_remainder[: count - sum(phones.values())]:
        phones[carrier] += 1
    if count >= len(phones):
        for carrier in [carrier for carrier, some in phones.items() if some == 0]:
            phones[carrier] += 1
            phones[max(phones, key=phones.__getitem__)] -= 1
    return phones


def make_sims(phones: Mapping[str, int], first_number: int = 0) -> list[Sim]:
    """SIMs for so many phones per carrier, each carrier's numbered from `first_number`. Raises Invalid."""
    sims: list[Sim] = []
    for carrier, count in phones.items():
        if carrier not in _MSISDN_PREFIX:
            raise Invalid("carriers", f"{carrier} is none of {', '.join(_MSISDN_PREFIX)}")
        if count < 0 or first_number < 0 or first_number + count > _NUMBERS_PER_PREFIX:
            raise Invalid("first_number", f"the numbers of a carrier go from 0 to {_NUMBERS_PER_PREFIX - 1}")
        sims += [
            Sim(f"{carrier}{number:010d}", f"{_MSISDN_PREFIX[carrier]}{number:07d}", carrier)
            for number in range(first_number, first_number + count)
        ]
    return sims
