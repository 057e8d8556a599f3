"""Everything the rules can refuse, as small classes; each dialect turns them into its own shape in one place."""

from typing import Final

UNSERVED: Final = "no online seed can serve the number"


class RouterError(Exception):
    """Base of our own errors. `str(error)` is safe to show to the caller: it never holds a text, a code or a whole number."""


class Invalid(RouterError):
    """The request is wrong, and sending it again will not help. `field` names what to mend."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class CountryNotServed(Invalid):
    """The number is of a country that this router, or this account, does not send to."""

    def __init__(self) -> None:
        super().__init__("phone", "numbers of its country are not served here")


class NotFound(RouterError):
    """No such thing, or not the caller's."""


class Unauthorized(RouterError):
    """No credentials, or none that we know."""


class Forbidden(RouterError):
    """Known caller, not allowed."""


class Conflict(RouterError):
    """It contradicts what is there already."""


class LimitReached(RouterError):
    """A limit of the account. `limit` is which one, `maximum` its value, `retry_after_seconds` when it is worth trying again."""

    def __init__(self, limit: str, maximum: int, retry_after_seconds: int) -> None:
        super().__init__(f"{limit} limit of {maximum} reached")
        self.limit = limit
        self.maximum = maximum
        self.retry_after_seconds = retry_after_seconds


class InsufficientBalance(RouterError):
    """The wallet holds less than the message costs."""


class NoSeedAvailable(RouterError):
    """No online seed can serve the number."""


class Blocked(NoSeedAvailable):
    """The number's prefix is blocked. Clients hear the text of any number that no seed can serve; `prefix`, `reason` and `why` are for
    operators only.
    """

    def __init__(self, prefix: str, reason: str, why: str) -> None:
        super().__init__(UNSERVED)
        self.prefix = prefix
        self.reason = reason
        self.why = why


class Unavailable(RouterError):
    """We cannot take it right now (queue full, broker or store away). Nothing was kept; try again later."""

    def __init__(self, reason: str, retry_after_seconds: int = 1) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
