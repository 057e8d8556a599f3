"""Tokens: what they say, their rotation, and everything that ends them. A family is one grant and what was refreshed from it."""

import asyncio
from typing import Any

import jwt
import pytest
from msgspec.structs import replace

from router.domain.errors import Forbidden, Invalid, RouterError, Unauthorized
from router.domain.scopes import SCOPES
from router.services.tokens import Minted, TokenId
from tests.integration.services.identity import ALL_SCOPES, PASSWORD, Identity, cheapen_passwords, claims_of, forge
from tests.integration.services.world import World
from tests.integration.store.kit import NOW, ask, everything

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    cheapen_passwords(monkeypatch)


@pytest.fixture
def identity(world: World) -> Identity:
    return Identity(world)


async def is_good(identity: Identity, token: str) -> bool:
    try:
        await identity.tokens.authenticate(token)
    except Unauthorized:
        return False
    return True


async def outcome(call: Any) -> str:
    try:
        await call
    except RouterError as error:
        return type(error).__name__
    return "ok"


class TestMint:
    async def test_what_a_pair_says(self, identity: Identity) -> None:
        """Ids of 21 characters; the refresh token can do nothing else, and knows what the access token may."""
        account = await identity.account()
        minted = await identity.mint(account, "messages:send", "messages:read")

        access, refresh = claims_of(minted.access_token), claims_of(minted.refresh_token)
        common = {"iss": "seedrouter", "sub": account.id, "user_id": account.id, "iat": int(NOW), "rev": 0}
        assert access == common | {"jti": minted.id, "exp": int(NOW) + 900, "scopes": ["messages:send", "messages:read"]}
        assert refresh == common | {
            "jti": refresh["jti"], "exp": int(NOW) + 86400, "scopes": ["tokens:refresh"],
            "original_scopes": ["messages:send", "messages:read"],
        }  # fmt: skip
        assert (21, 21) == (len(minted.id), len(refresh["jti"]))
        assert minted.id != refresh["jti"]
        assert {"alg": "HS256", "typ": "JWT"} == jwt.get_unverified_header(minted.access_token)
        assert int(NOW) + 900 == minted.expires_at

    @pytest.mark.parametrize(
        ("asked", "granted"), [(None, 900), (0, 900), (1, 1), (899, 899), (900, 900), (901, 900), (10**30, 900)]
    )
    async def test_ttl(self, identity: Identity, asked: int | None, granted: int) -> None:
        """None and 0 are the maximum, more is clamped to it."""
        minted = await identity.mint(await identity.account(), ttl=asked)

        assert int(NOW) + granted == minted.expires_at == claims_of(minted.access_token)["exp"]

    async def test_what_cannot_be_asked_for(self, identity: Identity) -> None:
        account = await identity.account()

        for scopes, ttl in [((), None), (("messages:sent",), None), (("",), None), (("tokens:refresh",), None), (("logs:read",), -1)]:
            with pytest.raises(Invalid):
                await identity.tokens.mint(account, ALL_SCOPES, scopes, ttl)

    @pytest.mark.parametrize("scope", sorted(SCOPES))
    async def test_nobody_gives_what_he_has_not(self, identity: Identity, scope: str) -> None:
        """Whoever holds all but one scope cannot mint that one, and `all:any` least of all."""
        account = await identity.account()
        held = SCOPES - {scope, "all:any"}

        assert "Forbidden" == await outcome(identity.tokens.mint(account, held, [scope], None))
        assert "ok" == await outcome(identity.tokens.mint(account, ALL_SCOPES, [scope], None))

    async def test_families_are_bounded(self, world: World, redis_url: str) -> None:
        """One more than an account may have ends the oldest, and leaves nothing of it."""
        identity = Identity(world, max_families=3)
        account = await identity.account()
        minted = []
        for _ in range(5):
            minted.append(await identity.mint(account))
            world.clock.advance(1)

        assert [False, False, True, True, True] == [await is_good(identity, one.access_token) for one in minted]
        assert 3 == sum(":tokens:" in key for key in everything(redis_url))

    async def test_a_family_that_is_in_use_stays(self, world: World) -> None:
        """The oldest is the one whose refresh token ends first, not whose grant was first."""
        identity = Identity(world, max_families=2)
        account = await identity.account()
        used = await identity.mint(account)
        world.clock.advance(1)
        unused = await identity.mint(account)
        world.clock.advance(1)
        used = await identity.tokens.refresh(used.refresh_token)
        await identity.mint(account)

        assert [True, False] == [await is_good(identity, each.access_token) for each in (used, unused)]

    async def test_everything_ends_with_the_refresh_token(self, identity: Identity) -> None:
        """Redis forgets a family when its last refresh token is over, and the account's list forgets it too."""
        account, store = await identity.account(), identity.world.store
        minted = await identity.mint(account)
        family = TokenId.parse(minted.id)
        assert family is not None
        keys = [store.accounts.key(account.id, part) for part in ("tokens", f"tokens:{family.family}")]

        async def lives() -> bool:
            return all([86390 < await ask(store, lambda batch, key=key: batch.add("TTL", key)) <= 86400 for key in keys])

        assert await lives()
        for key in keys:
            await ask(store, lambda batch, key=key: batch.add("EXPIRE", key, 60))
        await identity.tokens.refresh(minted.refresh_token)
        assert await lives()
        identity.world.clock.advance(86401)
        await identity.mint(account)
        assert 1 == await ask(store, lambda batch: batch.add("ZCARD", keys[0]))


