"""A router for simulated phones: the seed API to the letter, faults on demand, and a memory of all it was told."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import aiohttp
import msgspec
import orjson
from aiohttp import web

from workers.simulator.client import SeedClient, open_session

OPERATOR_TOKEN = "operator-token"
STATES = ("accepted", "radio", "sent", "delivered", "failed", "cancelled")
DEADLINE_SECONDS = 20.0

Key = tuple[str, int]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Told(msgspec.Struct, frozen=True):
    """One report as it came; `call` numbers the calls."""

    call: int
    imsi: str
    id: str
    attempt: int
    state: str
    error: str | None
    stale: bool


class StubRouter:
    """Breaches of the contract are collected in `violations`; `__aexit__` raises if there are any."""

    def __init__(self) -> None:
        self.url = ""
        self.clock_offset_seconds = 0.0
        self.is_down = False
        """Every call is answered 503."""
        self.refused: set[str] = set()
        """Messages whose radio is refused."""
        self.names_stale = True
        """Are stale reports listed?"""
        self.is_losing_answers: Callable[[list[dict[str, object]]], bool] = lambda reports: False
        """Reports whose call is dealt with, but whose answer never arrives."""
        self.can_answer = asyncio.Event()
        """While not set, answers to reports are held back."""
        self.can_answer.set()
        self.tokens: dict[str, str] = {}
        self.enrolments: list[dict[str, object]] = []
        self.pings: list[str] = []
        self.told: list[Told] = []
        self.handed: dict[Key, float] = {}
        self.granted: set[Key] = set()
        self.violations: list[str] = []
        self.calls = 0
        self.open_pulls: dict[str, int] = defaultdict(int)
        self._outbox: dict[str, list[dict[str, object]]] = defaultdict(list)
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        self.session = open_session()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.session is not None:
            await self.session.close()
        await self.close()
        if kind is None:
            assert self.violations == []

    async def open(self) -> None:
        """Listen, on the same port as before."""
        app = web.Application(middlewares=[self._when_up])
        app.router.add_post("/operator/v1/seeds", self._enrol)
        app.router.add_post("/seeds/ping", self._ping)
        app.router.add_get("/seeds/{imsi}/messages", self._pull)
        app.router.add_post("/seeds/{imsi}/reports", self._report)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def close(self) -> None:
        """Listen no more, and cut all connections."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def now(self) -> float:
        return time.time() + self.clock_offset_seconds

    def enrolled(self, imsi: str) -> SeedClient:
        """The client of a seed that is enrolled already."""
        assert self.session is not None
        self.tokens[imsi] = f"token-of-{imsi}"
        return SeedClient(self.session, self.url, imsi, self.tokens[imsi])

    async def give(
        self, imsi: str, *ids: str, lease_seconds: float = 60.0, text: str = "Your code is 123456", attempt: int = 1
    ) -> None:
        """Put messages in a seed's outbox; their leases start now."""
        async with self._arrived:
            self._outbox[imsi] += [
                {"id": id, "attempt": attempt, "to": "+213661234567", "text": text, "valid_until": self.now() + lease_seconds}
                for id in ids
            ]
            self._arrived.notify_all()

    async def sees_off(self, imsi: str) -> None:
        """Wait until a killed phone's pull is known to be over: a message handed to it before that is lost with it."""
        await eventually(lambda: self.open_pulls[imsi] == 0)

    def states(self, id: str) -> list[str]:
        """What was reported of a message, in order."""
        return [told.state for told in self.told if told.id == id]

    def of_state(self, state: str) -> list[Told]:
        return [told for told in self.told if told.state == state]

    def _authorize(self, request: web.Request, imsi: str) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.tokens.get(imsi)}":
            raise web.HTTPUnauthorized

    @web.middleware
    async def _when_up(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls += 1
        if self.is_down:
            raise web.HTTPServiceUnavailable
        return await handler(request)

    async def _body(self, request: web.Request) -> object:
        if request.content_type != "application/json":
            self.violations.append(f"{request.path}: {request.content_type}")
        return orjson.loads(await request.read())

    async def _enrol(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {OPERATOR_TOKEN}":
            raise web.HTTPUnauthorized
        body = await self._body(request)
        assert isinstance(body, dict)
        if not {"imsi", "msisdn", "carrier"} <= body.keys() <= {"imsi", "msisdn", "carrier", "pace_seconds", "quota"}:
            self.violations.append(f"enrolment of {sorted(body)}")
        self.enrolments.append(body)
        token = f"token-{len(self.enrolments)}"
        self.tokens[body["imsi"]] = token
        return web.json_response({"imsi": body["imsi"], "token": token}, status=201)

    async def _ping(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        assert isinstance(body, dict)
        if body.keys() != {"IMSI", "MSISDN", "seed_type"} or body["seed_type"] != "seed":
            self.violations.append(f"ping of {body}")
        self._authorize(request, body["IMSI"])
        self.pings.append(body["IMSI"])
        return web.Response(text=repr(self.now()), content_type="text/html")

    async def _pull(self, request: web.Request) -> web.Response:
        imsi = request.match_info["imsi"]
        self._authorize(request, imsi)
        wait_seconds, maximum = float(request.query["wait"]), int(request.query["max"])
        self.open_pulls[imsi] += 1
        if self.open_pulls[imsi] > 1:
            self.violations.append(f"two pulls of {imsi}")
        try:
            async with self._arrived:
                try:
                    async with asyncio.timeout(wait_seconds):
                        await self._arrived.wait_for(lambda: self._outbox[imsi])
                except TimeoutError:
                    return web.json_response([])
                going, self._outbox[imsi] = self._outbox[imsi][:maximum], self._outbox[imsi][maximum:]
        finally:
            self.open_pulls[imsi] -= 1
        for message in going:
            self.handed[str(message["id"]), int(str(message["attempt"]))] = float(str(message["valid_until"]))
        return web.json_response(going)

    async def _report(self, request: web.Request) -> web.Response:
        imsi = request.match_info["imsi"]
        self._authorize(request, imsi)
        reports = await self._body(request)
        assert isinstance(reports, list)
        if not reports:
            self.violations.append("an empty list of reports")
        call = self.calls
        stale = [report for report in reports if not self._note(call, imsi, report)]
        if self.is_losing_answers(reports):
            assert request.transport is not None
            request.transport.close()
        await self.can_answer.wait()
        answer: dict[str, object] = {"accepted": len(reports) - len(stale), "stale": len(stale)}
        if self.names_stale and stale:
            answer["stale_messages"] = [{"id": report["id"], "attempt": report["attempt"]} for report in stale]
        return web.json_response(answer)

    def _note(self, call: int, imsi: str, report: dict[str, object]) -> bool:
        """Does this report count?"""
        if not {"id", "attempt", "state"} <= report.keys() <= {"id", "attempt", "state", "error", "at"}:
            self.violations.append(f"report of {sorted(report)}")
        id, attempt, state, error = str(report["id"]), int(str(report["attempt"])), report["state"], report.get("error")
        key = (id, attempt)
        if state not in STATES or key not in self.handed:
            self.violations.append(f"{state} of {key}")
        if state in ("sent", "delivered", "failed") and key not in self.granted:
            self.violations.append(f"{state} of {key} without a permission")
        if state in ("failed", "cancelled") and not error:
            self.violations.append(f"{state} of {key} without a reason")
        is_repeated = any((told.id, told.attempt, told.state) == (*key, state) for told in self.told)
        is_stale = is_repeated or (state == "radio" and (id in self.refused or self.now() > self.handed[key]))
        if state == "radio" and not is_stale:
            self.granted.add(key)
        self.told.append(Told(call, imsi, id, attempt, str(state), None if error is None else str(error), is_stale))
        return not is_stale


async def eventually(is_so: Callable[[], object]) -> None:
    """Wait until it is so; fails after a deadline that only a hang reaches."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not is_so():  # noqa: ASYNC110 -- a test looks from outside: there is no event to wait for
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError("it never came to be so") from None


async def rounds(router: StubRouter, imsi: str, count: int = 2) -> None:
    """Let a live phone come round to so many further pulls, which shows that it had the time to do what it would do."""
    seen = router.calls
    await eventually(lambda: router.calls >= seen + count and router.open_pulls[imsi])
