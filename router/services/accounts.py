"""Who is calling: API keys to accounts, kept in memory; and what an operator does with accounts."""

import asyncio
import re
import secrets
from collections import OrderedDict
from collections.abc import Collection, Iterable

import msgspec
import structlog
from msgspec.structs import replace
from ulid import ULID

from router.clock import Clock
from router.domain.account import Account, Credential, Limits
from router.domain.countries import check_codes
from router.domain.errors import Conflict, Invalid, NotFound, Unauthorized
from router.domain.rules import AmbiguousPolicy
from router.domain.segments import Segments
from router.domain.templates import Template, check_template
from router.services.passwords import LONGEST, hash_password
from router.settings import Settings
from router.store.accounts import Accounts, ApiKey, hash_key
from router.store.redis import Batch
from router.store.store import Store

_log = structlog.get_logger()
_KEPT = 10_000
_KEY_PREFIX = "sk_live_"
_KEY_SHAPE = re.compile(r"[\x21-\x7e]{8,256}")
_LOGIN_SHAPE = re.compile(r"[A-Za-z0-9_.@-]{3,64}")
_PASSWORD_LENGTHS = (8, LONGEST)
_NAME_LENGTH = 100
_MAX_AMOUNT = 10**12


class AccountDirectory:
    """Accounts by API key. Admission finds out stale copies by their revision; for reading calls a copy may be a moment old."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._owners: OrderedDict[str, str] = OrderedDict()
        self._accounts: dict[str, Account] = {}

    async def authenticate(self, key_hash: str) -> Account:
        """The account of an API key, by the key's hash; a copy that says no is read again. Raises `Unauthorized`."""
        account_id = self._owners.get(key_hash) or await self._look_up(key_hash)
        account = self._accounts.get(account_id) or await self.reload(account_id)
        if key_hash not in account.key_hashes or not account.enabled:
            account = await self.reload(account_id)
        if key_hash not in account.key_hashes:
            self._owners.pop(key_hash, None)
            raise Unauthorized("unknown or revoked key")
        return account

    async def fresh(self, account: Account, credential: Credential) -> Account:
        """The account as it is now, for calls that no script checks. Raises `Unauthorized` where the key was revoked meanwhile."""
        batch = self._store.batch()
        place = self.ask_revision(batch, account.id)
        rev = (await batch.run())[place]
        if rev is None or int(rev) != account.rev:
            account = await self.reload(account.id)
        if not credential.holds(account):
            raise Unauthorized("unknown or revoked credentials")
        return account

    async def current(self, account_id: str) -> Account:
        """An account as it is now. Raises `Unauthorized` where it is gone."""
        batch = self._store.batch()
        place = self.ask_revision(batch, account_id)
        return await self.at_revision(account_id, (await batch.run())[place])

    @staticmethod
    def ask_revision(batch: Batch, account_id: str) -> int:
        """Adds the question which revision stands; the answer at this place is for `at_revision`."""
        return batch.add("HGET", Accounts.key(account_id), "rev")

    async def at_revision(self, account_id: str, revision: bytes | None) -> Account:
        """The account at the revision that was answered, from memory where that is it. Raises `Unauthorized` where it is gone."""
        account = self._accounts.get(account_id)
        return account if account is not None and revision is not None and int(revision) == account.rev else await self.reload(account_id)

    async def reload(self, account_id: str) -> Account:
        """Reads an account again. Raises `Unauthorized` where it is gone."""
        account = await self._store.accounts.load(self._store.batch(), account_id)
        if account is None:
            self._accounts.pop(account_id, None)
            raise Unauthorized("unknown account")
        if len(self._accounts) >= _KEPT:
            self._accounts.clear()
        self._accounts[account_id] = account
        return account

    async def _look_up(self, key_hash: str) -> str:
        batch = self._store.batch()
        place = self._store.accounts.owner_of_key(batch, key_hash)
        owner = (await batch.run())[place]
        if owner is None:
            raise Unauthorized("unknown or revoked key")
        account_id: str = owner.decode()
        self._owners[key_hash] = account_id
        if len(self._owners) > _KEPT:
            self._owners.popitem(last=False)
        return account_id


