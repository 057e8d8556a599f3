"""`secrets`: the secrets of roles that run apart, as files."""

from pathlib import Path
from typing import Annotated

import typer

from router.cli.errors import CliError

app = typer.Typer(help="Secrets as files, for docker-compose and systemd.", no_args_is_help=True)


@app.callback()
def secrets() -> None:
    """Secrets as files, for docker-compose and systemd."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where to put them: SEEDROUTER_SECRETS_DIR of all roles.")],
    take: Annotated[
        Path | None,
        typer.Option("--from", metavar="DATA", file_okay=False, exists=True, help="A data folder of `up` whose secrets go on being used."),
    ] = None,
    rabbitmq: Annotated[
        bool, typer.Option("--rabbitmq", help="For the RabbitMQ of docker-compose.yml as well: its users, and the URLs of the roles.")
    ] = False,
) -> None:
    """Make the secrets that are not there yet, each as a file of its own, mode 600. What is there stays. None is shown."""
    from router.domain.errors import RouterError
    from router.secret_files import write_secret_files

    try:
        made = write_secret_files(folder, data=take, rabbitmq=rabbitmq)
    except RouterError as error:
        raise CliError(f"secrets: {error}") from None
    except OSError as error:
        raise CliError(f"{error.filename or folder} cannot be written: {error.strerror}") from None
    print(f"made in {folder}: {', '.join(made)}" if made else f"all are in {folder} already")
