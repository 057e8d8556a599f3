"""RelaySMS's synchronisation: the guide's own command lines, and a client that is written from spec/relaysms.md."""

import base64
import contextlib
import functools
import itertools
import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.conformance.conftest import Start
from tests.stack import Stack, wait_for

PAUSE, ACK = "201- pause", "200- ack"
PASSWORD = "correct horse battery"
SLEEP = 1.5
SETTINGS = {
    "SEEDROUTER_SESSION_SLEEP_TIMEOUT": str(SLEEP),
    "SEEDROUTER_SESSION_PAUSED_TIMEOUT": "30",
    "SEEDROUTER_MAX_SYNC_SOCKETS_PER_USER": "3",
    "SEEDROUTER_TRUSTED_PROXIES": "127.0.0.0/8",
}
FRAME = r"http://127\.0\.0\.1:\d+/v2/sync/users/{user}/sessions/([0-9a-f]{{32}})/handshake"
EMPTY_PEM = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
NewApi = Callable[..., Stack]
_counter = itertools.count(1)


@pytest.fixture(scope="module")
def relay(start: Start) -> Iterator[Stack]:
    with start(**SETTINGS) as relay:
        yield relay


@pytest.fixture(scope="module")
def other_api(relay: Stack) -> Iterator[Stack]:
    """Another api process of the same router; it trusts no proxy, and says JSON."""
    environment = relay.environment | {"SEEDROUTER_SYNC_FORMAT": "json", "SEEDROUTER_TRUSTED_PROXIES": ""}
    other = Stack(relay.redis_url, relay.data, environment)
    try:
        other.start_role("api")
        wait_for(other._is_ready, "the second api to be ready")
        yield other
    finally:
        other.stop()


@pytest.fixture
def user(relay: Stack) -> str:
    """The login of a new account."""
    login = f"user.{next(_counter)}@sync"
    relay.account(login=login, password=PASSWORD)
    return login


