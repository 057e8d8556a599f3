"""The options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

_DATA_HELP = "Data folder of the router to ask. Default: SEEDROUTER_URL, or else SEEDROUTER_DATA, or your own."
Data = Annotated[Path | None, typer.Option("--data", file_okay=False, help=_DATA_HELP)]
OwnData = Annotated[Path | None, typer.Option("--data", file_okay=False, help="Data folder: embedded Redis, secrets, run.json.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document, as the API answers it.")]
RedisUrl = Annotated[str | None, typer.Option("--redis-url", help="redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://")]
BrokerUrl = Annotated[str | None, typer.Option("--broker-url", help="Where the queue is: a Redis URL or amqp://. Default: the same Redis.")]
Host = Annotated[str | None, typer.Option("--host", help="Address the API listens on.")]
Port = Annotated[int | None, typer.Option("--port", min=0, max=65535, help="Port of the API; 0 = any free one.")]
AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="Its id, or its name where no other account has it.")]