class AccountAdmin:
    """What an operator does with accounts. Every change raises the revision, so that api processes take it up at once."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings

    async def create(
        self, name: str, *, key: str | None = None, balance: int = 0, price: int | None = None, limits: Limits | None = None,
        countries: Collection[str] = (), ambiguous_policy: AmbiguousPolicy | None = None, login: str = "", password: str = "",
    ) -> tuple[Account, str]:  # fmt: skip
        """A new account with one key and the default template; answers it and its key, which is shown this once.

        Raises `Invalid`, and `Conflict` where the key or the login is taken.
        """
        _check_name(name)
        _check_login(login, password)
        _check_amount("balance", balance)
        _check_amount("price", price or 0)
        _check_limits(limits or Limits())
        check_codes(countries)
        if key is not None:
            await self._check_key(key)
        account = Account(
            id=f"ac_{ULID.from_timestamp(self._clock.now())}",
            name=name,
            rev=1,
            created_at=self._clock.now(),
            price=self._settings.price if price is None else price,
            limits=limits or Limits(),
            countries=frozenset(countries),
            ambiguous_policy=ambiguous_policy or self._settings.ambiguous_policy,
            login=login,
        )
        if login:
            await self._claim_login(login, account.id)
        password_hash = await asyncio.to_thread(hash_password, password) if login else ""
        batch = self._store.batch()
        self._store.accounts.create(batch, account, balance, password_hash)
        await batch.run()
        await self.set_template(account.id, self.draft_template("default", self._settings.default_template, default=True))
        _, made = await self.add_key(account.id, "first", key)
        _log.info("account.created", account=account.id)
        return await self.get(account.id), made

    async def set_password(self, account_id: str, password: str, login: str = "") -> Account:
        """A new password, which ends all tokens; with `login`, for an account that has none yet.

        Raises `NotFound`, `Invalid`, and `Conflict` where the login is taken.
        """
        account = await self.get(account_id)
        if not (login or account.login):
            raise Invalid("login", "the account has none yet: give one")
        _check_login(login or account.login, password)
        if login and account.login and login != account.login:
            raise Conflict("the account has another login")
        if not account.login:
            await self._claim_login(login, account_id)
        password_hash = await asyncio.to_thread(hash_password, password)
        batch = self._store.batch()
        place = self._store.accounts.set_password(batch, account_id, account.password_rev, password_hash, login)
        if (await batch.run())[place] <= 0:
            raise Conflict("the password was changed meanwhile")
        _log.info("account.password_set", account=account_id)
        return await self.get(account_id)

    async def _claim_login(self, login: str, account_id: str) -> None:
        batch = self._store.batch()
        place = self._store.accounts.claim_login(batch, login, account_id)
        if (await batch.run())[place]:
            return
        batch = self._store.batch()
        place = self._store.accounts.owner_of_login(batch, login)
        # Its own already where a try before this one came no further
        if (await batch.run())[place] != account_id.encode():
            raise Conflict("this login is in use")

    async def get(self, account_id: str) -> Account:
        """Raises `NotFound`."""
        account = await self._store.accounts.load(self._store.batch(), account_id)
        if account is None:
            raise NotFound("no such account")
        return account

    async def names(self, account_ids: Iterable[str] | None = None) -> dict[str, str]:
        """By id: the names of these accounts, or of all; those that are gone are left out. Costs a round trip or two."""
        ids = await self._store.accounts.all_ids(self._store.batch()) if account_ids is None else list(dict.fromkeys(account_ids))
        batch = self._store.batch()
        for account_id in ids:
            self._store.accounts.name(batch, account_id)
        return {account_id: name.decode() for account_id, name in zip(ids, await batch.run(), strict=True) if name is not None}

    async def balance(self, account_id: str) -> int:
        """What the wallet holds, in minor units."""
        batch = self._store.batch()
        self._store.accounts.balance(batch, account_id)
        return int((await batch.run())[0] or 0)

    async def every(self) -> list[tuple[Account, int]]:
        """All accounts with their balances, oldest first."""
        ids = await self._store.accounts.all_ids(self._store.batch())
        return [(await self.get(account_id), await self.balance(account_id)) for account_id in ids]

    async def topup(self, account_id: str, amount: int) -> int:
        """Adds to the wallet (or takes, when negative). Raises `NotFound`, or `Invalid` where it would fall below zero."""
        _check_amount("amount", abs(amount))
        batch = self._store.batch()
        self._store.accounts.topup(batch, account_id, amount)
        balance = int((await batch.run())[0])
        if balance == -2:
            raise NotFound("no such account")
        if balance < 0:
            raise Invalid("amount", "the wallet would fall below zero")
        _log.info("account.topped_up", account=account_id, amount=amount)
        return balance

    async def change(
        self, account_id: str, *, enabled: bool | None = None, otp_enabled: bool | None = None, price: int | None = None,
        limits: Limits | None = None, countries: Collection[str] | None = None, ambiguous_policy: AmbiguousPolicy | None = None,
    ) -> Account:  # fmt: skip
        """Changes what is given. Raises `NotFound`, `Invalid`."""
        account = await self.get(account_id)
        fields: dict[str, str] = {}
        if enabled is not None:
            fields["enabled"] = str(int(enabled))
        if otp_enabled is not None:
            fields["otp_enabled"] = str(int(otp_enabled))
        if price is not None:
            _check_amount("price", price)
            fields["price"] = str(price)
        if limits is not None:
            _check_limits(limits)
            given = {name: value for name, value in msgspec.structs.asdict(limits).items() if value is not None}
            fields["limits"] = msgspec.json.encode(replace(account.limits, **given)).decode()
        if countries is not None:
            check_codes(countries)
            fields["countries"] = ",".join(sorted(set(countries)))
        if ambiguous_policy is not None:
            fields["ambiguous_policy"] = ambiguous_policy
        batch = self._store.batch()
        self._store.accounts.change(batch, account_id, fields)
        await batch.run()
        return await self.get(account_id)

    async def set_limits(self, account_id: str, limits: Limits) -> None:
        """All of them, other than `change`: what is None is the router's setting from now on. Raises `NotFound`, `Invalid`."""
        await self.get(account_id)
        _check_limits(limits)
        batch = self._store.batch()
        self._store.accounts.change(batch, account_id, {"limits": msgspec.json.encode(limits).decode()})
        await batch.run()

    # Keys

    async def add_key(self, account_id: str, label: str, key: str | None = None) -> tuple[ApiKey, str]:
        """A new key; answers how it is listed, and the key, which is shown this once. Raises `NotFound`, `Invalid`, `Conflict`."""
        await self.get(account_id)
        _check_name(label)
        if key is not None:
            await self._check_key(key)
        made = key if key is not None else _KEY_PREFIX + secrets.token_urlsafe(24)
        key_hash = hash_key(made)
        listed = ApiKey(key_hash[:12], label, self._clock.now(), made[-4:])
        batch = self._store.batch()
        self._store.accounts.add_key(batch, account_id, key_hash, listed)
        await batch.run()
        return listed, made

    async def _check_key(self, key: str) -> None:
        if not _KEY_SHAPE.fullmatch(key):
            raise Invalid("key", "8 to 256 printable ASCII characters without blanks")
        batch = self._store.batch()
        self._store.accounts.owner_of_key(batch, hash_key(key))
        if (await batch.run())[0] is not None:
            raise Conflict("this key is in use")

    async def keys(self, account_id: str) -> list[ApiKey]:
        await self.get(account_id)
        found = await self._store.accounts.keys(self._store.batch(), account_id)
        return sorted(found.values(), key=lambda key: key.created_at)

    async def revoke_key(self, account_id: str, key_id: str) -> None:
        """Raises `NotFound`."""
        for key_hash, key in (await self._store.accounts.keys(self._store.batch(), account_id)).items():
            if key.id == key_id:
                batch = self._store.batch()
                self._store.accounts.remove_key(batch, account_id, key_hash)
                await batch.run()
                return
        raise NotFound("no such key")

    # Templates

    def draft_template(
        self, key: str, text: str, *, code_length: int | None = None, code_seconds: float | None = None, default: bool = False
    ) -> Template:
        """A template that is not checked yet; what is not given is the router's setting."""
        return Template(
            key=key,
            text=text,
            code_length=self._settings.code_length if code_length is None else code_length,
            code_seconds=self._settings.code_seconds if code_seconds is None else code_seconds,
            default=default,
        )

    async def set_template(self, account_id: str, template: Template) -> Segments:
        """Makes or replaces a template; a new default takes the place of the old one. Raises `NotFound`, `Invalid`."""
        account = await self.get(account_id)
        segments = check_template(template)
        changed = [template]
        if template.default:
            others = [known for known in account.templates.values() if known.default and known.key != template.key]
            changed += [replace(known, default=False) for known in others]
        batch = self._store.batch()
        self._store.accounts.set_templates(batch, account_id, changed)
        await batch.run()
        return segments

    async def remove_template(self, account_id: str, key: str) -> None:
        """Raises `NotFound`."""
        account = await self.get(account_id)
        if key not in account.templates:
            raise NotFound("no such template")
        batch = self._store.batch()
        self._store.accounts.remove_template(batch, account_id, key)
        await batch.run()


def _check_limits(limits: Limits) -> None:
    for name, value in msgspec.structs.asdict(limits).items():
        _check_amount(name, value or 0)


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > _NAME_LENGTH or not name.isprintable():
        raise Invalid("name", f"1 to {_NAME_LENGTH} printable characters")


def _check_login(login: str, password: str) -> None:
    if bool(login) != bool(password):
        raise Invalid("login", "a login and a password go together")
    if login and not _LOGIN_SHAPE.fullmatch(login):
        raise Invalid("login", "3 to 64 of A-Z a-z 0-9 _ . @ -")
    if login and not _PASSWORD_LENGTHS[0] <= len(password) <= _PASSWORD_LENGTHS[1]:
        raise Invalid("password", "{} to {} characters".format(*_PASSWORD_LENGTHS))


def _check_amount(field: str, amount: int) -> None:
    if not 0 <= amount <= _MAX_AMOUNT:
        raise Invalid(field, f"0 to {_MAX_AMOUNT}")