@functools.cache
def rsa_key(which: int = 0, bits: int = 2048) -> rsa.RSAPrivateKey:
    """Made once: a frame may be over when another key is made."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@pytest.fixture(scope="module", autouse=True)
def _keys() -> None:
    for which in (0, 1):
        rsa_key(which)


class Client:
    """What the app does with a URL that it has scanned. `api` is where it posts."""

    def __init__(self, api: Stack, key: rsa.RSAPrivateKey | None = None) -> None:
        self.http = api.http
        self.key = key or rsa_key()
        self.server_key: Any = None
        self.verification_url = ""

    @property
    def pem(self) -> str:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()

    def handshake(self, frame: str, **body: Any) -> httpx.Response:
        answer = self.http.post(httpx.URL(frame).path, json={"public_key": self.pem} | body)
        if answer.status_code == 200:
            self.server_key = serialization.load_pem_public_key(answer.json()["public_key"].encode())
            self.verification_url = answer.json()["verification_url"]
        return answer

    def encrypted(self, password: str, mask: hashes.HashAlgorithm | None = None) -> str:
        return base64.b64encode(self.server_key.encrypt(password.encode(), oaep(mask))).decode()

    def authenticate(self, password: str = PASSWORD, **body: Any) -> httpx.Response:
        return self.http.post(self.verification_url, json={"password": self.encrypted(password)} | body)

    def opened(self, answer: httpx.Response, mask: hashes.HashAlgorithm | None = None) -> str:
        return self.key.decrypt(base64.b64decode(answer.json()["shared_key"]), oaep(mask)).decode()


def oaep(mask: hashes.HashAlgorithm | None) -> padding.OAEP:
    return padding.OAEP(padding.MGF1(mask or hashes.SHA1()), hashes.SHA256(), None)


@contextlib.contextmanager
def socket_of(api: Stack, user: str, rest: str = "") -> Iterator[ClientConnection]:
    """A socket of that user, by the URL that the API gives."""
    url = api.http.get(f"/v2/sync/users/{user}").text
    with connect(url + rest, max_size=4096) as socket:
        yield socket


def connected(url: str) -> tuple[ClientConnection, str] | None:
    """A socket and its first frame; none where it is closed at once, as a second one is."""
    socket = connect(url).__enter__()
    try:
        return socket, str(socket.recv(timeout=20))
    except ConnectionClosed:
        return None


def said_until_closed(socket: ClientConnection) -> tuple[list[str], int, str]:
    """All that it says, and how it is closed."""
    said: list[str] = []
    with contextlib.suppress(ConnectionClosed):
        while len(said) < 20:
            said += [str(socket.recv(timeout=20))]
    assert socket.close_code is not None, f"it goes on and on: {said}"
    return said, socket.close_code, socket.close_reason or ""


def ended(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.text


class TestFrames:
    def test_three_frames_and_a_close(self, relay: Stack, user: str) -> None:
        """One at once, one after each sleep, each with a session of its own; after the last sleep the close."""
        began = time.monotonic()
        with socket_of(relay, user) as socket:
            first = str(socket.recv(timeout=20))
            rest, code, reason = said_until_closed(socket)
        took = time.monotonic() - began

        found = [re.fullmatch(FRAME.format(user=re.escape(user)), said) for said in (first, *rest)]
        assert all(found)
        assert 3 == len({match.group(1) for match in found if match})
        assert (1000, "") == (code, reason)
        assert 3 * SLEEP <= took

    def test_the_url(self, relay: Stack, user: str) -> None:
        """A text, a session of 32 hex digits, a new one for each question; open to web pages."""
        answers = [relay.http.get(f"/v2/sync/users/{user}", headers={"Origin": "https://web.example"}) for _ in range(2)]

        pattern = rf"ws://127\.0\.0\.1:{relay.port}/v2/sync/init/{re.escape(user)}/[0-9a-f]{{32}}"
        assert all(re.fullmatch(pattern, answer.text) for answer in answers)
        assert answers[0].text != answers[1].text
        assert [200, 200] == [answer.status_code for answer in answers]
        assert "text/html; charset=utf-8" == answers[0].headers["Content-Type"]
        assert "*" == answers[0].headers["Access-Control-Allow-Origin"]
        asked = relay.http.options(f"/v2/sync/users/{user}")
        assert (204, "*") == (asked.status_code, asked.headers["Access-Control-Allow-Origin"])

    @pytest.mark.parametrize("version", ["v1", "v2", "v3", "v12"])
    def test_any_version(self, relay: Stack, user: str, version: str) -> None:
        """The URLs that follow carry the same one."""
        url = relay.http.get(f"/{version}/sync/users/{user}").text
        with connect(url) as socket:
            frame = str(socket.recv(timeout=20))
            answer = Client(relay).handshake(frame)

        assert f"/{version}/sync/init/" in url
        assert f"/{version}/sync/users/{user}/sessions/" in frame
        assert 200 == answer.status_code

    @pytest.mark.parametrize("path", ["/w2/sync/users/u", "/v2/sync/users", "/v/sync/users/u", "/v2x/sync/users/u"])
    def test_other_paths_are_none_of_ours(self, relay: Stack, path: str) -> None:
        assert 404 == relay.http.get(path).status_code

    def test_errors_are_bare_text(self, relay: Stack) -> None:
        wrong = relay.http.put("/v2/sync/users/u")
        unknown = relay.http.get("/v2/sync/nothing")

        assert (405, "Method not allowed") == ended(wrong)
        assert (404, "Not found") == ended(unknown)
        assert 400 == relay.http.get(f"/v2/sync/users/{'u' * 65}").status_code
        assert 400 == relay.http.get("/v2/sync/users/a{b}").status_code

    def test_json_frames(self, relay: Stack, other_api: Stack, user: str) -> None:
        """By the query, or by the setting; the query wins."""
        with socket_of(relay, user, "?format=json") as socket:
            by_query = json.loads(socket.recv(timeout=20))
        with connect(relay.http.get(f"/v2/sync/users/{user}?format=json").text) as socket:
            carried_on = json.loads(socket.recv(timeout=20))
        with socket_of(other_api, user) as socket:
            by_setting = json.loads(socket.recv(timeout=20))
        with socket_of(other_api, user, "?format=url") as socket:
            bare = str(socket.recv(timeout=20))

        assert {"qr_url", "mobile_url"} == set(by_query) == set(by_setting) == set(carried_on)
        assert by_query["qr_url"].startswith(f"http://127.0.0.1:{relay.port}/v2/sync/users/{user}/sessions/")
        assert by_query["mobile_url"] == by_query["qr_url"].replace("http://", "app://")
        assert bare.startswith("http://")

    def test_the_guides_manual_test(self, relay: Stack) -> None:
        """`/v2/sync/init/111/000`: a user and a session that nobody has made get frames; a handshake finds no such user."""
        with connect(f"ws://127.0.0.1:{relay.port}/v2/sync/init/111/000") as socket:
            frame = str(socket.recv(timeout=20))
            refused = Client(relay).handshake(frame)
            rest, code, _ = said_until_closed(socket)

        assert re.fullmatch(FRAME.format(user="111"), frame)
        assert (400, "failed to update user's public key") == ended(refused)
        assert (2, 1000) == (len(rest), code)
        assert PAUSE not in rest


class TestWhereWeAre:
    def test_the_host_of_the_request(self, relay: Stack, user: str) -> None:
        """The port, too; what is no host is not told."""
        named = relay.http.get(f"/v2/sync/users/{user}", headers={"Host": "sync.example:8443"})
        proxied = relay.http.get(f"/v2/sync/users/{user}", headers={"Host": "sync.example", "X-Forwarded-Host": "a b/c"})
        odd = relay.http.get(f"/v2/sync/users/{user}", headers={"Host": "a b/c"})

        assert named.text.startswith("ws://sync.example:8443/v2/")
        assert proxied.text.startswith("ws://sync.example/v2/")
        assert 400 == odd.status_code

    def test_a_trusted_proxy(self, relay: Stack, user: str) -> None:
        """Its last word counts, in the sync URL, the frames and `seeds_url`."""
        headers = {"X-Forwarded-Proto": "http, https", "X-Forwarded-Host": "evil.example, sync.example"}
        url = relay.http.get(f"/v2/sync/users/{user}", headers=headers).text
        path = httpx.URL(url).path
        with connect(f"ws://127.0.0.1:{relay.port}{path}?format=json", additional_headers=headers) as socket:
            frame = json.loads(socket.recv(timeout=20))
            client = Client(relay)
            assert 200 == client.handshake(frame["qr_url"]).status_code
            body = {"password": client.encrypted(PASSWORD)}
            done = relay.http.post(client.verification_url, json=body, headers=headers)

        assert url.startswith("wss://sync.example/v2/")
        assert frame["qr_url"].startswith("https://sync.example/v2/sync/users/")
        assert frame["mobile_url"].startswith("apps://sync.example/v2/sync/users/")
        assert "https://sync.example/seeds" == done.json()["seeds_url"]

    def test_others_are_not_believed(self, other_api: Stack, user: str) -> None:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}

        url = other_api.http.get(f"/v2/sync/users/{user}", headers=headers).text

        assert url.startswith(f"ws://127.0.0.1:{other_api.port}/v2/")


class TestFlow:
    def test_the_whole_flow(self, relay: Stack, user: str) -> None:
        """To the letter; the shared key opens on the client's side, and is another one each time."""
        keys = []
        for _ in range(2):
            client = Client(relay)
            with socket_of(relay, user) as socket:
                frame = str(socket.recv(timeout=20))
                shaken = client.handshake(frame)
                paused = socket.recv(timeout=20)
                done = client.authenticate()
                rest, code, _ = said_until_closed(socket)

            assert 200 == shaken.status_code, shaken.text
            assert {"public_key", "verification_url"} == set(shaken.json())
            assert httpx.URL(frame).path == f"{shaken.json()['verification_url']}/handshake"
            assert client.verification_url.startswith(f"/v2/sync/users/{user}/sessions/")
            assert 2048 == client.server_key.key_size
            assert PAUSE == paused
            assert 200 == done.status_code, done.text
            assert {"shared_key", "user_platforms", "seeds_url"} == set(done.json())
            assert [] == done.json()["user_platforms"]
            assert f"{relay.url}/seeds" == done.json()["seeds_url"]
            assert ([ACK], 1000) == (rest, code)
            keys.append(client.opened(done))

        assert all(re.fullmatch(r"[0-9a-f]{32}", key) for key in keys)
        assert 2 == len(set(keys))

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_the_current_frame_works(self, relay: Stack, user: str, count: int) -> None:
        """Each of the three, while it is shown; those before it do not any more."""
        client = Client(relay)
        with socket_of(relay, user) as socket:
            frames = [str(socket.recv(timeout=20)) for _ in range(count)]
            old = [Client(relay, rsa_key(1)).handshake(frame) for frame in frames[:-1]]
            shaken = client.handshake(frames[-1])
            done = client.authenticate()
            said, code, _ = said_until_closed(socket)

        assert [(400, "failed to update user's public key")] * (count - 1) == [ended(answer) for answer in old]
        assert (200, 200) == (shaken.status_code, done.status_code)
        assert ([PAUSE, ACK], 1000) == (said, code)

    def test_by_the_accounts_id(self, relay: Stack) -> None:
        account = relay.account(login=f"by.id.{next(_counter)}", password=PASSWORD)
        client = Client(relay)
        with socket_of(relay, account["id"]) as socket:
            client.handshake(str(socket.recv(timeout=20)))

            assert 200 == client.authenticate().status_code

    def test_two_processes(self, relay: Stack, other_api: Stack, user: str) -> None:
        """The socket on one, the posts on the other."""
        for sockets_at, posts_at in ((relay, other_api), (other_api, relay)):
            client = Client(posts_at)
            with socket_of(sockets_at, user, "?format=url") as socket:
                shaken = client.handshake(str(socket.recv(timeout=20)))
                paused = socket.recv(timeout=20)
                done = client.authenticate()
                rest, code, _ = said_until_closed(socket)

            assert (200, PAUSE, 200) == (shaken.status_code, paused, done.status_code)
            assert ([ACK], 1000) == (rest, code)

    def test_sha256_on_request(self, relay: Stack, user: str) -> None:
        """In both directions, however it is written."""
        for mgf1 in ("sha256", "SHA256", "Sha-256"):
            client = Client(relay)
            with socket_of(relay, user) as socket:
                client.handshake(str(socket.recv(timeout=20)))
                wrong = client.authenticate(mgf1=mgf1)
                body = {"password": client.encrypted(PASSWORD, hashes.SHA256()), "mgf1": mgf1}
                done = relay.http.post(client.verification_url, json=body)

            assert (400, "undecryptable password") == ended(wrong)
            assert 200 == done.status_code, done.text
            assert 32 == len(client.opened(done, hashes.SHA256()))


