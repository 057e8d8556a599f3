"""One run of `torture`: phones, codes and nemeses over a `Stack`, then rest, then the truth is gathered and judged."""

import asyncio
import os
import random
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import redis

from router.cli.client import OperatorClient, Place, path_of
from router.cli.errors import CliError
from router.cli.torture_check import Money, Record, Submission, Verdict, check
from router.cli.torture_plan import TROUBLED, Nemesis, plan
from router.cli.torture_submit import Submitter
from router.embedded import sync_every_write
from workers.simulator.air import Sms, read_ledger
from workers.simulator.fleet import Fleet, FleetOptions

if TYPE_CHECKING:
    from router.cli.up import Stack

PRICE: Final = 5
CODE_SECONDS: Final = 60.0
"""Short, because an ambiguous message has its end only then."""
_SETTLING_SECONDS: Final = 60.0
"""After the last message's time: what died half accepted is undone, open attempts end, charges are settled."""
_SPARE_BALANCE: Final = 100_000
_ONLINE_SECONDS: Final = 30.0
_READY_SECONDS: Final = 60.0
_PROGRESS_SECONDS: Final = 2.0
_CARRIERS: Final = ("60301", "60302", "60303")
_TEXT: Final = "Your code is {code}."


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A run. `nemeses`: what was really broken, with the seconds since the start; `answers`: what callers heard, by status."""

    seed: int
    verdict: Verdict
    nemeses: list[dict[str, Any]]
    answers: dict[str, int]
    restarts: dict[str, int]
    took_seconds: float


class Torture:
    """`outcome` is there when `run` has returned."""

    def __init__(self, stack: "Stack", *, seconds: float, phones: int, rate: float, seed: int) -> None:
        self.outcome: Outcome | None = None
        self._stack = stack
        self._seconds = seconds
        self._phones = phones
        self._rate = rate
        self._seed = seed
        self._began = time.monotonic()
        self._nemeses: list[dict[str, Any]] = []
        self._paused: dict[str, int] = {}

    def say(self, text: str) -> None:
        """One line of what happens, on stderr."""
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", file=sys.stderr, flush=True)

    async def run(self) -> None:
        """All of it. Raises `CliError` when it cannot go on; a broken promise is no error, it is the outcome."""
        with OperatorClient(Place(self._stack.url, self._stack.operator_token, "this run")) as router:
            balance = _SPARE_BALANCE + PRICE * round(self._rate * self._seconds) * 2
            account = await asyncio.to_thread(_make_account, router, balance)
            submitter = Submitter(self._stack.url, account["key"], rate=self._rate, seconds=self._seconds, seed=self._seed)
            async with Fleet(self._fleet_options()) as fleet:
                await self._wait_until_online(router)
                self.say(f"{self._phones} phones are online; {self._rate:g} codes a second for {self._seconds:g} s (seed {self._seed})")
                await self._break_things(fleet, submitter)
                await self._heal(fleet)
                records = await self._wait_for_ends(router, submitter.submissions)
            air = read_ledger(fleet.air.path)
            verdict = await self._judge(router, account["id"], balance, submitter.submissions, records, air)
            self.outcome = Outcome(
                seed=self._seed,
                verdict=verdict,
                nemeses=self._nemeses,
                answers=dict(sorted(submitter.statuses.items())),
                restarts=self._stack.restarts,
                took_seconds=time.monotonic() - self._began,
            )

    def _fleet_options(self) -> FleetOptions:
        share, rest = divmod(self._phones, len(_CARRIERS))
        return FleetOptions(
            url=self._stack.url,
            operator_token=self._stack.operator_token,
            ledger=self._stack.settings.data / "air.jsonl",
            carriers={carrier: share + (place < rest) for place, carrier in enumerate(_CARRIERS)},
            behaviour=TROUBLED,
            seed=self._seed,
            wait_seconds=4.0,
        )

    async def _wait_until_online(self, router: OperatorClient) -> None:
        deadline = time.monotonic() + _ONLINE_SECONDS
        while len(await asyncio.to_thread(router.get, "/seeds", online="true")) < self._phones:
            if time.monotonic() >= deadline:
                raise CliError(f"not all {self._phones} phones were online after {_ONLINE_SECONDS:.0f} s")
            await asyncio.sleep(0.1)

    # Breaking

    async def _break_things(self, fleet: Fleet, submitter: Submitter) -> None:
        """Returns when every code was answered or given up; the nemeses end with the last code."""
        telling = asyncio.create_task(self._tell(fleet, submitter))
        submitting = asyncio.create_task(asyncio.to_thread(submitter.run))
        try:
            async with asyncio.TaskGroup() as tasks:
                began = time.monotonic()
                for nemesis in plan(random.Random(self._seed), self._seconds, self._phones):
                    await asyncio.sleep(began + nemesis.at - time.monotonic())
                    tasks.create_task(self._do(nemesis, fleet))
                await asyncio.sleep(began + self._seconds - time.monotonic())
            fleet.revive()
            await submitting
        finally:
            submitter.stop()
            telling.cancel()
            for role in list(self._paused):
                self._resume(role)

    async def _tell(self, fleet: Fleet, submitter: Submitter) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            self.say(
                f"submitted {submitter.begun}, acknowledged {submitter.acknowledged}, on the air {fleet.air.count}, "
                f"phones alive {fleet.alive_count} of {len(fleet.phones)}"
            )

    async def _do(self, nemesis: Nemesis, fleet: Fleet) -> None:
        what, did = f"{nemesis.kind} {nemesis.target}".strip(), ""
        match nemesis.kind:
            case "kill":
                if nemesis.target == "redis":
                    await asyncio.to_thread(self._have_redis_keep_all)
                did = _signal(self._pid_of(nemesis.target), signal.SIGKILL)
            case "pause":
                did = self._pause(nemesis.target)
            case "kill phones":
                victims = [fleet.phones[place] for place in nemesis.phones if fleet.phones[place].alive]
                for phone in victims:
                    phone.kill()
                did = ", ".join(phone.imsi for phone in victims) or "dead already"
            case "revive phones":
                did = f"{len(fleet.phones) - fleet.alive_count} phones"
                fleet.revive()
        told = {"at": round(time.monotonic() - self._began, 3), "what": what, "did": did}
        if nemesis.seconds:
            told["seconds"] = nemesis.seconds
        self._nemeses.append(told)
        self.say(f"{what}: {did}{f' for {nemesis.seconds:.1f} s' if nemesis.seconds else ''}")
        if nemesis.target in self._paused and nemesis.kind == "pause":
            await asyncio.sleep(nemesis.seconds)
            self._resume(nemesis.target)

    def _pid_of(self, target: str) -> int | None:
        return self._stack.redis_pid if target == "redis" else self._stack.pids.get(target)

    def _have_redis_keep_all(self) -> None:
        """The promises are the router's, on a Redis that keeps what it has acknowledged."""
        with suppress(redis.RedisError, OSError):
            sync_every_write(self._stack.settings.data)

    def _pause(self, role: str) -> str:
        pid = self._pid_of(role)
        if pid is not None:
            self._paused[role] = pid
        return _signal(pid, signal.SIGSTOP)

    def _resume(self, role: str) -> None:
        """Only the process that was stopped: one that was killed meanwhile has a successor, which runs."""
        pid = self._paused.pop(role, None)
        if pid is not None and pid == self._pid_of(role):
            _signal(pid, signal.SIGCONT)

    # Resting

    async def _heal(self, fleet: Fleet) -> None:
        """All phones on, every role there again. Raises `CliError`."""
        self.say("nothing more is broken; waiting until every message has its end")
        fleet.revive()
        deadline = time.monotonic() + _READY_SECONDS
        async with httpx.AsyncClient(base_url=self._stack.url, trust_env=False) as http:
            while time.monotonic() < deadline:
                with suppress(httpx.TransportError):
                    ready = (await http.get("/health/ready")).is_success
                    if ready and {"api", "dispatcher", "timekeeper"} <= set(self._stack.pids):
                        return
                await asyncio.sleep(0.2)
        raise CliError(f"the router was not ready again after {_READY_SECONDS:.0f} s: the data folder tells more with --keep")

    async def _wait_for_ends(self, router: OperatorClient, submissions: list[Submission]) -> dict[str, Record]:
        """Every message to the numbers that were asked for, acknowledged or not, when it has its end, or as it is when time is over."""
        deadline = time.monotonic() + CODE_SECONDS + _SETTLING_SECONDS
        records = await asyncio.to_thread(_read_all, router, submissions)
        told = 0
        while waiting := [record.id for record in records.values() if not record.has_ended]:
            if time.monotonic() >= deadline:
                break
            if len(waiting) != told:
                told = len(waiting)
                self.say(f"{told} of {len(records)} messages have no end yet; one that is ambiguous waits for the end of its time")
            await asyncio.sleep(_PROGRESS_SECONDS)
            records |= await asyncio.to_thread(_read, router, waiting)
        return records

    async def _judge(
        self, router: OperatorClient, account: str, balance: int, submissions: list[Submission], records: dict[str, Record], air: list[Sms]
    ) -> Verdict:
        """Settling takes its time: what stands in the way is read again until all is well, or time is over."""
        deadline = time.monotonic() + _SETTLING_SECONDS
        while True:
            end = (await asyncio.to_thread(router.get, path_of("accounts", account)))["balance"]
            verdict = check(submissions, records, air, Money(start=balance, end=end, price=PRICE))
            if verdict.ok or time.monotonic() >= deadline:
                return verdict
            self.say(f"not yet: {'; '.join(verdict.problems)}")
            await asyncio.sleep(_PROGRESS_SECONDS)
            records = await asyncio.to_thread(_read_all, router, submissions)


