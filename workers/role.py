"""What the dispatcher, the timekeeper and the courier have in common: the wiring, the metrics port, and how they stop."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import msgspec
import structlog
import uvloop
from prometheus_client import start_http_server

from router.domain.errors import Unavailable
from router.garbage import collect_less
from router.lifeline import follow_parent
from router.secrets import Secrets
from router.services.wiring import Wiring, running, wire
from router.settings import Settings

_log = structlog.get_logger()
_RETRY_SECONDS = 0.5


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker works with."""

    wiring: Wiring
    stopping: asyncio.Event

    async def every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Does the work again and again until the role stops; while the store is away it waits and tries again."""
        while not self.stopping.is_set():
            pause = seconds
            try:
                await work()
            except Unavailable as error:
                _log.warning("worker.waits", work=getattr(work, "__name__", "work"), error=str(error))
                pause = max(seconds, _RETRY_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), pause)


@contextlib.asynccontextmanager
async def starting(settings: Settings, secrets: Secrets, name: str, metrics_port: int) -> AsyncIterator[Role]:
    """Wires a worker, measures its clock, serves its metrics; SIGTERM and SIGINT set `stopping`."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    def stop() -> None:
        loop.call_soon_threadsafe(stopping.set)

    follow_parent(stop)
    port = _serve_metrics(settings.host, metrics_port)
    wiring = wire(settings, secrets)
    async with running(wiring):
        collect_less()
        _log.info(f"{name}.starts", metrics_port=port)
        yield Role(wiring=wiring, stopping=stopping)
    _log.info(f"{name}.stopped")


def _serve_metrics(host: str, port: int) -> int:
    """Serves /metrics; where the port is taken, on any free one, so that two workers can share a machine."""
    try:
        server, _ = start_http_server(port, addr=host)
    except OSError as error:
        _log.warning("metrics.port_taken", port=port, error=str(error), hint="another worker here? set its metrics port")
        server, _ = start_http_server(0, addr=host)
    return int(server.server_address[1])


def run(main: Coroutine[Any, Any, None]) -> int:
    """Runs a worker to its end. Gives the exit code."""
    uvloop.run(main)
    return 0
