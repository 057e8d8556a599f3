"""What people type into the forms of the console, read into figures."""

import re
from decimal import Decimal

from router.domain.errors import Invalid

_LONGEST = 30
_MONEY = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,2})?")


def money_of(field: str, text: str) -> int:
    """An amount with up to two decimals, `-12.50` or `1,250`, in minor units. Raises `Invalid`."""
    plain = text.replace(",", "").replace(" ", "").replace("\N{MINUS SIGN}", "-")
    if not _MONEY.fullmatch(plain):
        raise Invalid(field, "an amount such as 1250 or 12.50")
    return int(Decimal(plain) * 100)


def plain_money(minor: int) -> str:
    """An amount as `money_of` reads it."""
    return f"{Decimal(minor) / 100:.2f}"


def whole_of(field: str, text: str) -> int | None:
    """A whole number, None where nothing is given. Raises `Invalid`."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > _LONGEST:
        raise Invalid(field, "a whole number")
    return int(text)


def seconds_of(field: str, text: str) -> float | None:
    """Seconds, None where nothing is given. Raises `Invalid`."""
    if not text:
        return None
    try:
        return float(text) if len(text) <= _LONGEST else float("inf")
    except ValueError:
        raise Invalid(field, "a number of seconds") from None
