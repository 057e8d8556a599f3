"""Enrolling a seed: the record and its token, and the queue at RabbitMQ where its phone takes its work from one."""

from typing import Literal

import msgspec

from router.domain.amqp_phones import QueueOfSeed
from router.domain.carriers import carrier_of_imsi, is_carrier
from router.domain.errors import Invalid
from router.domain.seed import Quota, Seed
from router.services.accounts import AccountAdmin
from router.services.amqp_enrolment import AmqpEnrolment
from router.services.seeds import SeedRegistry


class ToEnrol(msgspec.Struct, frozen=True, kw_only=True):
    """`protocol` amqp: its phone takes its work from RabbitMQ, and `subscription_id` is the SIM's on that phone; seeds: it does so no
    longer; None: as it is. `calling_code`: where it is not given, the carrier's country's. `project`: the exchange.
    """

    imsi: str
    msisdn: str = ""
    carrier: str = ""
    pace_seconds: float = 0.0
    quota: Quota = Quota()
    account: str = ""
    shared: bool = True
    protocol: Literal["seeds", "amqp"] | None = None
    subscription_id: int | None = None
    calling_code: str | None = None
    project: str | None = None


class Enrolment:
    """One per api process."""

    def __init__(self, seeds: SeedRegistry, admin: AccountAdmin, queues: AmqpEnrolment) -> None:
        self._seeds = seeds
        self._admin = admin
        self._queues = queues

    async def enrol(self, asked: ToEnrol) -> tuple[Seed, str]:
        """Makes the seed dispatchable; answers it with its new token, which is told this once. An older token is void.

        Raises `Invalid`, `NotFound` for an account that is none, `Conflict` where its queue is another seed's.
        """
        if asked.account:
            await self._admin.get(asked.account)
        place = await self._planned_queue(asked)
        seed, token = await self._seeds.enrol(
            asked.imsi, msisdn=asked.msisdn, carrier=asked.carrier, pace_seconds=asked.pace_seconds, quota=asked.quota,
            account=asked.account, shared=asked.shared,
        )  # fmt: skip
        if place is not None:
            await self._queues.claim(place)
        elif asked.protocol == "seeds":
            await self._queues.release(asked.imsi)
        return seed, token

    async def queues(self) -> dict[str, QueueOfSeed]:
        """By seed: where it takes its work from, of those that take it from RabbitMQ."""
        return {place.seed: place for place in await self._queues.every()}

    async def _planned_queue(self, asked: ToEnrol) -> QueueOfSeed | None:
        """The queue that is asked for; it is free."""
        if asked.protocol != "amqp":
            for name in ("subscription_id", "calling_code", "project"):
                if getattr(asked, name) is not None:
                    raise Invalid(name, "for protocol amqp only")
            return None
        if asked.subscription_id is None:
            raise Invalid("subscription_id", "the SIM's subscription id on its phone, a decimal number")
        carrier = asked.carrier or carrier_of_imsi(asked.imsi)
        if not carrier or not is_carrier(carrier):
            raise Invalid("carrier", "5 or 6 digits, MCC+MNC, e.g. 60301: the phone's binding has it")
        place = self._queues.plan(
            asked.imsi, carrier, str(asked.subscription_id), calling_code=asked.calling_code or "", project=asked.project or ""
        )
        await self._queues.check_free(place)
        return place
