"""A receiver of webhooks, as an application would run one: it checks each signature and keeps what it was told."""

import contextlib
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec


class Told(msgspec.Struct, frozen=True):
    """One request."""

    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def event(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    def is_signed_by(self, key: str) -> bool:
        """As SMSGate's own documentation tells receivers to check it: the raw body, then the timestamp."""
        signed = self.body + self.headers["x-timestamp"].encode()
        return hmac.compare_digest(hmac.new(key.encode(), signed, hashlib.sha256).hexdigest(), self.headers["x-signature"])


Answer = Callable[[Told, int], tuple[int, dict[str, str]]]


class Receiver:
    """`answer` gives status and headers for a request and its number, from 1; `gate` is waited for before each answer."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.server = server
        self.told: list[Told] = []
        self.answer: Answer = lambda told, number: (200, {})
        self.gate = threading.Event()
        self.gate.set()
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def ids(self, path: str | None = None) -> list[str]:
        with self.lock:
            return [told.event["id"] for told in self.told if path in (None, told.path)]


@contextlib.contextmanager
def receiver() -> Iterator[Receiver]:
    """One on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told = Told(self.path, body, {name.lower(): value for name, value in self.headers.items()})
            with made.lock:
                made.told.append(told)
                number = len(made.told)
                made.at_once += 1
                made.most_at_once = max(made.most_at_once, made.at_once)
            made.gate.wait(60)
            with made.lock:
                made.at_once -= 1
            status, headers = made.answer(told, number)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("Content-Length", "2")
                self.end_headers()
                if status != 204:
                    self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A courier that is killed breaks its connections off."""

    server = Server(("127.0.0.1", 0), Handler)
    made = Receiver(server)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.gate.set()
        server.shutdown()
        server.server_close()
        thread.join(10)
