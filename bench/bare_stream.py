"""What an open event stream is compared with: litestar's own on uvicorn, which says something once and then only keeps alive."""

import asyncio
import sys
from collections.abc import AsyncIterator

import uvicorn
from litestar import Litestar, get
from litestar.response import Stream


@get("/ready")
async def ready() -> str:
    return "ready"


@get("/events")
async def events() -> Stream:
    async def keep_alive() -> AsyncIterator[bytes]:
        while True:
            yield b":keepalive\n\n"
            await asyncio.sleep(15)

    return Stream(keep_alive(), media_type="text/event-stream")


app = Litestar([ready, events], logging_config=None)

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", log_config=None, access_log=False)
