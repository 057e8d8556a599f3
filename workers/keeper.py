"""Keeps one child process running: starts it, starts it again when it ends by itself, and ends it when asked."""

import asyncio
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog

from router.lifeline import PARENT_PID

EXIT_CONFIGURATION = 78
"""EX_CONFIG of sysexits(3): starting again cannot help."""
BACKOFF_SECONDS = 0.2
BACKOFF_MAX_SECONDS = 10.0
SETTLED_SECONDS = 30.0
"""After a child that lived for so long, the delay begins anew."""
STARTED_SECONDS = 10.0
"""A child that lived for so long, or was ready, has started; one that never did is given up after `START_TRIES`."""
START_TRIES = 5
FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
"""Somebody ended the child: that says nothing of whether it can start."""
EXIT_NOT_RUN = 127
"""What a shell gives for a command that cannot be run."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class Child(msgspec.Struct, frozen=True):
    """One role to run. `env` is added to the supervisor's own environment."""

    name: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    stop_grace_seconds: float = 20.0
    """How long it may take to end after SIGTERM before it is killed."""
    ready_url: str | None = None
    """An http URL that answers 200 when the role is ready; the next child is started then. None: at once."""
    ready_timeout_seconds: float = 30.0


class Keeper:
    """One child over all its processes. `give_up` is called, once, when the child cannot be started."""

    def __init__(self, child: Child, give_up: Callable[[], None]) -> None:
        self.child = child
        self.restarts = 0
        self._give_up = give_up
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._spawning = asyncio.Lock()
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_started = False
        self._failed_starts = 0
        self._delay_seconds = BACKOFF_SECONDS

    def __repr__(self) -> str:
        return f"<Keeper {self.child.name} pid={self.pid} restarts={self.restarts}>"

    @property
    def pid(self) -> int | None:
        """The pid of the process that runs now, None between two."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Begin to keep the child running, as a task; returns when its first process was started, or could not be."""
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.child.name}")
        await self._tried.wait()

    def mark_ready(self) -> None:
        """The child answered that it is ready: from now on it is restarted however often it ends."""
        self._has_started = True

    def stop_restarting(self) -> None:
        """Leave the child as it is, running or not."""
        self._stopping.set()

    async def stop(self, kill_now: asyncio.Event) -> None:
        """SIGTERM, then SIGKILL when the grace is over or `kill_now` is set; returns when the child has ended."""
        self._stopping.set()
        async with self._spawning:
            process = self._process
        if self._task is None:
            return
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.terminate()
            if not await self._ends_within(self._task, kill_now):
                log.warning("child_killed", role=self.child.name, pid=process.pid, grace_seconds=self.child.stop_grace_seconds)
                _kill_group(process.pid)
        await self._task

    async def _ends_within(self, task: asyncio.Task[None], kill_now: asyncio.Event) -> bool:
        killing = asyncio.create_task(kill_now.wait())
        try:
            grace_seconds = self.child.stop_grace_seconds
            done, _ = await asyncio.wait({task, killing}, timeout=grace_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            killing.cancel()
        return task in done

    async def _keep(self) -> None:
        while True:
            began = time.monotonic()
            async with self._spawning:
                if self._stopping.is_set():
                    self._tried.set()
                    return
                self._process = process = await self._spawn()
                self._tried.set()
            code = EXIT_NOT_RUN
            if process is not None:
                code = await process.wait()
                # What it left behind would hold its port, or go on working next to its successor.
                _kill_group(process.pid)
            lived_seconds = time.monotonic() - began
            if self._stopping.is_set():
                log.info("child_stopped", role=self.child.name, exit=describe_exit(code))
                return
            if not self._may_start_again(code, lived_seconds):
                log.error("child_given_up", role=self.child.name, exit=describe_exit(code), restarts=self.restarts)
                self._give_up()
                return
            if lived_seconds >= SETTLED_SECONDS:
                self._delay_seconds = BACKOFF_SECONDS
            self.restarts += 1
            log.warning(
                "child_ended",
                role=self.child.name,
                exit=describe_exit(code),
                lived_seconds=round(lived_seconds, 3),
                restarts=self.restarts,
                again_in_seconds=self._delay_seconds,
            )
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._delay_seconds)
            self._delay_seconds = min(2 * self._delay_seconds, BACKOFF_MAX_SECONDS)

    async def _spawn(self) -> Process | None:
        child = self.child
        env = {**os.environ, **child.env, PARENT_PID: str(os.getpid())}
        try:
            process = await asyncio.create_subprocess_exec(*child.argv, env=env, stdin=DEVNULL, start_new_session=True)
        except OSError as error:
            log.warning("child_not_run", role=child.name, program=child.argv[0], reason=error.strerror)
            return None
        log.info("child_started", role=child.name, pid=process.pid)
        return process

    def _may_start_again(self, code: int, lived_seconds: float) -> bool:
        if code == EXIT_CONFIGURATION:
            return False
        self._has_started = self._has_started or lived_seconds >= STARTED_SECONDS
        if -code in FROM_OUTSIDE:
            return True
        self._failed_starts += 1
        return self._has_started or self._failed_starts < START_TRIES


def describe_exit(code: int) -> str:
    """How a process ended, from its return code as `asyncio` tells it: `code 1`, or `SIGKILL` for -9."""
    if code >= 0:
        return f"code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
