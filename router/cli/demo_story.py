"""The demo itself: enrol phones, submit codes over the SDK, read them from the air, verify them; two phones die meanwhile."""

import asyncio
import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from gatewire import GateWireClient, GateWireException  # type: ignore[import-untyped]

from router.cli.client import OperatorClient, Place
from router.cli.demo_report import Journey, Outcome
from router.cli.errors import CliError
from router.domain.carriers import carrier_name
from workers.simulator.air import Sms, follow, read_ledger
from workers.simulator.behaviour import Behaviour
from workers.simulator.fleet import Fleet, FleetOptions

if TYPE_CHECKING:
    from router.cli.up import Stack
    from workers.simulator.phone import Phone

PRICE: Final = 5
LONGEST_SECONDS: Final = 120.0
"""For all of it; a demo that takes longer has failed."""
_SUBMITTERS: Final = 6
_VERIFIERS: Final = 4
_VICTIMS: Final = 2
_PACE_SECONDS: Final = 0.5
_ONLINE_SECONDS: Final = 20.0
_SUBMIT_SECONDS: Final = 15.0
_SPARE_BALANCE: Final = 1000
_PREFIXES: Final = {"60301": "+213661", "60302": "+213771", "60303": "+213551"}
"""Of the recipients, by carrier; the phones' own numbers are others."""
_CODE: Final = re.compile(r"\d{6}")
_UNAVAILABLE: Final = 503


