"""Acknowledgements on their way to Redis.

They are gathered, and go with the next read, or when there are many, or after a moment (the keeper), or at the end. What could not be sent
because Redis was away is kept for the next connection of this process to the same place: an id stays good, so the message is not handled
twice for a lost connection alone.
"""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.log import get_logger

from .link import Link
from .message import Entry
from .scripts import ACK

_log = get_logger("kombu.transport.redisstreams")
Groups = dict[bytes, list[bytes]]
"""Ids by stream."""

_left_over: dict[Any, deque[tuple[bytes, bytes]]] = {}


class Acks:
    """The acknowledgements of one connection. `place` tells connections to the same queues from others."""

    def __init__(self, group: str, place: Any) -> None:
        self._group = group
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._sending: Groups = {}
        self._flushing = threading.RLock()
        self._left_over = _left_over.setdefault(place, deque())
        self.closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: Entry) -> None:
        """May be called from any thread."""
        (self._left_over if self.closed else self._waiting).append((entry[0].key, entry[1]))

    def flush(self, link: Link) -> None:
        """Sends what there is. Raises redis-py's errors; then all of it is kept."""
        if not self._waiting and not self._left_over:
            return
        with self.going_out() as groups:
            if groups:
                self.check(groups, link.run(ACK, list(groups), self._group, *arguments(groups)))

    @contextmanager
    def going_out(self) -> Iterator[Groups]:
        """What is to be sent now; it is kept if the block raises."""
        with self._flushing:
            groups = self._sending = self._gather()
            try:
                yield groups
            except BaseException:
                for key, ids in groups.items():
                    self._waiting.extendleft((key, one) for one in reversed(ids))
                raise
            finally:
                self._sending = {}

    def everything(self) -> Groups:
        """All that is not confirmed yet, also what is on its way: for the last moment of a process. The same id twice does no harm."""
        groups = {key: list(ids) for key, ids in self._sending.items()}
        for key, ids in self._gather().items():
            groups.setdefault(key, []).extend(ids)
        return groups

    def close(self) -> None:
        """From now on acknowledgements are for the next connection to send."""
        self.closed = True
        while self._waiting:
            self._left_over.append(self._waiting.popleft())

    @staticmethod
    def check(groups: Groups, removed: list[int]) -> None:
        """Tells of acknowledged entries that were gone."""
        for (key, ids), there in zip(groups.items(), removed, strict=True):
            if there < len(set(ids)):
                _log.warning(
                    "%d of %d acknowledged messages were not in %s any more: settled elsewhere after a lost lease, or Redis was emptied",
                    len(set(ids)) - there, len(set(ids)), key.decode(),
                )  # fmt: skip

    def _gather(self) -> Groups:
        groups: Groups = {}
        for source in (self._left_over, self._waiting):
            while True:
                try:
                    key, entry_id = source.popleft()
                except IndexError:
                    break
                ids = groups.get(key)
                if ids is None:
                    groups[key] = [entry_id]
                else:
                    ids.append(entry_id)
        return groups


def arguments(groups: Groups) -> list[Any]:
    """As the scripts take them: for each stream how many, then the ids."""
    words: list[Any] = []
    for ids in groups.values():
        words.append(len(ids))
        words.extend(ids)
    return words
