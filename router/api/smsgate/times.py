"""Times of this dialect: RFC 3339 as its clients and its app write it."""

import re
from datetime import UTC, datetime

from router.domain.errors import Invalid

_FIRST, _LAST = -2_208_988_800.0, 253_402_214_400.0
"""1900 and the last day of 9999: what every client can read again."""
_SHAPE = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:([Zz])|([+-]\d\d):?(\d\d))?", re.ASCII)


def parse_time(text: str, field: str = "time") -> float:
    """Unix seconds. Any number of fraction digits, `Z` or an offset; without either it is UTC, as the Python client sends naive times.

    Raises `Invalid` that names `field`.
    """
    found = _SHAPE.fullmatch(text)
    if found is None:
        raise Invalid(field, "not a time as in 2026-01-31T12:00:00.000Z")
    date, time, fraction, zulu, hours, minutes = found.groups()
    zone = "+00:00" if zulu or hours is None else f"{hours}:{minutes}"
    try:
        whole = datetime.fromisoformat(f"{date}T{time}{zone}").timestamp()
    except ValueError:
        raise Invalid(field, "there is no such time") from None
    if not _FIRST <= whole <= _LAST:
        raise Invalid(field, "a time from 1900 to 9999")
    return whole + float(f"0{fraction or ''}")


def format_time(seconds: float) -> str:
    """`2026-01-31T12:00:00.000Z`, with exactly three fraction digits: the app reads `.123456` as 123 s and some."""
    milliseconds = round(seconds * 1000)
    whole = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(tzinfo=None)
    return f"{whole.isoformat()}.{milliseconds % 1000:03d}Z"
