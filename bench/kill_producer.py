"""A producer of `bench kill`: notes what it is about to publish, publishes it, notes that it was confirmed.

One by one and in batches of any size, in turns of chance. `python -m bench.kill_producer PLAN` (JSON).
"""

import random
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
from kombu import Connection, Producer

from bench.kill_check import ATTEMPT, CONFIRM, ID_CHARACTERS, Ledger, confirmations_of
from bench.kill_process import RETRY, main, opened
from bench.queue_brokers import PUBLISH, Side, body_of, queue

_MOST_IN_A_TURN = 300
_BATCH_SHARE = 0.85
_TRIES = 2


class ProducerPlan(msgspec.Struct, frozen=True):
    """`name` begins its ids, and belongs to no other producer. `rate`: entries per second, 0 for as many as it can."""

    side: Side
    ledger: str
    name: str
    count: int
    rate: float
    seed: int


def produce(plan: ProducerPlan, stopping: threading.Event) -> None:
    """`plan.count` entries, each with an id of its own."""
    rng = random.Random(plan.seed)
    attempts, confirmations = Ledger(Path(plan.ledger)), Ledger(confirmations_of(Path(plan.ledger)))
    link = _Link(plan.side)
    link.open()
    started = time.monotonic()
    made = 0
    while made < plan.count and not stopping.is_set():
        size = min(rng.randint(1, _MOST_IN_A_TURN), plan.count - made)
        ids = [f"{plan.name}-{made + i:0{ID_CHARACTERS - len(plan.name) - 1}d}" for i in range(size)]
        # An entry that stands alone is a batch of one to the ledger, and a plain publish to kombu
        for group in [ids] if rng.random() < _BATCH_SHARE else [[each] for each in ids]:
            attempts.write(ATTEMPT, group)
            if link.publish(group):
                confirmations.write(CONFIRM, group)
            made += len(group)
            if plan.rate > 0:
                stopping.wait(max(0.0, started + made / plan.rate - time.monotonic()))
            if stopping.is_set():
                break
    link.close()
    attempts.close()
    confirmations.close()


class _Link:
    """The connection, opened when it is needed, and anew after a failure."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._connection: Connection | None = None
        self._producer: Any = None

    def open(self) -> None:
        """Raises kombu's OperationalError where the broker stays away."""
        if self._producer is None:
            self._connection = opened(self._side.connect())
            channel = self._connection.channel()
            queue()(channel).declare()
            self._producer = Producer(channel)

    def publish(self, ids: list[str]) -> bool:
        """True when all of them are on the queue; False when nobody knows."""
        for _ in range(_TRIES):
            try:
                self._publish(ids)
            except Exception:  # noqa: BLE001 - each transport has errors of its own; all of them mean: not confirmed
                print(f"{time.time():.3f} {len(ids)} from {ids[0]} not confirmed\n{traceback.format_exc()}", flush=True)
                self.close()
            else:
                return True
        return False

    def _publish(self, ids: list[str]) -> None:
        self.open()
        now = time.time()
        if len(ids) == 1:
            self._producer.publish(body_of(ids[0], now), retry=True, retry_policy=RETRY, **PUBLISH)
            return
        with self._producer.batch(_MOST_IN_A_TURN):
            for each in ids:
                self._producer.publish(body_of(each, now), **PUBLISH)

    def close(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except OSError:
                print(f"{time.time():.3f} the connection did not close\n{traceback.format_exc()}", flush=True)


if __name__ == "__main__":
    main(ProducerPlan, produce)
