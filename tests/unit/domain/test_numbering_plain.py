"""Plain E.164 is read the short way; it must be the library's own answer, for every country's numbers."""

import random
from collections import Counter
from collections.abc import Iterator

import phonenumbers
import pytest

from router.domain import numbering
from router.domain.errors import Invalid
from router.domain.numbering import Number, parse_number

MUTATIONS = 100
KINDS = ("mobile", "fixed_line", "voip", "premium_rate", "toll_free", "shared_cost", "pager", "personal_number", "uan", "voicemail")


def read_slowly(text: str, monkeypatch: pytest.MonkeyPatch) -> Number | None:
    """The library's answer; None where it is refused."""
    with monkeypatch.context() as patch:
        patch.setattr(numbering, "_read_plain", lambda text: None)
        try:
            return parse_number(text)
        except Invalid:
            return None


def mutated(national: str, rng: random.Random) -> str:
    """Up to five digits changed; now and then one more, or one less."""
    digits = list(national)
    for _ in range(rng.randrange(6)):
        digits[rng.randrange(len(digits))] = rng.choice("0123456789")
    match rng.randrange(20):
        case 0 | 1:
            digits.append(rng.choice("0123456789"))
        case 2:
            digits.pop(rng.randrange(len(digits)))
    return "".join(digits)


def numbers_of(region: str) -> Iterator[str]:
    """In E.164: each kind's example number, and neighbours of it; the same ones in every run."""
    data = phonenumbers.PhoneMetadata.metadata_for_region(region)
    assert data is not None
    rng = random.Random(region)
    for kind in KINDS:
        found = getattr(data, kind)
        if found is not None and found.example_number:
            yield f"+{data.country_code}{found.example_number}"
            for _ in range(MUTATIONS):
                yield f"+{data.country_code}{mutated(found.example_number, rng)}"


def test_the_short_way_is_the_librarys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it answers, in any region, of any kind of number: the same number, country and carrier. It may leave it to the library."""
    taken: Counter[str] = Counter()
    for region in sorted(phonenumbers.SUPPORTED_REGIONS):
        for text in numbers_of(region):
            plain = numbering._read_plain(text)
            if plain is not None:
                taken[region] += 1
                assert read_slowly(text, monkeypatch) == plain, text

    assert {"DZ", "TN"} <= taken.keys()
    assert len(taken) > 100, "most countries have their calling code to themselves"


@pytest.mark.parametrize(
    ("text", "country", "carrier"),
    [
        ("+213551234567", "DZ", "60303"),
        ("+213661234567", "DZ", "60301"),
        ("+213771234567", "DZ", "60302"),
        ("+21620123456", "TN", "60503"),
        ("+21650123456", "TN", "60501"),
        ("+21698123456", "TN", "60502"),
    ],
)
def test_taken_where_it_matters(text: str, country: str, carrier: str) -> None:
    """Plain Algerian and Tunisian mobile numbers are read the short way."""
    assert Number(e164=text, country=country, carrier=carrier) == numbering._read_plain(text)


@pytest.mark.parametrize("region", ["DZ", "TN"])
def test_nearly_all_mobile_numbers_take_it(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of all that the library takes for a mobile number, at least nineteen in twenty."""
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert example is not None
    rng = random.Random(7)
    texts = {f"+{example.country_code}{mutated(str(example.national_number), rng)}" for _ in range(2000)}
    good = [text for text in texts if read_slowly(text, monkeypatch) is not None]

    assert len(good) > 100
    assert sum(numbering._read_plain(text) is not None for text in good) >= 0.95 * len(good)


@pytest.mark.parametrize(
    "text",
    [
        "0771234567",
        "771234567",
        "213771234567",
        "00213771234567",
        "+213 771 23 45 67",
        " +213771234567",
        "+213771234567\n",
        "+2130771234567",
        "+213٧٧١٢٣٤٥٦٧",
        "+21377123456",
        "+2137712345678",
        "+21321123456",
        "+213991234567",
        "+14155552671",
        "+212612345678",
        "+88216123456",
        "+9991234567",
        "+",
        "",
        "\ud800",
    ],
)
def test_left_to_the_library(text: str) -> None:
    """Everything but a plain mobile number of a country with a calling code of its own (Morocco shares 212, America 1)."""
    assert numbering._read_plain(text) is None
