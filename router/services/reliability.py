"""Reliability tests: a probe SMS through one seed, and what becomes of it (domain/reliability.py).

The SMS is an ordinary message that is bound to its seed, goes out once, belongs to no account, costs nothing and is over with its test.
It goes to the number `probe_number`, or else to one of our own seeds: an online one of the same carrier; to the tested SIM itself where
there is none. `probe_arrival` says that whoever has that number tells the router what it receives.

The order of `start`: whose test the token is; when to look; the test; the SMS. What a crash leaves behind is a test without an SMS, which
times out, or less.
"""

import re
import secrets
from collections.abc import Callable, Sequence

import structlog
from ulid import ULID

from router.clock import Clock
from router.domain import lifecycle, reliability
from router.domain.errors import Conflict, Invalid, NotFound, Unavailable
from router.domain.message import ONE_SEED, Message
from router.domain.numbering import Number, parse_number
from router.domain.reliability import History, Probe
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.segments import count_segments
from router.queue.entries import Entry, QueuePublisher
from router.services import observe
from router.settings import Settings
from router.store.accounts import hash_key
from router.store.reliability import StoredTests, Tests
from router.store.seeds import Seeds
from router.store.store import Store

_log = structlog.get_logger()
ACCOUNT = "~tests"
"""Whose messages probes are: no account has such an id."""
_TOKEN = re.compile(r"Seedrouter test \d+: ([0-9a-f]{20})")
_TOKEN_BYTES = 10
_HOLD_SECONDS = 10.0
_BATCH = 200
_ROUNDS = 8
_CANDIDATES = 20
"""Seeds looked at, per carrier, for one that could receive a probe: the freshest ones."""


class TestResults:
    """What becomes of tests. One per process that looks at them: api and timekeeper."""

    __test__ = False  # its name is no sign for pytest

    def __init__(self, store: Store, clock: Clock, rules: Rules) -> None:
        self._store = store
        self._clock = clock
        self._rules = rules

    async def run_due(self) -> int:
        """Looks at the tests whose time has come; answers of how many seeds."""
        now = self._clock.now()
        seed_ids = await Tests.claim(self._store.batch(), now, _BATCH, now + _HOLD_SECONDS)
        if not seed_ids:
            return 0
        histories = await self.look(seed_ids)
        batch = self._store.batch()
        for seed_id, history in zip(seed_ids, histories, strict=True):
            Tests.looked(batch, seed_id, now + _HOLD_SECONDS, reliability.next_look(history, now))
        await batch.run()
        return len(seed_ids)

    async def look(self, seed_ids: Sequence[str]) -> list[History]:
        """The tests of these seeds, in order, as they stand now. Where somebody else changes one at this moment, theirs is next time's."""
        stored = await Tests.load(self._store.batch(), seed_ids)
        now = self._clock.now()
        open_probes = [probe for tests in stored for probe in tests.history if reliability.wants_look(probe, now)]
        if not open_probes:
            return [tests.history for tests in stored]
        records = await self._store.messages.load(self._store.batch(), [probe.message for probe in open_probes])
        sent = {
            probe.id: record.message.sent_at
            for probe, record in zip(open_probes, records, strict=True)
            if record is not None and record.message.sent_at is not None
        }
        histories = [reliability.look(tests.history, sent, now) for tests in stored]
        changed = [(tests, history) for tests, history in zip(stored, histories, strict=True) if history != tests.history]
        await self._commit(changed, now)
        return histories

    async def change(self, seed_id: str, decide: Callable[[History, float], History]) -> History:
        """Makes a decision true. Raises what it raises, and `Unavailable` where too many change it at once, or the seed is gone."""
        for _ in range(_ROUNDS):
            (stored,) = await Tests.load(self._store.batch(), [seed_id])
            now = self._clock.now()
            history = decide(stored.history, now)
            if history == stored.history or await self._commit([(stored, history)], now):
                return history
        raise Unavailable("too many changes at once")

    async def _commit(self, changed: Sequence[tuple[StoredTests, History]], now: float) -> int:
        """Answers how many have come true."""
        batch = self._store.batch()
        for stored, history in changed:
            Tests.commit(batch, stored, history, reliability.score(history, self._rules))
        answers = await batch.run()
        done = [pair for pair, answer in zip(changed, answers, strict=True) if answer == 1]
        batch = self._store.batch()
        for stored, history in done:
            before = {probe.id: probe.status for probe in stored.history}
            ended = [probe for probe in history if before.get(probe.id, probe.status) != probe.status]
            for probe in ended:
                _log.info("test.ended", seed=stored.seed, test=probe.id, status=probe.status, message_id=probe.message)
            if ended:
                Seeds.mark_changed(batch, stored.seed, now)
        await batch.run()
        return len(done)


