"""`inbound`: takes SMS that came in off their queue, and prints them."""

from typing import Annotated, Any

import typer

from router.cli.errors import CliError
from router.cli.options import BrokerUrl, OwnData, RedisUrl


def inbound(
    most: Annotated[int, typer.Option("--max", min=1, help="How many at the most.")] = 100,
    keep: Annotated[bool, typer.Option("--keep", help="Leave them on the queue; each time counts as a delivery.")] = False,
    data: OwnData = None,
    redis_url: RedisUrl = None,
    broker_url: BrokerUrl = None,
) -> None:
    """Take SMS that came in off the queue seedrouter.inbound, and print each as a line of JSON."""
    from router.cli.config import check_urls, load_settings
    from router.embedded import socket_path
    from router.queue.broker import Broker
    from router.queue.inbound import declare, inbound_queue

    settings = load_settings(data=data, redis_url=redis_url, broker_url=broker_url)
    check_urls(settings)
    url = settings.broker_url or settings.redis_url or f"unix://{socket_path(settings.data)}?db=0"
    broker = Broker(url)
    try:
        with broker.connect() as connection:
            channel = connection.channel()
            declare(channel)
            queue = inbound_queue()(channel)
            held: list[Any] = []
            while len(held) < most and (message := queue.get()) is not None:
                body = message.body
                print(body if isinstance(body, str) else bytes(body).decode(), flush=True)
                held.append(message)
                if not keep:
                    # One by one, after it is printed: whoever breaks off loses none
                    message.ack()
            if keep:
                for message in held:
                    message.requeue()
    except Exception as error:  # noqa: BLE001 - every broker library has errors of its own; their words may show a URL
        raise CliError(f"the queue cannot be reached: {type(error).__name__}") from None
