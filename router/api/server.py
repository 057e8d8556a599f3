"""The api role: the application on uvicorn, and how it stops.

uvicorn over granian: an open long-poll is a sign of life, and a client that leaves must be noticed at once (docs/architecture.md).
"""

import asyncio
import logging
import signal
import socket
from types import FrameType
from typing import Any

import structlog
import uvicorn

from router.api.app import create_app
from router.api.parts import Parts
from router.garbage import collect_less
from router.lifeline import follow_parent
from router.secrets import Secrets
from router.settings import Settings

_log = structlog.get_logger()
_GONE_SECONDS = 20.0


def _is_news(record: logging.LogRecord) -> bool:
    """An event stream of a phone is broken off on purpose; and a socket's path names a user and a session."""
    return "without completing response" not in record.getMessage() and '"WebSocket ' not in str(record.msg)


class _Server(uvicorn.Server):
    """uvicorn, which also tells the open long-polls that it is stopping: else they would hold it up until their time is over."""

    parts: Parts | None = None
    loop: asyncio.AbstractEventLoop | None = None
    drain_seconds = 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A proxy takes a moment to notice, and what it sent to a closed port in that moment would be lost to its client: so the first
        signal begins `drain_seconds`, in which all goes on as before. A second one ends them.
        """
        if self.parts is None or self.loop is None:
            super().handle_exit(sig, frame)
        elif self.drain_seconds and not self.parts.leaving.is_set():
            self.parts.leaving.set()
            # As SIGTERM: uvicorn takes a second SIGINT for a wish to drop everything
            self.loop.call_soon_threadsafe(self.loop.call_later, self.drain_seconds, self._end, signal.SIGTERM)
        else:
            self._end(sig)

    def _end(self, sig: int) -> None:
        if self.parts is not None:
            self.parts.leaving.set()
            self.parts.closing.set()
            self.parts.outbox.waiters.wake_all()
            self.parts.sync_sockets.stop()
        super().handle_exit(sig, None)


def serve(settings: Settings, secrets: Secrets) -> int:
    """Runs until SIGTERM or SIGINT; requests in hand are answered first. Gives the exit code."""
    app = create_app(settings, secrets)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",  # what uvicorn itself takes by now; its plain `websockets` is deprecated
        ws_max_size=4096,  # nobody has anything to say on a socket of ours
        ws_per_message_deflate=False,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # nobody here asks where a request came from
        backlog=4096,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=int(settings.stop_grace_seconds),
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    server = _Server(config)
    # uvicorn raises the signal again when it has stopped in order; that is no reason to end by it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)

    def stop() -> None:
        signal.raise_signal(signal.SIGTERM)

    follow_parent(stop)
    app.on_startup.append(lambda: _introduce(app, server, settings))
    server.run(sockets=[_listen(config)])
    _log.info("api.stopped")
    return 0 if server.started else 1


def _listen(config: uvicorn.Config) -> socket.socket:
    """The listening socket. What it accepts is given up when the other side acknowledges nothing for `_GONE_SECONDS`: a phone that has lost
    its power would else stay online, with its open line, until TCP gives up after a quarter of an hour.
    """
    listening = config.bind_socket()
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_GONE_SECONDS * 1000))
    return listening


def _introduce(app: Any, server: _Server, settings: Settings) -> None:
    server.parts = app.state["parts"]
    server.loop = asyncio.get_running_loop()
    server.drain_seconds = settings.drain_seconds
    collect_less()
    if settings.open_seeds:
        _log.warning("seeds.open", hint="any seed that pings is given messages; for closed networks only")
    _log.info("api.starts", host=settings.host, port=settings.port)