class TestOddInput:
    def test_raw_newlines(self, relay: Stack, user: str) -> None:
        """PEM and base64 as apps paste them into their JSON."""
        client = Client(relay)
        with socket_of(relay, user) as socket:
            path = httpx.URL(str(socket.recv(timeout=20))).path
            raw = relay.http.post(path, content=f'{{"public_key": "{client.pem}"}}', headers={"Content-Type": "application/json"})
            paused = socket.recv(timeout=20)
            client.server_key = serialization.load_pem_public_key(raw.json()["public_key"].encode())
            lines = base64.encodebytes(base64.b64decode(client.encrypted(PASSWORD))).decode()
            done = relay.http.post(raw.json()["verification_url"], content=f'{{"password": "{lines}"}}')

        assert "\n" in client.pem.strip()
        assert "\n" in lines.strip()
        assert PAUSE == paused
        assert 200 == done.status_code, done.text

    @pytest.mark.parametrize(
        ("body", "text"),
        [
            ("", "poorly formed json"),
            ("{", "poorly formed json"),
            ("[]", "poorly formed json"),
            ('"public_key"', "poorly formed json"),
            ("[" * 60_000, "poorly formed json"),
            (b"\xff\xfe\x00", "poorly formed json"),
            ("{}", "missing public key"),
            ('{"public_key": null}', "missing public key"),
            ('{"public_key": ""}', "missing public key"),
            ('{"public_key": 7}', "failed to update user's public key"),
            ('{"public_key": "no PEM"}', "failed to update user's public key"),
            ('{"public_key": "\\ud800"}', "failed to update user's public key"),
            (json.dumps({"public_key": EMPTY_PEM}), "failed to update user's public key"),
        ],
    )
    def test_handshakes_that_are_none(self, relay: Stack, user: str, body: str | bytes, text: str) -> None:
        """The socket is not paused, and the session can still be taken on."""
        client = Client(relay)
        with socket_of(relay, user) as socket:
            frame = str(socket.recv(timeout=20))
            refused = relay.http.post(httpx.URL(frame).path, content=body)
            shaken = client.handshake(frame)
            said = socket.recv(timeout=20)

        assert (400, text) == ended(refused)
        assert (200, PAUSE) == (shaken.status_code, said)

    def test_keys_that_are_not_used(self, relay: Stack, user: str) -> None:
        """Too short, or not RSA."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        curve = ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(serialization.Encoding.PEM, form).decode()
        short = rsa_key(bits=1024)
        with socket_of(relay, user) as socket:
            frame = str(socket.recv(timeout=20))
            answers = [Client(relay, short).handshake(frame), Client(relay).handshake(frame, public_key=curve)]

        assert [(400, "failed to update user's public key")] * 2 == [ended(answer) for answer in answers]

    def test_one_client_has_the_session(self, relay: Stack, user: str) -> None:
        """Its handshake can be repeated, since an answer may be lost; another client's is refused."""
        client = Client(relay)
        with socket_of(relay, user) as socket:
            frame = str(socket.recv(timeout=20))
            answers = [client.handshake(frame), client.handshake(frame), Client(relay, rsa_key(1)).handshake(frame)]
            done = client.authenticate()
            again = client.authenticate()
            said, _, _ = said_until_closed(socket)

        assert [200, 200, 400] == [answer.status_code for answer in answers]
        assert (200, (400, "invalid session requested")) == (done.status_code, ended(again))
        assert [PAUSE, ACK] == said

    def test_passwords_that_are_none(self, relay: Stack, user: str) -> None:
        """What cannot be read is no guess: it is refused, and locks nothing."""
        client = Client(relay)
        with socket_of(relay, user) as socket:
            frame = str(socket.recv(timeout=20))
            early = relay.http.post(httpx.URL(frame).path.removesuffix("/handshake"), json={"password": "x"})
            client.handshake(frame)
            post = lambda content: ended(relay.http.post(client.verification_url, content=content))  # noqa: E731
            missing = [post("{}"), post('{"password": null}'), post('{"password": ""}')]
            noise = base64.b64encode(b"x" * 256).decode()
            undecryptable = [post(json.dumps({"password": text})) for text in ("é", "AAAA", "not base64", noise)]
            undecryptable += [post('{"password": 7}'), post('{"password": "\\ud800"}')]
            poor = post("{")
            unknown = ended(client.authenticate(mgf1="md5"))
            done = client.authenticate()

        assert (400, "invalid session requested") == ended(early)
        assert [(400, "missing password")] * 3 == missing
        assert [(400, "undecryptable password")] * 6 == undecryptable
        assert (400, "poorly formed json") == poor
        assert (400, "unknown mgf1") == unknown
        assert 200 == done.status_code, done.text

    @pytest.mark.parametrize("path", ["init/a{b}/000", f"init/{'u' * 65}/000", f"init/111/{'0' * 65}", "init/111/a.b"])
    def test_odd_sockets(self, relay: Stack, path: str) -> None:
        """They are refused before they are open."""
        with pytest.raises(InvalidStatus) as refused, connect(f"ws://127.0.0.1:{relay.port}/v2/sync/{path}"):
            pass

        assert 403 == refused.value.response.status_code

    def test_what_clients_say_is_nothing(self, relay: Stack, user: str) -> None:
        with socket_of(relay, user) as socket:
            socket.recv(timeout=20)
            for said in ("hello", b"\x00\xff", "x" * 4000):
                socket.send(said)

            assert "/handshake" in str(socket.recv(timeout=20))


