"""What a phone's owner, Android and the network do to the app: sleep, no network, a clock that is wrong.

Whatever the app does goes through here: it waits until the phone is awake, and a call that is under way when the network goes breaks off.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class Conditions:
    """One phone's. `clock_offset_seconds` is how far its own clock is ahead of `wall`; it may be set at any time."""

    def __init__(self, clock_offset_seconds: float = 0.0, wall: Callable[[], float] = time.time) -> None:
        self.clock_offset_seconds = clock_offset_seconds
        self._wall = wall
        self._awake = _Gate()
        self._connected = _Gate()
        self._calls: set[asyncio.Timeout] = set()

    def __repr__(self) -> str:
        return f"<Conditions {'awake' if self.is_awake else 'asleep'}, {'connected' if self.is_connected else 'no network'}>"

    @property
    def is_awake(self) -> bool:
        return self._awake.is_open

    @property
    def is_connected(self) -> bool:
        return self._connected.is_open

    def now(self) -> float:
        """Unix seconds by the phone's own clock."""
        return self._wall() + self.clock_offset_seconds

    def doze(self, seconds: float | None = None) -> None:
        """Everything stops, requests too; open connections hang. None: until `wake`."""
        self._awake.close(seconds)

    def wake(self) -> None:
        self._awake.open()

    def lose_network(self, seconds: float | None = None) -> None:
        """All connections break, and there are no new ones. None: until `restore_network`."""
        self._connected.close(seconds)
        self.break_calls()

    def restore_network(self) -> None:
        self._connected.open()

    def break_calls(self) -> None:
        """What is under way on the network breaks off."""
        now = asyncio.get_running_loop().time()
        for call in self._calls:
            if not call.expired():
                call.reschedule(now)
        self._calls.clear()

    def end(self) -> None:
        """No timer of this object runs after it."""
        self._awake.open()
        self._connected.open()

    async def wait_awake(self) -> None:
        await self._awake.wait()

    async def sleep(self, seconds: float) -> None:
        """A timer of the app: rings late where the phone is asleep."""
        await asyncio.sleep(seconds)
        await self._awake.wait()

    async def wait(self, event: asyncio.Event, seconds: float | None) -> bool:
        """Wait for the event, not longer than that, and until the phone is awake. Did it come?"""
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        await self._awake.wait()
        return event.is_set()

    async def ready(self) -> None:
        """Android starts a piece of work that needs the network when there is one."""
        while not (self.is_awake and self.is_connected):
            await self._awake.wait()
            await self._connected.wait()

    @asynccontextmanager
    async def call(self) -> AsyncIterator[None]:
        """For what talks to the network. Raises TimeoutError out of it when the network goes."""
        await self.ready()
        async with asyncio.timeout(None) as scope:
            self._calls.add(scope)
            try:
                yield
            finally:
                self._calls.discard(scope)


class _Gate:
    """Open, or closed for a time."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._event.set()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def close(self, seconds: float | None) -> None:
        self._end_alarm()
        self._event.clear()
        if seconds is not None:
            self._alarm = asyncio.get_running_loop().call_later(seconds, self.open)

    def open(self) -> None:
        self._end_alarm()
        self._event.set()

    async def wait(self) -> None:
        await self._event.wait()

    def _end_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
