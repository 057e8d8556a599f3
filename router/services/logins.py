"""Who is calling SMSGate's API: a login and its password, a token made under it, or a code with which a phone joins."""

import asyncio
import base64
import binascii
import hashlib
import re
import secrets
from collections import OrderedDict
from typing import Final

import msgspec
import structlog

from router.clock import Clock
from router.domain.account import Account, Credential, PasswordCredential
from router.domain.errors import Forbidden, Invalid, LimitReached, Unauthorized, Unavailable
from router.domain.scopes import ALL, covers
from router.services.accounts import AccountAdmin, AccountDirectory
from router.services.passwords import LONGEST, PasswordChecks
from router.services.tokens import Tokens
from router.settings import Settings
from router.store.store import Store
from router.store.tokens import PhoneCodes

_log = structlog.get_logger()
_KEPT = 10_000
"""Passwords that were proven, in memory as keyed hashes."""
_SHORTEST_PASSWORD = 14
"""SMSGate's own rule; an operator may give a shorter one."""
_LOGIN: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_NOBODY: Final = "-"
"""No login is so short."""
_CODE: Final = re.compile(r"[0-9]{6}")
_CODE_SECONDS: Final = 60
_TRIES: Final = 5
"""At a code that no other account has."""
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""The app's field for the login begins with capitals; none here is taken for another."""


class Caller(msgspec.Struct, frozen=True):
    """Who is calling, and what for. `family` is the token's, empty where the password was shown."""

    account: Account
    scopes: frozenset[str]
    credential: Credential
    family: str = ""

    def may(self, scope: str) -> bool:
        """`all:any` is everything except `tokens:refresh`; a refresh token may only refresh."""
        return covers(self.scopes, scope)


class OneTimeCode(msgspec.Struct, frozen=True):
    """Six digits, good once, until then (Unix seconds)."""

    code: str
    valid_until: float


class _Proven(msgspec.Struct, frozen=True):
    """Whose password it was, at which revision of the password."""

    account: str
    password_rev: int


