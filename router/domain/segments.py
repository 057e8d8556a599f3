"""How many parts a text takes on the air. Android's and the carriers' limits count parts, not messages.

Source: 3GPP TS 23.038 §6.2.1 (the GSM 7-bit alphabet and its extension), TS 23.040 §9.2.3.24.1 (the header of a part).
"""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

_GSM7_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
# Each of these goes as an escape and a second septet.
_GSM7_EXTENSION: Final = frozenset("\f^{}\\[~]|€")
_GSM7: Final = _GSM7_BASIC | _GSM7_EXTENSION

_GSM7_SINGLE: Final = 160
_GSM7_PART: Final = 153
_UCS2_SINGLE: Final = 70
_UCS2_PART: Final = 67
_LAST_OF_BMP: Final = "\uffff"


class Segments(msgspec.Struct, frozen=True):
    """The size of a text: `units` are septets (escapes included) or UTF-16 code units, `parts` is what it costs of a quota."""

    encoding: Literal["gsm7", "ucs2"]
    units: int
    parts: int


def count_segments(text: str) -> Segments:
    """The encoding, size and parts of `text` as a phone sends it: GSM 7-bit if every character is in it, else UCS-2.

    Neither an escape pair nor a surrogate pair is split over two parts. An empty text is one part. A lone surrogate is a unit.
    """
    if len(text) <= _GSM7_SINGLE and _GSM7_BASIC.issuperset(text):
        return Segments(encoding="gsm7", units=len(text), parts=1)
    if _GSM7.issuperset(text):
        widths = [2 if character in _GSM7_EXTENSION else 1 for character in text]
        return Segments(encoding="gsm7", units=sum(widths), parts=_parts(widths, _GSM7_SINGLE, _GSM7_PART))
    widths = [2 if character > _LAST_OF_BMP else 1 for character in text]
    return Segments(encoding="ucs2", units=sum(widths), parts=_parts(widths, _UCS2_SINGLE, _UCS2_PART))


def not_in_gsm7(text: str) -> str:
    """The distinct characters of `text` that force UCS-2, in order of appearance; empty when none does."""
    return "".join(character for character in dict.fromkeys(text) if character not in _GSM7)


def _parts(widths: Iterable[int], single: int, part: int) -> int:
    total, full, filled = 0, 0, 0
    for width in widths:
        total += width
        if filled + width > part:
            full += 1
            filled = 0
        filled += width
    return 1 if total <= single else full + 1
