"""Phones of SMSGate's app as the streams' bench needs them: registered, with an open event stream, pulling when they are told to."""

import asyncio
import time
from datetime import datetime

import aiohttp
import msgspec

_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_CARRIERS = ("+2136611{:05d}", "+2137711{:05d}", "+2135511{:05d}")
_OPENING_AT_ONCE = 50
_SENDING_SECONDS = 3.0
"""What a SIM takes for an SMS; until then its phone is given no other one."""


class _Pulled(msgspec.Struct, rename="camel"):
    id: str
    phone_numbers: list[str]
    created_at: str


_decode = msgspec.json.Decoder(list[_Pulled]).decode


class Lines:
    """Phones in this process. `seconds` is, for each message, from its acceptance to the event that made its phone pull it."""

    def __init__(self, url: str, login: str, password: str) -> None:
        self._url = url
        self._auth = aiohttp.BasicAuth(login, password)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=_NO_LIMIT, json_serialize=lambda body: msgspec.json.encode(body).decode()
        )
        self._tokens: list[str] = []
        self._streams: list[asyncio.Task[None]] = []
        self._reports: set[asyncio.Task[None]] = set()
        self.seconds: dict[str, float] = {}
        self._changed = asyncio.Event()

    async def register(self, count: int) -> None:
        """So many phones of one SIM each, over three carriers, all of them the account's own."""
        for number in range(count):
            sim = {"slotIndex": 0, "simNumber": 1, "phoneNumber": _CARRIERS[number % 3].format(number)}
            body = {"name": f"phone {number}", "simCards": [sim]}
            async with self._session.post(f"{self._url}/mobile/v1/device", json=body, auth=self._auth) as answer:
                answer.raise_for_status()
                self._tokens.append((await answer.json())["token"])

    async def listen(self) -> None:
        """Opens all streams; returns when each has said its first bytes."""
        turns = asyncio.Semaphore(_OPENING_AT_ONCE)
        opened = [asyncio.get_running_loop().create_future() for _ in self._tokens]
        for token, future in zip(self._tokens, opened, strict=True):
            self._streams.append(asyncio.create_task(self._listen(token, turns, future)))
        await asyncio.gather(*opened)

    async def _listen(self, token: str, turns: asyncio.Semaphore, opened: "asyncio.Future[None]") -> None:
        headers = {"Authorization": f"Bearer {token}"}
        await turns.acquire()
        async with self._session.get(f"{self._url}/mobile/v1/events", headers=headers) as answer:
            answer.raise_for_status()
            async for line in answer.content:
                if not opened.done():
                    turns.release()
                    opened.set_result(None)
                if line == b"event: MessageEnqueued\n":
                    await self._pull(headers, time.time())

    async def _pull(self, headers: dict[str, str], event_at: float) -> None:
        async with self._session.get(f"{self._url}/mobile/v1/message", headers=headers) as answer:
            answer.raise_for_status()
            found = _decode(await answer.read())
        told: list[dict[str, object]] = []
        for message in found:
            accepted_at = datetime.fromisoformat(message.created_at).timestamp()
            self.seconds.setdefault(message.id, event_at - accepted_at)
            self._changed.set()
            recipient = {"phoneNumber": message.phone_numbers[0], "state": "Sent"}
            told.append({"id": message.id, "state": "Sent", "recipients": [recipient], "states": {}})
        if told:
            report = asyncio.create_task(self._report(headers, told))
            self._reports.add(report)
            report.add_done_callback(self._reports.discard)

    async def _report(self, headers: dict[str, str], told: list[dict[str, object]]) -> None:
        await asyncio.sleep(_SENDING_SECONDS)
        async with self._session.patch(f"{self._url}/mobile/v1/message", headers=headers, json=told) as answer:
            answer.raise_for_status()

    async def wait_for(self, count: int) -> None:
        """Until so many messages were pulled."""
        while len(self.seconds) < count:
            self._changed.clear()
            await self._changed.wait()

    async def close(self) -> None:
        """Raises what a stream has died of."""
        ended = [stream for stream in self._streams if stream.done()]
        for task in (*self._streams, *self._reports):
            task.cancel()
        await asyncio.gather(*self._streams, *self._reports, return_exceptions=True)
        await self._session.close()
        for stream in ended:
            stream.result()
            raise RuntimeError("a stream has ended")
