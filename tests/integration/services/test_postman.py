"""What the courier calls, and what not: real requests to this machine, names by a resolver of the test."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from router.domain.addresses import is_public
from router.services.postman import Outcome, Postman
from tests.receiver import Receiver, receiver

pytestmark = pytest.mark.anyio
BODY = b'{"id":"1"}'


class Names(AbstractResolver):
    """Names → addresses, and how often each was asked for."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        self.names = names
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        self.asked.append(host)
        if host not in self.names:
            raise OSError(None, "unknown name")
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET6 if ":" in address else socket.AF_INET, proto=0, flags=0
            )
            for address in self.names[host]
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def there() -> Iterator[Receiver]:
    with receiver() as made:
        yield made


class Post:
    """Posts by the settings of a test, and closes what it opened."""

    def __init__(self) -> None:
        self.open: list[Postman] = []

    async def __call__(
        self, url: str, *, names: Names | None = None, private: bool = True, http: bool = True, seconds: float = 5.0
    ) -> Outcome:
        postman = Postman(timeout_seconds=seconds, allow_http=http, allow_private=private, at_once=4, resolver=names)
        self.open.append(postman)
        return await postman.post(url, BODY, lambda: {"X-Try": "1"})


@pytest.fixture
async def post() -> AsyncIterator[Post]:
    made = Post()
    yield made
    for postman in made.open:
        await postman.close()


async def test_posted(post: Post, there: Receiver) -> None:
    """The body as it is, as JSON, with the headers that were asked for; 2xx is a success."""
    there.answer = lambda told, number: (204, {})

    assert Outcome(204) == await post(f"{there.url}/hook?a=b")
    (told,) = there.told
    assert ("/hook?a=b", BODY, "1", "application/json") == (told.path, told.body, told.headers["x-try"], told.headers["content-type"])


@pytest.mark.parametrize("status", [301, 302, 303, 400, 404, 410, 500, 503])
async def test_not_2xx(post: Post, there: Receiver, status: int) -> None:
    """Anything else than 2xx is a failure, redirects that lose the body included: they are not followed."""
    there.answer = lambda told, number: (status, {"Location": "/elsewhere"})

    outcome = await post(there.url)

    assert (status, False, 1) == (outcome.status, outcome.is_success, len(there.told))


@pytest.mark.parametrize("status", [307, 308])
async def test_redirect(post: Post, there: Receiver, status: int) -> None:
    """A redirect that keeps the POST is followed, relative ones too, with the same body."""
    there.answer = lambda told, number: (status, {"Location": "/there"}) if told.path == "/here" else (200, {})

    assert Outcome(200) == await post(f"{there.url}/here")
    assert [("/here", BODY), ("/there", BODY)] == [(told.path, told.body) for told in there.told]


async def test_redirects_end(post: Post, there: Receiver) -> None:
    """Three are followed, a fourth is not."""
    there.answer = lambda told, number: (308, {"Location": f"/{number}"})

    outcome = await post(there.url)

    assert "not called: more than 3 redirects" == outcome.error
    assert 4 == len(there.told)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "10.0.0.1", "169.254.169.254", "[64:ff9b::7f00:1]", "[2002:7f00:1::1]", "0.0.0.0"]
)
async def test_literal_address_is_not_called(post: Post, there: Receiver, host: str) -> None:
    """An address that is not public is never called, however it is written."""
    outcome = await post(f"http://{host}:{there.server.server_address[1]}/", private=False)

    assert "not called: url: must not be a private address" == outcome.error
    assert [] == there.told


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost"])
async def test_odd_spellings_of_this_machine(post: Post, there: Receiver, host: str) -> None:
    """What the system's own look-up takes for an address of this machine is found out by what comes out of it."""
    outcome = await post(f"http://{host}:{there.server.server_address[1]}/", private=False)

    assert (None, False) == (outcome.status, outcome.is_success)
    assert [] == there.told


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["10.1.2.3"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["8.8.8.8", "fd00::1"], ["::ffff:192.168.0.1"], ["100.64.0.1"]],
)
async def test_name_of_a_private_address(post: Post, there: Receiver, addresses: list[str]) -> None:
    """A name is looked up first: if one of its addresses is not public, none is called."""
    names = Names({"inside.example": addresses})
    outcome = await post(f"http://inside.example:{there.server.server_address[1]}/", names=names, private=False)

    assert "not called: its name leads to a private address" == outcome.error
    assert ["inside.example"] == names.asked
    assert [] == there.told


async def test_called_by_the_address_that_was_checked(post: Post, there: Receiver) -> None:
    """One look-up per connection: a name that answers otherwise the second time is not asked a second time."""
    names = Names({"hook.example": ["127.0.0.1"]})
    port = there.server.server_address[1]

    assert Outcome(200) == await post(f"http://hook.example:{port}/", names=names)
    assert ["hook.example"] == names.asked
    assert f"hook.example:{port}" == there.told[0].headers["host"]


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:{port}/in", "http://10.0.0.1/", "//169.254.169.254/", "http://inside.example/", "file:///etc/passwd",
        "http://u:p@hook.example/", "http://hook.example:99999/", "http://[::1/",
    ],
)  # fmt: skip
async def test_redirect_inside_is_not_followed(post: Post, there: Receiver, monkeypatch: pytest.MonkeyPatch, location: str) -> None:
    """Each step is checked like the first one. The first step is let through here: the receiver stands on this machine."""
    port = there.server.server_address[1]
    names = Names({"hook.example": ["127.0.0.1"], "inside.example": ["192.168.0.1"]})
    first, really = threading.Event(), is_public

    def once(address: str) -> bool:
        if first.is_set():
            return really(address)
        first.set()
        return address == "127.0.0.1"

    monkeypatch.setattr("router.services.postman.is_public", once)
    there.answer = lambda told, number: (307, {"Location": location.format(port=port)})

    outcome = await post(f"http://hook.example:{port}/", names=names, private=False)

    assert outcome.error.startswith("not called: ")
    assert 1 == len(there.told)


async def test_redirect_to_plain_http(post: Post, there: Receiver) -> None:
    """From an address that is allowed, plain http included, to one that is not."""
    there.answer = lambda told, number: (307, {"Location": "http://hook.example/"})

    outcome = await post(there.url, http=False)

    assert "not called: url: must be https" == outcome.error


async def test_no_answer(post: Post, there: Receiver) -> None:
    """A receiver that hangs costs the time-out, no more."""
    there.gate.clear()

    assert Outcome(None, "no answer within 0.2 s") == await post(there.url, seconds=0.2)


async def test_nobody_there(post: Post) -> None:
    """A port that nobody listens on, and a name that nobody knows; the words hold no address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        refused = await post(f"http://127.0.0.1:{taken.getsockname()[1]}/")
    unknown = await post("http://hook.example/", names=Names({}))

    assert "no connection (Connection refused)" == refused.error
    assert "its name is not known" == unknown.error


async def test_plain_text_where_tls_is_wanted(post: Post, there: Receiver) -> None:
    """A failure like others."""
    outcome = await post(there.url.replace("http:", "https:"))

    assert (None, "no trusted TLS") == (outcome.status, outcome.error)


async def test_endless_body(post: Post) -> None:
    """The status decides; a body without an end is not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_pour, args=(listener,), daemon=True)
        thread.start()

        assert Outcome(200) == await post(f"http://127.0.0.1:{listener.getsockname()[1]}/", seconds=20.0)
        await asyncio.to_thread(thread.join, 10)

        assert not thread.is_alive()


def _pour(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(100_000):
                connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        except OSError:
            return
        raise AssertionError("400 MB were read")
