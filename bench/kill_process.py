"""What the processes that `bench kill` kills have in common: a plan on the command line, an end in order, and a way to the broker."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgspec
from kombu import Connection

from router.lifeline import follow_parent

Plan = TypeVar("Plan")

RETRY: Final[dict[str, Any]] = {"max_retries": 40, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5}
"""How kombu waits for a broker that is away: about 20 seconds in all."""


def main(kind: type[Plan], work: Callable[[Plan, threading.Event], None]) -> None:
    """Calls `work` with the plan and an event that SIGTERM, or the end of whoever started us, sets."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    # Ctrl-C is for the bench, which ends its processes itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    follow_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    work(msgspec.json.decode(sys.argv[1], type=kind), stopping)


def opened(connection: Connection) -> Connection:
    """The connection, by kombu's own means of waiting for a broker."""
    connection.ensure_connection(**RETRY)
    return connection
