"""A phone with SMSGate's app that does what a test tells it, by hand."""

import contextlib
import json
import socket
import threading
from datetime import UTC, datetime
from typing import Any, Self

import httpx

from tests.stack import Stack, wait_for

SIM = {"slotIndex": 0, "simNumber": 1, "phoneNumber": "+213661999999"}


def private_token(stack: Stack) -> str:
    return str(json.loads((stack.data / "secrets.json").read_text())["mobile_private_token"])


class App:
    """A registered phone. `url` may be another api process of the same router."""

    def __init__(self, stack: Stack, *sims: dict[str, Any], auth: str = "", url: str = "") -> None:
        self.http = httpx.Client(base_url=f"{url or stack.url}/mobile/v1", timeout=20.0)
        self.sims = list(sims or (SIM,))
        body = {"name": "test phone", "simCards": self.sims}
        answer = self.http.post("/device", json=body, headers={"Authorization": auth or f"Bearer {private_token(stack)}"})
        assert answer.status_code == 201, answer.text
        self.account = answer.json()
        self.id: str = self.account["id"]
        self.http.headers["Authorization"] = f"Bearer {self.account['token']}"
        self.events: list[tuple[str, Any]] = []
        self.keepalives = 0
        self.is_ended = threading.Event()
        self._listening: threading.Thread | None = None
        self._response: httpx.Response | None = None

    def listen(self) -> Self:
        """Opens the event stream; returns when it has said its first bytes."""
        before = self.keepalives
        self.is_ended.clear()
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        wait_for(lambda: self.keepalives > before, "the event stream's first bytes")
        return self

    def _listen(self) -> None:
        try:
            with httpx.Client(timeout=None) as client, client.stream(
                "GET", f"{self.http.base_url}events", headers={"Authorization": self.http.headers["Authorization"]}
            ) as self._response:
                name = ""
                for line in self._response.iter_lines():
                    if line.startswith("event: "):
                        name = line.removeprefix("event: ")
                    elif line.startswith("data: "):
                        self.events.append((name, json.loads(line.removeprefix("data: "))))
                    elif line.startswith(":"):
                        self.keepalives += 1
        except httpx.HTTPError:
            self.events.append(("broken off", None))
        finally:
            self.is_ended.set()

    def heard(self, name: str) -> list[Any]:
        return [data for event, data in self.events if event == name]

    def pull(self, order: str = "lifo") -> list[dict[str, Any]]:
        answer = self.http.get("/message", params={"order": order})
        assert answer.status_code == 200, answer.text
        return list(answer.json())

    def take(self, message_id: str) -> dict[str, Any]:
        """Pulls until it is given this message, by the router's id of it."""

        def found() -> dict[str, Any] | None:
            return next((message for message in self.pull() if message["id"].rpartition("_")[0] == message_id), None)

        return dict(wait_for(found, f"{message_id} at {self.id}"))

    def report(self, message: dict[str, Any], state: str, error: str | None = None) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        recipient = {"phoneNumber": message["phoneNumbers"][0], "state": state} | ({"error": error} if error else {})
        told = {"id": message["id"], "state": state, "recipients": [recipient], "states": {state: now}}
        answer = self.http.patch("/message", json=[told])
        assert answer.status_code == 204, answer.text

    def hang_up(self) -> None:
        """Closes the line; returns when its thread has ended."""
        if self._response is not None and self._listening is not None:
            # A blocked read is ended by nothing less
            with contextlib.suppress(OSError):
                self._response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
            self._listening.join(10)
            self._response = None

    def close(self) -> None:
        self.hang_up()
        self.http.close()
