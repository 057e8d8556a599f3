"""Prefixes of numbers, finer than carriers: what a number's is, and whether numbers of one stand next to each other. Pure."""

from collections.abc import Iterable
from typing import Final

from router.domain.errors import Invalid
from router.domain.numbering import calling_code_length, parse_number

RECENT: Final = 32
"""Numbers of one prefix that a new one is compared with, the latest."""
_CHANCE: Final = 0.05
"""Numbers are called near within such a distance that a random one would be near to one of `RECENT` with about this probability."""
_SMALLEST_SPACE: Final = 1000
"""Below so many numbers in a prefix, any two are near."""
_SHORTEST_E164, _LONGEST_E164 = 8, 16
"""With the plus."""
_FILL: Final = "123456789012345"


def is_e164(text: str) -> bool:
    """A plus and 7 to 15 digits. What is handed to a phone as it is may be anything."""
    return text[:1] == "+" and _SHORTEST_E164 <= len(text) <= _LONGEST_E164 and text.isascii() and text[1:].isdigit()


def prefix_of(e164: str, digits: int) -> str:
    """The country code and `digits` more, with the plus: `+21366123`. Empty for what is no number in E.164, or has no digit beyond them."""
    code = calling_code_length(e164[1:4]) if is_e164(e164) else 0
    end = 1 + code + digits
    return e164[:end] if code and end < len(e164) else ""


def check_prefix(text: str) -> str:
    """A beginning of numbers as an operator writes it, with or without its plus: `+21366123`. Raises `Invalid`."""
    digits = text.strip().removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) < _LONGEST_E164) or not calling_code_length(digits[:3]):
        raise Invalid("prefix", "a country code and the digits behind it: +21366123")
    return f"+{digits}"


def carrier_of_prefix(prefix: str) -> str:
    """That of a number that begins so, where there can be one; else empty."""
    for length in range(_LONGEST_E164 - len(prefix) + 1):
        try:
            number = parse_number(prefix + _FILL[:length])
        except Invalid:
            continue
        return number.carrier or ""
    return ""


def is_near(suffix: str, recent: Iterable[int]) -> bool:
    """Does this number stand next to one of the latest of its prefix? `suffix`: its digits behind the prefix; `recent`: theirs.

    Next to is at most so far away that of random numbers one in twenty would be, however many digits there are; the same number is not.
    So a run that several processes share, each seeing a part of it, is still found. False where a prefix has too few numbers to tell.
    """
    space = 10 ** len(suffix)
    if space < _SMALLEST_SPACE:
        return False
    reach = max(1, int(space * _CHANCE / (2 * RECENT)))
    here = int(suffix)
    return any(0 < abs(here - other) <= reach for other in recent)
