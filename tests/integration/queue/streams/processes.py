"""Consumers as processes, that can be killed."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WAIT_SECONDS = 30.0
_ROOT = Path(__file__).parents[4]


class Worker:
    """A process that runs worker.py; `lines` has what it printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def read(self, number: int) -> list[str]:
        """The next lines; fails the test when they do not come."""
        return [self.lines.get(timeout=WAIT_SECONDS) for _ in range(number)]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())


@contextlib.contextmanager
def worker(url: str, options: dict[str, Any], queue_name: str, prefetch: int, mode: str) -> Iterator[Worker]:
    words = [sys.executable, "-m", "tests.integration.queue.streams.worker", url, json.dumps(options), queue_name, str(prefetch), mode]
    process = subprocess.Popen(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=_ROOT, env=os.environ | {"PYTHONPATH": str(_ROOT)}
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait(WAIT_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
