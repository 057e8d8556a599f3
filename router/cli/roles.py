"""`api`, `dispatcher`, `timekeeper`, `courier`, `relay`: one role as this process, over a Redis that runs already."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import typer

from router.cli.errors import FAILED, MISCONFIGURED, CliError
from router.cli.options import BrokerUrl, Host, OwnData, Port, RedisUrl

if TYPE_CHECKING:
    from router.secrets import Secrets
    from router.settings import Settings


def api(
    host: Host = None, port: Port = None, data: OwnData = None, redis_url: RedisUrl = None, broker_url: BrokerUrl = None
) -> None:
    """Run the HTTP API."""
    settings, secrets = _prepare(host=host, port=port, data=data, redis_url=redis_url, broker_url=broker_url)
    from router.api.server import serve

    _run(serve, settings, secrets)


def dispatcher(data: OwnData = None, redis_url: RedisUrl = None, broker_url: BrokerUrl = None) -> None:
    """Run a dispatcher: takes messages from the queue and chooses a seed for each."""
    settings, secrets = _prepare(data=data, redis_url=redis_url, broker_url=broker_url)
    from workers.dispatcher import run

    _run(run, settings, secrets)


def timekeeper(data: OwnData = None, redis_url: RedisUrl = None, broker_url: BrokerUrl = None) -> None:
    """Run a timekeeper: ends leases, expires messages, finds what was lost."""
    settings, secrets = _prepare(data=data, redis_url=redis_url, broker_url=broker_url)
    from workers.timekeeper import run

    _run(run, settings, secrets)


def courier(data: OwnData = None, redis_url: RedisUrl = None, broker_url: BrokerUrl = None) -> None:
    """Run a courier: tells webhooks what happened to messages."""
    settings, secrets = _prepare(data=data, redis_url=redis_url, broker_url=broker_url)
    from workers.courier import run

    _run(run, settings, secrets)


def relay(data: OwnData = None, redis_url: RedisUrl = None, broker_url: BrokerUrl = None) -> None:
    """Run a relay: hands messages to phones that take them from RabbitMQ."""
    settings, secrets = _prepare(data=data, redis_url=redis_url, broker_url=broker_url)
    from workers.relay import run

    if not settings.phones_amqp_url:
        raise CliError("a relay needs a RabbitMQ: set SEEDROUTER_PHONES_AMQP_URL (docs/amqp-phones.md)", MISCONFIGURED)
    check_phones_url(settings, MISCONFIGURED)
    _run(run, settings, secrets)


def check_phones_url(settings: "Settings", exit_code: int = FAILED) -> None:
    """Is the URL of the phones' RabbitMQ, where one is given, such as can be used? Raises `CliError`; nothing is connected."""
    from router.queue.amqp_phones import check_url

    try:
        if settings.phones_amqp_url:
            check_url(settings.phones_amqp_url)
    except ValueError as error:
        raise CliError(f"SEEDROUTER_PHONES_AMQP_URL: {error}", exit_code) from None


def _prepare(**given: Any) -> "tuple[Settings, Secrets]":
    from router.cli.config import check_urls, load_all_secrets, load_settings
    from router.cli.logs import configure_logs

    settings = load_settings(MISCONFIGURED, **given)
    if not settings.redis_url:
        raise CliError(
            "a role by itself needs a Redis: give --redis-url redis://host:6379/0 or set SEEDROUTER_REDIS_URL; "
            "`seedrouter up` brings one along",
            MISCONFIGURED,
        )
    check_urls(settings, MISCONFIGURED)
    configure_logs(settings.log_format, settings.log_level)
    return settings, load_all_secrets(settings, MISCONFIGURED)


def _run(role: "Callable[[Settings, Secrets], int]", settings: "Settings", secrets: "Secrets") -> None:
    raise typer.Exit(role(settings, secrets))
