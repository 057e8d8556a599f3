"""What people type into the forms of the console."""

import pytest

from router.api.console.inputs import money_of, plain_money, seconds_of, whole_of
from router.domain.errors import Invalid


@pytest.mark.parametrize(
    ("text", "minor"), [("1250", 125_000), ("12.50", 1250), ("1,250.5", 125_050), ("-0.01", -1), ("\u2212 3", -300), ("+7", 700)]
)
def test_money(text: str, minor: int) -> None:
    assert minor == money_of("amount", text)
    assert minor == money_of("amount", plain_money(minor))


@pytest.mark.parametrize("text", ["", "much", "1.005", "nan", "inf", "1e3", "1e999999999", "1" * 40, "٣", "1.2.3", "--1"])
def test_no_money(text: str) -> None:
    with pytest.raises(Invalid, match="amount"):
        money_of("amount", text)


def test_whole_numbers() -> None:
    assert (None, 0, 12) == (whole_of("n", ""), whole_of("n", "0"), whole_of("n", "12"))
    for text in ("-1", "1.5", "x", "٣", "9" * 31):
        with pytest.raises(Invalid):
            whole_of("n", text)


def test_seconds() -> None:
    assert (None, 300.0, 0.5) == (seconds_of("s", ""), seconds_of("s", "300"), seconds_of("s", "0.5"))
    with pytest.raises(Invalid):
        seconds_of("s", "soon")
