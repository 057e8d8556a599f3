"""What a number's prefix is, and which numbers stand next to each other."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import Invalid
from router.domain.prefixes import RECENT, carrier_of_prefix, check_prefix, is_e164, is_near, prefix_of


@pytest.mark.parametrize(
    ("number", "digits", "prefix"),
    [
        ("+213661234567", 5, "+21366123"),
        ("+213661234567", 2, "+21366"),
        ("+12025550123", 5, "+120255"),
        ("+21620123456", 5, "+21620123"),
        ("+213661234567", 9, ""),
        ("0661234567", 5, ""),
        ("+999661234567", 5, ""),
        ("+213 661 23", 5, ""),
        ("+٢١٣٦٦١٢٣٤٥٦٧", 5, ""),
        ("c2VjcmV0IGNpcGhlcnRleHQ=", 5, ""),
        ("", 5, ""),
        ("+", 5, ""),
    ],
)
def test_prefix_of(number: str, digits: int, prefix: str) -> None:
    """The country code and so many digits; empty for what is no number, and where nothing is left behind it."""
    assert prefix == prefix_of(number, digits)


@given(st.text(max_size=20))
def test_any_text_has_a_prefix_or_none(text: str) -> None:
    """Recipients may be anything: nothing is raised, and a prefix is the beginning of its text."""
    prefix = prefix_of(text, 5)

    assert text.startswith(prefix)
    assert not prefix or is_e164(text)


@pytest.mark.parametrize(("text", "prefix"), [("+21366123", "+21366123"), (" 21366123 ", "+21366123"), ("+213", "+213"), ("1", "+1")])
def test_an_operator_writes_a_prefix(text: str, prefix: str) -> None:
    """With or without its plus."""
    assert prefix == check_prefix(text)


@pytest.mark.parametrize("text", ["", "+", "0661", "+999123", "+21366 123", "+213661234567890123", "+213x", "00213"])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    """The field is named."""
    with pytest.raises(Invalid, match=r"^prefix:"):
        check_prefix(text)


@pytest.mark.parametrize(
    ("prefix", "carrier"), [("+21366123", "60301"), ("+21377", "60302"), ("+2135512", "60303"), ("+21620", "60503"), ("+33612345", "")]
)
def test_carrier_of_a_prefix(prefix: str, carrier: str) -> None:
    """That of the numbers that begin so; empty where we have no table."""
    assert carrier == carrier_of_prefix(prefix)


@pytest.mark.parametrize(
    ("suffix", "recent", "near"),
    [
        ("4567", [4568], True),
        ("4567", [4560], True),
        ("4567", [4559], False),
        ("4567", [4567], False),
        ("4567", [], False),
        ("567", [568], True),
        ("567", [569], False),
        ("67", [68], False),
        ("0001", [9999], False),
    ],
)
def test_is_near(suffix: str, recent: list[int], near: bool) -> None:
    """As near as chance alone rarely brings numbers; the same number is not near, and in a small prefix none is."""
    assert near is is_near(suffix, recent)


@pytest.mark.parametrize("digits", [3, 4, 5, 7])
def test_chance_brings_few_numbers_near(digits: int) -> None:
    """About one random number in twenty is near to one of the latest, however long they are."""
    numbers = random.Random(digits)
    near = 0
    for _ in range(4000):
        recent = [numbers.randrange(10**digits) for _ in range(RECENT)]
        near += is_near(f"{numbers.randrange(10**digits):0{digits}}", recent)

    assert 0.02 < near / 4000 < 0.09
