"""Queues: declaring, deleting, emptying, counting, over all their priority steps."""

import json
import time
from bisect import bisect
from typing import Any, NamedTuple

from kombu.log import get_logger

from .keys import Keys
from .link import Link
from .message import Stream
from .options import Options
from .scripts import DECLARE, PURGE, STATE, SWEEP, TOUCH

_log = get_logger("kombu.transport.redisstreams")
RELEASED = "~released"
"""The pseudo-consumer that owns what was given back."""
_PURGE_STEP = 1000
_LOOK_AGAIN_SECONDS = 60.0


class QueueState(NamedTuple):
    """How full a queue is. `oldest_at`: when the oldest waiting message came, Unix seconds by Redis' clock; None where none waits."""

    exists: bool
    waiting: int
    in_hands: int
    delayed: int
    oldest_at: float | None


class Declaration(NamedTuple):
    """What a queue was declared with. `expires_ms`: how long it lives without consumers; 0 is for ever."""

    arguments: dict[str, Any]
    temporary: bool
    expires_ms: int

    def dump(self) -> str:
        return json.dumps(self._asdict(), separators=(",", ":"), default=str)


_UNDECLARED = Declaration({}, False, 0)


class Queues:
    """Of one connection."""

    def __init__(self, link: Link, keys: Keys, options: Options) -> None:
        self._link = link
        self._keys = keys
        self._options = options
        self.steps = sorted(set(options.priority_steps))
        self._streams: dict[tuple[str, int], Stream] = {}
        self.declared: dict[str, Declaration] = {}
        self._asked: dict[str, tuple[float, Declaration]] = {}

    def stream(self, queue: str, step: int) -> Stream:
        found = self._streams.get((queue, step))
        if found is None:
            if len(self._streams) > 10_000:
                self._streams.clear()
            found = self._streams[queue, step] = Stream(queue, step, self._keys.stream(queue, step))
        return found

    def stream_for(self, queue: str, priority: int) -> Stream:
        """The stream for a message: the highest step that is not above its priority."""
        steps = self.steps
        return self.stream(queue, steps[0] if len(steps) == 1 else steps[max(bisect(steps, min(max(priority, 0), 9)) - 1, 0)])

    def streams(self, queue: str) -> list[Stream]:
        """All, the highest priority first."""
        return [self.stream(queue, step) for step in reversed(self.steps)]

    def declare(self, queue: str, declaration: Declaration) -> int:
        """Makes the streams and their groups; returns how many messages wait. Without arguments, those it has stay; others replace them."""
        self.declared[queue] = declaration
        waiting, before = self._declare(queue, declaration)
        if before is not None and before != declaration and not declaration.temporary:
            if declaration.arguments:
                _log.warning("queue %r was declared with %r; from now on it has %r", queue, before.arguments, declaration.arguments)
            else:
                self.declared[queue] = before
        return waiting

    def declare_again(self) -> None:
        """After a flush."""
        for queue, declaration in list(self.declared.items()):
            self._declare(queue, declaration)

    def lost(self) -> bool:
        """Whether Redis has forgotten a queue that this connection declared."""
        names = [queue for queue, declaration in list(self.declared.items()) if not declaration.temporary]
        return bool(names) and None in self._link.call("HMGET", self._keys.queues, *names)

    def _declare(self, queue: str, declaration: Declaration) -> tuple[int, Declaration | None]:
        keys = [self._keys.queues, *self._stream_keys(queue)]
        # A temporary queue leaves no record: its streams end by themselves
        record = "" if declaration.temporary else declaration.dump()
        waiting, before = self._link.run(
            DECLARE, keys, self._options.group, RELEASED, queue, record, declaration.expires_ms, int(not declaration.arguments)
        )
        return int(waiting), Declaration(**json.loads(before)) if before else None

    def declaration(self, queue: str) -> Declaration:
        """What this connection, or another one (asked at most once a minute), declared the queue with."""
        mine = self.declared.get(queue)
        if mine is not None:
            return mine
        asked_at, found = self._asked.get(queue, (float("-inf"), _UNDECLARED))
        if time.monotonic() - asked_at > _LOOK_AGAIN_SECONDS:
            raw = self._link.call("HGET", self._keys.queues, queue)
            found = _UNDECLARED if raw is None else Declaration(**json.loads(raw))
            self._asked[queue] = (time.monotonic(), found)
        return found

    def state(self, queue: str) -> QueueState:
        keys = [self._keys.queues, self._keys.delayed(queue), *self._stream_keys(queue)]
        there, waiting, hands, delayed, oldest = self._link.run(STATE, keys, self._options.group, RELEASED, queue)
        return QueueState(bool(there), waiting, hands, delayed, int(oldest) / 1000 if oldest else None)

    def purge(self, queue: str) -> int:
        """Removes what waits and what is delayed, not what is in hands. Returns how many."""
        removed = 0
        for key in self._stream_keys(queue):
            while step := int(self._link.run(PURGE, [key], self._options.group, RELEASED, _PURGE_STEP)):
                removed += step
        delayed = self._keys.delayed(queue)
        removed += int(self._link.call("ZCARD", delayed))
        self._link.call("DEL", delayed)
        return removed

    def delete(self, queue: str) -> None:
        self.declared.pop(queue, None)
        self._asked.pop(queue, None)
        self._link.call("DEL", self._keys.delayed(queue), *self._stream_keys(queue))
        self._link.call("HDEL", self._keys.queues, queue)

    def touch(self, link: Link, queue: str, consumer: str) -> None:
        """Lets the others see that a consumer lives, also while nothing comes for it."""
        link.run(TOUCH, self._stream_keys(queue), self._options.group, consumer)

    def leave(self, queue: str, consumer: str) -> int:
        """Takes a consumer off the queue, unless it holds something. Returns how many others live, at most, on one stream."""
        left = 0
        for key in self._stream_keys(queue):
            _, others = self._link.run(SWEEP, [key], self._options.group, RELEASED, int(self._options.visibility_timeout * 1000), consumer)
            left = max(left, others)
        return left

    def refresh_temporary(self, link: Link) -> None:
        """Lets the temporary queues of this connection live on."""
        for queue, declaration in list(self.declared.items()):
            if declaration.expires_ms:
                for key in self._stream_keys(queue):
                    link.call("PEXPIRE", key, declaration.expires_ms)

    def _stream_keys(self, queue: str) -> list[bytes]:
        return [stream.key for stream in self.streams(queue)]
