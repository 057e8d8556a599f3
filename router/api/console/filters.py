"""How figures, times and numbers look on a page."""

from datetime import UTC, datetime
from typing import Any

from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from router.domain.carriers import carrier_name
from router.domain.numbering import mask

NOTHING = "–"
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def seconds(value: float | None) -> str:
    """`0.84 s`, `12 s`, `3 min 20 s`, `2 d 5 h`: two units at most."""
    if value is None:
        return NOTHING
    if value < 10:
        return f"{max(0.0, value):.2f} s" if value < 1 else f"{value:.1f} s"
    left, words = round(value), list[str]()
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count:
            words.append(f"{count} {unit}")
        if words and (len(words) == 2 or not count):
            break
    return " ".join(words)


@pass_context
def when(context: Context, at: float | None) -> str:
    """A time as HH:MM:SS UTC, with the whole of it in its title, and how long ago that is; with the day where it is another one."""
    if not at:
        return NOTHING
    moment, now = datetime.fromtimestamp(at, UTC), float(context["now"])
    is_today = moment.date() == datetime.fromtimestamp(now, UTC).date()
    away = now - at
    length = f"{abs(away):.0f} s" if abs(away) < 10 else seconds(abs(away))
    words = "now" if abs(away) < 1 else f"{length} ago" if away > 0 else f"in {length}"
    return Markup('<time datetime="{}" title="{}">{}</time> <span class="ago">{}</span>').format(
        iso(at),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        f"{moment:%H:%M:%S}" if is_today else f"{moment:%Y-%m-%d %H:%M:%S}",
        words,
    )


def clock(at: float) -> str:
    """HH:MM:SS, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def masked(number: str | None) -> str:
    """A phone's number, its middle hidden."""
    return mask(number) if number else NOTHING


@pass_context
def money(context: Context, minor: int | None, currency: str | None = None) -> str:
    """Minor units as an amount: `1,234.50 DZD`."""
    if minor is None:
        return NOTHING
    sign, whole, cents = "-" if minor < 0 else "", *divmod(abs(minor), 100)
    return f"{sign}{whole:,}.{cents:02d} {currency or context['currency']}"


def share(value: float | None) -> str:
    """0.934 → `93 %`; what is less than ten keeps a decimal."""
    if value is None:
        return NOTHING
    percent = value * 100
    return f"{percent:.1f} %" if 0 < percent < 10 else f"{percent:.0f} %"


def count(value: float | None) -> str:
    """12345 → `12,345`."""
    return NOTHING if value is None else f"{value:,.0f}"


def rate(value: float | None) -> str:
    """12.34 → `12.3`, 1234.5 → `1,235`; zero is `0`."""
    if value is None:
        return NOTHING
    return f"{value:,.1f}" if 0 < value < 100 else f"{value:,.0f}"


def iso(at: float) -> str:
    """As machines read it, in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def carrier(code: str | None) -> str:
    """A carrier's name, its code in the title; the code itself where we have no name."""
    if not code:
        return NOTHING
    name = carrier_name(code)
    return Markup('<span title="{}">{}</span>').format(code, name) if name != code else str(escape(code))


FILTERS: dict[str, Any] = {
    each.__name__: each for each in (seconds, when, clock, iso, masked, money, share, count, rate, carrier)
}
