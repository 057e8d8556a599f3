"""Tokens of SMSGate's API: JWTs that are signed, short-lived, and checked against their family at every call.

A grant begins a *family*. Each of its generations is an access token and the refresh token that is exchanged for the next generation, once.
An exchanged refresh token that is shown again was stolen, or replaced a stolen one: nobody can tell which, so its family ends
(RFC 9700, 4.14.2). A token's `jti` names its family and generation, so that the store holds one small hash per family and no token.
"""

import re
import secrets
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Self

import jwt
import msgspec
import structlog

from router.clock import Clock
from router.domain.account import Account
from router.domain.errors import Forbidden, Invalid, Unauthorized
from router.domain.scopes import REFRESH, SCOPES, covers
from router.services.accounts import AccountDirectory
from router.store.store import Store
from router.store.tokens import TokenFamilies

_log = structlog.get_logger()
_ALGORITHM: Final = "HS256"
_ISSUER: Final = "seedrouter"
_REQUIRED: Final = ["iss", "sub", "jti", "iat", "exp"]
_EARLY_SECONDS: Final = 5
"""By how much another process' clock may be ahead of ours: each is corrected by what was measured (`router/clock.py`)."""
_LONGEST: Final = 4096
"""Characters of a token; ours have some 500."""
_JTI: Final = re.compile(r"([A-Za-z0-9_-]{14})([0-9a-f]{6})([ar])")
_LAST_GENERATION: Final = 16**6 - 1


class TokenId(msgspec.Struct, frozen=True):
    """What a `jti` says: 14 characters of the family, 6 hex digits of the generation, `a` for access or `r` for refresh: 21 in all."""

    family: str
    generation: int
    is_refresh: bool = False

    def __str__(self) -> str:
        return f"{self.family}{self.generation:06x}{'r' if self.is_refresh else 'a'}"

    @classmethod
    def parse(cls, jti: str) -> Self | None:
        """None for what none of ours looks like."""
        found = _JTI.fullmatch(jti)
        return cls(found[1], int(found[2], 16), found[3] == "r") if found else None


class Shown(msgspec.Struct, frozen=True):
    """A token that is good: whose it is, what it is for, and which it is."""

    account: Account
    scopes: frozenset[str]
    id: TokenId


class Minted(msgspec.Struct, frozen=True):
    """A pair of tokens. `id` and `expires_at` (Unix seconds) are the access token's."""

    id: str
    access_token: str
    refresh_token: str
    expires_at: int


