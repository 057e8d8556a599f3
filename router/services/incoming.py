"""Takes in SMS: puts them on the exchange `inbound`, and tells the webhooks that are to hear of them.

The order: the id, which a repeat gets again; the queue; the webhooks; the note that all is done. Whoever told it hears yes after the last
step, and repeats it until then. So a crash in between loses nothing, and what it doubles can be known: on the queue by its id, and a
webhook's delivery of one id is made once.
"""

from collections.abc import Sequence

import msgspec
import structlog
from msgspec.structs import replace
from ulid import ULID

from router import metrics
from router.clock import Clock
from router.domain.device import sim_of_seed
from router.domain.errors import Invalid, Unavailable
from router.domain.incoming import MAX_ID_LENGTH, Incoming, Told, check_platform, check_sms, identity_of, time_of
from router.domain.numbering import mask
from router.queue.inbound import Inbound, InboundPublisher
from router.services.reliability import Reliability
from router.services.seeds import SeedRegistry
from router.services.webhooks import IncomingAnnouncer
from router.settings import Settings
from router.store.seeds import Credentials
from router.store.store import Store

_log = structlog.get_logger()
Moment = float | str | None
"""A time as somebody tells it: seconds or milliseconds, as a number or in digits."""
_encode = msgspec.json.Encoder().encode


class Received(msgspec.Struct, frozen=True):
    """An SMS as a seed tells it. `id`: the phone's own, by which a repeat is known. `received_at`: Unix seconds."""

    sender: str = msgspec.field(name="from")
    text: str
    id: str | None = None
    received_at: float | None = None


class Taken(msgspec.Struct, frozen=True):
    """How many were new, and how many had been told before."""

    accepted: int
    repeated: int


class IncomingMessages:
    """One per api process."""

    def __init__(
        self, store: Store, publisher: InboundPublisher, announcer: IncomingAnnouncer, seeds: SeedRegistry, clock: Clock,
        settings: Settings, reliability: Reliability,
    ) -> None:  # fmt: skip
        self._store = store
        self._publisher = publisher
        self._announcer = announcer
        self._seeds = seeds
        self._reliability = reliability
        self._clock = clock
        self._settings = settings

    async def from_platform(self, platform: str, *, sender: str, text: str, date: Moment = None, date_sent: Moment = None) -> Taken:
        """What a forwarder posts. Raises `Invalid`, `Unavailable`."""
        check_platform(platform)
        check_sms(sender, text, self._settings.max_incoming_text_length, field="MSISDN")
        now = self._clock.now()
        received_at = time_of(date, now)
        incoming = Incoming(
            id=new_id(), via="platform", platform=platform, sender=sender, text=text,
            received_at=now if received_at is None else received_at, sent_at=time_of(date_sent, now),
        )  # fmt: skip
        times = "" if date is None and date_sent is None else f"{date} {date_sent}"
        identity = identity_of("platform", platform, sender, text, times)
        return await self.take([Told(incoming, identity, self._known_for(has_own_mark=bool(times)))])

    async def from_seed(self, seed_id: str, known: Credentials, received: Sequence[Received]) -> Taken:
        """What an enrolled seed has received; a sign of life as well. Raises `Invalid`, `Unavailable`."""
        for one in received:
            check_sms(one.sender, one.text, self._settings.max_incoming_text_length)
            if one.id is not None and not 1 <= len(one.id) <= MAX_ID_LENGTH:
                raise Invalid("id", f"1 to {MAX_ID_LENGTH} characters")
        now = self._clock.now()
        batch = self._store.batch()
        self._store.seeds.touch(batch, seed_id, known.pool, now)
        batch.post()
        metrics.PINGS.labels("report").inc()
        if not received:
            return Taken(0, 0)
        seed = await self._seeds.get(seed_id)
        about = Incoming(
            id="", via="seed", sender="", text="", received_at=now, recipient=seed.msisdn, seed=seed.id, device=seed.device,
            sim=sim_of_seed(seed.id) or None, account=seed.account,
        )  # fmt: skip
        told: list[Told] = []
        for one in received:
            at = time_of(one.received_at, now)
            incoming = replace(about, id=new_id(), sender=one.sender, text=one.text, received_at=now if at is None else at)
            # By its own id alone: a phone may learn more of an SMS until it tells it again
            marks = ("id", one.id) if one.id else ("text", one.sender, one.text, "" if one.received_at is None else repr(one.received_at))
            has_own_mark = one.id is not None or one.received_at is not None
            told.append(Told(incoming, identity_of("seed", seed.id, *marks), self._known_for(has_own_mark=has_own_mark)))
        return await self.take(told)

    def _known_for(self, *, has_own_mark: bool) -> int:
        """Somebody may well send the same text twice: without an id or a time, a repeat is one only for a while."""
        return self._settings.idempotency_seconds if has_own_mark else self._settings.incoming_repeat_seconds

    async def take(self, told: Sequence[Told]) -> Taken:
        """Answers when the queue and the webhooks have all that is new. Raises `Unavailable`: then it is to be told again."""
        via = told[0].incoming.via
        try:
            new = await self._new(told)
            if new:
                # A probe is a reliability test's, and nobody else's business
                told_on = [one for one in new if not await self._is_probe(one.incoming)]
                await self._publisher.publish([Inbound(one.incoming.routing_key, _encode(one.incoming)) for one in told_on])
                deliveries = await self._announcer.announce([one.incoming for one in told_on])
                batch = self._store.batch()
                for one in new:
                    self._store.incoming.done(batch, one.identity, one.incoming.id, one.seconds)
                await batch.run()
                self._log(new, deliveries)
        except Unavailable:
            metrics.INCOMING.labels(via, "unavailable").inc(len(told))
            raise
        finally:
            metrics.INBOUND_DEPTH.set(self._publisher.depth)
        metrics.INCOMING.labels(via, "taken").inc(len(new))
        metrics.INCOMING.labels(via, "repeated").inc(len(told) - len(new))
        return Taken(len(new), len(told) - len(new))

    async def _is_probe(self, incoming: Incoming) -> bool:
        return await self._reliability.received(incoming.text or "", incoming.sender, incoming.received_at)

    async def _new(self, told: Sequence[Told]) -> list[Told]:
        """Those that nobody has told to the end, each once, with the ids that they have from now on."""
        batch = self._store.batch()
        places = [self._store.incoming.claim(batch, one.identity, one.incoming.id, one.seconds) for one in told]
        answers = await batch.run()
        new: dict[str, Told] = {}
        for one, place in zip(told, places, strict=True):
            incoming_id, is_done = self._store.incoming.parse(answers[place], one.incoming.id)
            if not is_done:
                new.setdefault(incoming_id, replace(one, incoming=replace(one.incoming, id=incoming_id)))
        return list(new.values())

    @staticmethod
    def _log(new: Sequence[Told], deliveries: int) -> None:
        for one in new:
            incoming = one.incoming
            _log.info(
                "incoming.taken", incoming_id=incoming.id, via=incoming.via, platform=incoming.platform, seed=incoming.seed,
                account=incoming.account, sender=mask(incoming.sender),
            )  # fmt: skip
        _log.debug("deliveries.made", count=deliveries)


def new_id() -> str:
    """Of an SMS that came in."""
    return f"in_{ULID()}"
