"""What commands print: a table or a line for people, one JSON document for programs."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from rich.console import RenderableType

    from router.cli.client import OperatorClient

NOTHING = "–"


@contextmanager
def router_at(data: Path | None) -> "Iterator[OperatorClient]":
    """The running router, for the time of a command. Raises `CliError`."""
    import os

    from router.cli.client import OperatorClient, find_router

    with OperatorClient(find_router(data, os.environ)) as router:
        yield router


def print_json(document: Any) -> None:
    """One document and a newline; indented on a terminal."""
    option = orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if sys.stdout.isatty() else 0)
    sys.stdout.write(orjson.dumps(document, option=option).decode())
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, title: str | None = None, empty: str = "") -> None:
    """Numbers stand right. None is a dash."""
    from rich.table import Table
    from rich.text import Text

    rows = [list(row) for row in rows]
    if not rows:
        print_rich(empty)
        return
    table = Table(title=title, title_justify="left")
    for place, column in enumerate(columns):
        is_number = all(isinstance(row[place], (int, float)) or row[place] is None for row in rows)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(shown(value)) for value in row))
    print_rich(table)


def print_fields(fields: Mapping[str, Any]) -> None:
    """One thing: a name and a value a line."""
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in fields.items():
        table.add_row(Text(name, style="bold"), Text(shown(value)))
    print_rich(table)


def print_rich(content: "RenderableType") -> None:
    """As wide as the terminal; elsewhere wide enough that no line of a table is broken."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    Console(width=None if is_terminal else 200, highlight=False, emoji=False).print(content)


def shown(value: Any) -> str:
    """A value in a table."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    return str(value)


def moment(at: float | None) -> str | None:
    """A time, in UTC."""
    return None if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def ago(at: float | None, now: float) -> str | None:
    """How long ago, in the largest unit that still tells something."""
    if at is None:
        return None
    seconds = max(0.0, now - at)
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"
