"""Runs the roles of `seedrouter up` as child processes: started in order, kept running, stopped in reverse order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import httpx
import structlog

from workers.keeper import Child, Keeper

__all__ = ["Child", "Supervisor"]

READY_POLL_SECONDS = 0.1
READY_ANSWER_SECONDS = 2.0
WATCH_SECONDS = 1.0
EXIT_STOPPED = 0
EXIT_FAILED = 1
EXIT_KILLED = 130
"""128 + SIGINT, as a shell tells a Ctrl-C."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Supervisor:
    """Each child has a session of its own, so that one Ctrl-C reaches only the supervisor, which then stops them in order.

    A child that ended by itself is started again, with a delay that doubles (see `workers.keeper`). When a child cannot be
    started, or exits with code 78 (configuration error), all are stopped. Children whose supervisor was killed end through
    `router.lifeline`.
    """

    def __init__(self) -> None:
        self._keepers: list[Keeper] = []
        self._stopping = asyncio.Event()
        self._kill_now = asyncio.Event()
        self._failed = False

    @property
    def pids(self) -> dict[str, int]:
        """The pid of each child that runs now, by its name."""
        return {keeper.child.name: keeper.pid for keeper in self._keepers if keeper.pid is not None}

    @property
    def restarts(self) -> dict[str, int]:
        """How often each child was started again, by its name."""
        return {keeper.child.name: keeper.restarts for keeper in self._keepers}

    def request_stop(self) -> None:
        """What SIGTERM does: stop all in order, and let `run` return."""
        self._stopping.set()

    async def run(
        self,
        children: Sequence[Child],
        *,
        on_ready: Callable[[], Awaitable[None]] | None = None,
        watch: Callable[[], None] | None = None,
    ) -> int:
        """Run the children until SIGINT or SIGTERM, and return the exit code: 0 stopped in order, 1 a child could not be started
        or did not get ready in time, 130 killed by a second Ctrl-C. To be called from the main thread, once.

        `on_ready` is awaited when all children are ready; what it raises is raised here, after all were stopped. `watch` is
        called each second in a thread until all have ended; what it raises is logged.
        Raises ValueError for two children of one name.
        """
        if len({child.name for child in children}) < len(children):
            raise ValueError("two children have the same name")
        self._keepers = [Keeper(child, self._fail) for child in children]
        all_ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGTERM, self.request_stop)
        watching = asyncio.create_task(_watch(watch, all_ended)) if watch else None
        serving = asyncio.create_task(self._serve(on_ready))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done() and serving.exception() is None:
                await stopping
        finally:
            stopping.cancel()
            serving.cancel()
            await self._stop_all()
            all_ended.set()
            if watching:
                await watching
            loop.remove_signal_handler(signal.SIGINT)
            loop.remove_signal_handler(signal.SIGTERM)
        with suppress(asyncio.CancelledError):
            await serving
        if self._failed:
            return EXIT_FAILED
        return EXIT_KILLED if self._kill_now.is_set() else EXIT_STOPPED

    async def _serve(self, on_ready: Callable[[], Awaitable[None]] | None) -> None:
        # A proxy from the environment would be asked for our own health.
        async with httpx.AsyncClient(timeout=READY_ANSWER_SECONDS, trust_env=False) as client:
            for keeper in self._keepers:
                if not await self._start(keeper, client):
                    self._fail()
                    return
        log.info("all_ready", roles=[keeper.child.name for keeper in self._keepers])
        if on_ready is not None:
            await on_ready()

    async def _start(self, keeper: Keeper, client: httpx.AsyncClient) -> bool:
        child = keeper.child
        url = child.ready_url
        if url is None:
            await keeper.start()
            return True
        # Whatever answers there before the child was started would be taken for it: a role of a supervisor that was killed
        # (it ends soon), or another program on the port (it stays).
        if not await _becomes(client, url, child.ready_timeout_seconds, answering=False):
            log.error("ready_url_taken", role=child.name, url=url)
            return False
        await keeper.start()
        if not await _becomes(client, url, child.ready_timeout_seconds, answering=True):
            log.error("child_not_ready", role=child.name, url=url, after_seconds=child.ready_timeout_seconds)
            return False
        keeper.mark_ready()
        log.info("child_ready", role=child.name)
        return True

    async def _stop_all(self) -> None:
        for keeper in self._keepers:
            keeper.stop_restarting()
        for keeper in reversed(self._keepers):
            await keeper.stop(self._kill_now)

    def _fail(self) -> None:
        if not self._stopping.is_set():
            self._failed = True
            self._stopping.set()

    def _interrupt(self) -> None:
        if self._stopping.is_set():
            self._kill_now.set()
        self._stopping.set()


async def _becomes(client: httpx.AsyncClient, url: str, seconds: float, *, answering: bool) -> bool:
    """Wait until the URL answers 200, or (`answering` false) until nobody answers there at all. False when the time is over."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                try:
                    done = (await client.get(url)).status_code == httpx.codes.OK and answering
                except httpx.ConnectError:
                    done = not answering
                except httpx.TransportError:
                    done = False
                if done:
                    return True
                await asyncio.sleep(READY_POLL_SECONDS)
    return False


async def _watch(watch: Callable[[], None], ended: asyncio.Event) -> None:
    while not ended.is_set():
        try:
            await asyncio.to_thread(watch)
        except Exception:
            log.exception("watch_failed")
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), WATCH_SECONDS)
