"""Who is calling: passwords that are checked slowly once and then remembered, and codes with which phones join."""

import asyncio
import base64
from typing import Any

import argon2
import pytest

from router.domain.account import Account
from router.domain.errors import Conflict, Forbidden, Invalid, LimitReached, NotFound, RouterError, Unauthorized, Unavailable
from router.services import passwords
from router.services.logins import Caller, OneTimeCode
from tests.integration.services.identity import ALL_SCOPES, LOGIN, PASSWORD, Identity, basic, bearer, cheapen_passwords
from tests.integration.services.world import World
from tests.integration.store.kit import NOW, everything, strings_of

pytestmark = pytest.mark.anyio
NEW = "another long password"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheapen_passwords(monkeypatch)


@pytest.fixture
def identity(world: World) -> Identity:
    return Identity(world)


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The passwords that were really compared, one entry per slow check."""
    seen: list[str] = []
    is_password = passwords.is_password

    def watched(password_hash: str, password: str) -> bool:
        seen.append(password)
        return is_password(password_hash, password)

    monkeypatch.setattr(passwords, "is_password", watched)
    return seen


async def outcome(call: Any) -> str:
    try:
        await call
    except RouterError as error:
        return type(error).__name__
    return "ok"


class TestBasic:
    async def test_a_caller(self, identity: Identity) -> None:
        """Whoever shows the password may do everything but refresh."""
        account = await identity.account()
        caller = await identity.logins.authenticate(basic())

        assert (account.id, ALL_SCOPES, "") == (caller.account.id, caller.scopes, caller.family)
        assert caller.credential.holds(account)
        assert caller.may("messages:send")
        assert caller.may("all:any")
        assert not caller.may("tokens:refresh")

    @pytest.mark.parametrize(
        "header",
        [
            "", "Basic", "Basic ", "Basic !", "Basic c2hvcA==", f"Basic {base64.b64encode(bytes([0xFF, 0x3A, 0xFE])).decode()}",
            basic(password=""), basic(login=""), basic(login="shop2"), basic(password=PASSWORD + " "), basic(password=PASSWORD[:-1]),
            basic(LOGIN.upper()), basic(login="x" * 100_000), basic(login="a}b{"), basic(password="x" * 100_000),
            basic() + "x", f"Digest {basic()[6:]}", basic()[6:], "Bearer", "Bearer ", "Bearer x", "Bearer é.è.ê", "Bearer " + "x" * 100_000,
            "Bearer ...", "Bearer " + "." * 5000, bearer(basic()[6:]),
        ],
        ids=lambda header: header[:30],
    )  # fmt: skip
    async def test_refused(self, identity: Identity, header: str) -> None:
        """Whatever is wrong, it is the one answer."""
        await identity.account()

        assert "Unauthorized" == await outcome(identity.logins.authenticate(header))

    async def test_spellings(self, identity: Identity) -> None:
        """The scheme in any case; a password with a colon, and in any script."""
        await identity.account("colon", "a:b:c and some more")
        await identity.account("script", "пароль ☎ كلمة السر")

        for header in (basic("colon", "a:b:c and some more"), basic("script", "пароль ☎ كلمة السر")):
            for spelt in (header, header.replace("Basic", "BASIC"), header.replace("Basic ", "basic   ")):
                assert "ok" == await outcome(identity.logins.authenticate(spelt))

    async def test_an_account_without_a_login(self, world: World, identity: Identity) -> None:
        """No password is right where there is none."""
        await world.admin.create("keys only")

        for header in (basic("", ""), basic("-", ""), basic("keys only", "")):
            assert "Unauthorized" == await outcome(identity.logins.authenticate(header))

    async def test_disabled(self, world: World, identity: Identity) -> None:
        """Forbidden to who shows the right password or token, remembered or not; nobody else learns it."""
        account = await identity.account()
        token = (await identity.mint(account)).access_token
        assert "ok" == await outcome(identity.logins.authenticate(basic()))
        await world.admin.change(account.id, enabled=False)

        for logins in (identity.logins, Identity(world).logins):
            for header in (basic(), bearer(token)):
                with pytest.raises(Forbidden):
                    await logins.authenticate(header)
            assert "Unauthorized" == await outcome(logins.authenticate(basic(password="wrong password")))
        await world.admin.change(account.id, enabled=True)
        assert "ok" == await outcome(identity.logins.authenticate(basic()))


class TestMemory:
    async def test_one_slow_check(self, identity: Identity, checks: list[str]) -> None:
        """A right password is compared once, also when many calls show it at once; a wrong one each time."""
        await identity.account()
        await asyncio.gather(*(identity.logins.authenticate(basic()) for _ in range(20)))
        await identity.logins.authenticate(basic())
        assert [PASSWORD] == checks
        for _ in range(2):
            assert "Unauthorized" == await outcome(identity.logins.authenticate(basic(password="wrong")))

        assert [PASSWORD, "wrong", "wrong"] == checks

    async def test_a_change_is_seen_everywhere_at_once(self, identity: Identity, second: World) -> None:
        """A remembered password is refused by every process right after the change, and the new one is taken."""
        account = await identity.account()
        both = (identity.logins, Identity(second).logins)
        for logins in both:
            await logins.authenticate(basic())
        await both[0].change_password(account, PASSWORD, NEW)

        for logins in both:
            assert "Unauthorized" == await outcome(logins.authenticate(basic()))
            assert "ok" == await outcome(logins.authenticate(basic(password=NEW)))
            assert "Unauthorized" == await outcome(logins.authenticate(basic()))

    async def test_changed_while_it_was_checked(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        """What was right when the check began is refused when the password was changed before it ended."""
        account = await identity.account()
        is_password = passwords.is_password
        loop = asyncio.get_running_loop()

        def slow(password_hash: str, password: str) -> bool:
            is_right = is_password(password_hash, password)
            monkeypatch.setattr(passwords, "is_password", is_password)
            asyncio.run_coroutine_threadsafe(identity.logins.change_password(account, PASSWORD, NEW), loop).result(30)
            return is_right

        monkeypatch.setattr(passwords, "is_password", slow)

        assert "Unauthorized" == await outcome(identity.logins.authenticate(basic()))
        assert "ok" == await outcome(identity.logins.authenticate(basic(password=NEW)))

    async def test_an_unknown_login_costs_the_same(self, identity: Identity, checks: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        """One slow comparison with a real hash, and as many round trips; and not even that hash's password is right."""
        await identity.account()
        compared: list[str] = []

        class Watched:
            def verify(self, password_hash: str, password: bytes) -> bool:
                compared.append(password_hash)
                if password_hash != nobodys:
                    raise argon2.exceptions.VerifyMismatchError
                return True

        nobodys = "$argon2id$ whose password somebody guessed"
        monkeypatch.setattr(passwords, "_hasher", Watched())
        monkeypatch.setattr(passwords, "_nobodys", lambda: nobodys)
        costs = []
        made = identity.world.store.batch
        for login in (LOGIN, "nobody", "no such shape ☎"):
            trips: list[int] = []
            monkeypatch.setattr(identity.world.store, "batch", lambda trips=trips: trips.append(1) or made())
            assert "Unauthorized" == await outcome(identity.logins.authenticate(basic(login, "wrong")))
            costs.append((len(trips), len(checks)))
            checks.clear()

        assert [(2, 1)] * 3 == costs
        assert ["$argon2id$", "$argon2id$", "$argon2id$"] == [password_hash[:10] for password_hash in compared]

    async def test_a_remembered_password_is_one_round_trip(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        await identity.account()
        await identity.logins.authenticate(basic())
        trips: list[int] = []
        made = identity.world.store.batch
        monkeypatch.setattr(identity.world.store, "batch", lambda: trips.append(1) or made())
        await identity.logins.authenticate(basic())

        assert 1 == len(trips)

    async def test_bounded(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is remembered, and what is being checked; it holds no password and no login."""
        monkeypatch.setattr("router.services.logins._KEPT", 2)
        for login in ("one", "two", "three"):
            await identity.account(login)
            await identity.logins.authenticate(basic(login))

        assert 2 == len(identity.logins._proven)
        assert {} == identity.logins._proofs
        assert not any(secret in repr(identity.logins._proven) for secret in (PASSWORD, "three"))

    async def test_too_many_at_once(self, redis_url: str) -> None:
        """Beyond the bound a caller hears 503, and those before are answered; later there is room again."""
        world = World(redis_url, max_password_checks=1)
        identity = Identity(world)
        await identity.account()
        calls = [identity.logins.authenticate(basic(password=f"guess {number}")) for number in range(6)]
        results = await asyncio.gather(*calls, return_exceptions=True)

        assert [Unauthorized] * 3 + [Unavailable] * 3 == sorted(map(type, results), key=lambda kind: kind.__name__)
        assert "ok" == await outcome(identity.logins.authenticate(basic()))
        await world.close()

    async def test_two_threads(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        """Never more than two checks at once, and the loop goes on meanwhile."""
        running, most = [0], [0]
        is_password = passwords.is_password

        def watched(password_hash: str, password: str) -> bool:
            running[0] += 1
            most[0] = max(most[0], running[0])
            try:
                return is_password(password_hash, password)
            finally:
                running[0] -= 1

        monkeypatch.setattr(passwords, "is_password", watched)
        await asyncio.gather(*(outcome(identity.logins.login("nobody", str(number))) for number in range(8)))

        assert 1 <= most[0] <= 2


class TestChange:
    async def test_what_is_taken(self, identity: Identity) -> None:
        """14 characters or more, the current one first; a wrong one changes nothing."""
        account = await identity.account()
        for new in ("", "x" * 13, "x" * 257):
            with pytest.raises(Invalid):
                await identity.logins.change_password(account, PASSWORD, new)
        with pytest.raises(Unauthorized):
            await identity.logins.change_password(account, "wrong", NEW)

        assert "ok" == await outcome(identity.logins.authenticate(basic()))
        await identity.logins.change_password(account, PASSWORD, "x" * 14)
        assert "ok" == await outcome(identity.logins.authenticate(basic(password="x" * 14)))

    async def test_two_at_once(self, identity: Identity) -> None:
        """Of two changes that know the current password one is made."""
        account = await identity.account()
        calls = [identity.logins.change_password(account, PASSWORD, f"{NEW} {number}") for number in range(2)]
        outcomes = [await done for done in [asyncio.create_task(outcome(call)) for call in calls]]

        assert ["Unauthorized", "ok"] == sorted(outcomes)
        right = [f"{NEW} {number}" for number in range(2) if outcomes[number] == "ok"]
        assert "ok" == await outcome(identity.logins.authenticate(basic(password=right[0])))

    async def test_half_of_a_surrogate_pair(self, identity: Identity) -> None:
        """JSON can hold one: it is a password like any other, and no error of ours."""
        account = await identity.account()
        await identity.logins.change_password(account, PASSWORD, "\ud83d" * 14)

        assert (await identity.logins.login(LOGIN, "\ud83d" * 14)).id == account.id
        assert "Unauthorized" == await outcome(identity.logins.login(LOGIN, "\ud83d" * 13))

    async def test_by_an_operator(self, world: World, identity: Identity) -> None:
        """No current password is asked for; a login can be given to an account that has none, if it is free."""
        first, (second, _) = await identity.account(), await world.admin.create("keys only")
        token = (await identity.mint(first)).access_token
        await world.admin.set_password(first.id, "short but an operator's")
        assert "Unauthorized" == await outcome(identity.logins.authenticate(bearer(token)))
        assert "ok" == await outcome(identity.logins.authenticate(basic(password="short but an operator's")))

        refusals = [
            (Conflict, second.id, {"login": LOGIN}), (Invalid, second.id, {}), (Invalid, second.id, {"login": "a:b"}),
            (Conflict, first.id, {"login": "other"}), (NotFound, "ac_none", {}),
        ]  # fmt: skip
        for kind, account_id, fields in refusals:
            with pytest.raises(kind):
                await world.admin.set_password(account_id, NEW, **fields)
        with pytest.raises(Invalid):
            await world.admin.set_password(first.id, "7 chars")
        assert "own" == (await world.admin.set_password(second.id, NEW, "own")).login
        assert "ok" == await outcome(identity.logins.authenticate(basic("own", NEW)))
        await world.admin.set_password(second.id, NEW + "er", "own")
        assert "ok" == await outcome(identity.logins.authenticate(basic("own", NEW + "er")))

    async def test_no_password_stands_in_the_store(self, identity: Identity, redis_url: str) -> None:
        account = await identity.account()
        await identity.logins.authenticate(basic())
        await identity.logins.change_password(account, PASSWORD, NEW)
        minted = await identity.mint(account)
        stored = b" ".join(strings_of(everything(redis_url)))

        assert b"$argon2id$" in stored
        for secret in (PASSWORD, NEW, minted.access_token, minted.refresh_token.rpartition(".")[2]):
            assert secret.encode() not in stored


class TestCreate:
    async def test_a_login_of_its_own(self, identity: Identity) -> None:
        """An account for a phone: everything it needs to be an application too."""
        account, login, password = await identity.logins.create("Phone of the shop")

        assert "Phone of the shop" == account.name
        assert 14 <= len(password)
        assert account.id == (await identity.logins.login(login, password)).id
        again, other_login, other_password = await identity.logins.create("Phone of the shop")
        assert 3 == len({account.id, again.id, "x"})
        assert (login, password) != (other_login, other_password)


class TestCodes:
    async def test_once(self, identity: Identity, second: World) -> None:
        """Six digits, a minute, one use, in whichever process; of many at once one gets the account."""
        account = await identity.account()
        code = await identity.logins.new_code(account)
        both = (identity.logins, Identity(second).logins)
        results = await asyncio.gather(*(both[number % 2].redeem_code(code.code) for number in range(10)), return_exceptions=True)

        assert (6, NOW + 60, True) == (len(code.code), code.valid_until, code.code.isdigit())
        assert [account.id] == [result.id for result in results if isinstance(result, Account)]
        assert 9 == sum(isinstance(result, Unauthorized) for result in results)

    async def test_its_time(self, identity: Identity) -> None:
        """It ends after a minute, and with the next one of its account."""
        account, other = await identity.account(), await identity.account("other")
        first, others = await identity.logins.new_code(account), await identity.logins.new_code(other)
        newer = await identity.logins.new_code(account)
        assert "Unauthorized" == await outcome(identity.logins.redeem_code(first.code))
        assert account.id == (await identity.logins.redeem_code(newer.code)).id
        identity.world.clock.advance(59.9)
        assert other.id == (await identity.logins.redeem_code(others.code)).id
        last = await identity.logins.new_code(account)
        identity.world.clock.advance(60)

        assert "Unauthorized" == await outcome(identity.logins.redeem_code(last.code))

    async def test_nothing_is_kept(self, identity: Identity, redis_url: str) -> None:
        """Neither what was used nor what is over, however many there were."""
        accounts = [await identity.account(f"login{number}") for number in range(3)]
        for account in accounts:
            await identity.logins.new_code(account)
        identity.world.clock.advance(61)
        code = await identity.logins.new_code(accounts[0])
        await identity.logins.redeem_code(code.code)

        assert [] == [key for key in everything(redis_url) if key.startswith("codes:")]

    async def test_guessing(self, identity: Identity, second: World, redis_url: str) -> None:
        """So many wrong codes a minute are heard, whoever asks and whichever process: then not even the right one."""
        account = await identity.account()
        code = await identity.logins.new_code(account)
        both = (identity.logins, Identity(second).logins)
        wrong = [f"{(int(code.code) + number) % 10**6:06}" for number in range(1, 41)]
        outcomes = [await outcome(both[number % 2].redeem_code(guess)) for number, guess in enumerate(wrong)]

        assert ["Unauthorized"] * 20 + ["LimitReached"] * 20 == outcomes
        with pytest.raises(LimitReached) as refused:
            await both[0].redeem_code(code.code)
        assert 1 <= refused.value.retry_after_seconds <= 60

    async def test_what_has_no_shape_of_a_code(self, identity: Identity, redis_url: str) -> None:
        """Is wrong, and not counted: nobody is shut out by it."""
        for code in ("", "12345", "1234567", "12345a", "١٢٣٤٥٦", "12345\n", " 12345", "x" * 100_000):
            assert "Unauthorized" == await outcome(identity.logins.redeem_code(code))

        assert {} == {key: value for key, value in everything(redis_url).items() if key.startswith("codes:")}

    async def test_codes_that_another_has(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        """A code is one account's: the next is drawn, and after some tries none is given out."""
        account, other = await identity.account(), await identity.account("other")
        drawn = iter([7, 7, 7, 8, *[8] * 5])
        monkeypatch.setattr("router.services.logins.secrets.randbelow", lambda _: next(drawn))
        first, second = await identity.logins.new_code(account), await identity.logins.new_code(other)

        assert (OneTimeCode("000007", NOW + 60), OneTimeCode("000008", NOW + 60)) == (first, second)
        with pytest.raises(Unavailable):
            await identity.logins.new_code(account)
        assert other.id == (await identity.logins.redeem_code("000008")).id

    async def test_of_a_disabled_account(self, world: World, identity: Identity) -> None:
        account = await identity.account()
        code = await identity.logins.new_code(account)
        await world.admin.change(account.id, enabled=False)

        with pytest.raises(Forbidden):
            await identity.logins.redeem_code(code.code)


class TestBearer:
    async def test_a_caller(self, identity: Identity) -> None:
        """The token's scopes, and nothing else; its family is told."""
        account = await identity.account()
        minted = await identity.mint(account, "messages:send", "messages:read")
        caller: Caller = await identity.logins.authenticate(bearer(minted.access_token))

        assert (account.id, {"messages:send", "messages:read"}) == (caller.account.id, caller.scopes)
        assert minted.id.startswith(caller.family)
        assert 14 == len(caller.family)
        assert caller.may("messages:send")
        assert not any(caller.may(scope) for scope in ("messages:list", "all:any", "tokens:manage", "tokens:refresh", ""))

    async def test_a_refresh_token_may_refresh(self, identity: Identity) -> None:
        """And nothing else, whatever its access token may."""
        account = await identity.account()
        minted = await identity.mint(account, "all:any")
        caller = await identity.logins.authenticate(bearer(minted.refresh_token))

        assert caller.may("tokens:refresh")
        assert not any(caller.may(scope) for scope in ("messages:send", "all:any", "tokens:manage"))
        assert not (await identity.logins.authenticate(bearer(minted.access_token))).may("tokens:refresh")
