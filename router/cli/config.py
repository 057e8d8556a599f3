"""Settings as a command sees them, and how they are handed to a child process."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from router.cli.errors import FAILED, CliError

if TYPE_CHECKING:
    from router.secrets import Secrets
    from router.settings import Settings

PREFIX: Final = "SEEDROUTER_"
_PASSWORD: Final = re.compile(r"(?<=://)([^/@]*:).*(?=@)|((?<=[?&])[a-z_]*password=)[^&]*")


def load_settings(exit_code: int = FAILED, **given: Any) -> "Settings":
    """The settings, with what the command line gave (None = not given) above the environment. Raises `CliError`."""
    from pydantic import ValidationError

    from router.settings import Settings

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        # Only the name and the reason: a value may be a secret.
        faults = [f"{_name(fault['loc'])}: {fault['msg']}" for fault in error.errors(include_input=False, include_url=False)]
        raise CliError("wrong settings (see `seedrouter settings`):\n  " + "\n  ".join(faults), exit_code) from None


def check_urls(settings: "Settings", exit_code: int = FAILED) -> None:
    """Are the URLs of Redis and of the queue such as can be used? Raises `CliError`; nothing is connected."""
    from router.queue.broker import Broker
    from router.redis_url import read_url

    try:
        if settings.redis_url:
            read_url(settings.redis_url)
    except ValueError as error:
        raise CliError(f"{PREFIX}REDIS_URL: {error}", exit_code) from None
    try:
        if settings.broker_url:
            Broker(settings.broker_url).connect()
    except (ValueError, LookupError) as error:
        raise CliError(f"{PREFIX}BROKER_URL: {error.args[0] if error.args else error}", exit_code) from None


def load_all_secrets(settings: "Settings", exit_code: int = FAILED, *, make: bool = True) -> "Secrets":
    """The secrets of the data folder, made where they are missing, but where they are to come from files. Raises `CliError`."""
    from router.domain.errors import RouterError
    from router.secrets import load_secrets

    try:
        return load_secrets(settings.data, settings.given_secrets(), make=make and not settings.secrets_dir)
    except RouterError as error:
        raise CliError(f"secrets: {error}", exit_code) from None
    except OSError as error:
        raise CliError(f"secrets: the data folder {settings.data} cannot be written: {error.strerror}", exit_code) from None


def environment_of(settings: "Settings") -> dict[str, str]:
    """Every setting but the secrets as a child's environment, so that it sees what its parent saw."""
    from pydantic import SecretStr

    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    return {PREFIX + name.upper(): str(value) for name, value in values.items() if not isinstance(value, SecretStr)}


def without_password(url: str) -> str:
    """A URL that may be shown."""
    return ";".join(_PASSWORD.sub(lambda found: f"{found.group(1) or found.group(2)}***", node) for node in url.split(";"))


def sources_of(settings: "Settings", environment: Mapping[str, str], dotenv: Mapping[str, str | None]) -> dict[str, str]:
    """Where each setting came from: `environment`, `.env`, `secrets_dir` or `default`."""
    folder = settings.secrets_dir
    said = {
        "environment": {name.upper() for name in environment},
        ".env": {name.upper() for name in dotenv},
        "secrets_dir": {PREFIX + file.name.upper() for file in Path(folder).iterdir()} if folder else set(),
    }
    return {
        name: next((source for source, names in said.items() if PREFIX + name.upper() in names), "default")
        for name in type(settings).model_fields
    }


def _name(location: tuple[int | str, ...]) -> str:
    return PREFIX + str(location[0]).upper() if location else "settings"


def trial_settings(folder: Path, **more: Any) -> "Settings":
    """For a router that a command starts for itself, on this machine, in a folder of its own.

    Short leases, so that a failover takes seconds; what the environment says of the places is for another router.
    """
    return load_settings(
        data=folder,
        host="127.0.0.1",
        port=0,
        public_url="",
        redis_url="",
        broker_url="",
        dispatcher_metrics_port=0,
        timekeeper_metrics_port=0,
        courier_metrics_port=0,
        relay_metrics_port=0,
        phones_amqp_url="",
        log_level="error",
        open_seeds=False,
        lease_seconds=3.0,
        skew_seconds=0.5,
        pickup_seconds=2.0,
        radio_seconds=5.0,
        online_window_seconds=6.0,
        republish_seconds=2.0,
        accept_when="country",
        parts_per_half_hour=0,
        parts_per_hour=0,
        parts_per_day=0,
        **more,
    )
