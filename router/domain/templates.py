"""The texts that carry a code: what a template may hold, how it is rendered, and what it costs on the air.

Source: gatewire.md, "OTP and account rules".
"""

import math
import re
import unicodedata
from typing import Final

import msgspec

from router.domain.errors import Invalid
from router.domain.segments import Segments, count_segments, not_in_gsm7

_KEY: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_LONGEST_TEXT: Final = 1000
_SHORTEST_CODE: Final = 4
_LONGEST_CODE: Final = 10
_SHORTEST_LIFE_SECONDS: Final = 30.0
LONGEST_LIFE_SECONDS: Final = 3600.0
"""The longest life of a code that any setting may allow."""

# In one pattern: a pair of braces with what stands between, or a brace without its other half.
_BRACES: Final = re.compile(r"\{[^{}]*\}|[{}]")
_CODE: Final = "{code}"
_MINUTES: Final = "{minutes}"
_PLACEHOLDERS: Final = re.compile(r"\{code\}|\{minutes\}")
_SECONDS_PER_MINUTE: Final = 60
_MOST_NAMED: Final = 10
_SAMPLE: Final = "1234567890"
_LONGEST_QUOTE: Final = 32


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """An account's text for codes: `text` holds `{code}` and maybe `{minutes}`, `code_seconds` is how long a code lives.

    One template of an account is the `default`.
    """

    key: str
    text: str
    code_length: int = 6
    code_seconds: float = 300.0
    default: bool = False


def check_template(template: Template, *, longest_seconds: float = LONGEST_LIFE_SECONDS) -> Segments:
    """The size of the template's longest rendering, once it is known to be sound.

    `longest_seconds` narrows the life of a code. Raises Invalid with "key", "text", "code_length" or "code_seconds" as its field.
    """
    if not _KEY.fullmatch(template.key):
        raise Invalid("key", "1 to 64 letters, digits, _ . or -")
    if not _SHORTEST_CODE <= template.code_length <= _LONGEST_CODE:
        raise Invalid("code_length", f"{_SHORTEST_CODE} to {_LONGEST_CODE} digits")
    longest_seconds = min(longest_seconds, LONGEST_LIFE_SECONDS)
    if not _SHORTEST_LIFE_SECONDS <= template.code_seconds <= longest_seconds:
        raise Invalid("code_seconds", f"{_SHORTEST_LIFE_SECONDS:g} to {longest_seconds:g} seconds")
    _check_text(template.text)
    return count_segments(_longest(template))


def render(template: Template, code: str) -> str:
    """The text to send: `{code}` replaced by `code`, `{minutes}` by the life of the code, rounded up to whole minutes."""
    values = {_CODE: code, _MINUTES: str(math.ceil(template.code_seconds / _SECONDS_PER_MINUTE))}
    # In one pass, so that a placeholder inside the code stays what it is.
    return _PLACEHOLDERS.sub(lambda found: values[found.group()], template.text)


def warnings(template: Template) -> list[str]:
    """What the author of a sound template should know, one sentence each: a costly encoding and why, more than one part."""
    rendered = _longest(template)
    segments = count_segments(rendered)
    found: list[str] = []
    if segments.encoding == "ucs2":
        reason = _named(not_in_gsm7(rendered))
        found.append(f"Not in the GSM 7-bit alphabet: {reason}. With such a character, one part holds 70 characters and not 160.")
    if segments.parts > 1:
        found.append(f"Takes {segments.parts} parts, so that each message uses {segments.parts} times the quota of a seed.")
    return found


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What a template makes of a sample code. `forcing`: the distinct characters that force UCS-2; `warnings`: see there."""

    text: str
    segments: Segments
    forcing: str
    warnings: list[str]


def preview(template: Template) -> Preview:
    """A rendering with the digits in order as its code; all renderings are equally long. Raises `Invalid`, as `check_template`."""
    check_template(template)
    text = render(template, _SAMPLE[: template.code_length])
    return Preview(text=text, segments=count_segments(text), forcing=not_in_gsm7(text), warnings=warnings(template))


def _check_text(text: str) -> None:
    if not 1 <= len(text) <= _LONGEST_TEXT:
        raise Invalid("text", f"1 to {_LONGEST_TEXT} characters")
    for character in text:
        category = unicodedata.category(character)
        if category == "Cs":
            raise Invalid("text", f"U+{ord(character):04X} is half of a surrogate pair")
        if category == "Cc" and character != "\n":
            raise Invalid("text", f"control character U+{ord(character):04X}; only a newline is allowed")
    found = _BRACES.findall(text)
    for braces in found:
        if len(braces) == 1:
            raise Invalid("text", f"a {braces} without its other half")
        if braces not in (_CODE, _MINUTES):
            raise Invalid("text", f"unknown placeholder {_shortened(braces)}; there are {_CODE} and {_MINUTES}")
    if _CODE not in found:
        raise Invalid("text", f"{_CODE} is missing")


def _longest(template: Template) -> str:
    """Codes are digits of one length, so that all renderings of a template are equally long."""
    return render(template, "0" * template.code_length)


def _shortened(quote: str) -> str:
    return quote if len(quote) <= _LONGEST_QUOTE else f"{quote[: _LONGEST_QUOTE - 2]}…}}"


def _named(characters: str) -> str:
    named = ", ".join(repr(character) for character in characters[:_MOST_NAMED])
    return named if len(characters) <= _MOST_NAMED else f"{named} and {len(characters) - _MOST_NAMED} more"