class _Claims(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    iss: str
    sub: str
    jti: str
    iat: int
    exp: int
    user_id: str
    scopes: tuple[str, ...]
    rev: int
    """The account's `password_rev` at the grant."""
    original_scopes: tuple[str, ...] = ()
    nbf: int | None = None


class Tokens:
    """One per api process. Without a secret, no token is given out and none is good."""

    def __init__(
        self, store: Store, accounts: AccountDirectory, clock: Clock, secret: str, *, access_seconds: int, refresh_seconds: int,
        max_families: int,
    ) -> None:  # fmt: skip
        self._store = store
        self._accounts = accounts
        self._clock = clock
        self._secret = secret
        self._access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds
        self._max_families = max_families

    @property
    def offered(self) -> bool:
        """Does this router give out tokens?"""
        return bool(self._secret)

    async def authenticate(self, token: str) -> Shown:
        """Whose token it is; one round trip. Raises `Unauthorized`.

        A refresh token that was exchanged before passes, with nothing but its own scope: `refresh` is where its family ends.
        """
        claims, id = self._read(token)
        batch = self._store.batch()
        state_at = TokenFamilies.state(batch, claims.sub, id.family, id.generation)
        revision_at = self._accounts.ask_revision(batch, claims.sub)
        answers = await batch.run()
        state = TokenFamilies.parse_state(answers[state_at])
        is_exchanged = id.is_refresh and id.generation < state.current
        if state.revoked or (state.dead and not is_exchanged) or not 0 < id.generation <= state.current:
            raise Unauthorized("the token was revoked")
        account = await self._accounts.at_revision(claims.sub, answers[revision_at])
        if account.password_rev != claims.rev:
            raise Unauthorized("the password was changed since")
        return Shown(account, frozenset(claims.scopes), id)

    async def mint(self, account: Account, held: AbstractSet[str], scopes: Sequence[str], ttl_seconds: int | None) -> Minted:
        """Begins a family with these scopes, of which the caller must hold each himself. No `ttl_seconds`, or 0, is the longest there is.

        Raises `Invalid`, `Forbidden`.
        """
        access_seconds = self._ttl(ttl_seconds)
        wanted = tuple(dict.fromkeys(scopes))
        if not wanted:
            raise Invalid("scopes", "at least one")
        for scope in wanted:
            if scope not in SCOPES:
                # What was asked for is anybody's text, of any length
                raise Invalid("scopes", f"unknown scope: {scope[:40]!a}")
        for scope in wanted:
            if not covers(held, scope):
                raise Forbidden(f"scope required: {scope}")
        now = self._clock.now()
        id = TokenId(secrets.token_urlsafe(10), 1)
        batch = self._store.batch()
        place = TokenFamilies.mint(
            batch, account.id, id.family, now=now, refresh_seconds=self._refresh_seconds, access_seconds=access_seconds,
            most=self._max_families,
        )  # fmt: skip
        if too_many := (await batch.run())[place]:
            batch = self._store.batch()
            TokenFamilies.forget(batch, account.id, too_many)
            await batch.run()
            _log.info("tokens.forgotten", account=account.id, families=len(too_many))
        return self._pair(account.id, account.password_rev, id, wanted, access_seconds, now)

    async def refresh(self, token: str) -> Minted:
        """Exchanges a refresh token, once. Raises `Unauthorized`, for one that was exchanged before too: then its whole family ends;
        and `Forbidden` for an access token.
        """
        claims, id = self._read(token)
        if not id.is_refresh:
            raise Forbidden(f"scope required: {REFRESH}")
        if id.generation >= _LAST_GENERATION:
            raise Unauthorized("the family is used up")
        now = self._clock.now()
        batch = self._store.batch()
        place = TokenFamilies.refresh(batch, claims.sub, id.family, id.generation, now=now, refresh_seconds=self._refresh_seconds)
        refreshed = TokenFamilies.parse_refreshed((await batch.run())[place])
        if refreshed.outcome == "replay":
            _log.warning("tokens.replayed", account=claims.sub, family=id.family, generation=id.generation)
        if refreshed.outcome != "ok":
            raise Unauthorized("the token was revoked, or exchanged before")
        access_seconds = min(refreshed.ttl_seconds, self._access_seconds)
        next_id = TokenId(id.family, refreshed.generation)
        return self._pair(claims.sub, claims.rev, next_id, claims.original_scopes, access_seconds, now)

    async def revoke(self, account: Account, jti: str) -> None:
        """Ends the access token of that id and its refresh token, or the refresh token of that id and its access token.

        Any id will do: one of another account, or of none, ends nothing.
        """
        id = TokenId.parse(jti)
        if id is None or not id.generation:
            return
        batch = self._store.batch()
        TokenFamilies.revoke(
            batch, account.id, id.family, id.generation, now=self._clock.now(), access_seconds=self._access_seconds
        )  # fmt: skip
        await batch.run()

    def _ttl(self, asked: int | None) -> int:
        if asked is not None and asked < 0:
            raise Invalid("ttl", "must not be negative")
        return min(asked or self._access_seconds, self._access_seconds)

    def _pair(
        self, account_id: str, password_rev: int, id: TokenId, scopes: tuple[str, ...], access_seconds: int, now: float
    ) -> Minted:
        at = int(now)
        access = _Claims(
            iss=_ISSUER, sub=account_id, jti=str(id), iat=at, exp=at + access_seconds, user_id=account_id, scopes=scopes, rev=password_rev
        )
        refresh = msgspec.structs.replace(
            access, jti=str(TokenId(id.family, id.generation, is_refresh=True)), exp=at + self._refresh_seconds, scopes=(REFRESH,),
            original_scopes=scopes,
        )  # fmt: skip
        return Minted(access.jti, self._sign(access), self._sign(refresh), access.exp)

    def _sign(self, claims: _Claims) -> str:
        return jwt.encode(msgspec.to_builtins(claims), self._secret, algorithm=_ALGORITHM)

    def _read(self, token: str) -> tuple[_Claims, TokenId]:
        """A token's claims, if we have signed them and their time is now. Raises `Unauthorized`; nothing is asked of the store.

        The times are compared here, since PyJWT knows only this machine's clock.
        """
        if not self._secret or len(token) > _LONGEST:
            raise Unauthorized("no such token")
        options = {"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
        try:
            payload = jwt.decode(token, self._secret, algorithms=[_ALGORITHM], issuer=_ISSUER, options=options)  # type: ignore[arg-type]
            claims = msgspec.convert(payload, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError) as error:
            raise Unauthorized("not a token of ours") from error
        now = self._clock.now()
        if claims.exp <= now:
            raise Unauthorized("the token has expired")
        if max(claims.iat, claims.nbf or 0) > now + _EARLY_SECONDS:
            raise Unauthorized("the token is not good yet")
        id = TokenId.parse(claims.jti)
        if id is None or claims.user_id != claims.sub or id.is_refresh != (claims.scopes == (REFRESH,)):
            raise Unauthorized("not a token of ours")
        return claims, id
