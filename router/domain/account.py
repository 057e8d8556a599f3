"""Who submits: an account, its limits and its templates."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from router.domain.errors import Invalid
from router.domain.rules import AmbiguousPolicy
from router.domain.templates import Template


class Limits(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Messages an account may submit. None = the router's setting, 0 = no limit."""

    daily: int | None = None
    hourly: int | None = None
    phone_hourly: int | None = None


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """An account as it was read at revision `rev`. The wallet is not here: only the store's scripts may look at it and change it."""

    id: str
    name: str
    rev: int
    created_at: float
    enabled: bool = True
    otp_enabled: bool = True
    price: int = 0
    """Minor units per message."""
    limits: Limits = Limits()
    countries: frozenset[str] = frozenset()
    """ISO codes of the countries that it may send to; empty = wherever the router does."""
    ambiguous_policy: AmbiguousPolicy = "wait"
    login: str = ""
    password_rev: int = 0
    """Grows with each change of the password, which ends all tokens."""
    key_hashes: frozenset[str] = frozenset()
    templates: Mapping[str, Template] = {}

    def template(self, key: str | None) -> Template:
        """The template of that key, or the default one. Raises `Invalid`."""
        if key is None:
            for template in self.templates.values():
                if template.default:
                    return template
            raise Invalid("template_key", "the account has no default template")
        if key not in self.templates:
            raise Invalid("template_key", "unknown template")
        return self.templates[key]


class Credential(Protocol):
    """What a caller has shown. It was right for the account as it was read then; `holds` asks again, of a newer reading."""

    def holds(self, account: Account) -> bool: ...


class KeyCredential(msgspec.Struct, frozen=True):
    """An API key, by its hash."""

    key_hash: str

    def holds(self, account: Account) -> bool:
        return self.key_hash in account.key_hashes


class PasswordCredential(msgspec.Struct, frozen=True):
    """A login's password, or a token made under it."""

    account: str
    password_rev: int

    def holds(self, account: Account) -> bool:
        return account.id == self.account and account.password_rev == self.password_rev