class TestPasswords:
    def test_wrong_ones_lock(self, relay: Stack, other_api: Stack, user: str) -> None:
        """Five, at whichever process, and by whichever name; then not even the right one is heard. Other users are not concerned."""
        account = next(a for a in relay.operator("GET", "/accounts") if a["login"] == user)
        clients = [Client(relay), Client(other_api)]
        with socket_of(relay, user) as first, socket_of(other_api, account["id"], "?format=url") as second:
            for client, socket in zip(clients, (first, second), strict=True):
                assert 200 == client.handshake(str(socket.recv(timeout=20))).status_code
            wrong = [ended(clients[i % 2].authenticate("wrong password")) for i in range(5)]
            locked = [client.authenticate() for client in clients]

        assert [(401, "failed to authenticate")] * 5 == wrong
        assert [429, 429] == [answer.status_code for answer in locked]
        assert 1 <= int(locked[0].headers["Retry-After"]) <= 601
        relay.account(login=f"{user}.2", password=PASSWORD)
        client = Client(relay)
        with socket_of(relay, f"{user}.2") as socket:
            client.handshake(str(socket.recv(timeout=20)))
            assert 200 == client.authenticate().status_code

    def test_a_right_one_forgives(self, relay: Stack, user: str) -> None:
        """Four wrong and a right one, and again: nothing is locked."""
        for _ in range(2):
            client = Client(relay)
            with socket_of(relay, user) as socket:
                client.handshake(str(socket.recv(timeout=20)))
                statuses = [client.authenticate(password).status_code for password in (*["wrong password"] * 4, PASSWORD)]

            assert [401, 401, 401, 401, 200] == statuses


