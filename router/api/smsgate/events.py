"""`GET /events`: a phone's open line, as server-sent events. While it is open the phone counts as heard of."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request, get
from litestar.response.base import ASGIResponse

from router.api.parts import bearer_of, parts_of
from router.api.smsgate.mobile import device_of, is_a_phone
from router.domain.errors import Unauthorized, Unavailable
from router.services.streams import EventStream
from router.store.phones import News

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

_KEEPALIVE_SECONDS = 15.0
_KEEPALIVE = b":keepalive\n\n"
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would hold events back otherwise
]
_encode = msgspec.json.Encoder().encode


def _wire(news: News) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (news.event.encode(), _encode(news.data))


class _Line(ASGIResponse):
    """Says what the stream has to say until the phone leaves or the process is told to stop. No task but the server's own and one more.

    Its end is never told: the connection breaks. The app opens another stream after one that broke, and not after one that ended in order.
    """

    def __init__(
        self,
        stream: "contextlib.AbstractAsyncContextManager[EventStream]",
        is_known: Callable[[], Awaitable[bool]],
        closing: asyncio.Event,
    ) -> None:
        super().__init__(body=b"")
        self._stream = stream
        self._is_known = is_known
        self._closing = closing

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        async with self._stream as stream:
            left = asyncio.create_task(_leave(receive, stream))
            try:
                await self._talk(stream, left, send)
            finally:
                left.cancel()

    async def _talk(self, stream: EventStream, left: "asyncio.Task[None]", send: "Send") -> None:
        """The first bytes go at once: some clients wait for them before they call the stream open."""
        said = _KEEPALIVE
        said_at = 0.0
        while not (left.done() or stream.is_over or self._closing.is_set()):
            if said:
                await send({"type": "http.response.body", "body": said, "more_body": True})
                said_at = time.monotonic()
            quiet = said_at + _KEEPALIVE_SECONDS - time.monotonic()
            seconds = min(quiet, max(0.01, stream.rest_seconds())) if stream.is_holding_back else quiet
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.wake.wait(), max(0.0, seconds))
            said = b"".join(map(_wire, stream.take()))
            if not said and time.monotonic() >= said_at + _KEEPALIVE_SECONDS:
                said = _KEEPALIVE
                if not await self._is_known():
                    return


async def _leave(receive: "Receive", stream: EventStream) -> None:
    """Returns when the phone has gone, and wakes the stream to see it."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.wake.set()


@get("/events", before_request=is_a_phone)
async def events(request: "Request[Any, Any, Any]") -> ASGIResponse:
    """MessageEnqueued, MessageCancelled, WebhooksUpdated, SettingsUpdated, MessagesExportRequested, as they happen; nothing is repeated."""
    parts, device, token = parts_of(request), device_of(request), bearer_of(request)

    async def is_known() -> bool:
        """With the SIMs that it had. While the store is away nobody is sent away."""
        try:
            return (await parts.devices.authenticate(token)).seed_ids == device.seed_ids
        except Unauthorized:
            return False
        except Unavailable:
            return True

    return _Line(parts.streams.open(device.id, await parts.phones.pools(device)), is_known, parts.closing)


HANDLERS = [events]
