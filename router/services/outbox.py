"""What seeds fetch and what they report. Both are signs of life; both work in batches: a call of a seed is a few round trips in all."""

import hmac
import time
from collections.abc import Sequence
from functools import partial

import msgspec
import structlog

from router import metrics
from router.clock import Clock
from router.domain import lifecycle
from router.domain.errors import Unauthorized
from router.domain.lifecycle import ASKS_FIRST, Decision, Release, ReportState, Stale, Terms
from router.domain.message import Attempt, Message
from router.domain.rules import Rules
from router.services import observe
from router.services.seeds import is_name
from router.services.texts import open_text
from router.services.transitions import Done, Step, Transitions
from router.services.waiters import Waiters
from router.store.accounts import hash_key
from router.store.redis import Batch
from router.store.seeds import Credentials, Seeds, Slip
from router.store.store import Store

_log = structlog.get_logger()
_EARLY_SECONDS = 5.0
_KEPT = 10_000
_KEPT_SECONDS = 1.0
_NOT_THE_SEED = "unknown seed, or not its token"


class Handed(msgspec.Struct, frozen=True):
    """One message in a seed's hands. Times are Unix seconds."""

    id: str
    attempt: int
    to: str
    text: str
    valid_until: float


class Given(msgspec.Struct, frozen=True):
    """An attempt that has just been handed over, with all that a protocol may want to tell of it."""

    seed: str
    message: Message
    attempt: Attempt
    text: str


class Report(msgspec.Struct, frozen=True):
    """What a seed says of one attempt. `at` is its own time; ours is what counts."""

    id: str
    attempt: int
    state: ReportState
    error: str | None = None
    at: float | None = None


