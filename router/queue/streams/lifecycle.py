"""The ends of a process: acknowledgements that are still here are sent when it exits, and when SIGTERM would end it without a word.

A fork: the child has none of its parent's connections, messages, leases or acknowledgements.
"""

import atexit
import os
import signal
import threading
import weakref
from types import FrameType
from typing import TYPE_CHECKING

from kombu.log import get_logger
from redis.exceptions import RedisError

from .acks import arguments
from .link import Link
from .scripts import ACK

if TYPE_CHECKING:
    from .transport import Transport

_log = get_logger("kombu.transport.redisstreams")
_open: "weakref.WeakSet[Transport]" = weakref.WeakSet()


def opened(transport: "Transport") -> None:
    """From now on it is looked after at the end, and in a child."""
    _open.add(transport)


def closed(transport: "Transport") -> None:
    """It has looked after itself."""
    _open.discard(transport)


def flush_all() -> None:
    """Sends every connection's acknowledgements, over new connections: the old ones may be in the middle of something."""
    for transport in list(_open):
        groups = transport.acks.everything()
        if not groups:
            continue
        link = Link(transport.servers)
        try:
            link.run(ACK, list(groups), transport.options.group, *arguments(groups))
        except (RedisError, OSError) as error:
            _log.warning("%d acknowledgements could not be sent at the end: %r", sum(map(len, groups.values())), error)
        finally:
            link.close()


def handle_sigterm() -> None:
    """Where the program left SIGTERM at its default: send the acknowledgements, then end by the signal, as before."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    signal.signal(signal.SIGTERM, _flush_and_end)


def _flush_and_end(number: int, frame: FrameType | None) -> None:
    try:
        flush_all()
    finally:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _after_fork() -> None:
    for transport in list(_open):
        transport.forked()


atexit.register(flush_all)
os.register_at_fork(after_in_child=_after_fork)
