"""`bench`: figures, one JSON object a line."""

from typing import Annotated

import typer


def bench(
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Which one; `list` names them, `all` runs each with few messages.", show_default=False)
    ],
) -> None:
    """Run a benchmark on a router of its own; prints one JSON object per figure.

    What follows NAME is for it: `bench NAME -- -h` tells its options.
    """
    from bench.main import run
    from router.cli.logs import configure_logs

    configure_logs("auto", "warning")
    raise typer.Exit(run(name, context.args))
