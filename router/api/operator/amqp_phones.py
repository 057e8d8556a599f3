"""What the operator API says of seeds whose phones take their work from RabbitMQ (docs/amqp-phones.md)."""

from typing import Annotated, Any, Literal

import msgspec

from router.api.operator.schemas import NewSeed, SeedEnrolled, SeedView
from router.api.parts import Parts
from router.domain.amqp_phones import QueueOfSeed
from router.domain.carriers import carrier_of_imsi, is_carrier
from router.domain.errors import Invalid
from router.services.amqp_enrolment import AmqpEnrolment


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


def enrolment_of(parts: Parts) -> AmqpEnrolment:
    """The use case, for this process."""
    return AmqpEnrolment(parts.store, parts.clock, parts.settings.phones_amqp_project)


async def queue_fields(parts: Parts) -> dict[str, dict[str, Any]]:
    """By seed: the fields that say where it takes its work from."""
    return {place.seed: {"queue": place.queue, "binding": place.binding} for place in await enrolment_of(parts).every()}


async def planned_queue(parts: Parts, data: SeedToEnrol) -> QueueOfSeed | None:
    """The queue that an enrolment asks for; it is free. Raises `Invalid`, `Conflict`."""
    if data.protocol != "amqp":
        for name in ("subscription_id", "calling_code", "project"):
            if getattr(data, name) is not None:
                raise Invalid(name, "for protocol amqp only")
        return None
    if data.subscription_id is None:
        raise Invalid("subscription_id", "the SIM's subscription id on its phone, a decimal number")
    carrier = data.carrier or carrier_of_imsi(data.imsi)
    if not carrier or not is_carrier(carrier):
        raise Invalid("carrier", "5 or 6 digits, MCC+MNC, e.g. 60301: the phone's binding has it")
    enrolment = enrolment_of(parts)
    place = enrolment.plan(
        data.imsi, carrier, str(data.subscription_id), calling_code=data.calling_code or "", project=data.project or ""
    )
    await enrolment.check_free(place)
    return place


async def take_up(parts: Parts, data: SeedToEnrol, place: QueueOfSeed | None) -> None:
    """Makes it so, once the seed is enrolled. Raises `Conflict` where somebody else was first."""
    if place is not None:
        await enrolment_of(parts).claim(place)
    elif data.protocol == "seeds":
        await enrolment_of(parts).release(data.imsi)
