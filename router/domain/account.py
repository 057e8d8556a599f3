"""Who submits: an account, its limits and its templates."""

from collections.abc import Mapping

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
    ambiguous_policy: AmbiguousPolicy = "wait"
    login: str = ""
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
