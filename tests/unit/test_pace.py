import asyncio

import pytest

from router.pace import Pace

pytestmark = pytest.mark.anyio
HOUR = 3600.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def goes_at_once(pace: Pace, callers: int, commands: int = 1) -> bool:
    """An hour is the pace here: whoever waits at all waits longer than this."""
    turn = asyncio.create_task(pace.turn(callers, commands))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    is_done = turn.done()
    turn.cancel()
    await asyncio.gather(turn, return_exceptions=True)
    return is_done


async def test_one_alone_never_waits() -> None:
    """However many exchanges it makes one after the other."""
    pace = Pace(HOUR, burst=3)

    assert [True] * 50 == [await goes_at_once(pace, 1) for _ in range(50)]


async def test_a_crowd_waits_after_its_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next exchange has more callers; also one that comes by itself between others waits for them."""
    monkeypatch.setattr("router.pace._CROWDED_SECONDS", HOUR)
    pace = Pace(HOUR, burst=3)
    first = [await goes_at_once(pace, 2) for _ in range(4)]

    assert [True, True, True, False] == first
    assert not await goes_at_once(pace, 1)


async def test_a_large_exchange_goes_at_once() -> None:
    """It has enough to do already."""
    pace = Pace(HOUR, burst=1, enough=10)
    await goes_at_once(pace, 2)

    assert [False, True] == [await goes_at_once(pace, 2, commands) for commands in (9, 10)]
