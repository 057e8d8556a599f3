"""Which queue at RabbitMQ a seed takes its work from: an operator says so when the seed is enrolled."""

import phonenumbers
import structlog

from router.clock import Clock
from router.domain.amqp_phones import QueueOfSeed, check_queue
from router.domain.carriers import canonical_carrier, country_of_carrier
from router.domain.errors import Conflict, Invalid
from router.store.store import Store

_log = structlog.get_logger()


class AmqpEnrolment:
    """One per api process."""

    def __init__(self, store: Store, clock: Clock, project: str) -> None:
        """`project` is the exchange where nobody says another one."""
        self._store = store
        self._clock = clock
        self._project = project

    def plan(self, seed: str, carrier: str, subscription_id: str, *, calling_code: str = "", project: str = "") -> QueueOfSeed:
        """The queue of such a seed; nothing is kept yet. Raises `Invalid`."""
        carrier = canonical_carrier(carrier)
        code = calling_code.removeprefix("+") or calling_code_of(carrier)
        if not code:
            raise Invalid("calling_code", "the carrier does not tell it; give it, e.g. 213")
        place = QueueOfSeed(
            seed=seed, project=project or self._project, calling_code=code, carrier=carrier, subscription_id=subscription_id,
            since=self._clock.now(),
        )  # fmt: skip
        check_queue(place)
        return place

    async def check_free(self, place: QueueOfSeed) -> None:
        """Raises `Conflict` where the queue is another seed's."""
        if owner := next((known.seed for known in await self.every() if known.queue == place.queue), ""):
            self._check_owner(place, owner)

    async def claim(self, place: QueueOfSeed) -> None:
        """From now on the seed takes its work from that queue, and from no other. Raises `Conflict` where it is another seed's."""
        batch = self._store.batch()
        spot = self._store.amqp_phones.claim(batch, place)
        is_new = (await batch.run())[spot]
        known = await self.every()
        if not is_new:
            self._check_owner(place, next((other.seed for other in known if other.queue == place.queue), place.seed))
        batch = self._store.batch()
        self._store.amqp_phones.keep(batch, place)
        if older := [other.queue for other in known if other.seed == place.seed and other.queue != place.queue]:
            self._store.amqp_phones.drop(batch, *older)
        await batch.run()
        _log.info("seed.at_rabbitmq", seed=place.seed, queue=place.queue)

    async def release(self, seed: str) -> None:
        """It takes its work elsewhere from now on."""
        if queues := [known.queue for known in await self.every() if known.seed == seed]:
            batch = self._store.batch()
            self._store.amqp_phones.drop(batch, *queues)
            await batch.run()
            _log.info("seed.not_at_rabbitmq", seed=seed)

    async def every(self) -> list[QueueOfSeed]:
        """All seeds' queues, oldest first."""
        batch = self._store.batch()
        spot = self._store.amqp_phones.every(batch)
        return sorted(self._store.amqp_phones.parse((await batch.run())[spot]), key=lambda place: place.since)

    @staticmethod
    def _check_owner(place: QueueOfSeed, owner: str) -> None:
        if owner != place.seed:
            raise Conflict(f"the queue {place.queue} is that of seed {owner}: give this one another project")


def calling_code_of(carrier: str) -> str:
    """Of the carrier's country, without `+`; empty where that is not known."""
    country = country_of_carrier(carrier)
    code = phonenumbers.country_code_for_region(country) if country else 0
    return str(code) if code else ""
