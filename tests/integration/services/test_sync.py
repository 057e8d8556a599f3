"""Synchronisation over a real Redis: the decisions that two processes must not both make, and the locks of wrong passwords."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from router.domain.errors import RouterError, Unavailable
from router.domain.sync import ACK, PAUSE, SyncRules
from router.secrets import load_secrets
from router.services.sync import Sync
from router.services.sync_keys import ClientKey, NoPublicKey, ServerKey, Undecryptable, mask_of
from router.services.sync_sockets import AlreadyConnected, SyncSocket, SyncSockets
from tests.integration.services.identity import LOGIN, PASSWORD, cheapen_passwords
from tests.integration.services.world import World
from tests.integration.store.kit import everything

pytestmark = pytest.mark.anyio

LONG = SyncRules(session_sleep_timeout=60.0)
SHORT = SyncRules(session_sleep_timeout=0.2, session_paused_timeout=0.2)


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheapen_passwords(monkeypatch)


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The server's key, as it is made at the first start."""
    return load_secrets(tmp_path_factory.mktemp("secrets"), {}).sync_key


@pytest.fixture(scope="module")
def client_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def sealed(pem: str, password: str) -> str:
    """A password as the app encrypts it."""
    key = serialization.load_pem_private_key(pem.encode(), None).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    oaep = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA256(), None)
    return base64.b64encode(key.encrypt(password.encode(), oaep)).decode()


class Process:
    """An api process of the router, as far as the synchronisation goes."""

    def __init__(self, world: World, pem: str, rules: SyncRules = LONG, most: int = 100) -> None:
        self.closing = asyncio.Event()
        self.sockets = SyncSockets(world.store, world.clock, rules, most, self.closing)
        self.sync = Sync(world.store, world.clock, rules, ServerKey(pem), 100)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Hears the hints."""
        task = asyncio.create_task(self.sockets.listen())
        await asyncio.sleep(0.1)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def here(world: World, pem: str) -> Process:
    await world.admin.create("test", login=LOGIN, password=PASSWORD)
    return Process(world, pem)


@pytest.fixture
def there(second: World, pem: str, here: Process) -> Process:
    return Process(second, pem)


async def said(socket: SyncSocket, count: int = 100) -> list[str]:
    """The first things that it says."""
    found: list[str] = []
    async with contextlib.aclosing(socket.talk(str)) as talk:
        async for one in talk:
            found.append(one)
            if len(found) == count:
                break
    return found


async def outcome(call: Awaitable[Any]) -> str:
    try:
        await call
    except RouterError as error:
        return type(error).__name__
    return "ok"


async def test_one_of_many_handshakes(here: Process, there: Process, world: World, pem: str, client_key: rsa.RSAPrivateKey) -> None:
    """Of two clients at once, at two processes, one takes the session on; of two acks one."""
    keys = [public(client_key), public(rsa.generate_private_key(public_exponent=65537, key_size=2048))]
    async with here.sockets.open(LOGIN, "000") as socket:
        shaken = await asyncio.gather(
            *[outcome(process.sync.handshake(LOGIN, socket.shown, key)) for process, key in zip((here, there), keys, strict=True)]
        )
        password = sealed(pem, PASSWORD)
        acked = await asyncio.gather(
            *[outcome(process.sync.authenticate(LOGIN, socket.shown, password, "sha1")) for process in (here, there)]
        )

    assert ["NotFound", "ok"] == sorted(shaken)
    assert ["NotFound", "ok"] == sorted(acked)


async def test_a_rotation_and_a_handshake(world: World, pem: str, here: Process, client_key: rsa.RSAPrivateKey) -> None:
    """However they fall: a handshake that was answered is told, one that was refused is not, and nothing rotates after one."""
    key = public(client_key)
    outcomes = set()
    for turn in range(12):
        process = Process(world, pem, SHORT)
        async with process.sockets.open(LOGIN, f"turn-{turn}") as socket:
            talk = asyncio.create_task(said(socket))
            shown = socket.shown
            await asyncio.sleep(0.185 + turn * 0.003)
            shaken = await outcome(here.sync.handshake(LOGIN, shown, key))
            told = await asyncio.wait_for(talk, 20)

        outcomes.add(shaken)
        assert (shaken == "ok") == (PAUSE in told)
        if shaken == "ok":
            assert PAUSE == told[-1]
            assert shown == told[-2]
        else:
            assert 3 == len(set(told))
    assert outcomes <= {"ok", "NotFound"}


async def test_who_comes_between_a_look_and_a_step(here: Process, pem: str, client_key: rsa.RSAPrivateKey) -> None:
    """The socket thinks that nobody has come: neither its next frame nor its end takes the session away from who has."""
    async with here.sockets.open(LOGIN, "000") as socket:
        shown = socket.shown
        await here.sync.handshake(LOGIN, shown, public(client_key))
        assert "paused" == await socket._rotate()
        assert "paused" == await socket._end(("waiting",), is_leaving=False)
        await here.sync.authenticate(LOGIN, shown, sealed(pem, PASSWORD), "sha1")
        assert "acked" == await socket._rotate()
        assert "acked" == await socket._end(("paused",), is_leaving=False)
        assert shown == socket.shown
        assert "acked" == await socket._look("waiting")
        assert "gone" == await socket._end(("acked",), is_leaving=False)


async def test_at_the_last_moment(world: World, pem: str, here: Process, client_key: rsa.RSAPrivateKey) -> None:
    """A password that was answered is told, even where the socket was about to close; and nothing is left behind."""
    key, password = public(client_key), sealed(pem, PASSWORD)
    for turn in range(8):
        process = Process(world, pem, SHORT)
        async with process.sockets.open(LOGIN, f"turn-{turn}") as socket:
            shown = socket.shown
            await here.sync.handshake(LOGIN, shown, key)
            talk = asyncio.create_task(said(socket))
            await asyncio.sleep(0.37 + turn * 0.003)
            acked = await outcome(here.sync.authenticate(LOGIN, shown, password, "sha1"))
            told = await asyncio.wait_for(talk, 20)

        assert [shown, PAUSE, *([ACK] if acked == "ok" else [])] == told
    assert not [key for key in everything_of(world) if ":session:" in key]


def everything_of(world: World) -> dict[str, Any]:
    kwargs = world.store.redis.connection_pool.connection_kwargs  # type: ignore[union-attr]
    return {key: value for key, value in everything(f"unix://{kwargs['path']}?db={kwargs.get('db', 0)}").items() if key.startswith("sync:")}


async def test_hints_wake_and_are_not_needed(
    here: Process, there: Process, pem: str, client_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that would not look for hours is woken by hints; one that hears none looks by itself."""
    for listens in (True, False):
        async with contextlib.AsyncExitStack() as around:
            if listens:
                await around.enter_async_context(here.listening())
                around.enter_context(monkeypatch.context()).setattr("router.services.sync_sockets._LOOK_SECONDS", 9999.0)
            socket = await around.enter_async_context(here.sockets.open(LOGIN, "000"))
            talk = asyncio.create_task(said(socket))
            shown = socket.shown
            await asyncio.sleep(0.05)
            await there.sync.handshake(LOGIN, shown, public(client_key))
            await there.sync.authenticate(LOGIN, shown, sealed(pem, PASSWORD), "sha1")

            assert [shown, PAUSE, ACK] == await asyncio.wait_for(talk, 20)


