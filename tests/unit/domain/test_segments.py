import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.segments import Segments, count_segments, not_in_gsm7

BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = "\f^{}\\[~]|€"


def gsm7(units: int, parts: int) -> Segments:
    return Segments(encoding="gsm7", units=units, parts=parts)


def ucs2(units: int, parts: int) -> Segments:
    return Segments(encoding="ucs2", units=units, parts=parts)


def test_alphabet() -> None:
    """The alphabet is the 127 characters of the basic table without its escape, and the ten of the extension at two septets."""
    assert len(set(BASIC)) == 127
    assert count_segments(BASIC) == gsm7(127, 1)
    assert count_segments(EXTENSION) == gsm7(20, 1)
    assert count_segments("\x1b").encoding == "ucs2"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", gsm7(0, 1)),
        ("a" * 160, gsm7(160, 1)),
        ("a" * 161, gsm7(161, 2)),
        ("a" * 306, gsm7(306, 2)),
        ("a" * 307, gsm7(307, 3)),
        ("€" * 80, gsm7(160, 1)),
        ("€" * 81, gsm7(162, 2)),
        ("é" * 160, gsm7(160, 1)),
        ("ê" * 70, ucs2(70, 1)),
        ("ê" * 71, ucs2(71, 2)),
        ("ر" * 134, ucs2(134, 2)),
        ("ر" * 135, ucs2(135, 3)),
        ("😀" * 35, ucs2(70, 1)),
        ("😀" * 36, ucs2(72, 2)),
        ("\ud800" * 71, ucs2(71, 2)),
    ],
)
def test_limits(text: str, expected: Segments) -> None:
    """One part holds 160 septets or 70 code units, each of several 153 or 67."""
    assert expected == count_segments(text)


def test_escape_pair_is_not_split() -> None:
    """A euro sign at the edge of a part moves to the next, and may cost one more."""
    assert count_segments("a" * 152 + "€" + "a" * 152) == gsm7(306, 3)
    assert count_segments("a" * 151 + "€" + "a" * 153) == gsm7(306, 2)


def test_surrogate_pair_is_not_split() -> None:
    """Nor is a character outside the BMP, at the edge of a UCS-2 part."""
    assert count_segments("ر" * 66 + "😀" + "ر" * 66) == ucs2(134, 3)
    assert count_segments("ر" * 65 + "😀" + "ر" * 67) == ucs2(134, 2)


@pytest.mark.parametrize(
    ("text", "offending"),
    [("votre code : é è à ù Ç €", ""), ("forêt, reçu, forêt", "êç"), ("a😀b\u200f😀", "😀\u200f"), ("", "")],
)
def test_not_in_gsm7(text: str, offending: str) -> None:
    """The characters that force UCS-2 are named once each, in order."""
    assert offending == not_in_gsm7(text)


@given(st.text(BASIC + EXTENSION, max_size=700) | st.text(max_size=400))
def test_parts_bounds(text: str) -> None:
    """Units are what the encoding takes; parts are at least what they fill, and more only by one lost unit for each part."""
    segments = count_segments(text)
    single, part = (160, 153) if segments.encoding == "gsm7" else (70, 67)

    assert (segments.encoding == "gsm7") == (not_in_gsm7(text) == "")
    if segments.encoding == "ucs2":
        assert segments.units == len(text.encode("utf-16-le", "surrogatepass")) // 2
    if segments.units <= single:
        assert segments.parts == 1
    else:
        assert math.ceil(segments.units / part) <= segments.parts <= math.ceil(segments.units / (part - 1))
