"""Live figures of the whole router: each process tells Redis once a second what it has counted, and anybody asks Redis for the sums."""

import asyncio
import time
from collections.abc import Mapping, Sequence

import msgspec
import structlog

from router.clock import Clock
from router.domain.carriers import carrier_name
from router.domain.census import SeedTally
from router.domain.errors import Invalid, Unavailable
from router.domain.lots import carrier_of_lot, parse_lot
from router.domain.message import HEARTBEAT
from router.domain.statistics import (
    FAILOVERS,
    FLOW,
    MAX_FAILOVERS,
    MAX_MINUTES,
    MINUTE_SECONDS,
    CarrierView,
    Counts,
    Failover,
    Family,
    Fleet,
    Minute,
    read_flow,
    total,
)
from router.store.redis import Batch
from router.store.store import Store
from router.tally import GRAIN_SECONDS, TALLY, Cell, Tally

_log = structlog.get_logger()
_FLUSH_EVERY_SECONDS = 1.0
_LAST_FLUSH_SECONDS = 3.0
_ANSWERS_KEPT_SECONDS = 1.0
"""Whoever looks meanwhile shares an answer: each open console and each `top` asks every second or two."""
_CARRIERS_KEPT_SECONDS = 3.0
_FLEET_KEPT_SECONDS = 3600
_HOUR_MINUTES = 60

_encode = msgspec.msgpack.Encoder().encode
_decode_failover = msgspec.msgpack.Decoder(Failover).decode
_decode_fleet = msgspec.msgpack.Decoder(Fleet).decode


