"""Sends a message of the router's own through all of it, now and then, and tells how long that took: does it work, from end to end?

It takes the way of every message: admitted by its account's script, recorded, put on the queue, given to a seed by a dispatcher, taken out
of that seed's outbox, reported as given to the radio and as sent, settled. It enters where the dialects do, below HTTP: a timekeeper need
not be able to reach an api. Its seed lives here, in the timekeeper, so nothing goes to a phone, and it goes where no phone is online.

One timekeeper at a time beats; another takes over within `_LEAD_SECONDS`. What is under way then is in Redis, and goes on.
"""

import asyncio
import time
import uuid
from collections.abc import Sequence

import msgspec
import structlog
from ulid import ULID

from router import metrics
from router.clock import Clock
from router.domain.account import Account, Credential
from router.domain.errors import RouterError
from router.domain.heartbeat import POOL, Beat, Result, heartbeat_message, judge, life_seconds
from router.domain.message import HEARTBEAT
from router.services.acceptance import Acceptance, Draft
from router.services.accounts import AccountDirectory
from router.services.outbox import Handed, Outbox, Report
from router.services.presence import Presence
from router.services.submit import OnePlan
from router.services.wiring import Wiring
from router.store.accounts import Accounts, Admission
from router.store.heartbeat import ACCOUNT
from router.store.store import Store

_log = structlog.get_logger()
_LEAD_SECONDS = 5.0
_UNDER_WAY_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_KNOWN_SECONDS = 0.3
"""From the seed's sign of life until the message: dispatchers look at the fleet ten times a second."""
_OVER_SECONDS = 5.0
"""Its end is the timekeepers' work; where nobody did it so long after its time, it is over all the same."""
_MANY = 100


