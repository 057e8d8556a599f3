import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.errors import Invalid
from router.domain.numbering import Number, mask, parse_number, with_portability

DJEZZY = Number(e164="+213771234567", country="DZ", carrier="60302")


@pytest.mark.parametrize(
    "text",
    [
        "+213771234567",
        "00213771234567",
        "0771234567",
        "771234567",
        "213771234567",
        "+213 771 23 45 67",
        "+213-771-23.45.67",
        "(0771) 23 45 67",
        "+213 (0) 771 234 567",
        "  0771234567 ",
    ],
)
def test_ways_to_write_a_number(text: str) -> None:
    """E.164, the 00 prefix and the national format, with the usual separators, are the same number."""
    assert parse_number(text) == DJEZZY


@pytest.mark.parametrize(
    ("text", "country", "carrier"),
    [
        ("+213551234567", "DZ", "60303"),
        ("+213661234567", "DZ", "60301"),
        ("+213771234567", "DZ", "60302"),
        ("+21620123456", "TN", "60503"),
        ("+21650123456", "TN", "60501"),
        ("+21698123456", "TN", "60502"),
        ("+21645123456", "TN", None),
        ("+212612345678", "MA", "60400"),
        ("+212661345678", "MA", "60401"),
        ("+212600345678", "MA", "60402"),
        ("+33612345678", "FR", None),
        ("+14155552671", "US", None),
    ],
)
def test_country_and_carrier(text: str, country: str, carrier: str | None) -> None:
    """The prefix tells the carrier in Algeria, Tunisia and (as a hint) Morocco; elsewhere only the country is known."""
    assert parse_number(text) == Number(e164=text, country=country, carrier=carrier)


def test_default_region() -> None:
    """A national number is read in the region handed in; one with a country code is not."""
    assert parse_number("20 123 456", "TN").e164 == "+21620123456"
    assert parse_number("0612345678", "MA").e164 == "+212612345678"
    assert parse_number("00213771234567", "US").e164 == "+213771234567"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no digits"),
        (" -() ", "no digits"),
        ("+", "no digits"),
        ("213+771234567", "first"),
        ("++213771234567", "first"),
        ("٠٧٧١٢٣٤٥٦٧", "cannot be part"),
        ("077123456７", "cannot be part"),
        ("0771234567x12", "cannot be part"),
        ("tel:+213771234567", "cannot be part"),
        ("0800DJEZZY", "cannot be part"),
        ("+213771234567\n", "cannot be part"),
        ("+213771234567\x00", "cannot be part"),
        ("\ud800", "cannot be part"),
        ("0" * 33, "longer than 32"),
        ("1", "not a phone number"),
        ("077", "not a valid number"),
        ("+213" + "7" * 20, "too long"),
        ("+9991234567", "country code"),
        ("+0771234567", "country code"),
        ("+213991234567", "not a valid number"),
        ("+2137712345678", "not a valid number"),
        ("+21321123456", "not a mobile number"),
        ("+33142345678", "not a mobile number"),
        ("+88216123456", "not a mobile number"),
    ],
)
def test_refusals(text: str, reason: str) -> None:
    """What is not a mobile number is refused with a reason that helps and does not repeat it."""
    with pytest.raises(Invalid) as refusal:
        parse_number(text)

    assert refusal.value.field == "phone"
    assert reason in refusal.value.reason
    assert len(text) < 3 or text not in str(refusal.value)
    assert str(refusal.value).isprintable()


def test_unknown_default_region() -> None:
    """A region that does not exist leaves only numbers with a country code."""
    with pytest.raises(Invalid, match="country code"):
        parse_number("0771234567", "XX")

    assert parse_number("+213771234567", "XX") == DJEZZY


def test_huge_text() -> None:
    """A megabyte is refused before anything looks into it."""
    with pytest.raises(Invalid, match="longer than 32"):
        parse_number("1" * 1_000_000)


@given(st.text(max_size=40) | st.text("0123456789+ -.()", max_size=34))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text raises anything but Invalid; what is read is E.164, and reads as itself again."""
    try:
        number = parse_number(text)
    except Invalid as refusal:
        assert refusal.field == "phone"  # noqa: PT017 - either way is right, and says something
        return

    assert phonenumbers.is_valid_number(phonenumbers.parse(number.e164))
    assert number == parse_number(number.e164)


@given(st.sampled_from(["DZ", "TN", "MA"]), st.lists(st.sampled_from(" -.()"), min_size=9, max_size=9))
def test_separators_change_nothing(region: str, separators: list[str]) -> None:
    """Wherever the separators stand, the number is the same."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    e164 = phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164)
    spread = "".join(digit + separator for digit, separator in zip(e164, separators, strict=False)) + e164[len(separators) :]

    assert parse_number(e164) == parse_number(spread)


def test_ported_number() -> None:
    """A ported number has its new carrier and keeps all else; nothing ported changes nothing."""
    assert with_portability(DJEZZY, "60301") == Number(e164="+213771234567", country="DZ", carrier="60301")
    assert with_portability(DJEZZY, None) == DJEZZY
    assert with_portability(parse_number("+212612345678"), "60405").carrier == "60402"


@pytest.mark.parametrize("ported_to", ["60501", "99901", "Djezzy", ""])
def test_ported_abroad(ported_to: str) -> None:
    """A number is not ported to a carrier of another country, nor to something that is no carrier."""
    with pytest.raises(Invalid) as refusal:
        with_portability(DJEZZY, ported_to)

    assert refusal.value.field == "carrier"
    assert DJEZZY.e164 not in str(refusal.value)


@pytest.mark.parametrize(
    ("number", "masked"),
    [
        ("+213551234556", "+2135*****56"),
        ("+21620123456", "+2162*****56"),
        ("0551234567", "**********"),
        ("+213", "****"),
        ("", ""),
    ],
)
def test_mask(number: str, masked: str) -> None:
    """A mask keeps the first five and the last two characters; a short text is all stars."""
    assert masked == mask(number)


@given(st.text())
def test_mask_hides(number: str) -> None:
    """A mask is short, and never shows more than seven characters."""
    masked = mask(number)

    assert len(masked) <= 12
    assert masked.count("*") >= min(len(number), 5)
