import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.carriers import (
    canonical_carrier,
    carrier_by_name,
    carrier_name,
    carrier_of_imsi,
    carriers_of_country,
    country_of_carrier,
    is_carrier,
)


@pytest.mark.parametrize(
    ("carrier", "country", "name"),
    [
        ("60301", "DZ", "Mobilis"),
        ("60302", "DZ", "Djezzy"),
        ("60303", "DZ", "Ooredoo"),
        ("60400", "MA", "Orange"),
        ("60401", "MA", "Maroc Telecom"),
        ("60402", "MA", "inwi"),
        ("60405", "MA", "inwi"),
        ("60501", "TN", "Orange"),
        ("60502", "TN", "Tunisie Telecom"),
        ("60503", "TN", "Ooredoo"),
    ],
)
def test_home_carriers(carrier: str, country: str, name: str) -> None:
    """The carriers of Algeria, Morocco and Tunisia have a name and a country, and are found by them."""
    found = carrier_by_name(country, name.upper())

    assert name == carrier_name(carrier)
    assert country == country_of_carrier(carrier)
    assert canonical_carrier(carrier) == found


def test_unknown_name() -> None:
    """A carrier without a name is called by its code, and a name of another country finds nothing."""
    assert carrier_name("20801") == "20801"
    assert carrier_name("nonsense") == "nonsense"
    assert carrier_by_name("DZ", "Tunisie Telecom") is None
    assert carrier_by_name("DZ", "") is None


@pytest.mark.parametrize(
    ("imsi", "carrier"),
    [
        ("603021234567890", "60302"),
        ("603029", "60302"),
        ("604051234567890", "60402"),
        ("208011234567890", "20801"),
        ("310260123456789", "310260"),
        ("722310123456789", "722310"),
        ("405861234567890", "40586"),
        ("404451234567890", "40445"),
    ],
)
def test_carrier_of_imsi(imsi: str, carrier: str) -> None:
    """An IMSI's carrier has an MNC of two or three digits, by its country; a network with two codes has one carrier."""
    assert carrier == carrier_of_imsi(imsi)


@pytest.mark.parametrize(
    "imsi",
    [
        "",
        "60302",
        "sample_IMSI",
        "60302x234567890",
        " 603021234567890",
        "٦٠٣٠٢١٢٣٤٥٦٧٨٩٠",
        "603021234567²",
        "999011234567890",
        "001010123456789",
    ],
)
def test_not_an_imsi(imsi: str) -> None:
    """What is too short, not all ASCII digits, or of no country has no carrier."""
    assert carrier_of_imsi(imsi) is None


@pytest.mark.parametrize("text", ["", "603", "6030", "6030211", "6030x", "٦٠٣٠٢", "99901", "90128", "60 02", "60302\n"])
def test_not_a_carrier(text: str) -> None:
    """A carrier is five or six ASCII digits with the MCC of a country."""
    assert not is_carrier(text)
    assert country_of_carrier(text) is None


def test_unknown_mnc_is_a_carrier() -> None:
    """The world's networks need not be listed: a known MCC is enough."""
    assert is_carrier("60399")
    assert is_carrier("310260")
    assert country_of_carrier("310260") == "US"


def test_carriers_of_country() -> None:
    """A country lists each of its networks once, in order."""
    assert carriers_of_country("DZ") == ("60301", "60302", "60303")
    assert carriers_of_country("MA") == ("60400", "60401", "60402")
    assert carriers_of_country("TN") == ("60501", "60502", "60503")
    assert carriers_of_country("FR") == ()


@given(st.text() | st.from_regex(r"[2-7][0-9]{2,16}", fullmatch=True))
def test_every_carrier_of_an_imsi_is_a_carrier(imsi: str) -> None:
    """Whatever stands in an IMSI, its carrier is one, has a country, and is canonical."""
    carrier = carrier_of_imsi(imsi)

    if carrier is not None:
        assert is_carrier(carrier)
        assert country_of_carrier(carrier) is not None
        assert carrier == canonical_carrier(carrier)
