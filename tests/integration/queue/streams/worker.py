"""A consumer as a process of its own, to be killed: `python -m … URL OPTIONS-JSON QUEUE PREFETCH MODE`. It prints the id of each message.

Modes: `hold` takes messages and acknowledges none; `ack` acknowledges each and goes on; `ack-and-sleep` acknowledges what the first read
brought, then never reads again; `exit` does the same and ends.
"""

import json
import sys
import time
from typing import Any

import kombu
from kombu import Consumer, Queue

from router.queue.streams import register


def main(url: str, options: str, queue: str, prefetch: str, mode: str) -> None:
    register()
    connection = kombu.Connection(url, transport_options=json.loads(options))
    channel = connection.channel()

    def handle(message: Any) -> None:
        if mode != "hold":
            message.ack()
        print(message.body.decode(), flush=True)

    consumer = Consumer(channel, [Queue(queue)], on_message=handle, prefetch_count=int(prefetch))
    consumer.consume()
    seen = False
    while not (seen and mode in ("ack-and-sleep", "exit")):
        try:
            connection.drain_events(timeout=0.5)
            seen = True
        except TimeoutError:
            continue
    if mode == "ack-and-sleep":
        print("sleeping", flush=True)
        time.sleep(120)


if __name__ == "__main__":
    main(*sys.argv[1:])