class Heartbeat:
    """One per timekeeper: `turn` it often."""

    def __init__(
        self, store: Store, acceptance: Acceptance, outbox: Outbox, clock: Clock, *, every_seconds: float, late_seconds: float
    ) -> None:
        self._store = store
        self._acceptance = acceptance
        self._outbox = outbox
        self._clock = clock
        self._every = every_seconds
        self._late = late_seconds
        self._life = life_seconds(every_seconds, late_seconds)
        self._name = uuid.uuid4().hex
        self._turn_at = float("-inf")
        self.beat = Beat()
        """The last one, as this timekeeper knows it."""

    async def turn(self) -> None:
        """Begins the heartbeat that is due, takes what has come for its seed, and says what became of it. Raises `Unavailable`."""
        if time.monotonic() < self._turn_at:
            return
        leads = await self._look()
        now = self._clock.now()
        if leads and self.beat.is_open:
            await self._follow(now)
        elif leads and self.beat.is_due(now, self._every):
            await self._begin()
        self._turn_at = time.monotonic() + (_UNDER_WAY_SECONDS if leads and self.beat.is_open else _IDLE_SECONDS)

    async def leave(self) -> None:
        """Another timekeeper may beat from now on."""
        batch = self._store.batch()
        self._store.heartbeat.lead(batch, self._name, 0)
        await batch.run()

    async def _look(self) -> bool:
        """What is known of the last one; and whether this is the timekeeper that beats."""
        batch = self._store.batch()
        leads = self._store.heartbeat.lead(batch, self._name, _LEAD_SECONDS)
        last = self._store.heartbeat.read(batch)
        answers = await batch.run()
        self._know(self._store.heartbeat.parse(answers[last]))
        return bool(answers[leads])

    def _know(self, beat: Beat) -> None:
        self.beat = beat
        metrics.HEARTBEAT_SENT_AT.set(beat.begun_at)
        metrics.HEARTBEAT_ARRIVED_AT.set(beat.arrived_at)
        metrics.HEARTBEAT_SECONDS.set(beat.seconds)

    async def _begin(self) -> None:
        """It is remembered before it is sent: a timekeeper that dies in between leaves one that fails, never one that nobody looks for."""
        batch = self._store.batch()
        self._store.heartbeat.announce(batch, self._clock.now(), self._life)
        await batch.run()
        await asyncio.sleep(_KNOWN_SECONDS)
        now = self._clock.now()
        message = heartbeat_message(f"hb_{ULID.from_timestamp(now)}", now, self._life)
        await self._remember(msgspec.structs.replace(self.beat, message=message.id, begun_at=now, is_open=True))
        try:
            await self._acceptance.prepare(ACCOUNT, (), HEARTBEAT, is_code=False, may_be_ported=False)
            await self._acceptance.accept(ACCOUNT, _Order(self._store.accounts, Draft(message, _text(message.id))))
        except RouterError as error:
            # Whether it was kept nobody knows: it is looked for until its time is over
            _log.warning("heartbeat.not_accepted", message_id=message.id, error=str(error))

    async def _follow(self, now: float) -> None:
        """Does what a phone does, and looks whether its word has come true."""
        batch = self._store.batch()
        self._store.seeds.waiting(batch, HEARTBEAT)
        if (await batch.run())[0]:
            await self._send(await self._outbox.fetch(HEARTBEAT, POOL, _MANY))
        (stored,) = await self._store.messages.load(self._store.batch(), [self.beat.message])
        message = None if stored is None else stored.message
        timed_out = now > self.beat.begun_at + self._life + _OVER_SECONDS
        is_over = timed_out or (message is not None and message.is_final)
        beat, result = judge(self.beat, None if message is None else message.sent_at, is_over, self._late)
        if result is not None:
            await self._remember(beat)
            self._tell(beat, result, None if message is None else message.reason)

    async def _send(self, handed: Sequence[Handed]) -> None:
        """Nothing goes out: what is not this heartbeat, word for word, has failed."""
        mine = [item for item in handed if item.id == self.beat.message and item.text == _text(item.id)]
        if mine:
            await self._outbox.report(HEARTBEAT, POOL, [Report(item.id, item.attempt, "radio") for item in mine])
            await self._outbox.report(HEARTBEAT, POOL, [Report(item.id, item.attempt, "sent") for item in mine])
        others = [Report(item.id, item.attempt, "failed", "not the heartbeat that was sent") for item in handed if item not in mine]
        if others:
            await self._outbox.report(HEARTBEAT, POOL, others)

    async def _remember(self, beat: Beat) -> None:
        batch = self._store.batch()
        self._store.heartbeat.write(batch, beat)
        if not beat.is_open:
            self._store.heartbeat.forget(batch)
        await batch.run()
        self._know(beat)

    def _tell(self, beat: Beat, result: Result, reason: str | None) -> None:
        metrics.HEARTBEATS_TOTAL.labels(result).inc()
        if result == "failed":
            _log.warning("heartbeat.failed", message_id=beat.message, reason=reason)
        else:
            log = _log.warning if result == "late" else _log.debug
            log(f"heartbeat.{result}", message_id=beat.message, seconds=round(beat.seconds, 3))


def make_heartbeat(wiring: Wiring) -> Heartbeat:
    """The heartbeat of a timekeeper."""
    settings, store = wiring.settings, wiring.store
    acceptance = Acceptance(
        store, wiring.publisher, wiring.transitions, AccountDirectory(store), Presence(store, wiring.clock, wiring.rules), wiring.clock,
        wiring.rules, settings,
    )  # fmt: skip
    outbox = Outbox(store, wiring.transitions, wiring.clock, wiring.rules, open_seeds=False)
    return Heartbeat(
        store, acceptance, outbox, wiring.clock, every_seconds=settings.heartbeat_seconds, late_seconds=settings.heartbeat_late_seconds
    )


def _text(message_id: str) -> str:
    return f"Seedrouter heartbeat {message_id}"


class _Order(msgspec.Struct, frozen=True):
    """One heartbeat, as `acceptance` takes it. It has no wallet, no limits, and no caller who could lose the right to it."""

    accounts: Accounts
    draft: Draft
    is_code: bool = False

    @property
    def credential(self) -> Credential:
        return _Own()

    def plan(self, account: Account) -> OnePlan:
        message = self.draft.message
        ask = Admission(
            account=account, message_id=message.id, to=message.to, now=message.created_at, limits=(0, 0, 0), served=True, is_code=False,
            price=0,
        )  # fmt: skip
        return OnePlan(self.accounts, (self.draft,), ask)


class _Own(msgspec.Struct, frozen=True):
    """Nobody has to show anything."""

    def holds(self, account: Account) -> bool:
        return True
