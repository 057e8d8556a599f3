"""A fleet of simulated phones in one process: enrols them, runs them, kills some, and ends in order."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp
import msgspec
import structlog

from router.domain.seed import Quota
from workers.simulator.air import Air
from workers.simulator.backoff import Backoff
from workers.simulator.behaviour import Behaviour
from workers.simulator.client import Enrolment, SeedClient, Unanswered, enrol, open_session
from workers.simulator.counts import Counts
from workers.simulator.numbers import make_sims, split_by_carrier
from workers.simulator.phone import WAIT_SECONDS, Phone
from workers.simulator.smsgate.counts import AppCounts
from workers.simulator.smsgate.fleet import AppOptions, make_app_phones, start_app_phones, sum_app_counts
from workers.simulator.smsgate.phone import AppPhone

ENROL_TRIES: Final = 8
NO_LIMIT: Final = Quota(half_hour=0, hour=0, day=0)

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class FleetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What to simulate, and where the router is."""

    url: str
    operator_token: str
    ledger: Path
    count: int = 3
    carriers: dict[str, int] | None = None
    """Phones per carrier, instead of `count` in Algeria's proportions."""
    behaviour: Behaviour = Behaviour()
    seed: int = 0
    """Of randomness: the same seed, the same behaviour of each phone."""
    first_number: int = 0
    """The first phone of each carrier has this number in its IMSI and MSISDN."""
    apps: AppOptions | None = None
    """Phones that run SMSGate's app, beside those of `count` or `carriers`."""
    quota: Quota = NO_LIMIT
    """Sent at enrolment; no limit by default, for there are no real SIM cards to lose."""
    wait_seconds: float = WAIT_SECONDS
    enrol_at_once: int = 16
    stop_seconds: float = 10.0
    """How long phones have for their last reports."""

    def __repr__(self) -> str:
        return f"<FleetOptions {self.url} {self.carriers or self.count} from {self.first_number}>"


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `undelivered_reports` is what the router was not told because the time to stop was over."""

    phones: int
    alive: int
    totals: Counts
    by_carrier: dict[str, Counts]
    undelivered_reports: int = 0
    apps: AppCounts | None = None
    """What the phones with SMSGate's app did; None where there are none."""