class Reliability:
    """Begins tests, and hears of their arrival. One per api process."""

    def __init__(self, store: Store, publisher: QueuePublisher, clock: Clock, rules: Rules, settings: Settings) -> None:
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._results = TestResults(store, clock, rules)

    async def start(self, seed_id: str) -> Probe:
        """Begins a test of an enrolled seed; an offline one has the test's time to come.

        Raises `NotFound`, `Conflict` where it is disabled or draining, `LimitReached`, `Invalid` where there is no number to send to,
        `Unavailable`.
        """
        seed = await self._testable(seed_id)
        number = await self._number(seed)
        if self._publisher.depth >= self._settings.max_queue_length:
            raise Unavailable("the queue is full", retry_after_seconds=5)
        now = self._clock.now()
        token = secrets.token_hex(_TOKEN_BYTES)
        probe = Probe(
            id=await self._new_id(), message=f"rt_{ULID.from_timestamp(now)}", started_at=now, deadline=now + self._rules.probe_seconds,
            needs_arrival=self._settings.probe_arrival,
        )  # fmt: skip
        batch = self._store.batch()
        Tests.remember(batch, hash_key(token), seed_id, probe.id, self._rules.probe_seconds)
        Tests.look_at(batch, seed_id, reliability.next_look((probe,), now) or probe.deadline)
        await batch.run()
        await self._results.change(seed_id, lambda history, _: reliability.begin(history, probe, self._rules))
        await self._send(seed_id, probe, number, f"Seedrouter test {probe.id}: {token}")
        _log.info("test.started", seed=seed_id, test=probe.id, message_id=probe.message)
        return probe

    async def tests(self, seed_id: str) -> History:
        """A seed's tests as they stand now, oldest first."""
        (history,) = await self._results.look([seed_id])
        return history

    async def received(self, text: str, sender: str, at: float | None = None) -> bool:
        """Was this incoming SMS a probe? Then its test succeeds, and nobody else need hear of it.

        It is known by its token, which only who sends it and who gets it have; so the sender is not asked for: networks rewrite it. `at`:
        when it was received by its receiver's clock, Unix seconds; None = just now. Raises `Unavailable`.
        """
        found = _TOKEN.search(text)
        if found is None:
            return False
        batch = self._store.batch()
        place = Tests.whose(batch, hash_key(found.group(1)))
        whose = Tests.parse_whose((await batch.run())[place])
        if whose is None:
            return False
        seed_id, probe_id = whose
        await self._results.change(
            seed_id, lambda history, now: reliability.received(history, probe_id, now if at is None else at, now)
        )
        return True

    async def _testable(self, seed_id: str) -> Seed:
        (seed,) = await self._store.seeds.load(self._store.batch(), [seed_id], self._clock.now())
        if seed is None or not seed.enrolled:
            raise NotFound("no such seed, or nobody has enrolled it")
        if not seed.enabled or seed.draining:
            raise Conflict("the seed is given no messages: it is disabled, or draining")
        return seed

    async def _new_id(self) -> int:
        batch = self._store.batch()
        place = Tests.new_id(batch)
        return int((await batch.run())[place])

    async def _number(self, seed: Seed) -> Number:
        if self._settings.probe_number:
            return parse_number(self._settings.probe_number, self._rules.default_region)
        others = [other for other in await self._freshest(seed) if other.id != seed.id]
        for candidate in (*others, seed):
            try:
                return parse_number(candidate.msisdn, self._rules.default_region)
            except Invalid:
                continue
        raise Invalid("probe_number", "no seed has a number to send the test to: set it")

    async def _freshest(self, seed: Seed) -> list[Seed]:
        """Online seeds of its carrier that could receive a probe, those with the latest sign of life."""
        batch = self._store.batch()
        batch.add("ZREVRANGE", Seeds.online_key(seed.carrier), 0, _CANDIDATES - 1)
        ids = [seed_id.decode() for seed_id in (await batch.run())[0]]
        now = self._clock.now()
        found = await self._store.seeds.load(self._store.batch(), ids, now)
        return [other for other in found if other is not None and other.is_dispatchable() and other.is_online(now, self._rules)]

    async def _send(self, seed_id: str, probe: Probe, number: Number, body: str) -> None:
        message = Message(
            id=probe.message, account=ACCOUNT, dialect="relaysms", kind="sms", lane="notification", to=number.e164, country=number.country,
            carrier=number.carrier or "", parts=count_segments(body).parts, price=0, created_at=probe.started_at,
            expires_at=probe.deadline, queued_at=probe.started_at, ambiguous_policy="fail", settled=True, only=ONE_SEED + seed_id,
        )  # fmt: skip
        batch = self._store.batch()
        self._store.messages.create(batch, message, body)
        self._store.timers.set(batch, message.id, lifecycle.next_due(message, self._rules))
        Tests.look_at(batch, seed_id, reliability.next_look((probe,), self._clock.now()) or probe.deadline)
        await batch.run()
        observe.accepted(message)
        try:
            await self._publisher.publish([Entry.of(message, message.created_at)])
        except Unavailable as error:
            # It is recorded: its timer puts it on the queue as soon as that can be reached
            _log.warning("test.not_queued_yet", message_id=message.id, error=str(error))
