"""Hints of other processes over Redis pub/sub: taken for ever. They may be lost, so whoever listens also looks by itself."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import NoReturn

import structlog

_log = structlog.get_logger()
_AGAIN_SECONDS = 1.0


async def listen(subscribe: Callable[[], AsyncGenerator[bytes]], tell: Callable[[bytes], None], lost: str) -> NoReturn:
    """Tells each message as it comes. `lost`: the event that the log has when the subscription breaks; it is made anew."""
    while True:
        try:
            async with contextlib.aclosing(subscribe()) as messages:
                async for message in messages:
                    tell(message)
        except Exception as error:  # noqa: BLE001 - redis-py raises several kinds here
            _log.warning(lost, error=repr(error))
            await asyncio.sleep(_AGAIN_SECONDS)
