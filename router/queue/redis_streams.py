"""The queue on Redis Streams: how kombu is told where it is, and a publisher that is at home in an asyncio program.

kombu is synchronous, so with other brokers a thread publishes. Here the program's own loop does: what comes together while an exchange is
on its way goes out in the next one, as one script call that answers when all of it is on the streams. Reading, acknowledging and all
the rest is the transport's (`router.queue.streams`).
"""

import asyncio
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from redis.exceptions import NoScriptError, RedisError

from router.domain.errors import Unavailable
from router.domain.message import LANES, Lane
from router.pace import Pace
from router.queue.entries import Entry, LaneState, encode
from router.queue.lanes import DEAD_QUEUE, QUEUES, LaneCycle
from router.queue.streams.keys import Keys
from router.queue.streams.queues import RELEASED
from router.queue.streams.scripts import PUT, STATE, Script
from router.redis_link import Command, Link, close, connect, link
from router.redis_url import SCHEMES, read_url

__all__ = ["SCHEMES", "StreamPublisher", "parameters"]

_log = structlog.get_logger()
_PREFIX, _TAG, _GROUP = "queue:", "q", "seedrouter"
_BATCH = 1000
_TRIES = 2
_LOOK_EVERY_SECONDS = 1.0
_Parcel = tuple[Sequence[Entry], "asyncio.Future[None]"]


def parameters(url: str, *, visibility_timeout_seconds: float) -> dict[str, Any]:
    """What kombu's `Connection` is to be given for a Redis URL of ours (`redis_link.read_url`). Raises ValueError."""
    place = read_url(url)
    options: dict[str, Any] = {
        "global_keyprefix": _PREFIX,
        "hash_tag": _TAG,
        "group": _GROUP,
        "queue_order_strategy": f"{LaneCycle.__module__}:{LaneCycle.__qualname__}",
        "visibility_timeout": visibility_timeout_seconds,
        "dead_letter_suffix": ".dead",
        "flush_on_sigterm": False,  # the roles stop in order
        "client_name": "seedrouter-queue",
    }
    found: dict[str, Any] = {
        "transport": "router.queue.streams:Transport",
        "transport_options": options,
        "userid": place.username,
        "password": place.password,
        "virtual_host": f"{place.socket}/{place.database}" if place.socket else str(place.database),
        "ssl": (dict(place.tls) or True) if place.is_tls else False,
    }
    if place.addresses:
        found["hostname"], found["port"] = place.addresses[0]
    if place.master:
        options |= {"master_name": place.master, "sentinels": list(place.addresses)}
        if place.sentinel_password:
            options["sentinel_kwargs"] = {"password": place.sentinel_password}
    elif place.is_cluster:
        options["cluster"] = True
        # Any node tells where the queue is; another try asks another one. kombu's own `alternates` would swap the transport under a channel
        found["hostname"], found["port"] = random.choice(place.addresses)
    return found


class StreamPublisher:
    """See `entries.QueuePublisher`. One per process, for one loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys = Keys(_PREFIX, _TAG)
        self._client: Any = None
        self._link: Link | None = None
        self._eyes: Link | None = None
        self._waiting: deque[_Parcel] = deque()
        self._sending: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._pace = Pace()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopping = False
        self.lanes: dict[Lane, LaneState] = {lane: LaneState(0) for lane in LANES}
        self.dead_letters = 0

    @property
    def depth(self) -> int:
        return sum(state.depth for state in self.lanes.values())

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._client = connect(self._url)
        self._link, self._eyes = link(self._client), link(self._client)
        self._looking = asyncio.create_task(self._keep_looking(self._eyes), name="queue depth")

    async def stop(self) -> None:
        """Sends what is left."""
        self._is_stopping = True
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        if self._sending is not None:
            await self._sending
        if self._link is not None and self._eyes is not None:
            await self._link.close()
            await self._eyes.close()
            await close(self._client)

    async def publish(self, entries: Sequence[Entry]) -> None:
        """See `entries.Publisher`."""
        if not entries:
            return
        if self._is_stopping or self._link is None or self._loop is None:
            raise Unavailable("this process is stopping")
        done: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((entries, done))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_all(self._link), name="publish")
        await done

    async def _send_all(self, to: Link) -> None:
        try:
            while self._waiting:
                await self._pace.turn(len(self._waiting), len(self._waiting))
                parcels: list[_Parcel] = []
                size = 0
                while self._waiting and size < _BATCH:
                    parcels.append(self._waiting.popleft())
                    size += len(parcels[-1][0])
                error = await self._send(to, [entry for entries, _ in parcels for entry in entries])
                for _, done in parcels:
                    if done.done():
                        continue
                    if error is None:
                        done.set_result(None)
                    else:
                        done.set_exception(Unavailable(f"the queue cannot be reached: {type(error).__name__}"))
        finally:
            self._sending = None

    async def _send(self, to: Link, entries: Sequence[Entry]) -> Exception | None:
        """None when all are on the queue. An entry that is there twice is harmless, so a broken exchange is tried once more."""
        command = self._put(entries)
        error: Exception | None = None
        for attempt in range(_TRIES):
            try:
                await _run(to, PUT, [command])
            except (RedisError, OSError, TimeoutError) as failure:
                error = failure
                _log.warning("queue.publish_failed", entries=len(entries), attempt=attempt + 1, error=repr(failure))
            else:
                return None
        return error

    def _put(self, entries: Sequence[Entry]) -> Command:
        by_lane: dict[Lane, list[bytes]] = {}
        for entry in entries:
            by_lane.setdefault(entry.lane, []).append(encode(entry))
        keys = [self._keys.stream(QUEUES[lane], 0) for lane in by_lane]
        words: list[Any] = []
        for bodies in by_lane.values():
            words.append(len(bodies))
            for body in bodies:
                words += (b"", body)
        return "EVALSHA", PUT.sha, len(keys), *keys, *words

    async def _keep_looking(self, eyes: Link) -> None:
        while True:
            try:
                await self._look(eyes)
            except (RedisError, OSError, TimeoutError) as error:
                # The figures stay as they were
                _log.warning("queue.not_seen", error=repr(error))
            await asyncio.sleep(_LOOK_EVERY_SECONDS)

    async def _look(self, eyes: Link) -> None:
        answers = await _run(eyes, STATE, [self._ask_state(queue) for queue in (*QUEUES.values(), DEAD_QUEUE)])
        states = [LaneState(waiting, int(oldest) / 1000 if oldest else None, hands) for _, waiting, hands, _, oldest in answers]
        self.lanes = dict(zip(LANES, states[:-1], strict=True))
        self.dead_letters = states[-1].depth

    def _ask_state(self, queue: str) -> Command:
        keys = (self._keys.queues, self._keys.delayed(queue), self._keys.stream(queue, 0))
        return "EVALSHA", STATE.sha, len(keys), *keys, _GROUP, RELEASED, queue


async def _run(to: Link, script: Script, commands: Sequence[Command]) -> list[Any]:
    """The answers of calls of one script. Raises redis-py's errors."""
    answers = await to.exchange(commands)
    if any(isinstance(answer, NoScriptError) for answer in answers):
        await to.load(script.source)
        answers = await to.exchange(commands)
    for answer in answers:
        if isinstance(answer, Exception):
            raise answer
    return answers
