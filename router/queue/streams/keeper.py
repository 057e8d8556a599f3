"""The thread that keeps a consuming connection's promises, over a connection of its own: leases, acknowledgements, delayed messages.

It renews what its connection holds, so that nothing is delivered again while its owner lives, however long the work takes. It does not
keep a forgotten connection alive, and it is not there in a child process after a fork.
"""

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING

from kombu.log import get_logger

from .link import CONNECTION_ERRORS, Link
from .queues import RELEASED
from .scripts import DUE, RENEW, SWEEP

if TYPE_CHECKING:
    from .transport import Transport

_log = get_logger("kombu.transport.redisstreams")
_IDS_A_CALL = 500
_DUE_A_CALL = 500


class Keeper:
    """Of one connection; the thread runs from the first consumer to `stop`."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = weakref.ref(transport)
        self._link = Link(transport.servers)
        self._tick = transport.options.ack_flush_interval
        self._renew_every = transport.options.visibility_timeout / 3
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._renewed_at = time.monotonic()
        self._swept_at = time.monotonic()
        self._failing = False

    def start(self) -> None:
        """Starts the thread where it does not run, in this process."""
        if self._thread is not None and self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self._renewed_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="redisstreams-keeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None and self._pid == os.getpid() and self._thread is not threading.current_thread():
            self._thread.join(self._tick + 5)
        self._link.close()

    def _run(self) -> None:
        wait = self._tick
        while not self._stopping.wait(wait):
            transport = self._transport()
            if transport is None:
                break
            wait = self._work(transport)
            del transport
        self._link.close()

    def _work(self, transport: "Transport") -> float:
        """One round. Returns seconds until the next."""
        try:
            transport.acks.flush(self._link)
            wait = min(self._tick, move_due(self._link, transport, transport.consumed_queues()))
            if time.monotonic() - self._renewed_at >= self._renew_every:
                self._renew(transport)
            if time.monotonic() - self._swept_at >= transport.options.dead_consumer_seconds / 2:
                self._sweep(transport)
        except CONNECTION_ERRORS as error:
            if not self._failing:
                _log.warning("leases cannot be renewed and acknowledgements not be sent for now: %r", error)
            self._failing = True
            return max(self._tick, 0.2)
        except Exception:  # noqa: BLE001 - a thread that ended would let every lease lapse
            _log.exception("the keeper of a connection failed; it goes on")
            return 1.0
        self._failing = False
        return wait

    def _renew(self, transport: "Transport") -> None:
        began = time.monotonic()
        timeout = transport.options.visibility_timeout
        away = began - self._renewed_at
        for stream, ids in transport.in_hand().items():
            lost = 0
            for first in range(0, len(ids), _IDS_A_CALL):
                some = ids[first : first + _IDS_A_CALL]
                # What was acknowledged in the meantime is not lost
                gone = set(self._link.run(RENEW, [stream.key], transport.options.group, transport.consumer_name, *some))
                lost += len(gone & set(transport.in_hand().get(stream, ())))
            if lost:
                _log.warning("%d messages of %r in hand are leased to another consumer, or gone from Redis", lost, stream.queue)
        if away > timeout:
            _log.warning("no lease was renewed for %.1f s, longer than visibility_timeout (%g s): messages may come twice", away, timeout)
        transport.heal()
        for queue in transport.consumed_queues():
            transport.queues.touch(self._link, queue, transport.consumer_name)
        transport.queues.refresh_temporary(self._link)
        self._renewed_at = began

    def _sweep(self, transport: "Transport") -> None:
        self._swept_at = time.monotonic()
        idle_ms = int(max(transport.options.dead_consumer_seconds, transport.options.visibility_timeout) * 1000)
        for queue in transport.consumed_queues():
            for stream in transport.queues.streams(queue):
                removed, _ = self._link.run(SWEEP, [stream.key], transport.options.group, RELEASED, idle_ms, "")
                if removed:
                    _log.info("removed %d consumers of %r that were gone", removed, queue)


def move_due(link: Link, transport: "Transport", queues: list[str]) -> float:
    """Puts delayed messages that are due on their queues. Returns seconds until the next is due; infinity where there is none."""
    soonest = float("inf")
    for queue in queues:
        start, end = transport.keys.stream_parts(queue)
        moved = _DUE_A_CALL
        while moved == _DUE_A_CALL:
            moved, next_ms = link.run(DUE, [transport.keys.delayed(queue)], _DUE_A_CALL, start, end)
            if next_ms >= 0:
                soonest = min(soonest, next_ms / 1000)
    return soonest