class Story:
    """One demo. `outcome` is there when `tell` has returned."""

    def __init__(self, stack: "Stack", *, seeds: int, codes: int) -> None:
        self.outcome: Outcome | None = None
        self._stack = stack
        self._seeds = seeds
        self._codes = codes
        self._began = time.monotonic()
        self._key = ""
        self._sdks = threading.local()
        self._accepted: list[str] = []
        self._on_air: set[str] = set()
        self._verified = 0
        self._killed: list[str] = []
        self._progress: Any = None

    def say(self, text: str) -> None:
        """One line of what happens, on stderr."""
        line = f"{time.monotonic() - self._began:5.1f} s  {text}"
        if self._progress is not None:
            self._progress.console.print(line, highlight=False)
        else:
            print(line, file=sys.stderr, flush=True)

    async def tell(self) -> None:
        """All of it. Raises `CliError` when it cannot go on, or takes too long."""
        with OperatorClient(Place(self._stack.url, self._stack.operator_token, "the demo")) as router, self._showing():
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    account, fleet = await self._run(router)
            except TimeoutError:
                raise CliError(
                    f"not done after {LONGEST_SECONDS:.0f} s: of {self._codes} codes {len(self._accepted)} accepted, "
                    f"{len(self._on_air)} on the air, {self._verified} verified. See `seedrouter doctor`"
                ) from None
            self.outcome = await asyncio.to_thread(self._collect, router, account, fleet)

    async def _run(self, router: OperatorClient) -> tuple[dict[str, Any], Fleet]:
        limits = {"daily": 0, "hourly": 0, "phone_hourly": 0}
        body = {"name": "demo", "balance": PRICE * self._codes + _SPARE_BALANCE, "price": PRICE, "limits": limits}
        account = await asyncio.to_thread(router.post, "/accounts", body)
        self._key = account["key"]
        async with Fleet(self._fleet_options()) as fleet:
            await self._wait_until_online(router)
            self.say(f"{self._seeds} phones are online; sending {self._codes} codes over GateWire's SDK")
            with self._threads(_SUBMITTERS) as submitters, self._threads(_VERIFIERS) as verifiers:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._read_air(fleet, verifiers))
                    tasks.create_task(self._kill_some(fleet))
                    for number in range(self._codes):
                        tasks.create_task(self._submit(submitters, number))
            self.say("all codes are verified; the phones say their last")
        return account, fleet

    def _fleet_options(self) -> FleetOptions:
        share, rest = divmod(self._seeds, len(_PREFIXES))
        return FleetOptions(
            url=self._stack.url,
            operator_token=self._stack.operator_token,
            ledger=self._stack.settings.data / "air.jsonl",
            carriers={carrier: share + (place < rest) for place, carrier in enumerate(_PREFIXES)},
            behaviour=Behaviour(pace_seconds=_PACE_SECONDS),
            wait_seconds=4.0,
        )

    async def _wait_until_online(self, router: OperatorClient) -> None:
        deadline = time.monotonic() + _ONLINE_SECONDS
        while len(await asyncio.to_thread(router.get, "/seeds", online="true")) < self._seeds:
            if time.monotonic() >= deadline:
                raise CliError(f"not all {self._seeds} phones were online after {_ONLINE_SECONDS:.0f} s")
            await asyncio.sleep(0.1)

    async def _submit(self, threads: ThreadPoolExecutor, number: int) -> None:
        prefix = list(_PREFIXES.values())[number % len(_PREFIXES)]
        answer = await asyncio.get_running_loop().run_in_executor(threads, self._dispatch, f"{prefix}{number:06d}")
        self._accepted.append(answer["reference_id"])
        self._show()

    def _dispatch(self, phone: str) -> dict[str, Any]:
        """By the SDK, in a thread. The api sees a phone come online a moment after it did: until then it answers 503."""
        deadline = time.monotonic() + _SUBMIT_SECONDS
        while True:
            try:
                return dict(self._sdk().dispatch(phone))
            except GateWireException as error:
                if error.status_code != _UNAVAILABLE or time.monotonic() >= deadline:
                    raise CliError(f"a code was not accepted: {error} (status {error.status_code})") from None
                time.sleep(0.3)

    async def _read_air(self, fleet: Fleet, threads: ThreadPoolExecutor) -> None:
        """Every code as it comes; verifies the first of each message, as its recipient would."""
        verifying: list[asyncio.Task[None]] = []
        async with contextlib.aclosing(follow(fleet.air.path)) as air:  # type: ignore[type-var]
            while len(self._on_air) < self._codes:
                sms = await anext(air)
                if sms.id not in self._on_air:
                    self._on_air.add(sms.id)
                    verifying.append(asyncio.create_task(self._check(sms, threads)))
                self._show()
        await asyncio.gather(*verifying)

    async def _check(self, sms: Sms, threads: ThreadPoolExecutor) -> None:
        await asyncio.get_running_loop().run_in_executor(threads, self._verify, sms)
        self._verified += 1
        self._show()

    def _verify(self, sms: Sms) -> None:
        found = _CODE.search(sms.text)
        if found is None:
            raise CliError(f"message {sms.id} went on the air without a code")
        try:
            self._sdk().verify_otp(sms.id, found.group())
        except GateWireException as error:
            raise CliError(f"the code of message {sms.id} was not accepted: {error}") from None

    async def _kill_some(self, fleet: Fleet) -> None:
        """When a third is on the air: the phones that hold most, one of each carrier, lose what they hold."""
        while len(self._killed) < _VICTIMS and len(self._on_air) < self._codes:
            is_time = len(self._on_air) >= self._codes // 3
            if is_time and (victim := self._victim(fleet)) is not None:
                held = victim.holding
                victim.kill()
                self._killed.append(victim.imsi)
                self.say(f"phone {victim.imsi} ({carrier_name(victim.carrier)}) dies with {held} messages in its hands")
            await asyncio.sleep(0.01)

    def _victim(self, fleet: Fleet) -> "Phone | None":
        """One that holds more than what it may just be sending; of a carrier that has lost no phone yet, and has another one."""
        hit = {phone.carrier for phone in fleet.phones if not phone.alive}
        alive = [phone for phone in fleet.phones if phone.alive and phone.carrier not in hit and phone.holding > 1]
        return max(alive, key=lambda phone: phone.holding, default=None)

    def _collect(self, router: OperatorClient, account: dict[str, Any], fleet: Fleet) -> Outcome:
        ledger: dict[str, list[Sms]] = {}
        for sms in read_ledger(fleet.air.path):
            ledger.setdefault(sms.id, []).append(sms)
        journeys = [_journey(router.get(f"/messages/{message_id}"), ledger.get(message_id, [])) for message_id in self._accepted]
        return Outcome(
            journeys=journeys,
            killed=self._killed,
            balance_before=account["balance"],
            balance_after=router.get(f"/accounts/{account['id']}")["balance"],
            price=PRICE,
            took_seconds=time.monotonic() - self._began,
        )

    def _sdk(self) -> GateWireClient:
        """One per thread: it holds an HTTP session."""
        if not hasattr(self._sdks, "client"):
            self._sdks.client = GateWireClient(self._key, base_url=f"{self._stack.url}/api/v1")
        client: GateWireClient = self._sdks.client
        return client

    @staticmethod
    @contextlib.contextmanager
    def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
        threads = ThreadPoolExecutor(count)
        try:
            yield threads
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    # Progress

    @contextlib.contextmanager
    def _showing(self) -> Iterator[None]:
        """Bars on a terminal; elsewhere the lines that `say` prints are enough."""
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as self._progress:
            for name in ("accepted", "on the air", "verified"):
                self._progress.add_task(name, total=self._codes)
            yield
        self._progress = None

    def _show(self) -> None:
        if self._progress is not None:
            for task, count in enumerate((len(self._accepted), len(self._on_air), self._verified)):
                self._progress.update(task, completed=count)


def _journey(trace: dict[str, Any], on_air: list[Sms]) -> Journey:
    message = trace["message"]
    return Journey(
        id=message["id"],
        carrier=message["carrier_name"],
        state=message["state"],
        attempts=[(attempt["seed"], attempt["state"]) for attempt in trace["attempts"]],
        seconds=round(on_air[0].at - message["created_at"], 3) if on_air else None,
        times_on_air=len(on_air),
    )