class Outbox:
    """One per api process."""

    def __init__(
        self, store: Store, transitions: Transitions, clock: Clock, rules: Rules, *, open_seeds: bool, gather_seconds: float = 0.0
    ) -> None:
        self._store = store
        self._transitions = transitions
        self._clock = clock
        self._rules = rules
        self._open_seeds = open_seeds
        self._gather_seconds = gather_seconds
        self._handed_at: dict[str, float] = {}
        self.waiters = Waiters(store, clock)
        self._known: dict[str, tuple[float, Credentials]] = {}
        """Whom a seed's token proved to be lately, and until when that is believed. What hands over texts asks again."""

    async def authenticate(self, seed_id: str, token: str) -> Credentials:
        """Raises `Unauthorized` for a seed that nobody knows, and for a wrong token (invariant 6)."""
        if not is_name(seed_id):
            raise Unauthorized(_NOT_THE_SEED)
        token_hash = hash_key(token)
        kept = self._known.get(seed_id)
        if kept is not None and time.monotonic() < kept[0] and kept[1].token_hash == token_hash:
            return kept[1]
        known = await self._ask_who(seed_id, token_hash)
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[seed_id] = (time.monotonic() + _KEPT_SECONDS, known)
        return known

    async def _ask_who(self, seed_id: str, token_hash: str) -> Credentials:
        batch = self._store.batch()
        Seeds.credentials(batch, seed_id)
        known = self._store.seeds.parse_credentials((await batch.run())[0])
        if self._open_seeds and known.known and not known.token_hash:
            return known
        if not known.token_hash or not hmac.compare_digest(known.token_hash, token_hash):
            raise Unauthorized(_NOT_THE_SEED)
        return known

    async def fetch(self, seed_id: str, carrier: str, limit: int, token_hash: str = "") -> list[Handed]:
        """Hands over what waits for the seed: each one's lease starts now. Raises `Unauthorized` where the token was replaced meanwhile."""
        now = self._clock.now()
        batch = self._store.batch()
        place = self._store.seeds.take(batch, seed_id, limit, token_hash)
        self._store.seeds.touch(batch, seed_id, carrier, now)
        members = (await batch.run())[place]
        if members is None:
            self._known.pop(seed_id, None)
            raise Unauthorized(_NOT_THE_SEED)
        slips = [Slip.parse(member) for member in members]
        metrics.PINGS.labels("pull").inc()
        if not slips:
            return []
        self._note_handed(seed_id)
        given = await self.hand_over([(seed_id, slip) for slip in slips], ASKS_FIRST)
        return [
            Handed(item.message.id, item.attempt.number, item.message.to, item.text, item.attempt.lease_until or now) for item in given
        ]

    async def hand_over(self, taken: Sequence[tuple[str, Slip]], terms: Terms) -> list[Given]:
        """Starts the leases of what seeds have taken from their outboxes. What is not theirs to send (any more) is left out."""
        now = self._clock.now()
        records = await self._store.messages.load(self._store.batch(), [slip.message_id for _, slip in taken])
        # Opened before it is handed over: a lease on what cannot be read would blame the seed
        texts = [open_text(self._store.messages, stored) for stored in records]
        steps = [
            Step(slip.message_id, partial(_hand_over, number=slip.number, seed=seed, rules=self._rules, terms=terms, text=text), stored)
            for (seed, slip), stored, text in zip(taken, records, texts, strict=True)
        ]
        done = await self._transitions.apply(steps)
        given: list[Given] = []
        batch = self._store.batch()
        for (seed, slip), text, result in zip(taken, texts, done, strict=True):
            message = result.after
            attempt = message.attempt(slip.number, seed) if message is not None and result.error is None else None
            if message is None or attempt is None or text is None:
                self._not_handed(batch, seed, slip, result, now)
            else:
                given.append(Given(seed, message, attempt, text))
        await batch.run()
        return given

    def rest_of_seconds(self, seed_id: str) -> float:
        """How long a seed that was just given messages by this process is to wait for its next ones, while they gather."""
        return max(0.0, self._handed_at.get(seed_id, float("-inf")) + self._gather_seconds - time.monotonic())

    def _note_handed(self, seed_id: str) -> None:
        if len(self._handed_at) >= _KEPT:
            self._handed_at.clear()
        self._handed_at[seed_id] = time.monotonic()

    def _not_handed(self, batch: Batch, seed_id: str, slip: Slip, result: Done, now: float) -> None:
        """Its attempt is about to begin (the place is reserved first), or never will: wait for it, or free the place."""
        message = result.before
        early = message is not None and message.state == "pending" and len(message.attempts) < slip.number
        if early and message is not None and now - message.queued_at < _EARLY_SECONDS:
            self._store.seeds.put_back(batch, seed_id, slip)
            return
        release = Release(seed_id, slip.number, "returned", handed_over=False)
        self._store.seeds.finish(batch, slip, release, now)
        _log.debug("slip.dropped", message_id=slip.message_id, seed=seed_id, attempt=slip.number, reason=str(result.error))

    async def report(self, seed_id: str, carrier: str, reports: Sequence[Report]) -> tuple[int, list[Report]]:
        """Takes a seed's reports in their order; answers how many changed something, and those that did not (stale)."""
        now = self._clock.now()
        batch = self._store.batch()
        self._store.seeds.touch(batch, seed_id, carrier, now)
        batch.post()
        metrics.PINGS.labels("report").inc()
        steps = [Step(report.id, partial(_report, report=report, seed=seed_id, rules=self._rules)) for report in reports]
        done = await self._transitions.apply(steps)
        stale = [report for report, result in zip(reports, done, strict=True) if observe.reported(report.state, result.error)]
        return len(reports) - len(stale), stale


def _hand_over(message: Message, now: float, *, number: int, seed: str, rules: Rules, terms: Terms, text: str | None) -> Decision:
    if text is None:
        raise Stale("there is no text to send")
    return lifecycle.hand_over(message, number, seed, now, rules, terms)


def _report(message: Message, now: float, *, report: Report, seed: str, rules: Rules) -> Decision:
    error = report.error[:200] if report.error else None
    return lifecycle.report(message, report.attempt, seed, report.state, now, rules, error)
