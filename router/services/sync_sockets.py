"""The open sockets of the synchronisation: what each says, and how it hears what clients did at other processes.

Each socket has the current session in Redis, and all decisions are made there: a rotation and a handshake cannot both win. A hint over
pub/sub makes it look at once; hints may be lost, so it also looks once a second, by which it keeps its URL too.
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable

import structlog

from router import metrics
from router.clock import Clock
from router.domain.errors import Conflict, Unavailable
from router.domain.sync import ACK, PAUSE, Plan, State, SyncRules, begun, decide, new_session
from router.services.listening import listen
from router.store.store import Store
from router.store.sync import Claim

_log = structlog.get_logger()
_LOOK_SECONDS = 1.0
_ALL: tuple[State, ...] = ("waiting", "paused", "acked")


class AlreadyConnected(Conflict):
    """Another socket has this user and session."""

    def __init__(self) -> None:
        super().__init__("already connected")


class SyncSocket:
    """One socket that has its URL and a first session. `wake` is set when it should look; after `is_left` nobody listens any more."""

    def __init__(self, store: Store, clock: Clock, rules: SyncRules, claim: Claim) -> None:
        self.wake = asyncio.Event()
        self.is_left = False
        self.is_over = False
        """Its session was ended, and its URL freed."""
        self.claim = claim
        self.shown = new_session()
        self._store = store
        self._clock = clock
        self._rules = rules

    async def begin(self) -> None:
        """Takes the URL. Raises `AlreadyConnected`, and `Unavailable` where the user has too many sockets."""
        batch = self._store.batch()
        place = self._store.sync.show(batch, self.claim, self.shown, "", now=self._clock.now(), rules=self._rules)
        answer = (await batch.run())[place]
        if self._store.sync.is_full(answer):
            raise Unavailable("too many sockets of this user")
        if self._store.sync.parse_state(answer) == "taken":
            raise AlreadyConnected

    async def talk(self, frame: Callable[[str], str]) -> AsyncGenerator[str]:
        """What it says, one after the other; `frame` writes a session down. Ends when nothing is left to say, or `is_left`.

        Raises `AlreadyConnected` where another socket has the URL by now, `Unavailable` where the store is away when it is needed.
        """
        rules = self._rules
        plan = begun(Plan(), time.monotonic(), rules)
        yield frame(self.shown)
        state: State = "waiting"
        while not self.is_left:
            action, plan = decide(plan, state, time.monotonic(), rules)
            match action:
                case "frame":
                    state = await self._rotate()
                    if state == "waiting":
                        plan = begun(plan, time.monotonic(), rules)
                        yield frame(self.shown)
                case "pause":
                    yield PAUSE
                case "ack":
                    yield ACK
                    return
                case "wait":
                    await self._wait(plan.due - time.monotonic())
                    state = await self._look(state)
                case "close":
                    if state == "taken":
                        raise AlreadyConnected
                    # A client that came at the last moment is heard
                    state = await self._end((state,), is_leaving=False)
                    if state == "gone":
                        return

    async def _rotate(self) -> State:
        new = new_session()
        batch = self._store.batch()
        place = self._store.sync.show(batch, self.claim, new, self.shown, now=self._clock.now(), rules=self._rules)
        state = self._store.sync.parse_state((await batch.run())[place])
        if state == "waiting":
            self.shown = new
        return state

    async def _wait(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.wake.wait(), max(0.0, min(_LOOK_SECONDS, seconds)))
        self.wake.clear()

    async def _look(self, before: State) -> State:
        """While the store is away nothing has happened."""
        batch = self._store.batch()
        place = self._store.sync.look(batch, self.claim, self.shown, self._clock.now())
        try:
            return self._store.sync.parse_state((await batch.run())[place])
        except Unavailable:
            return before

    async def _end(self, states: tuple[State, ...], *, is_leaving: bool) -> State:
        batch = self._store.batch()
        place = self._store.sync.end(batch, self.claim, self.shown, states, is_leaving=is_leaving)
        state = self._store.sync.parse_state((await batch.run())[place])
        self.is_over = state == "gone"
        return state

    async def leave(self, *, is_stopping: bool) -> None:
        """Frees the URL and the session at once. Where only this process stops, a client that has taken it on may finish all the same."""
        if self.is_over:
            return
        try:
            await self._end(("waiting", "acked") if is_stopping else _ALL, is_leaving=True)
        except Unavailable as error:
            # It ends by itself
            _log.warning("sync.not_freed", error=str(error))


class SyncSockets:
    """All open sockets of this process."""

    def __init__(self, store: Store, clock: Clock, rules: SyncRules, most: int, closing: asyncio.Event) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules
        self._most = most
        self._closing = closing
        self._sockets: set[SyncSocket] = set()

    def __len__(self) -> int:
        return len(self._sockets)

    @contextlib.asynccontextmanager
    async def open(self, user: str, session: str) -> AsyncIterator[SyncSocket]:
        """A socket for this URL, until the block ends.

        Raises `AlreadyConnected`, and `Unavailable` where this process or the user has too many, or the process stops.
        """
        if len(self._sockets) >= self._most:
            raise Unavailable("too many sockets")
        if self._closing.is_set():
            raise Unavailable("stopping")
        socket = SyncSocket(self._store, self._clock, self._rules, Claim(user, session, secrets.token_hex(8)))
        self._sockets.add(socket)
        metrics.SYNC_SOCKETS_OPEN.inc()
        try:
            await socket.begin()
            try:
                yield socket
            finally:
                await socket.leave(is_stopping=self._closing.is_set())
        finally:
            metrics.SYNC_SOCKETS_OPEN.dec()
            self._sockets.discard(socket)

    def stop(self) -> None:
        """The process was told to stop: all sockets leave."""
        for socket in list(self._sockets):
            socket.is_left = True
            socket.wake.set()

    async def listen(self) -> None:
        """Takes the hints of all processes, for ever."""
        await listen(self._store.sync_hints, lambda session: self._wake(session.decode()), "sync.no_hints")

    def _wake(self, session: str) -> None:
        for socket in self._sockets:
            if socket.shown == session:
                socket.wake.set()