class TestSockets:
    def test_a_second_connection(self, relay: Stack, other_api: Stack, user: str) -> None:
        """Of the same user and session, at whichever process: closed with a reason. The first goes on."""
        path = httpx.URL(relay.http.get(f"/v2/sync/users/{user}").text).path
        with connect(f"ws://127.0.0.1:{relay.port}{path}") as first:
            first.recv(timeout=20)
            for api in (relay, other_api):
                with connect(f"ws://127.0.0.1:{api.port}{path}") as second:
                    assert ([], 1000, "already connected") == said_until_closed(second)

            assert "/handshake" in str(first.recv(timeout=20))

    def test_a_client_that_leaves_and_comes_back(self, relay: Stack, user: str) -> None:
        """Its session is over at once, and its URL is free."""
        url = relay.http.get(f"/v2/sync/users/{user}").text
        with connect(url) as socket:
            left = str(socket.recv(timeout=20))
        client = Client(relay)
        socket, frame = wait_for(lambda: connected(url), "the URL to be free", seconds=20)
        with socket:
            assert 400 == client.handshake(left).status_code
            assert 200 == client.handshake(frame).status_code
            assert PAUSE == socket.recv(timeout=20)

        assert left != frame

        def is_over() -> bool:
            return ended(client.authenticate()) == (400, "invalid session requested")

        # One that was paused is over, too
        wait_for(is_over, "the paused session to end", seconds=20)

    def test_too_many(self, relay: Stack, user: str) -> None:
        """Of one user; there is room again when one has left."""
        with contextlib.ExitStack() as open_ones:
            sockets = [open_ones.enter_context(socket_of(relay, user)) for _ in range(4)]
            said, code, reason = said_until_closed(sockets[3])
            sockets[0].close()

            url = relay.http.get(f"/v2/sync/users/{user}").text
            socket, frame = wait_for(lambda: connected(url), "room for another socket", seconds=20)
            socket.close()

        assert ([], 1013, "try again later") == (said, code, reason)
        assert "/handshake" in frame


