"""`bench`: figures, one JSON object a line."""

from typing import Annotated

import typer


def bench(
    context: typer.Context, name: Annotated[str, typer.Argument(metavar="NAME", help="Which one; `list` names them all.")]
) -> None:
    """Run a benchmark; what follows NAME is for it. Prints one JSON object per figure."""
    from bench.main import run
    from router.cli.logs import configure_logs

    configure_logs("auto", "warning")
    raise typer.Exit(run(name, context.args))
