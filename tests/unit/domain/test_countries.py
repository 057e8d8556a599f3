import pytest
from phonenumbers.geodata.locale import LOCALE_DATA

from router.domain.carriers import _COUNTRY_OF_MCC
from router.domain.countries import country_name, country_of_name


def test_every_country_that_a_seed_can_be_of_has_a_name() -> None:
    """And the name leads back to it."""
    codes = set(_COUNTRY_OF_MCC.values())

    assert set() == {code for code in codes if country_name(code) == code}
    assert codes == {country_of_name(country_name(code).upper()) for code in codes}


def test_names_are_the_datas() -> None:
    """As Google's library has them, whose English ones may be the same as another language's."""
    names = {code: found for code, data in LOCALE_DATA.items() if (found := data.get("en"))}
    plain = {code: LOCALE_DATA[code][name[1:]] if name.startswith("*") else name for code, name in names.items()}

    assert {code: country_name(code) for code in plain} == plain


@pytest.mark.parametrize(
    ("text", "code"), [("Algeria", "DZ"), (" algeria ", "DZ"), ("dz", "DZ"), ("CÔTE D'IVOIRE", "CI"), ("Atlantis", "ATLANTIS"), ("", "")]
)
def test_names_as_people_write_them(text: str, code: str) -> None:
    assert code == country_of_name(text)