class Statistics:
    """One per process; `flush_loop` runs beside its work, and `finish` comes at its end."""

    def __init__(self, store: Store, clock: Clock, families: Sequence[Family], tally: Tally = TALLY) -> None:
        self._store = store
        self._clock = clock
        self._families = {family.name: family for family in families}
        self._tally = tally
        self._was_away = False
        self._telling = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._minutes: tuple[float, list[Minute]] = (float("-inf"), [])
        self._failovers: tuple[float, list[Failover]] = (float("-inf"), [])
        self._carriers: tuple[float, list[CarrierView]] = (float("-inf"), [])

    # Telling

    async def flush_loop(self) -> None:
        """Tells Redis for ever; while it is away, what was counted waits here."""
        while True:
            await asyncio.sleep(_FLUSH_EVERY_SECONDS)
            # Who ends the loop flushes once more, and does not lose what is on its way
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Tells Redis what was counted since the last time. What it does not take is put back; raises nothing.

        Where Redis took it and its answer was lost, that second is counted twice. So that this cannot go on with every try, it is asked
        for the time first, where the last flush failed.
        """
        async with self._telling:
            await self._flush()

    async def finish(self) -> None:
        """The last flush of a process; it waits for a store that hangs, but not for long."""
        try:
            async with asyncio.timeout(_LAST_FLUSH_SECONDS):
                await self.flush()
        except TimeoutError:
            _log.warning("statistics.lost", error="the store did not answer in time")

    async def _flush(self) -> None:
        taken = self._tally.take()
        if taken.dropped:
            _log.warning("statistics.dropped", events=taken.dropped, hint="too much was counted while the store was away")
        if not taken:
            return
        try:
            if self._was_away:
                await self._store.time()
        except Unavailable:
            self._tally.put_back(taken.sums, taken.notes)
            return
        self._was_away = False
        buckets = self._by_bucket(taken.sums)
        # A batch for each key: where some nodes of a Cluster are away, what the others took is not told again
        await asyncio.gather(
            *(self._tell_bucket(self._families[family], start, cells, taken.sums) for (family, start), cells in buckets.items()),
            *(self._tell_notes(stream, items) for stream, items in taken.notes.items()),
        )

    def _by_bucket(self, sums: Mapping[Cell, int]) -> dict[tuple[str, int], list[Cell]]:
        now = self._clock.now()
        found: dict[tuple[str, int], list[Cell]] = {}
        for cell in sums:
            name, minute, _ = cell
            family = self._families.get(name)
            if family is None:
                _log.error("statistics.unknown_family", family=name)
                continue
            at = now if minute is None else float(minute * GRAIN_SECONDS)
            found.setdefault((name, family.start(at)), []).append(cell)
        return found

    async def _tell_bucket(self, family: Family, start: int, cells: Sequence[Cell], sums: Mapping[Cell, int]) -> None:
        fields: dict[str, int] = {}
        for cell in cells:
            fields[cell[2]] = fields.get(cell[2], 0) + sums[cell]
        batch = self._store.batch()
        self._store.statistics.add(batch, family, start, fields)
        if not await self._tell(batch):
            # As of that bucket, also what was to be stamped by this flush
            self._tally.put_back({(family.name, start // GRAIN_SECONDS, field): n for field, n in fields.items()})

    async def _tell_notes(self, stream: str, items: Sequence[bytes]) -> None:
        batch = self._store.batch()
        keep_seconds = self._families[FLOW].keep_seconds
        self._store.statistics.note(batch, stream, items, most=MAX_FAILOVERS, keep_seconds=keep_seconds)
        if not await self._tell(batch):
            self._tally.put_back({}, {stream: list(items)})

    async def _tell(self, batch: Batch) -> bool:
        """False where the store is away. What it refuses for another reason it would refuse for ever: that is lost, and the log says so."""
        try:
            await batch.run()
        except Unavailable as error:
            self._was_away = True
            _log.warning("statistics.not_told", error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - redis-py's ResponseErrors; statistics must not end a process
            _log.error("statistics.lost", error=repr(error))
        return True

    async def tell_fleet(self, tallies: Mapping[str, SeedTally], parked: Mapping[str, int]) -> None:
        """What a dispatcher knows: its seeds by carrier, and how many messages wait in each parking lot. Raises `Unavailable`."""
        waiting: dict[str, int] = {}
        for lot, count in parked.items():
            if count and parse_lot(lot).seed != HEARTBEAT:
                carrier = carrier_of_lot(lot)
                waiting[carrier] = waiting.get(carrier, 0) + count
        seeds = {carrier: tally for carrier, tally in tallies.items() if tally.enrolled or tally.in_flight}
        batch = self._store.batch()
        fleet = Fleet(at=self._clock.now(), carriers=seeds, parked=waiting)
        self._store.statistics.tell_fleet(batch, _encode(fleet), _FLEET_KEPT_SECONDS)
        await batch.run()

    # Asking

    async def bucket(self, family: str, starts: Sequence[float]) -> list[dict[str, int]]:
        """The sums of the buckets that these moments are in, by field, in order; empty where nothing was counted.

        Raises `Unavailable`, and KeyError for a family that there is not.
        """
        known = self._families[family]
        return await self._store.statistics.buckets(self._store.batch(), family, [known.start(at) for at in starts])

    async def minutes(self, last: int) -> list[Minute]:
        """The last so many minutes (1 to 1440), oldest first, the running one last; each of them, also where nothing happened.

        As they were up to two seconds ago. Raises `Invalid` and `Unavailable`.
        """
        if not 1 <= last <= MAX_MINUTES:
            raise Invalid("minutes", f"1 to {MAX_MINUTES}")
        async with self._looking:
            asked_at, found = self._minutes
            if len(found) < last or time.monotonic() - asked_at >= _ANSWERS_KEPT_SECONDS:
                asked_at = time.monotonic()
                found = await self._read_minutes(last)
                self._minutes = (asked_at, found)
        return found[-last:]

    async def _read_minutes(self, last: int) -> list[Minute]:
        running = int(self._clock.now()) // MINUTE_SECONDS * MINUTE_SECONDS
        starts = [running - MINUTE_SECONDS * ago for ago in range(last - 1, -1, -1)]
        found = await self.bucket(FLOW, starts)
        return [Minute(at=float(start), carriers=read_flow(fields)) for start, fields in zip(starts, found, strict=True)]

    async def failovers(self, limit: int) -> list[Failover]:
        """The latest, newest first; at most 1000 are kept. Raises `Invalid` and `Unavailable`."""
        if not 1 <= limit <= MAX_FAILOVERS:
            raise Invalid("limit", f"1 to {MAX_FAILOVERS}")
        async with self._looking:
            asked_at, found = self._failovers
            if time.monotonic() - asked_at >= _ANSWERS_KEPT_SECONDS:
                asked_at = time.monotonic()
                items = await self._store.statistics.latest(self._store.batch(), FAILOVERS, MAX_FAILOVERS)
                # Processes tell a second's worth each: what comes later in the list may have happened a second earlier
                found = sorted(map(_decode_failover, items), key=lambda failover: failover.at, reverse=True)
                self._failovers = (asked_at, found)
        return found[:limit]

    async def carriers(self) -> list[CarrierView]:
        """Every carrier that has seeds, waiting messages, or had any messages in the last hour, by its code. Raises `Unavailable`.

        The seeds are as a dispatcher told of them (`as_of`): it has a copy of the fleet anyway, so the answer costs the same for any fleet.
        """
        hour = await self.minutes(_HOUR_MINUTES)
        asked_at, found = self._carriers
        if time.monotonic() - asked_at >= _CARRIERS_KEPT_SECONDS:
            asked_at = time.monotonic()
            told = await self._store.statistics.fleet(self._store.batch())
            found = _views(None if told is None else _decode_fleet(told), hour)
            self._carriers = (asked_at, found)
        return found


def _views(fleet: Fleet | None, hour: Sequence[Minute]) -> list[CarrierView]:
    seeds = fleet.carriers if fleet else {}
    parked = fleet.parked if fleet else {}
    counts: dict[str, list[Counts]] = {}
    for minute in hour:
        for carrier, of_carrier in minute.carriers.items():
            counts.setdefault(carrier, []).append(of_carrier)
    found: list[CarrierView] = []
    for carrier in sorted({*seeds, *parked, *counts}):
        tally = seeds.get(carrier, SeedTally())
        found.append(
            CarrierView(
                carrier=carrier,
                carrier_name=carrier_name(carrier),
                online=tally.online,
                ready=tally.ready,
                tripped=tally.tripped,
                room=tally.room,
                in_flight=tally.in_flight,
                parked=parked.get(carrier, 0),
                hour=total(counts.get(carrier, ())),
                as_of=fleet.at if fleet else None,
            )
        )
    return found
