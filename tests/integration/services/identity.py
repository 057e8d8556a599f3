"""What the tests of logins and tokens share: both services over a world, and a login in it."""

import base64
import hashlib
import hmac
import json
from typing import Any

import argon2
import jwt
import pytest

from router.domain.account import Account
from router.domain.scopes import ALL
from router.services.logins import Logins
from router.services.tokens import Minted, Tokens
from tests.integration.services.world import World

SECRET = "a secret of forty-eight characters, as up makes it"
LOGIN, PASSWORD = "shop", "correct horse battery"
ALL_SCOPES = frozenset((ALL,))


def cheapen_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a password costs is not what is tested here."""
    monkeypatch.setattr("router.services.passwords._hasher", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


class Identity:
    """`settings` are those of `Tokens`."""

    def __init__(self, world: World, secret: str = SECRET, **settings: int) -> None:
        self.world = world
        about = {"access_seconds": 900, "refresh_seconds": 86400, "max_families": 100} | settings
        self.tokens = Tokens(world.store, world.accounts, world.clock, secret, **about)
        self.logins = Logins(world.store, world.accounts, world.admin, self.tokens, world.clock, world.settings)

    async def account(self, login: str = LOGIN, password: str = PASSWORD) -> Account:
        account, _ = await self.world.admin.create("test", login=login, password=password)
        return account

    async def mint(self, account: Account, *scopes: str, ttl: int | None = None) -> Minted:
        return await self.tokens.mint(account, ALL_SCOPES, scopes or ("messages:send",), ttl)


def basic(login: str = LOGIN, password: str = PASSWORD) -> str:
    return f"Basic {base64.b64encode(f'{login}:{password}'.encode()).decode()}"


def bearer(token: str) -> str:
    return f"Bearer {token}"


def forge(claims: Any, key: str | bytes = SECRET, header: Any = None, digest: str = "sha256") -> str:
    """A token by hand: PyJWT refuses to make most of what an attacker would."""
    signed = ".".join(_segment(part) for part in (header or {"alg": "HS256", "typ": "JWT"}, claims))
    key = key.encode() if isinstance(key, str) else key
    return f"{signed}.{_base64(hmac.new(key, signed.encode(), getattr(hashlib, digest)).digest())}"


def _segment(part: Any) -> str:
    return _base64(part if isinstance(part, bytes) else json.dumps(part).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, whoever signed it and whenever."""
    return dict(jwt.decode(token, options={"verify_signature": False}))