async def test_a_claim_is_kept_while_the_socket_looks(here: Process, there: Process, world: World) -> None:
    """Time goes on by minutes: the URL stays taken. A process that looks no more has lost it soon, and says so if it comes back."""
    async with here.sockets.open(LOGIN, "000") as socket:
        for _ in range(4):
            world.clock.advance(4)
            assert "waiting" == await socket._look("waiting")
        with pytest.raises(AlreadyConnected):
            await there.sockets.open(LOGIN, "000").__aenter__()
        world.clock.advance(6)
        async with there.sockets.open(LOGIN, "000") as other:
            assert "taken" == await socket._look("waiting")
            socket.wake.set()
            with pytest.raises(AlreadyConnected):
                await asyncio.wait_for(said(socket), 20)
            assert "waiting" == await other._look("waiting")
        assert 0 == len(there.sockets)


async def test_sockets_are_counted_and_freed(world: World, pem: str, here: Process) -> None:
    """Per user, then per process; what has left, or was refused, does not count."""
    few = Process(world, pem, SyncRules(session_sleep_timeout=60, sockets_per_user=2), most=3)
    async with contextlib.AsyncExitStack() as open_ones:
        for session in ("a", "b"):
            await open_ones.enter_async_context(few.sockets.open(LOGIN, session))
        with pytest.raises(Unavailable):
            await few.sockets.open(LOGIN, "c").__aenter__()
        await open_ones.enter_async_context(few.sockets.open("another", "a"))
        with pytest.raises(Unavailable):
            await few.sockets.open("a third", "a").__aenter__()
        assert 3 == len(few.sockets)

    assert 0 == len(few.sockets)
    assert {} == everything_of(world)


async def test_nothing_is_shown_where_the_process_stops(here: Process) -> None:
    here.closing.set()

    with pytest.raises(Unavailable):
        await here.sockets.open(LOGIN, "000").__aenter__()


