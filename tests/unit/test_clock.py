"""One clock: the local one, corrected by its offset to the store's."""

import time

import pytest

from router.clock import Clock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_store_that_is_ahead_is_followed() -> None:
    """Its hour is ours, but for what the question took."""

    async def ask() -> float:
        return time.time() + 3600

    clock = Clock()
    offset = await clock.measure(ask)

    assert offset == pytest.approx(3600, abs=5)
    assert clock.now() == pytest.approx(time.time() + 3600, abs=5)


async def test_an_offset_that_cannot_be_told_from_zero_is_zero() -> None:
    """The same machine has the same clock: less than the round trip is noise."""

    async def ask() -> float:
        return time.time()

    clock = Clock()

    assert await clock.measure(ask) == 0.0


async def test_the_quickest_answer_counts() -> None:
    """Of three answers the one with the shortest way is the least wrong: slow ones may say what they like."""
    answers = iter([(0.05, 500.0), (0.0, 100.0), (0.05, 900.0)])

    async def ask() -> float:
        delay, ahead = next(answers)
        time.sleep(delay)  # noqa: ASYNC251 - the loop waits too, as for a slow answer
        return time.time() + ahead

    assert await Clock().measure(ask) == pytest.approx(100.0, abs=5)
