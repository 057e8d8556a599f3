"""What a caller of SMSGate's API may do, by name. Source: the scopes of SMSGate's server (its 3rd-party handlers)."""

from collections.abc import Set as AbstractSet
from typing import Final

ALL: Final = "all:any"
"""Everything but `REFRESH`: whoever shows the password has it."""
REFRESH: Final = "tokens:refresh"
"""Of refresh tokens, and of nothing else; nobody can ask for it."""
SCOPES: Final = frozenset({
    ALL,
    "messages:send", "messages:read", "messages:list", "messages:cancel", "messages:export",
    "devices:list", "devices:delete",
    "webhooks:list", "webhooks:write", "webhooks:delete",
    "settings:read", "settings:write",
    "inbox:list", "inbox:refresh",
    "logs:read",
    "tokens:manage",
})  # fmt: skip
"""Those that a token can be asked for."""


def covers(held: AbstractSet[str], scope: str) -> bool:
    """May somebody who holds these scopes do what needs this one?"""
    return scope in held or (ALL in held and scope != REFRESH)