async def test_who_may_shake_hands(here: Process, world: World, client_key: rsa.RSAPrivateKey) -> None:
    """Users that exist and are enabled; with a session that is shown to them, not to others."""
    account, _ = await world.admin.create("off", login="off.duty", password=PASSWORD)
    await world.admin.change(account.id, enabled=False)
    key = public(client_key)
    async with contextlib.AsyncExitStack() as open_ones:
        nobody, off, own = [await open_ones.enter_async_context(here.sockets.open(user, "1")) for user in ("nobody", "off.duty", LOGIN)]
        calls = [("nobody", nobody.shown), ("off.duty", off.shown), (LOGIN, nobody.shown), (LOGIN, "000"), (LOGIN, ""), ("a{b}", "c")]
        refused = [await outcome(here.sync.handshake(*call, key)) for call in calls]
        taken_on = await outcome(here.sync.handshake(LOGIN, own.shown, key))

    assert ["NotFound"] * 6 == refused
    assert "ok" == taken_on


async def test_locks_end(here: Process, world: World, pem: str, client_key: rsa.RSAPrivateKey) -> None:
    """Wrong ones count for ten minutes. What cannot be decrypted counts for nothing, and is not heard either once it is locked."""
    right, wrong = sealed(pem, PASSWORD), sealed(pem, "wrong password")
    async with here.sockets.open(LOGIN, "000") as socket:
        await here.sync.handshake(LOGIN, socket.shown, public(client_key))

        async def tried(password: str) -> str:
            return await outcome(here.sync.authenticate(LOGIN, socket.shown, password, "sha1"))

        assert ["Unauthorized"] * 4 == [await tried(wrong) for _ in range(4)]
        assert ["Undecryptable"] * 6 == [await tried("AAAA") for _ in range(6)]
        world.clock.advance(601)
        assert ["Unauthorized"] * 5 == [await tried(wrong) for _ in range(5)]
        assert ["LimitReached"] * 2 == [await tried(password) for password in (right, "AAAA")]
        (locked,) = [key for key in everything_of(world) if key.endswith(":locked")]
        assert 500_000 < await world.store.redis.pttl(locked) <= 600_000
        await world.store.redis.delete(locked)
        assert "ok" == await tried(right)


async def test_many_guesses_at_once(here: Process, there: Process, pem: str, client_key: rsa.RSAPrivateKey) -> None:
    """At two processes: no more than five of them are checked."""
    wrong = sealed(pem, "wrong password")
    async with here.sockets.open(LOGIN, "000") as socket:
        await here.sync.handshake(LOGIN, socket.shown, public(client_key))
        calls = [process.sync.authenticate(LOGIN, socket.shown, wrong, "sha1") for process in (here, there) for _ in range(20)]
        outcomes = await asyncio.gather(*map(outcome, calls))

    assert (5, 35) == (outcomes.count("Unauthorized"), outcomes.count("LimitReached"))


async def test_the_store_is_away(world: World, pem: str, here: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look that fails changes nothing; where the next frame cannot be made, the socket says so by its error."""
    process = Process(world, pem, SHORT)
    async with process.sockets.open(LOGIN, "000") as socket:
        async def away(*_: Any) -> Any:
            raise Unavailable("away")

        with monkeypatch.context() as broken:
            broken.setattr("router.store.redis.Batch.run", away)
            assert "waiting" == await socket._look("waiting")
            with pytest.raises(Unavailable):
                await asyncio.wait_for(said(socket), 20)


class TestKeys:
    def test_the_servers_key(self, pem: str) -> None:
        """RSA of 2048 bits; what was encrypted for it opens, with the mask that was named only."""
        key = ServerKey(pem)
        public_key = serialization.load_pem_public_key(key.public_pem.encode())
        assert isinstance(public_key, rsa.RSAPublicKey)

        assert 2048 == public_key.key_size
        assert "pass wörd" == key.decrypt(sealed(pem, "pass wörd"), "sha1")
        for broken in (sealed(pem, "x")[:-8], "", "?", "é"):
            with pytest.raises(Undecryptable):
                key.decrypt(broken, "sha1")
        with pytest.raises(Undecryptable):
            key.decrypt(sealed(pem, "x"), "sha256")

    @pytest.mark.parametrize("bits", [1024, 2047])
    def test_short_client_keys(self, bits: int) -> None:
        with pytest.raises(NoPublicKey):
            ClientKey(public(rsa.generate_private_key(public_exponent=65537, key_size=bits)))

    def test_client_keys_that_are_none(self, pem: str) -> None:
        """A private key is none, either; nor is one of megabytes looked at."""
        for text in ("", "x", pem, public(rsa.generate_private_key(public_exponent=65537, key_size=2048)) + " " * 5000, "\ud800"):
            with pytest.raises(NoPublicKey):
                ClientKey(text)

    def test_masks(self) -> None:
        assert ["sha1", "sha1", "sha256", "sha256", "sha256"] == list(map(mask_of, ("sha1", "SHA-1", "sha256", "SHA256", "sha-256")))
        assert [None, None] == list(map(mask_of, ("", "md5")))
