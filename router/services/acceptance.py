"""Accepting messages: who, to whom, may they, then record, publish, answer.

The order of the steps is what makes "accepted is final" true. The wallet is charged first, in one script with every limit; then the
record is written with its timer; then the queue entry; only then does the caller hear yes. A process that dies in between leaves an
admission without a record: the timekeeper puts a tombstone in the record's place and undoes it. If the queue cannot be reached, the
message is withdrawn and the admission undone, and the caller hears that nothing was kept.

Every step takes a list, so that a submission of a hundred recipients costs as many round trips as one message. It is admitted by one
script, all of it or nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Protocol

import msgspec
import structlog
from msgspec.structs import replace

from router.clock import Clock
from router.domain import lifecycle
from router.domain.account import Account, Credential
from router.domain.errors import (
    UNSERVED,
    Conflict,
    CountryNotServed,
    Forbidden,
    InsufficientBalance,
    Invalid,
    LimitReached,
    NoSeedAvailable,
    Unauthorized,
    Unavailable,
)
from router.domain.message import Message
from router.domain.numbering import Number, with_portability
from router.domain.rules import Rules
from router.queue.entries import Entry, QueuePublisher
from router.services import observe
from router.services.accounts import AccountDirectory
from router.services.prefix_gate import PrefixGate
from router.services.presence import Presence
from router.services.transitions import Step, Transitions
from router.settings import Settings
from router.store.accounts import Accounts, Admitted
from router.store.redis import Batch
from router.store.store import Store

_log = structlog.get_logger()
_RELOADS = 3
_LONGEST_KEY = 255
_LIMIT_NAMES = {"day": "daily", "hour": "hourly", "phone": "phone"}


class Draft(msgspec.Struct, frozen=True):
    """A message that is to be accepted, and its text."""

    message: Message
    body: str


class Plan(Protocol):
    """What an order comes to, for the account as it was read: its messages, and how they are admitted together."""

    @property
    def drafts(self) -> Sequence[Draft]: ...

    @property
    def limits(self) -> tuple[int, int, int]: ...

    def admit(self, batch: Batch) -> int:
        """Adds the admission; its answer is for `Accounts.parse_admitted`."""
        ...

    def undo(self, batch: Batch, drafts: Sequence[Draft]) -> None:
        """Adds the undoing for those that were recorded and withdrawn."""
        ...


class Order(Protocol):
    """What somebody wants to have accepted: one message, or a submission of many."""

    @property
    def credential(self) -> Credential: ...

    @property
    def is_code(self) -> bool: ...

    def plan(self, account: Account) -> Plan: ...


class Outcome(msgspec.Struct, frozen=True):
    """How an order was answered: `ok`, `replay` of what `admitted.id` names, or `taken`. All else is raised."""

    plan: Plan
    admitted: Admitted


class Acceptance:
    """One per api process."""

    def __init__(
        self, store: Store, publisher: QueuePublisher, transitions: Transitions, accounts: AccountDirectory, presence: Presence,
        clock: Clock, rules: Rules, settings: Settings,
    ) -> None:  # fmt: skip
        self._store = store
        self._publisher = publisher
        self._transitions = transitions
        self._accounts = accounts
        self._presence = presence
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._gate = PrefixGate(presence, clock, rules.default_region, settings.fraud_rules())
        self._recorded: defaultdict[str, list[str]] = defaultdict(list)
        """Messages by account that were recorded since: the next batch confirms their admissions, or after a while the timekeeper."""

    async def allowed(self, account: Account, *, is_code: bool) -> Account:
        """The account, if it may send at all; a copy that says no is read again first. Raises `Forbidden`."""
        if not _may_send(account, is_code=is_code):
            account = await self._accounts.reload(account.id)
            if not _may_send(account, is_code=is_code):
                raise Forbidden("this service is not enabled for the account")
        return account

    def limits(self, account: Account) -> tuple[int, int, int]:
        """Of messages: per day, per hour, per phone and hour; 0 = none."""
        limits, defaults = account.limits, self._settings
        return (
            defaults.daily_limit if limits.daily is None else limits.daily,
            defaults.hourly_limit if limits.hourly is None else limits.hourly,
            defaults.phone_hourly_limit if limits.phone_hourly is None else limits.phone_hourly,
        )

    async def prepare(
        self, account: Account, numbers: Sequence[Number], only: str = "", *, is_code: bool = False, may_be_ported: bool = True
    ) -> Sequence[Number]:
        """What has to be known before anything is charged: the carriers that the numbers were ported to, and who can serve them.

        `may_be_ported`: they were read; else they are what a client wrote. Raises `CountryNotServed`, and `Unavailable` where the queue is
        full.
        """
        self._gate.check_countries(numbers, were_read=may_be_ported)
        if self._publisher.depth >= self._settings.max_queue_length:
            raise Unavailable("the queue is full", retry_after_seconds=5)
        known = await self._ported(numbers) if may_be_ported else numbers
        if not self.takes(account, known, only, is_code=is_code):
            await self._presence.look_again()
        return known

    def takes(self, account: Account, numbers: Sequence[Number], only: str = "", *, is_code: bool) -> bool:
        """Can seeds serve all of them, and is none blocked? What is blocked is refused where and as what is not served is."""
        return self.serves(account, numbers, only) and self._gate.blocked((number.e164 for number in numbers), is_code=is_code) is None

    def serves(self, account: Account, numbers: Iterable[Number], only: str = "") -> bool:
        """Can seeds serve all of them? `only`: seeds of that group."""
        kinds = {(number.carrier or "", number.country) for number in numbers}
        return all(self._presence.serves(carrier, country, account.id, only) for carrier, country in kinds)

    async def accept(self, account: Account, order: Order) -> Outcome:
        """Carries an order through all steps. Raises what `submit` raises; where it does, nothing was kept."""
        is_fresh, admitted = False, Admitted("changed")
        for _ in range(_RELOADS):
            plan = order.plan(account)
            if self._gate.serves(account, (draft.message.to for draft in plan.drafts)):
                admitted = await self._admit(plan)
                if admitted.outcome != "changed":
                    break
            elif is_fresh:
                raise CountryNotServed
            # A copy that says no is read again first, as one that the script found to be old
            is_fresh = True
            account = await self._accounts.reload(account.id)
            if not order.credential.holds(account):
                raise Unauthorized("the credentials are no longer good")
            account = await self.allowed(account, is_code=order.is_code)
        self._raise_refusal(account, plan, admitted, is_code=order.is_code)
        if admitted.outcome == "ok":
            await self._record(plan)
            await self._publish(plan)
            for draft in plan.drafts:
                observe.accepted(draft.message)
            if admitted.id and self._rules.replace_older_code:
                await self._replace(admitted.id)
        return Outcome(plan, admitted)

    async def _ported(self, numbers: Sequence[Number]) -> list[Number]:
        if not self._presence.has_ported_numbers:
            return list(numbers)
        batch, portability = self._store.batch(), self._store.portability
        for number in numbers:
            portability.read(batch, number.e164)
        return [with_portability(number, portability.parse(answer)) for number, answer in zip(numbers, await batch.run(), strict=True)]

    async def _admit(self, plan: Plan) -> Admitted:
        batch = self._store.batch()
        place = plan.admit(batch)
        return Accounts.parse_admitted((await batch.run())[place])

    def _raise_refusal(self, account: Account, plan: Plan, admitted: Admitted, *, is_code: bool) -> None:
        match admitted.outcome:
            case "changed":
                raise Unavailable("the account is being changed")
            case "mismatch":
                raise Conflict("the idempotency key was used for another request")
            case "day" | "hour" | "phone":
                maximum = dict(zip(("day", "hour", "phone"), plan.limits, strict=True))[admitted.outcome]
                raise LimitReached(_LIMIT_NAMES[admitted.outcome], maximum, admitted.wait_seconds)
            case "balance":
                raise InsufficientBalance(f"the wallet of {account.id} is too low")
            case "unserved":
                self._gate.refuse((draft.message.to for draft in plan.drafts), is_code=is_code)
                raise NoSeedAvailable(UNSERVED)
            case "ok" | "replay" | "taken":
                return

    async def _record(self, plan: Plan) -> None:
        batch = self._store.batch()
        places: list[int] = []
        for draft in plan.drafts:
            places.append(self._store.messages.create(batch, draft.message, draft.body))
            self._store.timers.set(batch, draft.message.id, lifecycle.next_due(draft.message, self._rules))
        for account_id, ids in self._recorded.items():
            self._store.accounts.confirm(batch, account_id, *ids)
        self._recorded = defaultdict(list)
        answers = await batch.run()
        recorded = [draft for draft, place in zip(plan.drafts, places, strict=True) if answers[place] is not None]
        if len(recorded) < len(places) and (not recorded or await self._withdraw(plan, recorded, "it took too long to accept it")):
            # Between charge and record so much time passed that the timekeeper has voided it: nothing was kept
            raise Unavailable("it took too long to accept the message")
        for draft in recorded:
            self._recorded[draft.message.account].append(draft.message.id)
            _log.debug("message.recorded", message_id=draft.message.id, account=draft.message.account)

    async def _publish(self, plan: Plan) -> None:
        entries = [Entry.of(m, m.created_at) for m in (draft.message for draft in plan.drafts) if m.not_before <= m.created_at]
        try:
            if entries:
                await self._publisher.publish(entries)
        except Unavailable:
            if await self._withdraw(plan, plan.drafts, "the queue could not be reached"):
                raise

    async def _withdraw(self, plan: Plan, drafts: Sequence[Draft], reason: str) -> bool:
        """Takes back what was recorded, as if it had never been asked for.

        False where one of them was queued after all and has gone too far: then all of them count as accepted, and those that were taken
        back stay cancelled.
        """
        decide = partial(_take_back, reason=reason)
        done = await self._transitions.apply([Step(draft.message.id, decide) for draft in drafts])
        if any(isinstance(result.error, lifecycle.Stale) for result in done):
            for result in done:
                if result.error is None and result.after is not None:
                    observe.cancelled_after_all(result.after)
            return False
        batch = self._store.batch()
        plan.undo(batch, [draft for draft, result in zip(drafts, done, strict=True) if result.error is None])
        await batch.run()
        return True

    async def _replace(self, older_id: str) -> None:
        (done,) = await self._transitions.apply([Step(older_id, partial(lifecycle.cancel, reason="replaced by a newer code"))])
        if done.error is not None:
            _log.debug("message.not_replaced", message_id=older_id, reason=str(done.error))


def _take_back(message: Message, now: float, *, reason: str) -> lifecycle.Decision:
    """No webhook tells of the end of what its sender heard was never accepted."""
    decision = lifecycle.cancel(message, now, reason)
    return replace(decision, message=replace(decision.message, told=("sms:cancelled",)))


def _may_send(account: Account, *, is_code: bool) -> bool:
    return account.enabled and (account.otp_enabled or not is_code)


def check_idempotency_key(key: str) -> None:
    """Raises `Invalid`."""
    if len(key) > _LONGEST_KEY:
        raise Invalid("Idempotency-Key", f"at most {_LONGEST_KEY} characters")