class TestRefresh:
    async def test_rotation(self, identity: Identity) -> None:
        """The next pair has the same scopes and the same time to live; the older access token lives its time out."""
        account = await identity.account()
        first = await identity.mint(account, "messages:send", "tokens:manage", ttl=60)
        second = await identity.tokens.refresh(first.refresh_token)
        third = await identity.tokens.refresh(second.refresh_token)

        shown = await identity.tokens.authenticate(third.access_token)
        assert {"messages:send", "tokens:manage"} == shown.scopes
        assert account.id == shown.account.id
        assert int(NOW) + 60 == third.expires_at
        assert await is_good(identity, first.access_token)
        assert 3 == len({first.id, second.id, third.id})

    async def test_replay_ends_the_family(self, identity: Identity) -> None:
        """An exchanged refresh token that is shown again ends every token of its family, and none of another one."""
        account = await identity.account()
        first, other = await identity.mint(account), await identity.mint(account)
        second = await identity.tokens.refresh(first.refresh_token)
        third = await identity.tokens.refresh(second.refresh_token)
        assert await is_good(identity, third.access_token)

        assert "Unauthorized" == await outcome(identity.tokens.refresh(first.refresh_token))
        for dead in (first, second, third):
            assert not await is_good(identity, dead.access_token)
            assert "Unauthorized" == await outcome(identity.tokens.refresh(dead.refresh_token))
        assert await is_good(identity, other.access_token)
        assert "ok" == await outcome(identity.tokens.refresh(other.refresh_token))

    async def test_two_at_once(self, identity: Identity, second: World) -> None:
        """Two processes exchange one refresh token: exactly one wins; that it was shown twice ends the family."""
        minted = await identity.mint(await identity.account())
        elsewhere = Identity(second)
        results = await asyncio.gather(
            *(each.tokens.refresh(minted.refresh_token) for each in (identity, elsewhere) for _ in range(5)), return_exceptions=True
        )

        won = [result for result in results if isinstance(result, Minted)]
        assert 1 == len(won)
        assert 9 == sum(isinstance(result, Unauthorized) for result in results)
        assert not await is_good(elsewhere, won[0].access_token)

    async def test_an_access_token_refreshes_nothing(self, identity: Identity) -> None:
        minted = await identity.mint(await identity.account())

        with pytest.raises(Forbidden, match="tokens:refresh"):
            await identity.tokens.refresh(minted.access_token)
        assert "ok" == await outcome(identity.tokens.refresh(minted.refresh_token))

    async def test_a_later_refresh_keeps_the_family(self, identity: Identity) -> None:
        """The family's time begins anew with each refresh, in the index too."""
        account = await identity.account()
        minted = await identity.mint(account)
        identity.world.clock.advance(80_000)
        minted = await identity.tokens.refresh(minted.refresh_token)
        identity.world.clock.advance(80_000)
        await identity.mint(account)

        assert int(NOW) + 80_000 + 86400 == claims_of(minted.refresh_token)["exp"]
        assert "ok" == await outcome(identity.tokens.refresh(minted.refresh_token))


