"""What is searched for, in the addresses of the console."""

from types import SimpleNamespace
from typing import Any

import pytest

from router.api.console.hidden import hide, reveal
from router.domain.errors import Invalid
from router.services.message_search import Term


def parts(now: float = 1000.0, key: str = "ab" * 32) -> Any:
    return SimpleNamespace(clock=SimpleNamespace(now=lambda: now), secrets=SimpleNamespace(seal_key=key))


def test_there_and_back() -> None:
    """It is read by the same router for a day, says nothing to others, and is never the same twice."""
    term = Term("phone", "+213661000001")
    hidden = hide(parts(), term)

    assert term == reveal(parts(now=1000.0 + 86_000), hidden, Term)
    assert "661" not in hidden
    assert hidden.replace("-", "").replace("_", "").isalnum()
    assert hidden != hide(parts(), term)


@pytest.mark.parametrize("change", [{"now": 1000.0 + 87_000}, {"key": "cd" * 32}])
def test_too_old_or_anothers(change: dict[str, Any]) -> None:
    hidden = hide(parts(), "0661")

    with pytest.raises(Invalid, match="search again"):
        reveal(parts(**change), hidden, str)


@pytest.mark.parametrize("hidden", ["", "x", "é", "AAAA", "A" * 5000, "%", "a b"])
def test_nonsense(hidden: str) -> None:
    with pytest.raises(Invalid, match="search again"):
        reveal(parts(), hidden, str)


def test_changed_and_of_another_kind() -> None:
    """A changed letter, or a search of another page, is refused."""
    hidden = hide(parts(), "0661")
    changed = hidden[:20] + ("A" if hidden[20] != "A" else "B") + hidden[21:]

    for each, kind in ((changed, str), (hidden, Term)):
        with pytest.raises(Invalid):
            reveal(parts(), each, kind)
