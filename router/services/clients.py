"""Gateway clients, as /v3 lists them: the shared seeds that serve, by their numbers (spec/relaysms.md).

Listed are enrolled, enabled seeds that serve every account, have a number and have been heard of; offline ones too, as the original does:
`last_published_date` tells when a client was last heard of, and who asks decides. Seeds that serve one account only are that account's
business: their numbers are told to nobody.

There is no index of numbers: pings, enrolments, operators and phones all write them, and it would have to follow each. The list is read
when somebody asks, at the cost of one command per seed, and kept for a multiple of the time that this took: a hundred thousand seeds
cost a few seconds, at most a twentieth of the time.
"""

import asyncio
import datetime as dt
import time
from collections.abc import Mapping, Sequence

import msgspec

from router.clock import Clock
from router.domain.carriers import carrier_name
from router.domain.errors import NotFound
from router.domain.seed import Seed
from router.store.amqp_phones import AmqpPhones
from router.store.reliability import Tests
from router.store.store import Store

_FIELDS = ("msisdn", "country", "carrier", "enrolled", "enabled", "shared", "lps", "reliability", "probes")
_PAGE = 1000
_KEPT_TIMES = 20.0
_KEPT_SECONDS = 0.2
_HTTPS, _AMQP = "https", "amqp"
"""How a seed gets its messages: from our HTTP APIs, its own or SMSGate's, or from a queue."""


class GatewayClient(msgspec.Struct, frozen=True):
    """One of them. `country`: ISO; `operator_code`: MCC+MNC; `reliability`: 0.0 to 1.0, 0.0 before the first finished test."""

    seed: str
    msisdn: str
    country: str
    operator: str
    operator_code: str
    protocols: tuple[str, ...]
    lps: float
    reliability: float


class ClientFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What is given must be equal, whatever the case. `country`: ISO; `day`: of the last sign of life, UTC; all of `protocols`."""

    country: str = ""
    operator: str = ""
    protocols: tuple[str, ...] = ()
    day: dt.date | None = None

    def takes(self, client: GatewayClient) -> bool:
        """Is it one of those?"""
        if self.country and self.country.upper() != client.country:
            return False
        if self.operator and self.operator.casefold() != client.operator.casefold():
            return False
        if any(protocol.casefold() not in client.protocols for protocol in self.protocols):
            return False
        return self.day is None or self.day == dt.datetime.fromtimestamp(client.lps, dt.UTC).date()


class Clients:
    """One per api process."""

    def __init__(self, store: Store, clock: Clock, *, open_seeds: bool) -> None:
        self._store = store
        self._clock = clock
        self._open_seeds = open_seeds
        self._all: tuple[GatewayClient, ...] = ()
        self._by_number: dict[str, GatewayClient] = {}
        self._operators: dict[str, set[str]] = {}
        self._good_until = float("-inf")
        self._reading = asyncio.Lock()

    async def every(self) -> Sequence[GatewayClient]:
        """In order of their first sign of life. Of seeds with one number, the one that was heard of last."""
        async with self._reading:
            if time.monotonic() >= self._good_until:
                await self._read()
        return self._all

    async def matching(self, wanted: ClientFilter) -> Sequence[GatewayClient]:
        """Those of them that it takes. Others have their turn in between: they may be a hundred thousand."""
        every = await self.every()
        if wanted == ClientFilter():
            return every
        found: list[GatewayClient] = []
        for start in range(0, len(every), _PAGE):
            found += filter(wanted.takes, every[start : start + _PAGE])
            await asyncio.sleep(0)
        return found

    async def operators(self) -> Mapping[str, set[str]]:
        """The names of their operators, by country."""
        await self.every()
        return self._operators

    async def find(self, number: str) -> Seed:
        """The seed with that number, with or without its plus. Raises `NotFound`."""
        await self.every()
        client = self._by_number.get(_bare(number))
        if client is None:
            raise NotFound("Gateway client not found")
        (seed,) = await self._store.seeds.load(self._store.batch(), [client.seed], self._clock.now())
        if seed is None or _bare(seed.msisdn) != _bare(number) or not (seed.enrolled and seed.enabled and seed.shared):
            raise NotFound("Gateway client not found")
        return seed

    async def _read(self) -> None:
        began = time.monotonic()
        ids = await self._store.seeds.all_ids(self._store.batch())
        batch = self._store.batch()
        AmqpPhones.every(batch)
        by_queue = {place.seed for place in AmqpPhones.parse((await batch.run())[0])}
        by_number: dict[str, GatewayClient] = {}
        for start in range(0, len(ids), _PAGE):
            page = ids[start : start + _PAGE]
            for seed_id, fields in zip(page, await Tests.about(self._store.batch(), page, _FIELDS), strict=True):
                client = self._client(seed_id, fields, _AMQP if seed_id in by_queue else _HTTPS)
                if client is not None and client.lps > (known.lps if (known := by_number.get(_bare(client.msisdn))) else 0.0):
                    by_number[_bare(client.msisdn)] = client
        operators: dict[str, set[str]] = {}
        for client in by_number.values():
            operators.setdefault(client.country, set()).add(client.operator)
        self._by_number, self._all, self._operators = by_number, tuple(by_number.values()), operators
        ended = time.monotonic()
        self._good_until = ended + max(_KEPT_SECONDS, _KEPT_TIMES * (ended - began))

    def _client(self, seed_id: str, fields: dict[str, str], protocol: str) -> GatewayClient | None:
        serves = (fields["enrolled"] == "1" or self._open_seeds) and fields["enabled"] != "0" and fields["shared"] != "0"
        if not serves or not fields["msisdn"]:
            return None
        carrier = fields["carrier"]
        return GatewayClient(
            seed=seed_id,
            msisdn=fields["msisdn"],
            country=fields["country"],
            operator=carrier_name(carrier) if carrier else "",
            operator_code=carrier,
            protocols=(protocol,),
            lps=float(fields["lps"] or 0.0),
            reliability=float(fields["reliability"]) if int(fields["probes"] or 0) else 0.0,
        )


def _bare(number: str) -> str:
    """What two spellings of a number have in common."""
    return number.strip().removeprefix("+")
