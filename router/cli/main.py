"""`seedrouter`: the commands, put together. Each one imports what it needs when it runs, so that --help is quick."""

import sys
from collections.abc import Callable
from typing import Final

import typer

from router.cli import accounts, devices, fraud, keys, messages, queue, secrets, seeds, templates, webhooks
from router.cli.backup import backup, restore
from router.cli.bench import bench
from router.cli.demo import demo
from router.cli.doctor import doctor
from router.cli.errors import FAILED, CliError
from router.cli.health import health
from router.cli.inbound import inbound
from router.cli.roles import api, courier, dispatcher, relay, timekeeper
from router.cli.settings import settings
from router.cli.simulate import simulate
from router.cli.top import top
from router.cli.torture import torture
from router.cli.up import up

_RUN: Final = "Run it"
_USE: Final = "Use a running router"
_CHECK: Final = "Look after it"

app = typer.Typer(
    name="seedrouter",
    help="Routes one-time codes over a fleet of phones. Begin with `seedrouter demo`, then `seedrouter up`.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_RUNNING: tuple[Callable[..., None], ...] = (up, demo, simulate, api, dispatcher, timekeeper, courier, relay)
for command in _RUNNING:
    app.command(rich_help_panel=_RUN)(command)
for name, group in (
    ("accounts", accounts.app),
    ("keys", keys.app),
    ("templates", templates.app),
    ("seeds", seeds.app),
    ("messages", messages.app),
    ("devices", devices.app),
    ("webhooks", webhooks.app),
    ("fraud", fraud.app),
    ("queue", queue.app),
):
    app.add_typer(group, name=name, rich_help_panel=_USE)
app.command(rich_help_panel=_USE)(messages.send)
app.command(rich_help_panel=_USE)(inbound)
app.command(rich_help_panel=_USE)(top)
app.command(rich_help_panel=_CHECK)(doctor)
app.command(rich_help_panel=_CHECK)(settings)
app.command(rich_help_panel=_CHECK)(health)
app.command(rich_help_panel=_CHECK)(backup)
app.command(rich_help_panel=_CHECK)(restore)
app.add_typer(secrets.app, name="secrets", rich_help_panel=_CHECK)
app.command(rich_help_panel=_CHECK)(torture)
app.command(rich_help_panel=_CHECK, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(bench)


def main() -> None:
    """The entry point: what a command raises becomes one line on stderr and an exit code."""
    try:
        app()
    except CliError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        from router.domain.errors import RouterError

        found = _expected(error)
        if not isinstance(found, (CliError, RouterError)):
            raise
        _fail(str(found), FAILED)


def _expected(error: BaseException) -> BaseException:
    """The first of several that failed together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _fail(text: str, exit_code: int) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
