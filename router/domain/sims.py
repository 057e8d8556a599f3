"""Which carrier a SIM belongs to, from what its phone tells of it. What an operator says stands above this, and is none of its business."""

import msgspec

from router.domain.carriers import (
    carrier_of_iccid,
    carrier_of_imsi,
    carriers_by_label,
    country_of_carrier,
    country_of_iccid,
    is_iccid,
)
from router.domain.device import Sim
from router.domain.errors import Invalid
from router.domain.numbering import Number, parse_number


def carrier_of_sim(sim: Sim, default_region: str) -> str | None:
    """MCC+MNC, or None where nobody knows: such a SIM is listed, and given nothing until an operator says whose it is.

    In this order: the SIM's own number (by its prefix: portability is not looked at), the issuer in its ICCID, an IMSI where an ICCID is
    expected, the name that the phone shows. A name that is used in several countries means the one that issued the card, else
    `default_region`'s. A name from another country than the card's is of a network that it visits, and says nothing.
    """
    number = number_of_sim(sim, default_region)
    if number is not None and number.carrier is not None:
        return number.carrier
    card = _card(sim)
    known = carrier_of_iccid(card) or (_carrier_of_imsi(card) if not is_iccid(card) else None)
    if known is not None:
        return known
    named = carriers_by_label(sim.carrier_name)
    if number is not None:
        home: str | None = number.country
    elif is_iccid(card):
        home = country_of_iccid(card)
    elif len(named) > 1:
        home = default_region
    else:
        return named[0] if named else None
    return next((carrier for carrier in named if country_of_carrier(carrier) == home), None)


def number_of_sim(sim: Sim, default_region: str) -> Number | None:
    """The SIM's own number, where the phone tells one that is a mobile number."""
    try:
        return parse_number(sim.phone_number, default_region)
    except Invalid:
        return None


class Told(msgspec.Struct, frozen=True):
    """What a phone's word of a SIM comes to. Empty = it says nothing of it, and what was known stays."""

    is_another: bool
    """It is another card than the one that was in the slot: what was learned of that one does not hold for it."""
    msisdn: str
    carrier: str


def told_of(before: Sim | None, now: Sim, default_region: str) -> Told:
    """What to make of a SIM, where `before` is what its phone said of that slot last.

    Another card is certain by its ICCID, by its number where there is no ICCID, and, where the phone tells nothing but names, by the name
    of another carrier of the same country. The name of a foreign network is of one that the card visits.
    """
    number = number_of_sim(now, default_region)
    told = carrier_of_sim(now, default_region) or ""
    msisdn = number.e164 if number is not None else ""
    if before is None:
        return Told(is_another=False, msisdn=msisdn, carrier=told)
    was = carrier_of_sim(before, default_region) or ""
    if before.iccid and now.iccid:
        is_another = _card(before) != _card(now)
    elif before.phone_number and now.phone_number:
        is_another = before.phone_number != now.phone_number
    else:
        by_name = not (before.iccid or now.iccid or before.phone_number or now.phone_number)
        if by_name and was and told and country_of_carrier(was) != country_of_carrier(told):
            told = ""
        is_another = by_name and bool(was and told) and was != told
    return Told(is_another=is_another, msisdn=msisdn, carrier=told)


def _card(sim: Sim) -> str:
    """The ICCID; some phones add the filler of its last half byte."""
    return sim.iccid.rstrip("Ff")


def _carrier_of_imsi(text: str) -> str | None:
    return carrier_of_imsi(text) if 14 <= len(text) <= 15 else None
