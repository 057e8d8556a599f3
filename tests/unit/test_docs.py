"""What the documents say of the code is so."""

import re
from pathlib import Path

import pytest

from router import metrics
from router.settings import Settings

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()


def settings_table() -> list[str]:
    """The rows of the settings' table as they should stand; a failing test prints them."""
    rows = []
    for name, field in Settings.model_fields.items():
        if name == "data":
            default = "~/.local/share/seedrouter"
        else:
            default = getattr(field.default, "get_secret_value", lambda value=field.default: value)()
        shown = "–" if default == "" else f"`{str(default).lower() if isinstance(default, bool) else format_number(default)}`"
        rows.append(f"| `SEEDROUTER_{name.upper()}` | {shown} | {field.description or ''} |")
    return rows


def format_number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_setting_stands_in_the_operations_page() -> None:
    """With its default and what it is for, in the order of the code."""
    found = [line for line in OPERATIONS.splitlines() if line.startswith("| `SEEDROUTER_")]

    assert found == settings_table()


def test_every_metric_that_a_page_names_exists() -> None:
    """No expression of a page asks for what nobody exports."""
    ours = {family for family in vars(metrics).values() if hasattr(family, "_name")}
    names = {str(family._name) for family in ours}
    told = set(re.findall(r"\bseedrouter_[a-z_]+[a-z]\b", OPERATIONS))
    bare = {re.sub(r"_(total|bucket|count|sum|created)$", "", name) for name in told}

    assert told
    assert bare <= names


@pytest.mark.parametrize("page", sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")], key=str), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    assert [target for target in targets if not (page.parent / target).exists()] == []
