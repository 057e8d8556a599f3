"""What the operator API says of seeds whose phones take their work from RabbitMQ (docs/amqp-phones.md)."""

from typing import Annotated, Any, Literal

import msgspec

from router.api.operator.schemas import NewSeed, SeedEnrolled
from router.api.parts import Parts
from router.services.seed_view import SeedView


class SeedToEnrol(NewSeed, frozen=True):
    """`protocol` amqp: its phone takes its work from RabbitMQ, and `subscription_id` is the SIM's on that phone; seeds: it does so no
    longer; null: as it is. `calling_code`: where it is not given, the carrier's country's. `project`: the exchange.
    """

    protocol: Literal["seeds", "amqp"] | None = None
    subscription_id: Annotated[int, msgspec.Meta(ge=0)] | None = None
    calling_code: str | None = None
    project: str | None = None


class SeedShown(SeedView, frozen=True, kw_only=True):
    """`queue`, `binding`: where its phone takes its work from, at RabbitMQ; empty for all others."""

    queue: str = ""
    binding: str = ""


class SeedNew(SeedEnrolled, frozen=True, kw_only=True):
    """`queue`, `binding`: where its phone takes its work from, at RabbitMQ; empty for all others."""

    queue: str = ""
    binding: str = ""


async def queue_fields(parts: Parts) -> dict[str, dict[str, Any]]:
    """By seed: the fields that say where it takes its work from."""
    return {seed: {"queue": place.queue, "binding": place.binding} for seed, place in (await parts.enrolment.queues()).items()}
