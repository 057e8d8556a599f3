"""Numbers that have moved to another carrier: imported by operators, above what a number's prefix says."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from litestar import Request, post

from router.api.operator.schemas import Imported, Portability
from router.api.parts import parts_of
from router.domain.errors import Invalid
from router.domain.numbering import mask, parse_number, with_portability

MAX_NUMBERS: Final = 10_000
_MAX_BODY_BYTES: Final = 1 << 20
"""10,000 numbers with their carriers take about 280 kB, which is beyond the bound of other calls."""


@post("/portability", status_code=200, request_max_body_size=_MAX_BODY_BYTES)
async def import_numbers(request: "Request[Any, Any, Any]", data: Portability) -> Imported:
    """All of them or, where one is wrong, none."""
    parts = parts_of(request)
    if len(data.numbers) > MAX_NUMBERS:
        raise Invalid("numbers", f"at most {MAX_NUMBERS} in one call")
    # In a thread: reading 10,000 numbers takes about a second, and other requests would wait for it.
    carriers = await asyncio.to_thread(_read, data.numbers, parts.settings.default_region)
    batch = parts.store.batch()
    parts.store.portability.put(batch, carriers)
    await batch.run()
    # The first import is noticed by every api process at its next look; by this one at once.
    await parts.presence.look()
    removed = sum(not carrier for carrier in carriers.values())
    return Imported(len(carriers) - removed, removed)


def _read(numbers: Mapping[str, str], default_region: str) -> dict[str, str]:
    """E.164 → canonical carrier, or empty. Raises `Invalid`, which tells the entry by its place and shows its number masked."""
    carriers: dict[str, str] = {}
    for place, (text, ported_to) in enumerate(numbers.items(), start=1):
        try:
            number = parse_number(text, default_region)
            carrier = (with_portability(number, ported_to).carrier or "") if ported_to else ""
        except Invalid as error:
            raise Invalid("numbers", f"entry {place} ({mask(text)!a}): {error}") from None
        if carriers.setdefault(number.e164, carrier) != carrier:
            raise Invalid("numbers", f"entry {place} ({mask(number.e164)}): the same number twice, with different carriers")
    return carriers
