"""The connection to Redis, its scripts, and the batch: many commands in one round trip.

Round trips are the currency here, so everything that can be batched takes a `Batch` to add itself to. Commands of a batch are not a
transaction: each script is atomic on the keys of its one hash tag, and that is all the store ever relies on.
"""

import asyncio
import hashlib
import importlib.resources
from collections import deque
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
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

Command = tuple[Any, ...]

_PIPELINES = 2
_PIPELINE_COMMANDS = 2000


_NOT_NOW = (BusyLoadingError, OutOfMemoryError, ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError)
_NOT_NOW_WORDS = ("MISCONF ", "OOM command not allowed", "READONLY ")
"""Errors that say nothing of the command: a start, full memory, a full disk, a failover. Some have no class of their own, and before
Redis 7 those that a script meets stand inside the text of the script's error."""


class StoreAway(Unavailable):
    """Redis cannot be reached, did not answer, or takes nothing now: what was asked may or may not have happened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the store cannot be reached: {type(error).__name__}")


def connect(url: str, *, connections: int = 64, timeout_seconds: float = 10.0) -> "Redis":
    """A client for redis://, rediss:// or unix://. Raises ValueError for another kind of URL; it does not connect yet.

    Nothing is sent twice by itself: whether a step may be repeated is for its caller to know.
    """
    return Redis.from_url(
        url,
        protocol=2,
        max_connections=connections,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=30,
        retry=Retry(NoBackoff(), 0),
    )


class Funnel:
    """Lets concurrent tasks share round trips: what comes together while a pipeline is on its way goes out in the next one.

    A task alone waits for nobody; a hundred at once cost a few round trips instead of hundreds. Two pipelines at the most are on their
    way at a time, so that a long one does not hold up the short ones behind it. A failure is told to each task whose commands were in
    that pipeline.
    """

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._waiting: deque[tuple[list[Command], asyncio.Future[list[Any]]]] = deque()
        self._pipelines: set[asyncio.Task[None]] = set()

    async def send(self, commands: list[Command]) -> list[Any]:
        """The answers, errors of single commands among them. Raises redis-py's errors where the pipeline failed as a whole."""
        answers: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((commands, answers))
        if len(self._pipelines) < _PIPELINES:
            task = asyncio.create_task(self._drain())
            self._pipelines.add(task)
            task.add_done_callback(self._pipelines.discard)
        return await answers

    async def _drain(self) -> None:
        while self._waiting:
            taken: list[tuple[list[Command], asyncio.Future[list[Any]]]] = []
            size = 0
            while self._waiting and size < _PIPELINE_COMMANDS:
                taken.append(self._waiting.popleft())
                size += len(taken[-1][0])
            await self._exchange(taken)

    async def _exchange(self, taken: "list[tuple[list[Command], asyncio.Future[list[Any]]]]") -> None:
        pipe = self._redis.pipeline(transaction=False)
        for commands, _ in taken:
            for command in commands:
                pipe.execute_command(*command)
        try:
            answers = await pipe.execute(raise_on_error=False)
        except Exception as error:  # noqa: BLE001 - handed on to those who wait, whatever it is
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        start = 0
        for commands, future in taken:
            if not future.done():
                future.set_result(answers[start : start + len(commands)])
            start += len(commands)


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
            texts = {self._scripts[place].text for place in unknown}
            await self._funnel.send([("SCRIPT LOAD", source) for source in texts])
            again = await self._funnel.send([self._commands[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers


def _is_not_now(answer: object) -> bool:
    if isinstance(answer, _NOT_NOW):
        return True
    return isinstance(answer, ResponseError) and any(words in str(answer) for words in _NOT_NOW_WORDS)


def text(value: bytes | None) -> str:
    """A Redis string as text; empty where there is none."""
    return value.decode() if value else ""
