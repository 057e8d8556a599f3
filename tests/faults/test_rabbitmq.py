"""RabbitMQ as the broker of a whole router: it dies by kill -9 under load, and comes back."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from tests import rabbitmq
from tests.rabbitmq import RabbitMQ
from tests.stack import Stack, TestPhone, wait_for

IMSI = "603010000000001"


@pytest.fixture
def node() -> Iterator[RabbitMQ]:
    with rabbitmq.running() as node:
        yield node


@pytest.fixture
def stack(redis_url: str, node: RabbitMQ, tmp_path: Path) -> Iterator[Stack]:
    made = Stack(redis_url, tmp_path / "data", {"SEEDROUTER_BROKER_URL": node.url, "SEEDROUTER_PACE_SECONDS": "0.02"})
    try:
        made.start()
        yield made
    finally:
        made.stop()


class Sending:
    """A phone that fetches and sends until it is told to stop; `sent` counts what it put on the air."""

    def __init__(self, phone: TestPhone) -> None:
        self.sent: Counter[str] = Counter()
        self._phone = phone
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.is_set():
            for message in self._phone.pull(wait=1.0):
                if self._phone.report(message, "radio")["stale"] == 0:
                    self.sent[message["id"]] += 1
                    self._phone.report(message, "sent")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(20)


@pytest.mark.timeout(180)
def test_rabbitmq_killed_under_load(stack: Stack, node: RabbitMQ) -> None:
    """Who is accepted is sent once; who comes while the broker is away hears 503; afterwards all goes on by itself."""
    key = stack.account()["key"]
    phone = stack.phone(IMSI)
    accepted: list[str] = []
    statuses: Counter[int] = Counter()
    going = threading.Event()
    going.set()

    def submit() -> None:
        number = 0
        while going.is_set():
            answer = stack.http.post(
                "/api/v1/send-otp", json={"phone": f"+2136611{number:05}"}, headers={"Authorization": f"Bearer {key}"}
            )  # fmt: skip
            statuses[answer.status_code] += 1
            if answer.status_code == 200:
                accepted.append(answer.json()["reference_id"])
            number += 1
            time.sleep(0.02)

    submitter = threading.Thread(target=submit, daemon=True)
    with phone.stays_online(), Sending(phone) as sending:
        submitter.start()
        wait_for(lambda: len(sending.sent) >= 20, "the first to be sent")
        node.kill()
        wait_for(lambda: statuses[503], "somebody to be told")
        node.start()
        before = len(accepted)
        wait_for(lambda: len(accepted) >= before + 50, "some more to be accepted")
        going.clear()
        submitter.join(30)
        wait_for(lambda: set(accepted) <= set(sending.sent), "all that was accepted to be sent", 60)

    assert {200, 503} == set(statuses)
    assert {1} == set(sending.sent.values())
    assert {"sent"} == {stack.state(message_id) for message_id in accepted}
