"""Applications and phones that keep to their contracts while a router's Redis is broken under it: they repeat what was not answered."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from tests import stack
from tests.stack import Stack, TestPhone, wait_for

MOBILIS = "60301"
PATIENT = stack.PATIENT | {"SEEDROUTER_PICKUP_SECONDS": "10", "SEEDROUTER_ONLINE_WINDOW_SECONDS": "90"}
"""Settings under which a failover of Redis is no reason to move a message; but one that was lost on its way to a phone moves in time."""
_PAUSE_SECONDS = 0.1


class Crowd:
    """An account and some phones at a router."""

    def __init__(self, stack: Stack, *, phones: int = 2, balance: int = 10_000, price: int = 5) -> None:
        self._stack = stack
        self.account = stack.account(balance=balance, price=price)
        self.phones = [stack.phone(f"{MOBILIS}{number:010}") for number in range(1, phones + 1)]
        self.accepted: list[str] = []
        self.texts: dict[str, str] = {}
        self.sent: Counter[str] = Counter()
        """How often each message was given to a radio."""
        self.refused = 0
        """Calls of applications that were told to come again."""
        self._failures: list[Exception] = []
        self._ended = threading.Event()
        self._http = httpx.Client(base_url=stack.url, timeout=60.0)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """The phones fetch and send beside the test."""
        threads = [threading.Thread(target=self._serve, args=[phone], daemon=True) for phone in self.phones]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join(70)
            self._http.close()

        assert [] == self._failures

    def submit(self, first: int, count: int) -> None:
        """Codes to `count` numbers of Mobilis, one after the other; each is repeated with its key until it is accepted."""
        for number in range(first, first + count):
            self.accepted.append(str(wait_for(lambda n=number: self._try(n), f"code {number} to be accepted", 90)))  # type: ignore[misc]

    def submit_until_refused(self, first: int) -> None:
        """One after the other, till one was told to come again and was accepted then."""
        before, number = self.refused, first
        while self.refused == before:
            assert number < first + 1500, "none was refused"
            self.submit(number, 1)
            number += 1

    def _try(self, number: int) -> str | None:
        headers = {"Authorization": f"Bearer {self.account['key']}", "Idempotency-Key": f"code-{number}"}
        answer = self._call("POST", "/api/v1/send-otp", headers, {"phone": f"+21366100{number:04}"})
        if answer is None:
            self.refused += 1
            time.sleep(_PAUSE_SECONDS)
            return None
        return str(answer["reference_id"])

    def _serve(self, phone: TestPhone) -> None:
        try:
            self._fetch_and_send(phone)
        except Exception as error:
            self._failures.append(error)

    def _fetch_and_send(self, phone: TestPhone) -> None:
        headers = {"Authorization": f"Bearer {phone.token}"}
        reports = f"/seeds/{phone.imsi}/reports"
        while not self._ended.is_set():
            messages = self._call("GET", f"/seeds/{phone.imsi}/messages?wait=1&max=20", headers)
            if messages is None:
                time.sleep(_PAUSE_SECONDS)
            for message in messages or ():
                about = {"id": message["id"], "attempt": message["attempt"]}
                if self._until_answered(reports, headers, [about | {"state": "radio"}])["accepted"]:
                    self.texts[message["id"]] = message["text"]
                    self.sent[message["id"]] += 1
                    self._until_answered(reports, headers, [about | {"state": "sent"}])

    def _until_answered(self, path: str, headers: dict[str, str], body: Any) -> Any:
        return wait_for(lambda: self._call("POST", path, headers, body), f"an answer to {body}", 60)

    def _call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
        """The answer, or None where the router says 503: come again. Anything else fails the test."""
        answer = self._http.request(method, path, headers=headers, json=body)
        if answer.status_code == 503:
            return None
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text} {self._stack.log('api')[-3000:]}"
        return answer.json()

    def wait_until_all_are_sent(self, seconds: float = 60.0) -> None:
        wait_for(lambda: set(self.accepted) <= set(self.sent), f"all to be sent, of which {self._unsent()} are not", seconds)

    def _unsent(self) -> int:
        return len(set(self.accepted) - set(self.sent))

    def balance(self) -> int:
        return int(self._stack.operator("GET", f"/accounts/{self.account['id']}")["balance"])
