"""Batches of commands for Redis, its scripts, and how concurrent tasks share round trips.

Round trips are the currency here, so everything that can be batched takes a `Batch` to add itself to. Commands of a batch are not a
transaction: each script is atomic on the keys of its one hash tag, and that is all the store ever relies on.
"""

import asyncio
import hashlib
import importlib.resources
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.domain.errors import Unavailable
from router.pace import Pace
from router.redis_link import Command, Link

_log = structlog.get_logger()
_EXCHANGE_COMMANDS = 2000

_NOT_NOW = (BusyLoadingError, OutOfMemoryError, ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError)
_NOT_NOW_WORDS = ("MISCONF ", "OOM command not allowed", "READONLY ", "NOREPLICAS ")
"""Errors that say nothing of the command: a start, full memory, a full disk, a failover. Some have no class of their own, and before
Redis 7 those that a script meets stand inside the text of the script's error."""


class StoreAway(Unavailable):
    """Redis cannot be reached, did not answer, or takes nothing now: what was asked may or may not have happened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the store cannot be reached: {type(error).__name__}")


class Funnel:
    """Lets concurrent tasks share round trips: what comes together while an exchange is on its way goes out in the next one.

    A task alone waits for nobody; a hundred at once cost a few round trips instead of hundreds. As many exchanges as there are links are
    on their way at a time, so that a long one does not hold up the short ones behind it. A failure is told to each task whose commands
    were in that exchange.
    """

    def __init__(self, links: Sequence[Link], loader: Link) -> None:
        self._free = list(links)
        self._links = (*links, loader)
        self._loader = loader
        self._pace = Pace()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._one_load = asyncio.Lock()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._waiting: deque[tuple[list[Command], asyncio.Future[list[Any]]]] = deque()
        self._draining: set[asyncio.Task[None]] = set()

    async def send(self, commands: list[Command]) -> list[Any]:
        """The answers, errors of single commands among them. Raises redis-py's errors where the exchange failed as a whole."""
        if self._loop is None:
            # Asked once: in Python 3.11 each question is a system call
            self._loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Any]] = self._loop.create_future()
        self._begin(commands, answers)
        return await answers

    def _begin(self, commands: list[Command], answers: "asyncio.Future[list[Any]]") -> None:
        self._waiting.append((commands, answers))
        if self._free:
            task = asyncio.create_task(self._drain(self._free.pop()))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    def post(self, commands: list[Command]) -> None:
        """Commands that nobody waits for: they go with the next exchange, and what becomes of them is only logged."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        answers: asyncio.Future[list[Any]] = self._loop.create_future()
        answers.add_done_callback(_log_failure)
        self._begin(commands, answers)

    async def _drain(self, link: Link) -> None:
        try:
            while self._waiting:
                await self._pace.turn(len(self._waiting), sum(len(commands) for commands, _ in self._waiting))
                taken: list[tuple[list[Command], asyncio.Future[list[Any]]]] = []
                size = 0
                while self._waiting and size < _EXCHANGE_COMMANDS:
                    taken.append(self._waiting.popleft())
                    size += len(taken[-1][0])
                await self._exchange(link, taken)
        finally:
            self._free.append(link)

    async def _exchange(self, link: Link, taken: "list[tuple[list[Command], asyncio.Future[list[Any]]]]") -> None:
        try:
            answers = await link.exchange([command for commands, _ in taken for command in commands])
        except BaseException as error:
            told = error if isinstance(error, Exception) else RedisConnectionError("the connection was given up")
            for _, future in taken:
                if not future.done():
                    future.set_exception(told)
            if told is not error:
                raise
            return
        start = 0
        for commands, future in taken:
            if not future.done():
                future.set_result(answers[start : start + len(commands)])
            start += len(commands)

    async def load(self, script: str) -> None:
        """Makes a script known, over a link of its own: once in the life of a server, however many tasks find it unknown at a time."""
        loading = self._loads.get(script)
        if loading is None:
            loading = self._loads[script] = asyncio.create_task(self._load(script))
            loading.add_done_callback(lambda _: self._loads.pop(script, None))
        await asyncio.shield(loading)

    async def _load(self, script: str) -> None:
        async with self._one_load:
            await self._loader.load(script)

    async def close(self) -> None:
        """Gives up what still waits, and the connections."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        for _, future in self._waiting:
            if not future.done():
                future.set_exception(RedisConnectionError("the connection was given up"))
        self._waiting.clear()
        for link in self._links:
            await link.close()


def _log_failure(answers: "asyncio.Future[list[Any]]") -> None:
    error = answers.exception() or next((answer for answer in answers.result() if isinstance(answer, Exception)), None)
    if error is not None:
        _log.warning("store.not_noted", error=repr(error))


class Script:
    """One file of store/lua/. `--@include NAME` lines are replaced by that file."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.text = _source(name)
        self.sha = hashlib.sha1(self.text.encode()).hexdigest()  # noqa: S324 - Redis names scripts so

    def __repr__(self) -> str:
        return f"<Script {self.name}>"


def _source(name: str) -> str:
    text = (importlib.resources.files("router.store") / "lua" / f"{name}.lua").read_text()
    lines = [_source(line.split()[1]) if line.startswith("--@include") else line for line in text.splitlines()]
    return "\n".join(lines)


class Batch:
    """Commands for one round trip; each `add`/`call` gives its place in the list of answers.

    `run` answers in order. A script that the server does not know (it was restarted) is loaded and asked again, then after the rest of
    its batch: so nothing in a batch may rely on the order. The first error is raised when all answers are in; the others were
    carried out all the same. Raises `StoreAway`.
    """

    def __init__(self, funnel: Funnel) -> None:
        self._funnel = funnel
        self._commands: list[Command] = []
        self._scripts: dict[int, Script] = {}

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, *command: Any) -> int:
        self._commands.append(command)
        return len(self._commands) - 1

    def call(self, script: Script, keys: tuple[str, ...], *arguments: Any) -> int:
        place = self.add("EVALSHA", script.sha, len(keys), *keys, *arguments)
        self._scripts[place] = script
        return place

    def post(self) -> None:
        """Sends it without waiting: for what may be lost, such as one of many signs of life. No scripts."""
        if self._scripts:
            raise ValueError("a script's answer has to be looked at: it may have to be loaded first")
        if self._commands:
            self._funnel.post(self._commands)

    async def run(self) -> list[Any]:
        if not self._commands:
            return []
        try:
            answers = await self._answers()
        except (RedisConnectionError, RedisTimeoutError, BusyLoadingError) as error:
            raise StoreAway(error) from error
        for answer in answers:
            if _is_not_now(answer):
                raise StoreAway(answer)
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _answers(self) -> list[Any]:
        answers = await self._funnel.send(self._commands)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for source in {self._scripts[place].text for place in unknown}:
                await self._funnel.load(source)
            again = await self._funnel.send([self._commands[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                # Still unknown: another server answers by now
                answers[place] = StoreAway(answer) if isinstance(answer, NoScriptError) else answer
        return answers


def _is_not_now(answer: object) -> bool:
    if isinstance(answer, _NOT_NOW):
        return True
    return isinstance(answer, ResponseError) and any(words in str(answer) for words in _NOT_NOW_WORDS)


def text(value: bytes | None) -> str:
    """A Redis string as text; empty where there is none."""
    return value.decode() if value else ""
