"""The phones of a fleet that run SMSGate's app: made, registered, killed and ended together."""

import asyncio
import random
from collections.abc import Iterator
from typing import Final

import aiohttp
import msgspec

from router.domain.errors import Invalid
from workers.simulator.air import Air
from workers.simulator.smsgate.behaviour import AppBehaviour
from workers.simulator.smsgate.client import BASE_PATH, with_private_token
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.phone import AppPhone
from workers.simulator.smsgate.sims import MOST_SIMS, make_phones

REGISTER_SECONDS: Final = 60.0
FIRST_NUMBER: Final = 1_000_000
"""Numbers of phones with the app begin so much later than those of the others in the same fleet: no number is there twice."""


class AppOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Phones with SMSGate's app. `credentials`: as they register, instead of with the private token."""

    phones: dict[str, int]
    """Phones by the carrier of their first SIM."""
    sims: int = 1
    """SIMs in each, of carriers that follow each other."""
    private_token: str = ""
    credentials: str = ""
    behaviour: AppBehaviour = AppBehaviour()
    seed: int = 0
    first_number: int = 0
    base_path: str = BASE_PATH

    def __repr__(self) -> str:
        return f"<AppOptions {self.phones} with {self.sims} SIMs from {self.first_number}>"

    @property
    def authorization(self) -> str:
        return self.credentials or with_private_token(self.private_token)


def make_app_phones(options: AppOptions, air: Air) -> list[AppPhone]:
    """Phones that are not on yet. Raises Invalid."""
    if not 1 <= options.sims <= MOST_SIMS:
        raise Invalid("sims", f"a phone has 1 to {MOST_SIMS} SIMs")
    made = make_phones(options.phones, options.sims, FIRST_NUMBER + options.first_number)
    return [AppPhone(sims, air, options.behaviour, random.Random(f"{options.seed}/{sims.name}")) for sims in made]


async def start_app_phones(
    waiting: Iterator[AppPhone], session: aiohttp.ClientSession, url: str, options: AppOptions
) -> None:
    """Power them on, one after the other, each when the one before is registered. Raises EnrolmentRefused, TimeoutError."""
    for phone in waiting:
        phone.start(session, url, options.authorization, options.base_path)
        async with asyncio.timeout(REGISTER_SECONDS):
            await phone.wait_registered()


def sum_app_counts(phones: list[AppPhone]) -> AppCounts:
    """What all of them did."""
    total = AppCounts()
    for phone in phones:
        total.add(phone.app)
    return total
