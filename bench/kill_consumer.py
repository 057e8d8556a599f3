"""A consumer of `bench kill`: notes each entry in its ledger, then acknowledges it. `python -m bench.kill_consumer PLAN` (JSON)."""

import random
import threading
import time
import traceback
from pathlib import Path
from typing import Any

import msgspec
from kombu import Consumer

from bench.kill_check import AGAIN, TAKE, Ledger
from bench.kill_process import main, opened
from bench.queue_brokers import Side, queue
from router.queue.entries import decode

_IDLE_SECONDS = 0.25
_PAUSE_SECONDS = 0.1


class ConsumerPlan(msgspec.Struct, frozen=True):
    """`work_ms`: the mean of how long an entry keeps it busy."""

    side: Side
    ledger: str
    prefetch: int
    work_ms: float
    seed: int


def consume(plan: ConsumerPlan, stopping: threading.Event) -> None:
    """Until `stopping`; connects again whatever happens to the connection."""
    rng = random.Random(plan.seed)
    ledger = Ledger(Path(plan.ledger))

    def take(message: Any) -> None:
        if plan.work_ms > 0:
            time.sleep(rng.expovariate(1000 / plan.work_ms))
        ledger.write(AGAIN if message.delivery_info.get("redelivered") else TAKE, [decode(message.body).id])
        message.ack()

    while not stopping.is_set():
        try:
            with opened(plan.side.connect()) as connection:
                channel = connection.channel()
                queue()(channel).declare()
                with Consumer(channel, [queue()], on_message=take, prefetch_count=plan.prefetch):
                    _drain(connection, stopping)
        except Exception:  # noqa: BLE001 - each transport has errors of its own; all of them mean: connect again
            print(f"{time.time():.3f} connects again\n{traceback.format_exc()}", flush=True)
            stopping.wait(_PAUSE_SECONDS)
    ledger.close()


def _drain(connection: Any, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            connection.drain_events(timeout=_IDLE_SECONDS)
        except TimeoutError:
            continue


if __name__ == "__main__":
    main(ConsumerPlan, consume)