class Fleet:
    """Phones that share one HTTP session and one ledger. As a context manager it starts, and stops in order.

    `phones` speak the seed API, `app_phones` run SMSGate's app; what is said of the fleet is of both.
    """

    def __init__(self, options: FleetOptions) -> None:
        self.options = options
        carriers = split_by_carrier(options.count) if options.carriers is None else options.carriers
        sims = make_sims(carriers, options.first_number)
        self.air = Air(options.ledger)
        self.phones = [
            Phone(
                sim,
                self.air,
                options.behaviour,
                random.Random(f"{options.seed}/{sim.imsi}"),
                wait_seconds=options.wait_seconds,
            )
            for sim in sims
        ]
        self.app_phones = make_app_phones(options.apps, self.air) if options.apps is not None else []
        self._rng = random.Random(f"{options.seed}/fleet")
        self._session: aiohttp.ClientSession | None = None
        self._undelivered = 0
        self._unsaid = 0

    def __repr__(self) -> str:
        return f"<Fleet {self.alive_count}/{len(self._all)} alive sent={self.sent_count}>"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def alive_count(self) -> int:
        return sum(phone.alive for phone in self._all)

    @property
    def sent_count(self) -> int:
        return sum(phone.sent_count for phone in self._all)

    @property
    def holding(self) -> int:
        return sum(phone.holding for phone in self._all)

    @property
    def _all(self) -> "list[Phone | AppPhone]":
        return [*self.phones, *self.app_phones]

    async def start(self) -> None:
        """Enrol the phones, in order and some at once, and power each on. Raises Unanswered, EnrolmentRefused."""
        session = self._session = open_session()
        waiting, apps = iter(self.phones), iter(self.app_phones)
        starters = [asyncio.create_task(self._start_each(waiting, session)) for _ in range(self.options.enrol_at_once)]
        starters += [asyncio.create_task(self._start_apps(apps, session)) for _ in range(self.options.enrol_at_once)]
        try:
            await asyncio.gather(*starters)
        finally:
            for starter in starters:
                starter.cancel()
        log.info("fleet_started", phones=len(self.phones), app_phones=len(self.app_phones))

    async def stop(self) -> FleetReport:
        """No new pulls; permitted sends end and reports are delivered, for `stop_seconds` at most; then the session closes."""
        for phone in self._all:
            phone.switch_off()
        seconds = self.options.stop_seconds
        undelivered, unsaid = await asyncio.gather(
            asyncio.gather(*(phone.wait_silent(seconds) for phone in self.phones)),
            asyncio.gather(*(phone.wait_silent(seconds) for phone in self.app_phones)),
        )
        self._undelivered += sum(undelivered)
        self._unsaid = sum(unsaid)
        if self._session is not None:
            await self._session.close()
        self.air.close()
        return self.report()

    def kill(
        self, count: int, *, carrier: str | None = None, rng: random.Random | None = None
    ) -> "list[Phone | AppPhone]":
        """Kill so many of the phones alive (all, if they are fewer), of one carrier (by the first SIM) if given; returns them."""
        alive = [phone for phone in self._all if phone.alive and carrier in (None, phone.carrier)]
        killed = (rng or self._rng).sample(alive, min(count, len(alive)))
        for phone in killed:
            phone.kill()
        return killed

    def revive(self, phones: "Iterable[Phone | AppPhone] | None" = None) -> None:
        """Power on these phones, or all."""
        for phone in self._all if phones is None else phones:
            phone.revive()

    def report(self) -> FleetReport:
        """Counts up to now."""
        totals = Counts()
        by_carrier: dict[str, Counts] = {}
        of_seeds = [(phone.carrier, phone.counts) for phone in self.phones]
        of_apps = [counted for phone in self.app_phones for counted in phone.counts_by_carrier]
        for carrier, counts in (*of_seeds, *of_apps):
            totals.add(counts)
            by_carrier.setdefault(carrier, Counts()).add(counts)
        return FleetReport(
            phones=len(self._all),
            alive=self.alive_count,
            totals=totals,
            by_carrier=by_carrier,
            undelivered_reports=self._undelivered + self._unsaid,
            apps=sum_app_counts(self.app_phones) if self.app_phones else None,
        )

    async def _start_each(self, waiting: Iterator[Phone], session: aiohttp.ClientSession) -> None:
        for phone in waiting:
            token = await self._enrol(phone, session)
            phone.start(SeedClient(session, self.options.url, phone.imsi, token))

    async def _start_apps(self, waiting: Iterator[AppPhone], session: aiohttp.ClientSession) -> None:
        if self.options.apps is None:
            return
        try:
            await start_app_phones(waiting, session, self.options.url, self.options.apps)
        except TimeoutError:
            raise Unanswered("the router does not answer registrations") from None

    async def _enrol(self, phone: Phone, session: aiohttp.ClientSession) -> str:
        enrolment = Enrolment(
            imsi=phone.imsi,
            msisdn=phone.msisdn,
            carrier=phone.carrier,
            pace_seconds=self.options.behaviour.pace_seconds or None,
            quota=self.options.quota,
        )
        backoff = Backoff(random.Random(phone.imsi))
        for _ in range(ENROL_TRIES - 1):
            try:
                return await enrol(session, self.options.url, self.options.operator_token, enrolment)
            except Unanswered:
                await asyncio.sleep(backoff.next_seconds())
        return await enrol(session, self.options.url, self.options.operator_token, enrolment)


async def run_fleet(options: FleetOptions, stop: asyncio.Event, on_start: Callable[[Fleet], None] | None = None) -> FleetReport:
    """Run a fleet until `stop` is set, also while it is still starting. `on_start` gets it when all phones are on.

    Raises Invalid (options), Unanswered, EnrolmentRefused.
    """
    fleet = Fleet(options)
    starting = asyncio.create_task(fleet.start())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            if on_start is not None:
                on_start(fleet)
            await stopping
    finally:
        starting.cancel()
        stopping.cancel()
        await asyncio.gather(starting, stopping, return_exceptions=True)
        report = await fleet.stop()
    return report
