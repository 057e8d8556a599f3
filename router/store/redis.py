"""The connection to Redis, its scripts, and the batch: many commands in one round trip.

Round trips are the currency here, so everything that can be batched takes a `Batch` to add itself to. Commands of a batch are not a
transaction: each script is atomic on the keys of its one hash tag, and that is all the store ever relies on.
"""

import hashlib
import importlib.resources
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import BusyLoadingError, NoScriptError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.domain.errors import Unavailable


class StoreAway(Unavailable):
    """Redis cannot be reached, or did not answer: what was asked may or may not have happened."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"the store cannot be reached: {type(error).__name__}")


def connect(url: str, *, connections: int = 64, timeout_seconds: float = 10.0) -> "Redis":
    """A client for redis://, rediss:// or unix://. Raises ValueError for another kind of URL; it does not connect yet."""
    return Redis.from_url(
        url,
        protocol=2,
        max_connections=connections,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        health_check_interval=30,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 3),
    )


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

    def __init__(self, redis: "Redis") -> None:
        self._redis = redis
        self._commands: list[tuple[Any, ...]] = []
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
            if isinstance(answer, BusyLoadingError):
                raise StoreAway(answer)
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def _answers(self) -> list[Any]:
        answers = await self._send(self._commands)
        unknown = [place for place, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
        if unknown:
            for text in {self._scripts[place].text for place in unknown}:
                await self._redis.script_load(text)
            again = await self._send([self._commands[place] for place in unknown])
            for place, answer in zip(unknown, again, strict=True):
                answers[place] = answer
        return answers

    async def _send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        if len(commands) == 1:
            try:
                return [await self._redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
            except ResponseError as error:
                return [error]
        pipe = self._redis.pipeline(transaction=False)
        for command in commands:
            pipe.execute_command(*command)
        answers: list[Any] = await pipe.execute(raise_on_error=False)
        return answers


def text(value: bytes | None) -> str:
    """A Redis string as text; empty where there is none."""
    return value.decode() if value else ""
