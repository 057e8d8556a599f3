"""A whole router on this machine, with simulated phones in another process that speak the real protocol and send without a rest."""

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import msgspec

from bench import pacing
from bench.figures import say
from bench.gauges import Cpu, children
from bench.load import post
from bench.ports import free_port
from bench.seeding import phone, settings_of
from bench.servers import Bench, process, router
from router.api.gatewire.schemas import Reference
from router.domain.message import Message
from router.embedded import socket_path
from router.secrets import load_secrets
from router.services.wiring import wire
from router.store.store import Store
from workers.simulator.air import Sms, on_air_twice, read_ledger

_OK = 200
_PATIENCE_SECONDS = 120.0
_LOOK_SECONDS = 0.2
_WARM_UP_SECONDS = 2.0
_BATCH = 2000
_SETTINGS = {
    "SEEDROUTER_PARTS_PER_HALF_HOUR": "0",
    "SEEDROUTER_DISPATCHER_METRICS_PORT": "0",
    "SEEDROUTER_TIMEKEEPER_METRICS_PORT": "0",
    "SEEDROUTER_COURIER_METRICS_PORT": "0",
    "SEEDROUTER_PACE_SECONDS": "0.05",
    # A phone that is slow for once is no failover: what is measured is one way of a message
    "SEEDROUTER_PICKUP_SECONDS": "60",
}
_reference = msgspec.json.Decoder(Reference)


class Flow(msgspec.Struct, frozen=True):
    """What came of holding a pace. Rates are per second of the time under the clock; `cpu` is seconds by process, for all of `ids`."""

    ids: list[str]
    accepted_per_second: float
    sent_per_second: float
    seconds: float
    cpu: dict[str, float]

    @property
    def details(self) -> dict[str, float]:
        costs = {f"{name}_cpu_us_per_message": round(spent / len(self.ids) * 1e6, 1) for name, spent in self.cpu.items()}
        return {"seconds": round(self.seconds, 1), "messages": float(len(self.ids)), **costs}


class Stage:
    """`hold` sends requests; the records tell what came of them."""

    def __init__(self, ours: Bench, ledger: Path, pids: dict[str, int], store: Store) -> None:
        self._ours = ours
        self._ledger = ledger
        self._pids = pids
        self._store = store
        headers = {"Authorization": f"Bearer {ours.account_key()}"}
        bodies = (msgspec.json.encode({"phone": phone(number)}) for number in itertools.count())
        self._requests = (post("/api/v1/send-otp", body, headers) for body in bodies)

    def within(self, window: int) -> Callable[[float], int]:
        """A pace for `hold`: as fast as it goes, with no more than `window` messages between the request and the radio."""
        on_air = _Lines(self._ledger)
        return lambda _: on_air.count() + window

    async def hold(self, pace: Callable[[float], int], seconds: float) -> Flow:
        """Holds the pace for so long after a warm-up, then waits until all that was accepted is sent.

        Raises RuntimeError where one is refused, lost or sent twice.
        """
        cpu = Cpu(self._pids)
        began = time.time()
        paced = await pacing.run(self._ours.port, self._requests, pace, _WARM_UP_SECONDS + seconds)
        since, until = began + _WARM_UP_SECONDS, began + paced.seconds
        if set(paced.statuses) != {_OK}:
            raise RuntimeError(f"not all were accepted: {dict(paced.statuses)}")
        ids = [_reference.decode(body).reference_id for body in paced.bodies]
        await self._wait_until_sent(ids)
        spent = cpu.seconds()
        ledger = [sms for sms in read_ledger(self._ledger) if sms.at >= began]
        check_air(ids, ledger)
        accepted = sum(since <= message.created_at < until for message in await self.records(ids))
        sent = sum(since <= sms.at < until for sms in ledger)
        return Flow(ids, accepted / (until - since), sent / (until - since), until - since, spent)

    async def records(self, ids: list[str]) -> list[Message]:
        """These messages as they are now. Raises RuntimeError where a record is gone."""
        found: list[Message] = []
        for start in range(0, len(ids), _BATCH):
            batch = await self._store.messages.load(self._store.batch(), ids[start : start + _BATCH])
            found += [stored.message for stored in batch if stored is not None]
        if len(found) != len(ids):
            raise RuntimeError(f"{len(ids) - len(found)} records are gone")
        return found

    async def _wait_until_sent(self, ids: list[str]) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while ids := [message.id for message in await self.records(ids) if message.state != "sent"]:
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(ids)} messages were not sent within {_PATIENCE_SECONDS:.0f} s, {ids[0]} among them")
            await asyncio.sleep(_LOOK_SECONDS)


def check_air(ids: list[str], ledger: list[Sms]) -> None:
    """Raises RuntimeError where a message was not on the air, or more than once."""
    lost, twice = set(ids) - {sms.id for sms in ledger}, on_air_twice(ledger)
    if lost or twice:
        raise RuntimeError(f"{len(lost)} messages are lost, {len(twice)} were sent twice")


class _Lines:
    """Counts the lines of a file that others append to."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = path.stat().st_size if path.exists() else 0
        self._count = 0

    def count(self) -> int:
        """Lines that came since this object was made."""
        if self._path.exists() and self._path.stat().st_size > self._offset:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                chunk = file.read()
            self._offset += len(chunk)
            self._count += chunk.count(b"\n")
        return self._count


@contextlib.asynccontextmanager
async def staged(bench: str, phones: int) -> AsyncIterator[Stage]:
    """Starts `up` and that many phones, and waits until all of them are online."""
    with router("up", free_port(), _SETTINGS) as ours:
        ledger = ours.data / "air.jsonl"
        command = ["-m", "router.cli.main", "simulate", str(phones), "--pace-seconds", "0.001", "--ledger", str(ledger)]
        environment = {"SEEDROUTER_DATA": str(ours.data), "SEEDROUTER_LOG_LEVEL": "warning"}
        with process(command, environment, ours.data / "phones.log") as simulator:
            say(bench, f"waits for {phones} phones")
            await _wait_for_phones(ours, phones)
            store = _store(ours)
            try:
                yield Stage(ours, ledger, {**children(ours.pid), "phones": simulator.pid, "load": os.getpid()}, store)
            finally:
                await store.close()


def _store(ours: Bench) -> Store:
    """The router's own store, to read records from."""
    settings = settings_of({"SEEDROUTER_DATA": str(ours.data), "SEEDROUTER_REDIS_URL": f"unix://{socket_path(ours.data)}?db=0"})
    return wire(settings, load_secrets(ours.data, settings.given_secrets())).store


async def _wait_for_phones(ours: Bench, count: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    async with httpx.AsyncClient(timeout=_PATIENCE_SECONDS) as client:
        while len((await client.get(f"{ours.url}/seeds")).json()) < count:
            if time.monotonic() > deadline:
                raise RuntimeError(f"fewer than {count} phones came online")
            await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)