class TestRevoke:
    async def test_by_the_id_of_either(self, identity: Identity) -> None:
        """Revoking one of a pair ends both."""
        account = await identity.account()
        for pick in ("access_token", "refresh_token"):
            minted = await identity.mint(account)
            await identity.tokens.revoke(account, claims_of(getattr(minted, pick))["jti"])

            assert not await is_good(identity, minted.access_token)
            assert "Unauthorized" == await outcome(identity.tokens.refresh(minted.refresh_token))

    async def test_one_generation(self, identity: Identity) -> None:
        """An older generation that is revoked leaves the current one alone; its replay still ends the family."""
        account = await identity.account()
        first = await identity.mint(account)
        second = await identity.tokens.refresh(first.refresh_token)
        await identity.tokens.revoke(account, first.id)

        assert not await is_good(identity, first.access_token)
        assert await is_good(identity, second.access_token)
        assert {"tokens:refresh"} == (await identity.tokens.authenticate(first.refresh_token)).scopes
        assert "Unauthorized" == await outcome(identity.tokens.refresh(first.refresh_token))
        assert not await is_good(identity, second.access_token)

    async def test_dead_generations_are_forgotten(self, identity: Identity) -> None:
        """A family that is refreshed and revoked for ever does not grow; the current generation is never forgotten."""
        account = await identity.account()
        minted = await identity.mint(account)
        for _ in range(4):
            older, minted = minted, await identity.tokens.refresh(minted.refresh_token)
            await identity.tokens.revoke(account, older.id)
            identity.world.clock.advance(901)
        await identity.tokens.revoke(account, minted.id)
        identity.world.clock.advance(901)
        await identity.tokens.revoke(account, older.id)
        family = TokenId.parse(minted.id)
        assert family is not None
        key = identity.world.store.accounts.key(account.id, f"tokens:{family.family}")
        fields = await ask(identity.world.store, lambda batch: batch.add("HKEYS", key))

        assert {b"gen", b"ttl", b"dead:4", b"dead:5"} == set(fields)
        assert "Unauthorized" == await outcome(identity.tokens.refresh(minted.refresh_token))

    async def test_what_is_not_the_callers(self, identity: Identity, redis_url: str) -> None:
        """Another account's id, a generation yet to come, and any text: nothing ends, and nothing is written."""
        mine, other = await identity.account(), await identity.account("other")
        minted = await identity.mint(other)
        id = TokenId.parse(minted.id)
        assert id is not None
        before = everything(redis_url)
        for jti in ("", "x" * 21, "x" * 5000, "}{", "\x00", TokenId("A" * 14, 1).__str__(), TokenId("A" * 14, 0).__str__()):
            await identity.tokens.revoke(other, jti)
        await identity.tokens.revoke(mine, minted.id)
        await identity.tokens.revoke(other, str(replace(id, generation=2)))

        assert before == everything(redis_url)
        assert await is_good(identity, minted.access_token)


