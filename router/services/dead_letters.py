"""Dead letters of the queue: what an operator sees and does. The brokers' clients are synchronous, so a thread asks them."""

import asyncio
from typing import Final, Literal

import structlog

from router.clock import Clock
from router.domain.errors import Invalid
from router.queue import dead_letters
from router.queue.broker import Broker
from router.queue.dead_letters import DeadLetterList, ReplayedLetters

_log = structlog.get_logger()
MAX_LIMIT: Final = 1000
Order = Literal["latest", "oldest"]


class DeadLetters:
    """One per api process. One call at a time: on RabbitMQ a look has the letters in hand meanwhile, and another would not see them."""

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
        self._clock = clock
        self._turn = asyncio.Lock()

    async def look(self, limit: int = 50, order: Order = "latest") -> DeadLetterList:
        """The latest, or the oldest, in that order. They stay where they are. Raises `Invalid`, `Unavailable`."""
        if not 1 <= limit <= MAX_LIMIT:
            raise Invalid("limit", f"1 to {MAX_LIMIT}")
        async with self._turn:
            return await asyncio.to_thread(dead_letters.look, self._broker, limit, latest=order == "latest")

    async def replay(self, letter_id: str) -> ReplayedLetters:
        """It is on its lane again. Raises `NotFound`, `Conflict` where nobody knows its lane, `Unavailable`."""
        async with self._turn:
            replayed = await asyncio.to_thread(dead_letters.replay, self._broker, letter_id, self._clock.now())
        _log.info("dead_letter.replayed", letter=letter_id, left=replayed.left)
        return replayed

    async def replay_all(self) -> ReplayedLetters:
        """All that are there, up to some thousands at once. Raises `Unavailable`."""
        async with self._turn:
            replayed = await asyncio.to_thread(dead_letters.replay_all, self._broker, self._clock.now())
        _log.info("dead_letters.replayed", count=replayed.replayed, left=replayed.left)
        return replayed

    async def drop(self, letter_id: str) -> None:
        """It is gone for good. Raises `NotFound`, `Unavailable`."""
        async with self._turn:
            await asyncio.to_thread(dead_letters.drop, self._broker, letter_id)
        _log.info("dead_letter.dropped", letter=letter_id)
