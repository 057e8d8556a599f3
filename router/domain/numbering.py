"""Phone numbers: reading what people write, and which carrier a number belongs to. On Google's libphonenumber data, offline."""

import re
from typing import Final

import msgspec
import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType
from phonenumbers import carrier as prefixes

from router.domain.carriers import canonical_carrier, carrier_by_name, carrier_name, country_of_carrier
from router.domain.errors import Invalid

_LONGEST_TEXT: Final = 32
_DROP_SEPARATORS: Final = str.maketrans("", "", " -.()")
_FOREIGN_CHARACTER: Final = re.compile(r"[^0-9+ \-.()]")
_DIALLED: Final = re.compile(r"\+?[0-9]+")
_TEXTABLE: Final = frozenset({PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE_OR_MOBILE})
# libphonenumber's "region" of satellite and other international numbers.
_NO_COUNTRY: Final = "001"

_PARSE_REASONS: Final = {
    NumberParseException.INVALID_COUNTRY_CODE: "unknown country code; write it as +213… or in the national format",
    NumberParseException.TOO_SHORT_AFTER_IDD: "too short",
    NumberParseException.TOO_SHORT_NSN: "too short",
    NumberParseException.TOO_LONG: "too long",
}

_MASK_HEAD: Final = 5
_MASK_TAIL: Final = 2
_MASK_STARS: Final = "*****"
# A shorter text would keep fewer than four characters hidden.
_MASK_SHORTEST: Final = 11


class Number(msgspec.Struct, frozen=True):
    """A mobile number: `e164` with its plus, `country` as ISO 3166-1 alpha-2, `carrier` as MCC+MNC or None if not known."""

    e164: str
    country: str
    carrier: str | None


def parse_number(text: str, default_region: str = "DZ") -> Number:
    """Read a number in E.164, with a `00` prefix, or in the national format of `default_region` (ISO country).

    Spaces, dashes, dots and parentheses may separate. The carrier is the one its prefix was allotted to: only a hint in a country
    with portability (Morocco), see `with_portability`. Raises Invalid("phone", …), whose reason never repeats the number.
    Source: libphonenumber's metadata.
    """
    parsed = _parse(_dialled(text), default_region)
    country = phonenumbers.region_code_for_number(parsed)
    # The type is UNKNOWN for every invalid number, so that one look at the metadata answers both questions.
    kind = phonenumbers.number_type(parsed)
    if country is None or kind == PhoneNumberType.UNKNOWN:
        raise Invalid("phone", f"not a valid number{f' of {country}' if country else ''}")
    if kind not in _TEXTABLE or country == _NO_COUNTRY:
        raise Invalid("phone", "not a mobile number")
    # Not `safe_display_name`: it is silent in every country with portability.
    name = prefixes.name_for_valid_number(parsed, "en")
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return Number(e164=e164, country=country, carrier=carrier_by_name(country, name))


def with_portability(number: Number, ported_to: str | None) -> Number:
    """The number with the carrier it was ported to (MCC+MNC); unchanged for None.

    Raises Invalid("carrier", …) when `ported_to` is no carrier of the number's country: numbers do not move across borders.
    """
    if ported_to is None:
        return number
    country = country_of_carrier(ported_to)
    if country is None:
        raise Invalid("carrier", "not an MCC+MNC of a known country")
    if country != number.country:
        raise Invalid("carrier", f"{carrier_name(ported_to)} is a carrier of {country}, the number is of {number.country}")
    return msgspec.structs.replace(number, carrier=canonical_carrier(ported_to))


def mask(number: str) -> str:
    """A number for logs and screens: `+2135*****56`. Always five stars, however long the text; a short one is all stars."""
    if len(number) < _MASK_SHORTEST:
        return "*" * len(number)
    return f"{number[:_MASK_HEAD]}{_MASK_STARS}{number[-_MASK_TAIL:]}"


def _dialled(text: str) -> str:
    """The digits of `text` after its plus, if any. Stricter than the library, which reads letters, extensions and any script."""
    if len(text) > _LONGEST_TEXT:
        raise Invalid("phone", f"longer than {_LONGEST_TEXT} characters")
    foreign = _FOREIGN_CHARACTER.search(text)
    if foreign is not None:
        raise Invalid("phone", f"{foreign.group()!a} cannot be part of it; use 0-9, a leading +, spaces and -.()")
    dialled = text.translate(_DROP_SEPARATORS)
    if not _DIALLED.fullmatch(dialled):
        raise Invalid("phone", "the + may only stand first" if any(map(str.isdigit, dialled)) else "no digits")
    return f"+{dialled[2:]}" if dialled.startswith("00") else dialled


def _parse(dialled: str, default_region: str) -> phonenumbers.PhoneNumber:
    try:
        return phonenumbers.parse(dialled, default_region)
    except NumberParseException as error:
        raise Invalid("phone", _PARSE_REASONS.get(error.error_type, "not a phone number")) from None
