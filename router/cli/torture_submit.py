"""The caller of `torture`: codes at an even rate, each asked for again with its Idempotency-Key until it is answered."""

import asyncio
import random
import threading
import time
from collections import Counter
from typing import Final

import httpx

from router.cli.torture_check import Submission

PATIENCE_SECONDS: Final = 75.0
"""How long one code is asked for. An admission whose process died is undone after half a minute: only then is its key free."""
_REPEAT_SECONDS: Final = 0.25
_TIMEOUT_SECONDS: Final = 10.0
_CONNECTIONS: Final = 50
_REPEATED: Final = 0.1
"""Share of the codes that are asked for once more after their answer, as by a caller who did not hear it."""
_PREFIXES: Final = ("+213661", "+213771", "+213551")
"""Of the recipients; the phones' own numbers are others."""


class Submitter:
    """`run` blocks: it is for a thread of its own. Counts may be read from another one meanwhile."""

    def __init__(self, url: str, key: str, *, rate: float, seconds: float, seed: int) -> None:
        """`rate`: codes per second."""
        self.submissions: list[Submission] = []
        self.begun = 0
        self.statuses: Counter[str] = Counter()
        """Every answer by its status, and broken connections by their error."""
        self._url = url
        self._key = key
        self._rate = rate
        self._count = round(rate * seconds)
        self._seed = seed
        self._rng = random.Random(f"{seed}/repeats")
        self._stopped = threading.Event()

    def __repr__(self) -> str:
        return f"<Submitter {len(self.submissions)} of {self.begun} answered>"

    @property
    def acknowledged(self) -> int:
        return sum(bool(submission.ids) for submission in self.submissions)

    def stop(self) -> None:
        """Let `run` return soon, whatever is unanswered."""
        self._stopped.set()

    def run(self) -> None:
        """All of it, until the last code is answered or given up."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)
        headers = {"Authorization": f"Bearer {self._key}"}
        async with httpx.AsyncClient(
            base_url=self._url, headers=headers, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
        ) as http, asyncio.TaskGroup() as tasks:
            began = time.monotonic()
            for number in range(self._count):
                await asyncio.sleep(began + number / self._rate - time.monotonic())
                if self._stopped.is_set():
                    return
                self.begun += 1
                tasks.create_task(self._submit(http, number, repeats=self._rng.random() < _REPEATED))

    async def _submit(self, http: httpx.AsyncClient, number: int, *, repeats: bool) -> None:
        to = f"{_PREFIXES[number % len(_PREFIXES)]}{number:06d}"
        ids: list[str] = []
        is_open = False
        for _ in range(2 if repeats else 1):
            status, message_id = await self._ask(http, to, f"{self._seed}-{number}")
            if message_id:
                ids.append(message_id)
            is_open = status is None
        self.submissions.append(Submission(to=to, ids=tuple(ids), answered=not is_open))

    async def _ask(self, http: httpx.AsyncClient, to: str, key: str) -> tuple[int | None, str]:
        """The answer that tells: its status and the id; no status when none came in time."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline and not self._stopped.is_set():
            try:
                answer = await http.post("/api/v1/send-otp", json={"phone": to}, headers={"Idempotency-Key": key})
            except httpx.TransportError as error:
                self.statuses[type(error).__name__] += 1
            else:
                self.statuses[str(answer.status_code)] += 1
                if answer.is_success:
                    return answer.status_code, str(answer.json()["reference_id"])
                if answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                    return answer.status_code, ""
            await asyncio.sleep(_REPEAT_SECONDS)
        return None, ""
