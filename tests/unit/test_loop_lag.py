"""How late an event loop is."""

import asyncio
import contextlib
import time

from prometheus_client import REGISTRY

from router import loop_lag


def beyond(seconds: str) -> float:
    """Wakings that were later than that."""
    within = REGISTRY.get_sample_value("seedrouter_loop_lag_seconds_bucket", {"le": seconds}) or 0.0
    return (REGISTRY.get_sample_value("seedrouter_loop_lag_seconds_count") or 0.0) - within


async def _block() -> None:
    measuring = asyncio.create_task(loop_lag.keep_measuring(0.01))
    await asyncio.sleep(0.03)
    time.sleep(0.3)  # noqa: ASYNC251 - what nothing should do
    await asyncio.sleep(0.03)
    measuring.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await measuring


def test_what_blocks_the_loop_is_seen() -> None:
    """A piece of work that lets nobody else run shows as one late waking."""
    before = beyond("0.1")
    asyncio.run(_block())

    assert beyond("0.1") > before
