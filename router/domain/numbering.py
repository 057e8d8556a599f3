"""Phone numbers: reading what people write, and which carrier a number belongs to. On Google's libphonenumber data, offline."""

import functools
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
_E164: Final = re.compile(r"\+[1-9][0-9]{6,14}")
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
    plain = _read_plain(text)
    if plain is not None:
        return plain
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


class _Plan(msgspec.Struct, frozen=True):
    """The numbers of a country that has its calling code to itself, as libphonenumber describes them."""

    country: str
    mobile: re.Pattern[str]
    others: tuple[re.Pattern[str], ...]
    """What it would take a number for before it takes it for a mobile one; and the prefix that it would strip."""


@functools.cache
def _plan(calling_code: str) -> _Plan | None:
    countries = phonenumbers.COUNTRY_CODE_TO_REGION_CODE.get(int(calling_code), ())
    if len(countries) != 1 or countries[0] == _NO_COUNTRY:
        return None
    data = phonenumbers.PhoneMetadata.metadata_for_region(countries[0])
    if data is None or data.mobile is None or not data.mobile.national_number_pattern:
        return None
    before_mobile = (
        data.premium_rate, data.toll_free, data.shared_cost, data.voip, data.personal_number, data.pager, data.uan, data.voicemail,
    )  # fmt: skip
    patterns = [kind.national_number_pattern for kind in before_mobile if kind is not None and kind.national_number_pattern]
    others = [re.compile(rf"(?:{pattern})\Z") for pattern in patterns]
    if data.national_prefix_for_parsing:
        others.append(re.compile(data.national_prefix_for_parsing))
    return _Plan(countries[0], re.compile(data.mobile.national_number_pattern), tuple(others))


@functools.lru_cache(maxsize=4096)
def calling_code_length(head: str) -> int:
    """Of the first three digits of a number, how many are its country's code; 0 where they begin with none."""
    if head.startswith("0"):
        return 0
    codes = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
    return next((length for length in (1, 2, 3) if len(head) >= length and int(head[:length]) in codes), 0)


def _read_plain(text: str) -> Number | None:
    """A mobile number in plain E.164 (`+213661234567`), as nearly all are that applications send: a sixth of the work for the same answer.

    None for whatever needs a second look: `parse_number` then asks the library itself.
    """
    if not _E164.fullmatch(text):
        return None
    length = calling_code_length(text[1:4])
    if not length:
        return None
    code, national = text[1 : 1 + length], text[1 + length :]
    plan = _plan(code)
    if plan is None or national[0] == "0" or not plan.mobile.fullmatch(national) or any(kind.match(national) for kind in plan.others):
        return None
    number = phonenumbers.PhoneNumber(country_code=int(code), national_number=int(national))
    return Number(text, plan.country, carrier_by_name(plan.country, prefixes.name_for_valid_number(number, "en")))


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
