"""The transport's options, with their defaults. The package's docstring tells them for users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Self

BLOCK_SECONDS = 1.0
"""The longest wait in one blocking read: how soon what was given back, or what a dead consumer held, is looked for by an idle one."""


@dataclass(frozen=True)
class Options:
    """kombu's `transport_options`; those of kombu itself (`max_retries` and so on) are not ours, and left alone."""

    global_keyprefix: str = "kombu:"
    hash_tag: str = "streams"
    group: str = "kombu"
    priority_steps: Sequence[int] = (0,)
    lowest_first_every: int = 10
    queue_order_strategy: Any = "round_robin"
    read_count: int = 100
    visibility_timeout: float = 30.0
    delivery_limit: int = 10
    dead_letter_suffix: str = ".dead"
    ack_batch_size: int = 500
    ack_flush_interval: float = 0.2
    binding_cache_seconds: float = 1.0
    temporary_queue_expires: float = 3600.0
    dead_consumer_seconds: float = 600.0
    flush_on_sigterm: bool = True
    socket_timeout: float = 15.0
    socket_connect_timeout: float = 5.0
    socket_keepalive: bool = True
    client_name: str | None = None
    master_name: str | None = None
    sentinels: Sequence[Any] = ()
    sentinel_kwargs: Mapping[str, Any] = field(default_factory=dict)
    min_other_sentinels: int = 0
    cluster: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Raises ValueError for a value that cannot work."""
        options = cls(**{known.name: given[known.name] for known in fields(cls) if given.get(known.name) is not None})
        if options.socket_timeout <= BLOCK_SECONDS:
            raise ValueError(f"socket_timeout must be more than the {BLOCK_SECONDS:g} s of a blocking read")
        if options.visibility_timeout <= 0:
            raise ValueError("visibility_timeout must be more than 0")
        if not options.priority_steps or any(not 0 <= step <= 9 for step in options.priority_steps):
            raise ValueError("priority_steps must be numbers from 0 to 9")
        return options
