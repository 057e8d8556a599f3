"""How figures, times and numbers look on the console's pages."""

import jinja2
import pytest

from router.api.console import filters

NOW = 1_700_000_000.0  # 22:13:20 UTC


@pytest.fixture(scope="module")
def jinja() -> jinja2.Environment:
    environment = jinja2.Environment(autoescape=True)
    environment.filters.update(filters.FILTERS)
    return environment


@pytest.mark.parametrize(("value", "shown"), [
    (None, "–"), (0, "0.00 s"), (0.0371, "0.04 s"), (3.14, "3.1 s"), (9.96, "10.0 s"), (12.4, "12 s"), (60, "1 min"), (200, "3 min 20 s"),
    (3600, "1 h"), (3661, "1 h 1 min"), (7200, "2 h"), (90061, "1 d 1 h"), (86400, "1 d"), (86460, "1 d"), (-3, "0.00 s"),
])  # fmt: skip
def test_seconds(value: float | None, shown: str) -> None:
    """Two units at most, the smaller one only right after the larger."""
    assert shown == filters.seconds(value)


@pytest.mark.parametrize(("at", "shown"), [
    (NOW - 12, '22:13:08</time> <span class="ago">12 s ago</span>'),
    (NOW - 5, '22:13:15</time> <span class="ago">5 s ago</span>'),
    (NOW + 60, '22:14:20</time> <span class="ago">in 1 min</span>'),
    (NOW, '22:13:20</time> <span class="ago">now</span>'),
    (NOW - 86400, '2023-11-13 22:13:20</time> <span class="ago">1 d ago</span>'),
    (None, "–"),
    (0.0, "–"),
])  # fmt: skip
def test_when(jinja: jinja2.Environment, at: float | None, shown: str) -> None:
    """The time of day, the day where it is another one, and how long ago that is."""
    found = jinja.from_string("{{ at | when }}").render(at=at, now=NOW)

    assert found.endswith(shown)
    assert (" UTC" in found) == bool(at)


@pytest.mark.parametrize(("minor", "shown"), [(123450, "1,234.50 DZD"), (5, "0.05 DZD"), (-250, "-2.50 DZD"), (0, "0.00 DZD"), (None, "–")])
def test_money(jinja: jinja2.Environment, minor: int | None, shown: str) -> None:
    """Minor units as an amount."""
    assert shown == jinja.from_string("{{ minor | money }}").render(minor=minor, currency="DZD")


@pytest.mark.parametrize(("value", "shown"), [(0.934, "93 %"), (1.0, "100 %"), (0.0, "0 %"), (0.034, "3.4 %"), (None, "–")])
def test_share(value: float | None, shown: str) -> None:
    """Whole per cent, small ones with a decimal."""
    assert shown == filters.share(value)


def test_nothing_is_markup_but_ours(jinja: jinja2.Environment) -> None:
    """What comes from outside stays text, also within the markup of a filter."""
    shown = jinja.from_string("{{ bad | carrier }} {{ bad | masked }}").render(bad="<script>alert(1)</script>")

    assert "<script" not in shown
    assert '<span title="60301">Mobilis</span>' == jinja.from_string("{{ '60301' | carrier }}").render()
    assert "+2136*****01" == jinja.from_string("{{ '+213661000001' | masked }}").render()
