"""Times on the wire as SMSGate's app reads and writes them. Source: the app (Gson with the pattern `yyyy-MM-dd'T'HH:mm:ss.SSSXXX`)."""

import re
from datetime import datetime, timedelta, timezone
from typing import Final

_RFC_3339: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")


def read_time(text: str) -> float:
    """Unix seconds, with the app's bug: the digits of the fraction are a number of milliseconds, however many they are.

    So `.5` is 5 ms, `.123` is 123 ms, and `.123456` is two minutes later. Raises ValueError.
    """
    parts = _RFC_3339.fullmatch(text)
    if parts is None:
        raise ValueError(f"{text!r} is not a time of RFC 3339")
    whole, fraction, zone = parts.groups()
    return datetime.fromisoformat(whole + zone).timestamp() + int(fraction or 0) / 1000.0


def write_time(seconds: float, utc_offset_minutes: int) -> str:
    """Three digits of fraction, in the phone's own time zone."""
    zone = timezone(timedelta(minutes=utc_offset_minutes))
    text = datetime.fromtimestamp(seconds, zone).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z" if utc_offset_minutes == 0 else text
