"""`queue dead`: entries of the queue that could not be handled, and how to put them back or drop them."""

from typing import Annotated, Literal

import typer

from router.cli.errors import CliError
from router.cli.options import Data, Json
from router.cli.output import moment, print_json, print_table, router_at

app = typer.Typer(help="Entries that could not be handled.", no_args_is_help=True)
Letter = Annotated[str, typer.Argument(metavar="LETTER", help="Its id: see `queue dead list`.")]


@app.command("list")
def list_letters(
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="At the most so many.")] = 50,
    order: Annotated[Literal["latest", "oldest"], typer.Option("--order", help="Which come first.")] = "latest",
    data: Data = None,
    as_json: Json = False,
) -> None:
    """The dead letters, the latest first. They stay where they are."""
    with router_at(data) as router:
        found = router.get("/dead-letters", limit=limit, order=order)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            one["id"], one["reason"], one["lane"], one["message_id"] or _unreadable(one), one["deaths"], moment(one["queued_at"]),
            moment(one["died_at"]),
        )
        for one in found["letters"]
    ]  # fmt: skip
    print_table(("id", "reason", "lane", "message", "deaths", "queued", "died"), rows, empty="no dead letters")
    if found["count"] > len(rows):
        print(f"{len(rows)} of {found['count']} are shown.")


def _unreadable(letter: dict[str, object]) -> str:
    """What is told of a body that is no entry."""
    return f"{letter['size']} bytes, SHA-256 {letter['digest']}…"


@app.command("replay")
def replay(
    letter: Annotated[str | None, typer.Argument(metavar="LETTER", help="Its id: see `queue dead list`.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All that are dead.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Put one dead letter back on its lane, or all of them."""
    from router.cli.client import path_of

    if (letter is None) is not every:
        raise CliError("name a letter, or say --all")
    with router_at(data) as router:
        done = router.post(path_of("dead-letters", letter, "replay") if letter is not None else "/dead-letters/replay")
    if as_json:
        print_json(done)
        return
    print(f"{done['replayed']} on the queue again, {done['left']} still dead.")


@app.command("drop")
def drop(letter: Letter, data: Data = None, as_json: Json = False) -> None:
    """Take one away for good. A message that is still open is queued again by its own timer."""
    from router.cli.client import path_of

    with router_at(data) as router:
        router.delete(path_of("dead-letters", letter))
    if as_json:
        print_json({"dropped": letter})
        return
    print(f"{letter} is gone.")
