"""`seedrouter`: the commands, put together. Each one imports what it needs when it runs, so that --help is quick."""

import sys

import typer

from router.cli import roles
from router.cli.errors import FAILED, CliError

app = typer.Typer(
    name="seedrouter",
    help="Routes one-time codes over a fleet of phones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(rich_help_panel="Roles, one by one")(roles.api)
app.command(rich_help_panel="Roles, one by one")(roles.dispatcher)
app.command(rich_help_panel="Roles, one by one")(roles.timekeeper)


def main() -> None:
    """The entry point: what a command raises becomes one line on stderr and an exit code."""
    try:
        app()
    except CliError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        from router.domain.errors import RouterError

        if not isinstance(error, RouterError):
            raise
        _fail(str(error), FAILED)


def _fail(text: str, exit_code: int) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