class Logins:
    """One per api process."""

    def __init__(
        self, store: Store, accounts: AccountDirectory, admin: AccountAdmin, tokens: Tokens, clock: Clock, settings: Settings
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._admin = admin
        self._tokens = tokens
        self._clock = clock
        self._wrong_codes_per_minute = settings.wrong_codes_per_minute
        self._checks = PasswordChecks(settings.max_password_checks)
        self._key = secrets.token_bytes(32)
        self._proven: OrderedDict[bytes, _Proven] = OrderedDict()
        self._proofs: dict[bytes, asyncio.Task[_Proven]] = {}

    async def authenticate(self, authorization: str) -> Caller:
        """The caller by the value of its `Authorization` header: `Basic` with login and password, or `Bearer` with a token.

        Raises `Unauthorized`, and `Forbidden` where the account is disabled.
        """
        scheme, _, value = authorization.partition(" ")
        match scheme.lower():
            case "basic":
                account = await self.login(*_login_of(value.strip()))
                return Caller(account, frozenset((ALL,)), _credential(account))
            case "bearer":
                shown = await self._tokens.authenticate(value.strip())
                account = _enabled(shown.account)
                return Caller(account, shown.scopes, _credential(account), shown.id.family)
            case _:
                raise Unauthorized("no credentials")

    async def login(self, login: str, password: str) -> Account:
        """The account of a login; one round trip where this process has seen the password before.

        Raises `Unauthorized`, `Forbidden` where the account is disabled, and `Unavailable` where too many passwords are being checked.
        """
        seen = self._print(login, password)
        proven = self._proven.get(seen)
        if proven is not None:
            account = await self._accounts.current(proven.account)
            if account.password_rev == proven.password_rev:
                return _enabled(account)
            self._proven.pop(seen, None)
        proof = self._proofs.get(seen)
        if proof is None:
            # Many calls at once with one password, as at a start, are one check
            proof = self._proofs[seen] = asyncio.create_task(self._prove(login, password))
            proof.add_done_callback(lambda done: self._end_proof(seen, done))
        proven = await asyncio.shield(proof)
        account = await self._accounts.current(proven.account)
        if account.password_rev != proven.password_rev:
            raise Unauthorized("the password was changed meanwhile")
        self._remember(seen, proven)
        return _enabled(account)

    async def _prove(self, login: str, password: str) -> _Proven:
        """As long, and with as many round trips, for a login that nobody has. Raises `Unauthorized`."""
        batch = self._store.batch()
        place = self._store.accounts.owner_of_login(batch, login if _LOGIN.fullmatch(login) else _NOBODY)
        owner = (await batch.run())[place]
        account_id = owner.decode() if owner else _NOBODY
        batch = self._store.batch()
        place = self._store.accounts.password(batch, account_id)
        password_hash, password_rev = self._store.accounts.parse_password((await batch.run())[place])
        if not await self._checks.check(password_hash, password):
            raise Unauthorized("wrong login or password")
        return _Proven(account_id, password_rev)

    def _end_proof(self, seen: bytes, done: "asyncio.Task[_Proven]") -> None:
        self._proofs.pop(seen, None)
        if not done.cancelled():
            # Looked at, in case that all who waited have gone
            done.exception()

    def _print(self, login: str, password: str) -> bytes:
        """What is kept of a proven pair: without this process' key it says nothing."""
        text = f"{len(login)}:{login}{password}"
        return hashlib.blake2b(text.encode(errors="surrogatepass"), key=self._key, digest_size=32).digest()

    def _remember(self, seen: bytes, proven: _Proven) -> None:
        self._proven[seen] = proven
        if len(self._proven) > _KEPT:
            self._proven.popitem(last=False)

    async def change_password(self, account: Account, current: str, new: str) -> None:
        """Ends all tokens of the account. Raises `Invalid`, `Unauthorized` where `current` is wrong, `Unavailable`."""
        if not _SHORTEST_PASSWORD <= len(new) <= LONGEST:
            raise Invalid("newPassword", f"{_SHORTEST_PASSWORD} to {LONGEST} characters")
        batch = self._store.batch()
        place = self._store.accounts.password(batch, account.id)
        password_hash, password_rev = self._store.accounts.parse_password((await batch.run())[place])
        if not await self._checks.check(password_hash, current):
            raise Unauthorized("wrong password")
        new_hash = await self._checks.hash(new)
        batch = self._store.batch()
        place = self._store.accounts.set_password(batch, account.id, password_rev, new_hash)
        if (await batch.run())[place] <= 0:
            raise Unauthorized("the password was changed meanwhile")
        _log.info("account.password_changed", account=account.id)

    async def new_code(self, account: Account) -> OneTimeCode:
        """A code with which a phone joins the account; the account's older one ends. Raises `Unavailable`."""
        now = self._clock.now()
        for _ in range(_TRIES):
            # Digits, since upstream's codes are: whoever types them in has perhaps no other keys
            made = OneTimeCode(f"{secrets.randbelow(10**6):06}", now + _CODE_SECONDS)
            batch = self._store.batch()
            place = PhoneCodes.new(batch, made.code, account.id, now=now, valid_until=made.valid_until)
            if (await batch.run())[place]:
                return made
        raise Unavailable("too many codes are in use")

    async def redeem_code(self, code: str) -> Account:
        """The account of a code, once.

        Raises `Unauthorized`, `Forbidden` where the account is disabled, and `LimitReached`: wrong codes are heard so many times a
        minute, from all callers together.
        """
        if not _CODE.fullmatch(code):
            raise Unauthorized("no such code")
        batch = self._store.batch()
        place = PhoneCodes.redeem(batch, code, now=self._clock.now(), wrong_per_minute=self._wrong_codes_per_minute)
        redeemed = PhoneCodes.parse_redeemed((await batch.run())[place])
        match redeemed.outcome:
            case "ok":
                return _enabled(await self._accounts.current(redeemed.account))
            case "busy":
                _log.warning("codes.guessed", wait_seconds=redeemed.wait_seconds)
                raise LimitReached("wrong codes", self._wrong_codes_per_minute, redeemed.wait_seconds)
            case "wrong":
                raise Unauthorized("no such code")

    async def create(self, name: str) -> tuple[Account, str, str]:
        """A new account with a login and a password of its own, which is told this once. Raises `Invalid`.

        Its login is one of a million millions: `Conflict`, where another has it, is for a second try.
        """
        login = "".join(secrets.choice(_LETTERS) for _ in range(8))
        password = secrets.token_urlsafe(15)
        account, _ = await self._admin.create(name, login=login, password=password)
        return account, login, password


def _login_of(value: str) -> tuple[str, str]:
    """Login and password of a `Basic` header (RFC 7617). Raises `Unauthorized`."""
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, ValueError):
        raise Unauthorized("broken credentials") from None
    login, _, password = pair.partition(":")
    return login, password


def _enabled(account: Account) -> Account:
    if not account.enabled:
        raise Forbidden("the account is disabled")
    return account


def _credential(account: Account) -> PasswordCredential:
    return PasswordCredential(account.id, account.password_rev)