class TestProcesses:
    """Each with an api process of its own, which has other settings, or ends."""

    @pytest.fixture
    def new_api(self, relay: Stack) -> Iterator[NewApi]:
        with contextlib.ExitStack() as running:

            def new_api(**environment: str) -> Stack:
                api = Stack(relay.redis_url, relay.data, relay.environment | environment)
                running.callback(api.stop)
                api.start_role("api")
                wait_for(api._is_ready, "the api to be ready")
                return api

            yield new_api

    def test_no_ack(self, relay: Stack, new_api: NewApi, user: str) -> None:
        """Nothing rotates while it is paused; it closes after the running sleep and the pause, and the session is over."""
        api = new_api(SEEDROUTER_SESSION_PAUSED_TIMEOUT="1")
        client = Client(relay)
        began = time.monotonic()
        with socket_of(api, user) as socket:
            shaken = client.handshake(str(socket.recv(timeout=20)))
            said, code, _ = said_until_closed(socket)
            took = time.monotonic() - began

        assert 200 == shaken.status_code
        assert ([PAUSE], 1000) == (said, code)
        assert SLEEP + 1 <= took
        assert (400, "invalid session requested") == ended(client.authenticate())

    def test_public_url(self, relay: Stack, new_api: NewApi, user: str) -> None:
        """The setting wins over the request, and over a proxy."""
        api = new_api(SEEDROUTER_PUBLIC_URL="https://sms.example/router/")
        url = api.http.get(f"/v2/sync/users/{user}", headers={"X-Forwarded-Host": "proxy.example"}).text
        with connect(f"ws://127.0.0.1:{api.port}{httpx.URL(url).path.removeprefix('/router')}") as socket:
            frame = str(socket.recv(timeout=20))

        assert url.startswith("wss://sms.example/router/v2/sync/init/")
        assert frame.startswith("https://sms.example/router/v2/sync/users/")

    def test_too_many_at_one_process(self, new_api: NewApi, user: str) -> None:
        api = new_api(SEEDROUTER_MAX_SYNC_SOCKETS="1")
        with socket_of(api, user) as first, socket_of(api, "another") as second:
            assert "/handshake" in str(first.recv(timeout=20))
            assert ([], 1013, "try again later") == said_until_closed(second)

    def test_told_to_stop(self, relay: Stack, new_api: NewApi, user: str) -> None:
        """Sockets are closed with 1012; a session that nobody has taken on is over, one that is paused can be finished elsewhere."""
        clients = [Client(relay), Client(relay, rsa_key(1))]
        api = new_api(SEEDROUTER_SESSION_SLEEP_TIMEOUT="20")
        with socket_of(api, user) as first, socket_of(api, user) as second:
            frames = [str(socket.recv(timeout=20)) for socket in (first, second)]
            assert 200 == clients[0].handshake(frames[0]).status_code
            assert PAUSE == first.recv(timeout=20)
            process = api.processes["api"]
            process.terminate()
            closed = [said_until_closed(socket)[:2] for socket in (first, second)]
            code = process.wait(30)

        assert [([], 1012)] * 2 == closed
        assert 0 == code
        assert 400 == clients[1].handshake(frames[1]).status_code
        assert 200 == clients[0].authenticate().status_code
        assert user not in api.log("api")

    def test_killed(self, relay: Stack, new_api: NewApi, user: str) -> None:
        """The posts do not need the socket's process; and its URL is free some seconds later."""
        api = new_api(SEEDROUTER_SESSION_SLEEP_TIMEOUT="20")
        url = api.http.get(f"/v2/sync/users/{user}").text
        client = Client(relay)
        with connect(url) as socket:
            frame = str(socket.recv(timeout=20))
            api.kill_role("api")
            shaken, done = client.handshake(frame), client.authenticate()
        elsewhere = f"ws://127.0.0.1:{relay.port}{httpx.URL(url).path}"
        again, shown = wait_for(lambda: connected(elsewhere), "the URL to be free", seconds=20)
        again.close()

        assert (200, 200) == (shaken.status_code, done.status_code)
        assert 32 == len(client.opened(done))
        assert "/handshake" in shown