def _signal(pid: int | None, number: signal.Signals) -> str:
    """To a process that this run started; says what was done."""
    if pid is None:
        return "not running just now"
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return "ended just now"
    return f"{number.name} to {pid}"


def _make_account(router: OperatorClient, balance: int) -> dict[str, Any]:
    limits = {"daily": 0, "hourly": 0, "phone_hourly": 0}
    body = {"name": "torture", "balance": balance, "price": PRICE, "limits": limits, "ambiguous_policy": "wait"}
    account: dict[str, Any] = router.post("/accounts", body)
    router.put(path_of("accounts", account["id"], "templates", "torture"), {"text": _TEXT, "code_seconds": CODE_SECONDS, "default": True})
    return account


def _read_all(router: OperatorClient, submissions: list[Submission]) -> dict[str, Record]:
    """By number, so that what was never acknowledged is found too."""
    return _read(router, [found["id"] for submission in submissions for found in router.get("/messages", phone=submission.to)])


def _read(router: OperatorClient, ids: list[str]) -> dict[str, Record]:
    return {message_id: _record(router.get(path_of("messages", message_id))) for message_id in ids}


def _record(trace: dict[str, Any]) -> Record:
    message = trace["message"]
    return Record(
        id=message["id"],
        state=message["state"],
        expires_at=trace["expires_at"],
        ended_at=message["ended_at"],
        sent_at=trace["sent_at"],
        ambiguous=any(attempt["state"] == "ambiguous" for attempt in trace["attempts"]),
    )