class TestAuthenticate:
    async def test_a_call_is_one_round_trip(self, identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
        """And what it finds out is the account as it is now."""
        account = await identity.account()
        minted = await identity.mint(account)
        await identity.tokens.authenticate(minted.access_token)
        batches = []
        made = identity.world.store.batch
        monkeypatch.setattr(identity.world.store, "batch", lambda: batches.append(made()) or batches[-1])
        await identity.tokens.authenticate(minted.access_token)

        assert 1 == len(batches)

    async def test_a_changed_password_ends_all(self, identity: Identity, second: World) -> None:
        """In every process, at once; tokens of before cannot be refreshed either."""
        account = await identity.account()
        elsewhere = Identity(second)
        minted = await identity.mint(account)
        assert await is_good(elsewhere, minted.access_token)
        await identity.logins.change_password(account, PASSWORD, "another long password")

        assert not await is_good(elsewhere, minted.access_token)
        assert not await is_good(elsewhere, minted.refresh_token)
        newer = await identity.mint(await identity.world.admin.get(account.id))
        assert await is_good(elsewhere, newer.access_token)

    async def test_its_time(self, identity: Identity) -> None:
        """Good until the second before `exp`; another process' clock may be some seconds ahead, and not more."""
        account = await identity.account()
        minted = await identity.mint(account, ttl=60)
        times = {-6: False, -5: True, 0: True, 59: True, 60: False, 61: False}
        found = {}
        for seconds in times:
            identity.world.clock.at = NOW + seconds
            found[seconds] = await is_good(identity, minted.access_token)

        assert times == found

    async def test_without_a_secret(self, world: World) -> None:
        """Nothing is given out, and nothing is good: not even what is signed with nothing."""
        off, on = Identity(world, secret=""), Identity(world)
        account = await on.account()
        minted = await on.mint(account)
        claims = claims_of(minted.access_token)

        assert not off.tokens.offered
        assert on.tokens.offered
        assert not await is_good(off, minted.access_token)
        assert not await is_good(off, forge(claims, ""))
        assert not await is_good(on, jwt.encode(claims, "", algorithm="none"))

    @pytest.mark.parametrize(
        "changes",
        [
            {"iss": "somebody"}, {"iss": None}, {"sub": "ac_another"}, {"user_id": "ac_another"}, {"jti": "x" * 21}, {"jti": None},
            {"exp": None}, {"exp": "2100000000"}, {"exp": 2.1e9}, {"exp": True}, {"iat": None}, {"iat": int(NOW) + 60},
            {"nbf": int(NOW) + 60}, {"aud": "others"},
            {"rev": 1}, {"rev": None}, {"scopes": "messages:send"}, {"scopes": None}, {"scopes": ["tokens:refresh"]},
            {"sub": 7}, {"jti": 7},
        ],
        ids=str,
    )  # fmt: skip
    async def test_a_claim_that_is_not_ours(self, identity: Identity, changes: dict[str, Any]) -> None:
        """Each claim is looked at, even below a right signature; None takes it away."""
        account = await identity.account()
        claims = claims_of((await identity.mint(account)).access_token)
        changed = {name: value for name, value in (claims | changes).items() if value is not None}

        assert await is_good(identity, forge(claims))
        assert not await is_good(identity, forge(changed))

    async def test_of_an_emptied_store(self, identity: Identity, redis_url: str) -> None:
        """A token whose family nobody knows is void, and so is one of a generation that a restored store has not seen."""
        account = await identity.account()
        first = await identity.mint(account)
        second = await identity.tokens.refresh(first.refresh_token)
        id = TokenId.parse(second.id)
        assert id is not None
        key = identity.world.store.accounts.key(account.id, f"tokens:{id.family}")
        await ask(identity.world.store, lambda batch: batch.add("HSET", key, "gen", 1))
        assert await is_good(identity, first.access_token)
        assert not await is_good(identity, second.access_token)
        assert "Unauthorized" == await outcome(identity.tokens.refresh(second.refresh_token))
        await ask(identity.world.store, lambda batch: batch.add("DEL", key))

        assert not await is_good(identity, first.access_token)
        assert "Unauthorized" == await outcome(identity.tokens.refresh(first.refresh_token))
        assert not any(":tokens:" in name for name in everything(redis_url))
