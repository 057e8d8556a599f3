"""A server for simulated phones with SMSGate's app: the mobile API to the letter, faults on demand, and a memory of all it was told."""

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import aiohttp
import orjson
from aiohttp import web

from workers.simulator.client import open_session

PRIVATE_TOKEN = "private-token"
STATES = ("Pending", "Processed", "Sent", "Delivered", "Failed", "Cancelled")
RANK = {state: place for place, state in enumerate(STATES)}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}(Z|[+-]\d\d:\d\d)")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def stamp(seconds: float, digits: int = 3) -> str:
    """A time as a server writes it, with so many digits of fraction, which are exact."""
    text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return (text if digits == 6 else text[: digits - 6]) + "Z"


class FakeSmsgate:
    """Breaches of the contract are collected in `violations`; `__aexit__` raises if there are any."""

    def __init__(self) -> None:
        self.url = ""
        self.session: aiohttp.ClientSession | None = None
        self.is_down = False
        """Every call is answered 503."""
        self.credentials = {f"Bearer {PRIVATE_TOKEN}"}
        """What a registration may say in its Authorization."""
        self.settings: dict[str, Any] = {}
        self.refuses: Callable[[web.Request], int | None] = lambda request: None
        """A status for this call instead of an answer."""
        self.can_answer = asyncio.Event()
        """While not set, pulls are answered later."""
        self.can_answer.set()
        self.devices: dict[str, dict[str, Any]] = {}
        """What each device told of itself last."""
        self.registered: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.tokens: dict[str, str] = {}
        """Token to device."""
        self.listed: dict[str, list[dict[str, Any]]] = defaultdict(list)
        """What each device is told at a pull; nothing leaves it by itself but what was reported."""
        self.drops_reported = True
        self.pulls: list[tuple[str, str]] = []
        """Device and order, of each pull that was answered."""
        self.told: list[dict[str, Any]] = []
        """Reports, in the order in which they came."""
        self.batches: list[int] = []
        self.calls: list[str] = []
        """Method and path of all calls."""
        self.violations: list[str] = []
        self.streams: dict[str, list[web.StreamResponse]] = defaultdict(list)
        self._stream_ends: dict[web.StreamResponse, asyncio.Event] = {}
        self._runner: web.AppRunner | None = None
        self._port = 0

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
        app = web.Application(middlewares=[self._strictly])
        for prefix in ("/api/mobile/v1", "/mobile/v1"):
            app.router.add_post(f"{prefix}/device", self._register)
            app.router.add_patch(f"{prefix}/device", self._update)
            app.router.add_get(f"{prefix}/message", self._pull)
            app.router.add_patch(f"{prefix}/message", self._report)
            app.router.add_get(f"{prefix}/events", self._events)
            app.router.add_get(f"{prefix}/settings", self._settings)
            app.router.add_get(f"{prefix}/webhooks", self._webhooks)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def close(self) -> None:
        """Listen no more, and cut all connections."""
        if self._runner is not None:
            for device in list(self.streams):
                self.cut_streams(device)
            await self._runner.cleanup()
            self._runner = None

    # What a test does

    def give(self, device: str, *ids: str, to: str = "+213661234567", text: str = "Your code is 123456", **fields: Any) -> None:
        """List messages for a device; times are Unix seconds, or text as it is to go."""
        for number, id in enumerate(ids):
            message: dict[str, Any] = {
                "id": id,
                "textMessage": {"text": text},
                "message": text,
                "phoneNumbers": [to],
                "withDeliveryReport": True,
                "state": "Pending",
                "createdAt": stamp(time.time() + number / 1000),
            } | fields
            for name in ("validUntil", "scheduleAt", "createdAt"):
                if isinstance(message.get(name), float):
                    message[name] = stamp(message[name])
            self.listed[device].append(message)

    async def push(self, device: str, event: str = "MessageEnqueued", data: str = "null") -> None:
        """An event on all streams of a device."""
        for stream in self.streams[device]:
            await stream.write(f"event: {event}\ndata: {data}\n\n".encode())

    async def write(self, device: str, raw: bytes) -> None:
        for stream in self.streams[device]:
            await stream.write(raw)

    def cut_streams(self, device: str) -> None:
        """In the middle, without an end."""
        for stream in self.streams.pop(device, []):
            if stream._req is not None and stream._req.transport is not None:
                stream._req.transport.abort()
            self._stream_ends[stream].set()

    def end_streams(self, device: str) -> None:
        """In order."""
        for stream in self.streams.pop(device, []):
            self._stream_ends[stream].set()

    def states(self, id: str) -> list[str]:
        """What was reported of a message, in order."""
        return [told["state"] for told in self.told if told["id"] == id]

    def last(self, id: str) -> dict[str, Any]:
        return [told for told in self.told if told["id"] == id][-1]

    # What the phones see

    @web.middleware
    async def _strictly(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path.rpartition('/')[2]}")
        if not request.headers.get("User-Agent", "").startswith("me.capcom.smsgateway/"):
            self.violations.append(f"{request.path} from {request.headers.get('User-Agent')}")
        if request.can_read_body != (request.method in ("POST", "PATCH")):
            self.violations.append(f"{request.method} {request.path} with or without a body")
        if self.is_down:
            raise web.HTTPServiceUnavailable
        status = self.refuses(request)
        if status is not None:
            return web.json_response({"message": "refused"}, status=status)
        return await handler(request)

    def _device(self, request: web.Request) -> str:
        kind, _, token = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or token not in self.tokens:
            raise web.HTTPUnauthorized
        return self.tokens[token]

    async def _body(self, request: web.Request) -> Any:
        if request.content_type != "application/json":
            self.violations.append(f"{request.path}: {request.content_type}")
        return orjson.loads(await request.read())

    def _check(self, holds: object, what: str) -> None:
        if not holds:
            self.violations.append(what)

    def _check_cards(self, body: dict[str, Any]) -> None:
        for place, card in enumerate(body.get("simCards", [])):
            keys = {"slotIndex", "simNumber"}
            self._check(keys <= card.keys() <= keys | {"phoneNumber", "carrierName", "iccid"}, f"card of {sorted(card)}")
            self._check((card["slotIndex"], card["simNumber"]) == (place, place + 1), f"card {card}")
            self._check(all(value is not None for value in card.values()), f"a null in {card}")

    async def _register(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") not in self.credentials:
            raise web.HTTPUnauthorized
        body = await self._body(request)
        self._check({"name"} <= body.keys() <= {"name", "pushToken", "simCards"}, f"registration of {sorted(body)}")
        self._check_cards(body)
        device = f"device-{len(self.registered) + 1:014d}"
        token = f"token-{len(self.registered) + 1}"
        self.registered.append(body)
        self.devices[device] = body
        self.tokens[token] = device
        return web.json_response({"id": device, "token": token, "login": "ABCDEF", "password": "secret-secret"}, status=201)

    async def _update(self, request: web.Request) -> web.Response:
        device = self._device(request)
        body = await self._body(request)
        self._check({"id"} <= body.keys() <= {"id", "pushToken", "simCards"}, f"update of {sorted(body)}")
        self._check_cards(body)
        if body["id"] != device:
            raise web.HTTPForbidden
        self.updates.append(body)
        self.devices[device] |= body
        return web.Response(status=204)

    async def _pull(self, request: web.Request) -> web.Response:
        device = self._device(request)
        self._check(request.query.get("order") in ("lifo", "fifo") and len(request.query) == 1, f"pull with {request.query_string}")
        await self.can_answer.wait()
        self.pulls.append((device, request.query["order"]))
        return web.json_response(self.listed[device][:100])

    async def _report(self, request: web.Request) -> web.Response:
        device = self._device(request)
        reports = await self._body(request)
        self._check(isinstance(reports, list) and reports, "no list of reports, or an empty one")
        self.batches.append(len(reports))
        for report in reports:
            self._check_report(report)
            self.told.append(report | {"device": device})
            if self.drops_reported and report["state"] != "Pending":
                self.listed[device] = [message for message in self.listed[device] if message["id"] != report["id"]]
        return web.Response(status=204)

    def _check_report(self, report: dict[str, Any]) -> None:
        self._check(report.keys() == {"id", "state", "recipients", "states"}, f"report of {sorted(report)}")
        self._check(report["state"] in STATES, f"state {report['state']}")
        self._check(report["recipients"], f"{report['id']} without recipients")
        for recipient in report["recipients"]:
            keys = {"phoneNumber", "state"}
            self._check(keys <= recipient.keys() <= keys | {"error"}, f"recipient of {sorted(recipient)}")
            self._check(recipient["state"] in STATES, f"state {recipient['state']}")
            self._check((recipient["state"] == "Failed") == bool(recipient.get("error")), f"error of {recipient}")
        states = report["states"]
        self._check({"Pending", report["state"]} <= states.keys() <= set(STATES), f"states {sorted(states)}")
        self._check(all(TIME.fullmatch(at) for at in states.values()), f"times {states}")
        times = [datetime.fromisoformat(states[state]) for state in sorted(states, key=RANK.__getitem__)]
        self._check(times == sorted(times), f"times out of order {states}")

    async def _events(self, request: web.Request) -> web.StreamResponse:
        device = self._device(request)
        self._check(request.headers.get("Accept") == "text/event-stream", "a stream of something else")
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        ended = self._stream_ends[stream] = asyncio.Event()
        await stream.prepare(request)
        await stream.write(b":keepalive\n\n")
        self.streams[device].append(stream)
        try:
            await ended.wait()
        finally:
            if stream in self.streams[device]:
                self.streams[device].remove(stream)
        return stream

    async def _settings(self, request: web.Request) -> web.Response:
        self._device(request)
        return web.json_response(self.settings)

    async def _webhooks(self, request: web.Request) -> web.Response:
        self._device(request)
        return web.json_response([])
