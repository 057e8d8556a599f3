"""What SMSGate's app says to its server over HTTP. Any status but 2xx is an error, as in the app's HTTP client."""

from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Final

import aiohttp

from workers.simulator.client import TokenRefused, Unanswered
from workers.simulator.smsgate.behaviour import AppTimes
from workers.simulator.smsgate.conditions import Conditions
from workers.simulator.smsgate.events import EventReader, ServerEvent
from workers.simulator.smsgate.settings import Order, PhoneSettings, read_settings
from workers.simulator.smsgate.wire import (
    MobileMessage,
    Registered,
    Registration,
    StateReport,
    Update,
    encode,
    read_messages,
    read_registered,
)

BASE_PATH: Final = "/api/mobile/v1"
_AGENT: Final = "me.capcom.smsgateway/1.68.0"
_CONNECT_SECONDS: Final = 10.0


def with_private_token(token: str) -> str:
    """What a phone says to register with the server's private token."""
    return f"Bearer {token}"


def with_password(login: str, password: str) -> str:
    """What a phone says to register as another phone of an account."""
    return "Basic " + b64encode(f"{login}:{password}".encode()).decode()


def with_code(code: str) -> str:
    """What a phone says to register with a one-time code."""
    return f"Code {code}"


class MobileClient:
    """One phone's. Every call waits until the phone is awake and connected; raises Unanswered, or TokenRefused for 401."""

    def __init__(
        self, session: aiohttp.ClientSession, url: str, conditions: Conditions, times: AppTimes, base_path: str = BASE_PATH
    ) -> None:
        self._session = session
        self._base = url.rstrip("/") + base_path
        self._conditions = conditions
        self._timeout = aiohttp.ClientTimeout(total=times.call_seconds)
        self._stream_timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=_CONNECT_SECONDS, sock_read=times.silence_seconds
        )

    def __repr__(self) -> str:
        return f"<MobileClient {self._base}>"

    async def register(self, credentials: str, registration: Registration) -> Registered:
        return read_registered(await self._call("POST", "/device", credentials, encode(registration)))

    async def update(self, token: str, update: Update) -> None:
        await self._call("PATCH", "/device", f"Bearer {token}", encode(update))

    async def pull(self, token: str, order: Order) -> list[MobileMessage]:
        return read_messages(await self._call("GET", f"/message?order={order.lower()}", f"Bearer {token}"))

    async def report(self, token: str, reports: Sequence[StateReport]) -> None:
        await self._call("PATCH", "/message", f"Bearer {token}", encode(reports))

    async def settings(self, token: str) -> PhoneSettings:
        return read_settings(await self._call("GET", "/settings", f"Bearer {token}"))

    async def webhooks(self, token: str) -> None:
        """A simulated phone receives nothing, so it has no use for them."""
        await self._call("GET", "/webhooks", f"Bearer {token}")

    async def listen(self, token: str, on_open: Callable[[], None], on_event: Callable[[ServerEvent], None]) -> None:
        """Hold an event stream until the server ends it in order; a stream that breaks is Unanswered."""
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream", "User-Agent": _AGENT}
        reader = EventReader()
        try:
            async with (
                self._conditions.call(),
                self._session.get(
                    self._base + "/events", headers=headers, timeout=self._stream_timeout, allow_redirects=False
                ) as response,
            ):
                _check(response.status)
                if response.content_type != "text/event-stream":
                    raise Unanswered(f"a stream of {response.content_type}")
                await self._conditions.wait_awake()
                on_open()
                async for chunk in response.content.iter_any():
                    await self._conditions.wait_awake()
                    for event in reader.feed(chunk):
                        on_event(event)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(type(error).__name__) from error

    async def _call(self, method: str, path: str, authorization: str, body: bytes | None = None) -> bytes:
        headers = {"Authorization": authorization, "Accept": "application/json", "User-Agent": _AGENT}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._conditions.call():
                async with self._session.request(
                    method, self._base + path, data=body, headers=headers, timeout=self._timeout, allow_redirects=False
                ) as response:
                    answer = await response.read()
                await self._conditions.wait_awake()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unanswered(type(error).__name__) from error
        _check(response.status)
        return answer


def _check(status: int) -> None:
    if status == 401:
        raise TokenRefused("the server does not know this phone")
    if not 200 <= status < 300:
        raise Unanswered(f"status {status}")
