"""A TCP proxy on loopback that adds latency: every byte of either direction comes out a fixed time after it went in.

Order and pipelining stay as they are: chunks are on their way at the same time, as on a long wire, so that only a program that waits for
an answer pays for the distance. Run as a process of its own: `python -m bench.latency_proxy LISTEN_PORT TARGET_PORT SECONDS_EACH_WAY`.
"""

import asyncio
import contextlib
import os
import selectors
import signal
import socket
import sys
from collections.abc import Coroutine
from typing import Any

_CHUNK_BYTES = 1 << 18
_PARENT_LOOK_SECONDS = 1.0


class _Wire:
    """One direction of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        self._reader = reader
        self._writer = writer
        self._seconds = seconds
        self._under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def carry(self) -> None:
        """Until the sending side closes, then closes the other one."""
        sender = asyncio.create_task(self._send())
        loop = asyncio.get_running_loop()
        chunk = b"-"
        while chunk and not sender.done():
            try:
                chunk = await self._reader.read(_CHUNK_BYTES)
            except OSError:
                chunk = b""
            self._under_way.put_nowait((loop.time() + self._seconds, chunk))
        await sender

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        # Where the receiving side is gone, closing tells the sending side
        with contextlib.closing(self._writer), contextlib.suppress(OSError):
            while True:
                due, chunk = await self._under_way.get()
                if (wait := due - loop.time()) > 0:
                    await asyncio.sleep(wait)
                if not chunk:
                    break
                self._writer.write(chunk)
                await self._writer.drain()


class LatencyProxy:
    """Listens on 127.0.0.1:`listen_port`, and connects to 127.0.0.1:`target_port` for each connection that comes."""

    def __init__(self, listen_port: int, target_port: int, seconds_each_way: float) -> None:
        self._listen_port = listen_port
        self._target_port = target_port
        self._seconds = seconds_each_way

    async def serve(self) -> None:
        """Until cancelled."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", self._listen_port)
        async with server:
            await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.close()
            return
        for each in (writer, target_writer):
            each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wires = (_Wire(reader, target_writer, self._seconds), _Wire(target_reader, writer, self._seconds))
        await asyncio.gather(*(wire.carry() for wire in wires), return_exceptions=True)


async def _while_parent_lives(work: Coroutine[Any, Any, None]) -> None:
    """Ends on SIGTERM, and when whoever started it is gone."""
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    parent = os.getppid()
    while not task.done() and os.getppid() == parent:
        await asyncio.wait({task}, timeout=_PARENT_LOOK_SECONDS)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def main() -> None:
    listen_port, target_port, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    # select(2) takes microseconds; epoll, asyncio's default, rounds each wait up to a whole millisecond
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        loop.run_until_complete(_while_parent_lives(LatencyProxy(listen_port, target_port, seconds).serve()))
    finally:
        loop.close()


if __name__ == "__main__":
    main()
