"""`health`: does the role of this machine, or of this container, do its work? For health checks: exit code 0, or 1 and the reason."""

import http.client
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from router.cli.errors import CliError

if TYPE_CHECKING:
    from router.settings import Settings

_ANSWER_SECONDS: Final = 5.0
_LAST_RUN_SECONDS: Final = 30.0
"""A worker goes round at least once a second; while the store is away it does not."""
_LAST_RUN: Final = "seedrouter_last_run_timestamp_seconds"
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - compared with, not listened on


class Role(StrEnum):
    """Those that run as a process of their own."""

    API = "api"
    DISPATCHER = "dispatcher"
    TIMEKEEPER = "timekeeper"
    COURIER = "courier"
    RELAY = "relay"


def health(role: Annotated[Role, typer.Argument(help="The role that runs here, on the port of its settings.")]) -> None:
    """Does this role do its work? Exit code 1 where it does not: the api is not ready, or a worker has not gone round for 30 s."""
    from router.cli.config import load_settings

    settings = load_settings()
    if role is Role.API:
        status, body = _ask(settings, settings.port, "/health/ready")
        if status != http.client.OK:
            raise CliError(f"the api is not ready: {body.strip()}")
        print("the api is ready")
        return
    status, body = _ask(settings, getattr(settings, f"{role}_metrics_port"), "/metrics")
    ago = time.time() - last_run(body, role)
    if status != http.client.OK or ago > _LAST_RUN_SECONDS:
        raise CliError(f"the {role} " + (f"went round {ago:.0f} s ago" if ago < time.time() / 2 else "has not gone round yet"))
    print(f"the {role} went round {max(0.0, ago):.1f} s ago")


def last_run(metrics: str, role: str) -> float:
    """When the role went round the last time, in Unix seconds, from the text of its /metrics; 0 where it has not yet."""
    start = f'{_LAST_RUN}{{role="{role}"}} '
    return next((float(line.removeprefix(start)) for line in metrics.splitlines() if line.startswith(start)), 0.0)


def _ask(settings: "Settings", port: int, path: str) -> tuple[int, str]:
    host = _EVERYWHERE.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CliError(f"nothing answers on {host} port {port}: {error}") from None
    finally:
        connection.close()
