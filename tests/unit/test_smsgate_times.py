import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.smsgate.times import format_time, parse_time
from router.domain.errors import Invalid

NOON = 1_769_860_800.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-01-31T12:00:00Z", NOON),
        ("2026-01-31T12:00:00.5Z", NOON + 0.5),
        ("2026-01-31T12:00:00.123456789Z", NOON + 0.123456789),
        ("2026-01-31T13:00:00+01:00", NOON),
        ("2026-01-31T11:30:00.25-00:30", NOON + 0.25),
        ("2026-01-31t12:00:00z", NOON),
        ("2026-01-31 12:00:00", NOON),
        ("2026-01-31T12:00:00.001000", NOON + 0.001),
        ("2026-01-31T13:00:00+0100", NOON),
        ("1969-12-31T23:59:59.750Z", -0.25),
    ],
)
def test_read(text: str, seconds: float) -> None:
    """`Z`, any offset, any number of fraction digits; without a zone it is UTC."""
    assert seconds == pytest.approx(parse_time(text), abs=1e-6)


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-01-31", "2026-01-31T12:00Z", "2026-02-30T12:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T12:00:00.Z", "1769860800",
     "2026-01-31T12:00:00+25:00", "٢٠٢٦-01-31T12:00:00Z", "0001-01-01T00:00:00+23:00", "2026-01-31T12:00:00Z\n"],
)  # fmt: skip
def test_refused(text: str) -> None:
    """Told with the name of the field."""
    with pytest.raises(Invalid) as refused:
        parse_time(text, "since")

    assert "since" == refused.value.field


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (NOON, "2026-01-31T12:00:00.000Z"),
        (NOON + 0.1, "2026-01-31T12:00:00.100Z"),
        (NOON + 0.123456, "2026-01-31T12:00:00.123Z"),
        (NOON + 59.9996, "2026-01-31T12:01:00.000Z"),
        (-0.25, "1969-12-31T23:59:59.750Z"),
    ],
)
def test_written(seconds: float, text: str) -> None:
    """Always three fraction digits."""
    assert text == format_time(seconds)


@given(st.integers(min_value=0, max_value=4_000_000_000_000))
def test_there_and_back(milliseconds: int) -> None:
    assert milliseconds == round(parse_time(format_time(milliseconds / 1000)) * 1000)
