"""Ends a role whose supervisor is gone: one that was killed with -9 can tell its children nothing."""

import os
import threading
import time
from collections.abc import Callable

import structlog

PARENT_PID = "SEEDROUTER_PARENT_PID"
"""The environment variable in which the supervisor tells its pid."""

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def follow_parent(stop: Callable[[], None], interval_seconds: float = 1.0) -> None:
    """Call `stop` once, from a thread of its own, when the process is no longer a child of the supervisor that started it.

    Does nothing for a process that was not started by a supervisor. `stop` must be safe to call from another thread, such as
    `lambda: os.kill(os.getpid(), signal.SIGTERM)`. Raises ValueError when the variable holds no pid.
    """
    # Taken out, so that a process that the role starts in turn does not compare its own parent with it.
    told = os.environ.pop(PARENT_PID, None)
    if told is not None:
        threading.Thread(target=_follow, args=(int(told), stop, interval_seconds), name="lifeline", daemon=True).start()


def _follow(parent: int, stop: Callable[[], None], interval_seconds: float) -> None:
    while os.getppid() == parent:
        time.sleep(interval_seconds)
    log.warning("supervisor_gone", parent=parent)
    stop()
