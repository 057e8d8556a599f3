"""Reads messages for one channel: in which order, how many, and what is owed to dead consumers' messages."""

import random
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kombu.log import get_logger
from kombu.utils.imports import symbol_by_name
from kombu.utils.scheduling import CYCLE_ALIASES

from .acks import arguments
from .message import Entry, Stream
from .queues import RELEASED
from .scripts import RECLAIM, TAKE

if TYPE_CHECKING:
    from .transport import Transport

_log = get_logger("kombu.transport.redisstreams")
_RECLAIM_AT_MOST_EVERY = 5.0


class Intake:
    """Entries come into `buffer`, at most as many as were asked for; surplus of a blocking read waits there until the channel has room."""

    def __init__(self, transport: "Transport", clock: Callable[[], float] = time.monotonic) -> None:
        self._transport = transport
        self._clock = clock
        options = transport.options
        strategy = options.queue_order_strategy
        self._cycle: Any = (symbol_by_name(strategy, aliases=CYCLE_ALIASES) if isinstance(strategy, str) else strategy)()
        self._queues: list[str] = []
        self._turn = 0
        self._lowest_first_every = options.lowest_first_every
        self._reclaim_every = min(options.visibility_timeout / 4, _RECLAIM_AT_MOST_EVERY)
        self._reclaim_at = 0.0
        self._cursors: dict[bytes, bytes] = {}
        self.buffer: deque[Entry] = deque()

    def consume_from(self, queues: Sequence[str]) -> None:
        self._queues = list(dict.fromkeys(queues))
        self._cycle.update(self._queues)

    def streams(self) -> list[Stream]:
        """All streams that are read."""
        return [stream for queue in self._queues for stream in self._transport.queues.streams(queue)]

    def order(self) -> list[Stream]:
        """The streams of this turn: the highest priority first, but every so often the lowest, so that nothing starves."""
        queues = self._cycle.consume(len(self._queues))
        steps: list[int] = self._transport.queues.steps
        if len(steps) > 1:
            self._turn = (self._turn + 1) % self._lowest_first_every
            steps = steps if self._turn == 0 else steps[::-1]
        stream = self._transport.queues.stream
        return [stream(queue, step) for step in steps for queue in queues]

    def fill(self, number: int) -> None:
        """Takes up to `number` entries without waiting, and sends the acknowledgements that are due."""
        streams = self.order()
        now = self._clock()
        if now >= self._reclaim_at:
            # At different moments in different processes, so that they do not all look at once
            self._reclaim_at = now + self._reclaim_every * random.uniform(0.8, 1.2)
            taken = self._reclaim(streams, number)
            number -= taken
            if taken and number <= 0:
                self._reclaim_at = now
        self._transport.keeper.start()
        self._take(streams, max(number, 0))

    def accept(self, stream: Stream, entries: Sequence[Any], deliveries: Sequence[int] | None = None) -> None:
        add = self.buffer.append
        if deliveries is None:
            for entry_id, fields in entries:
                add(Entry(stream, entry_id, fields, 1))
            return
        held = set(self._transport.in_hand().get(stream, ()))
        for (entry_id, fields), count in zip(entries, deliveries, strict=True):
            if entry_id not in held:
                add(Entry(stream, entry_id, fields, count))

    def _take(self, streams: Sequence[Stream], number: int) -> None:
        transport = self._transport
        options = transport.options
        keys = [stream.key for stream in streams]
        with transport.acks.going_out() as acks:
            removed, taken, made = transport.link.run(
                TAKE, [*keys, *acks], options.group, transport.consumer_name, RELEASED, number, len(keys), *arguments(acks)
            )
        if acks:
            transport.acks.check(acks, removed)
        for row in taken:
            self.accept(streams[row[0] - 1], row[1], row[2] if len(row) > 2 else None)
        if taken:
            self._cycle.rotate(streams[taken[0][0] - 1].queue)
        if made:
            transport.groups_made([streams[index - 1] for index in made])
        transport.seen(streams)

    def _reclaim(self, streams: Sequence[Stream], number: int) -> int:
        transport = self._transport
        options = transport.options
        keys = [stream.key for stream in streams]
        before = len(self.buffer)
        taken, cursors = transport.link.run(
            RECLAIM, keys, options.group, transport.consumer_name, int(options.visibility_timeout * 1000), number,
            *(self._cursors.get(key, b"0-0") for key in keys),
        )  # fmt: skip
        self._cursors = dict(zip(keys, cursors, strict=True))
        for index, entries, deliveries in taken:
            stream = streams[index - 1]
            self.accept(stream, entries, deliveries)
            _log.warning("took over %d messages of %r whose consumer did not renew its lease", len(entries), stream.queue)
        return len(self.buffer) - before
