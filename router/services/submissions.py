"""SMSGate's messages: submissions of 1 to 100 recipients, each of which is routed on its own.

How they are accepted stands in `acceptance`. Here is what they are made of, and what one answer for all recipients looks like.
"""

import hashlib
from collections.abc import Iterator, Sequence

import msgspec
import structlog
from ulid import ULID

from router.clock import Clock
from router.domain import lifecycle
from router.domain.account import Account, Credential
from router.domain.errors import Conflict, Invalid, NotFound, Unavailable
from router.domain.lifecycle import Decision, Stale
from router.domain.message import Message
from router.domain.numbering import Number
from router.domain.rules import Rules
from router.domain.submission import Submission, View, state_of, view
from router.domain.submission_request import NewSubmission, lifetime
from router.ids import random_id
from router.services.acceptance import Acceptance, Draft, check_idempotency_key
from router.services.devices import Devices
from router.services.texts import open_text
from router.services.transitions import Step, Transitions
from router.store.accounts import hash_key
from router.store.messages import Stored
from router.store.redis import Batch
from router.store.store import Store
from router.store.submissions import SubmissionAdmission
from router.store.submissions import Submissions as SubmissionStore

_log = structlog.get_logger()
_MESSAGE_PREFIX = "sg_"
_HASH_LENGTH = 24
_HOUR = 3600
_READ_AT_ONCE = 500
"""Messages."""
_NOT_FOUND = "message not found"


class Told(msgspec.Struct, frozen=True):
    """What a client is told. `is_hashed`: no recipient's text is kept any more. `body`: the text, where it was asked for and is there."""

    view: View
    is_hashed: bool = False
    data_port: int = 0
    """Above 0 it is a data message, and `body` is base64."""
    body: str | None = None


class Submissions:
    """One per api process."""

    def __init__(
        self, store: Store, acceptance: Acceptance, transitions: Transitions, devices: Devices, clock: Clock, rules: Rules
    ) -> None:
        self._store = store
        self._acceptance = acceptance
        self._transitions = transitions
        self._devices = devices
        self._clock = clock
        self._rules = rules

    async def submit(self, account: Account, credential: Credential, asked: NewSubmission, idempotency_key: str = "") -> Told:
        """Accepts all recipients or none. Raises what `Submit.submit` raises, and `Conflict` where the id is taken."""
        account = await self._acceptance.allowed(account, is_code=False)
        check_idempotency_key(idempotency_key)
        asked.check()
        parts, numbers = asked.count_parts(), asked.numbers(self._rules.default_region)
        lifetime(asked, self._clock.now(), self._rules)
        only = await self._group(account, asked)
        known = await self._acceptance.prepare(account, numbers, only, is_code=False, may_be_ported=not asked.is_taken_as_it_is)
        made = asked.id or random_id()
        order = _Order(self, credential, asked, made, tuple(known), parts, only, idempotency_key)
        outcome = await self._acceptance.accept(account, order)
        match outcome.admitted.outcome:
            case "replay":
                return await self._replayed(account, outcome.admitted.id)
            case "taken":
                raise await self._taken(account, asked.id)
        messages = [draft.message for draft in outcome.plan.drafts]
        return Told(view(order.submission(messages), messages, self._clock.now()), data_port=asked.data_port or 0)

    async def _group(self, account: Account, asked: NewSubmission) -> str:
        """The device that was asked for, or for a ciphertext the account's own phones: only those can open it. Raises `Invalid`."""
        if not asked.device and not asked.encrypted:
            # Whatever `device_active_within_hours` says: seeds that serve are online, which is always more recent
            return ""
        devices = await self._devices.list(account.id)
        if not asked.device:
            if not devices:
                raise Invalid("isEncrypted", "the account has no device that could open it")
            return account.id
        device = next((device for device in devices if device.id == asked.device), None)
        if device is None:
            raise Invalid("deviceId", "no such device")
        hours = asked.device_active_within_hours
        if hours and self._clock.now() - device.last_seen > hours * _HOUR:
            raise Invalid("deviceId", f"the device was not active within {hours} hours")
        return device.id

    def plan(self, account: Account, order: "_Order") -> "_Plan":
        """The messages of an order, with new ids, and what is asked of the account for them."""
        asked, now = order.asked, self._clock.now()
        times = lifetime(asked, now, self._rules)
        lane = asked.lane()
        messages = [
            Message(
                id=f"{_MESSAGE_PREFIX}{ULID.from_timestamp(now)}", account=account.id, dialect="smsgate", kind="sms", lane=lane,
                to=number.e164, country=number.country, carrier=number.carrier or "", parts=order.parts, price=account.price,
                created_at=now, expires_at=times.expires_at, queued_at=now, ambiguous_policy=account.ambiguous_policy,
                submission=order.id, place=place, only=order.only, sim=asked.sim or 0, data_port=asked.data_port or 0,
                encrypted=asked.encrypted, delivery_report=asked.delivery_report, priority=asked.priority, not_before=times.not_before,
            )
            for place, number in enumerate(order.numbers)
        ]  # fmt: skip
        ask = SubmissionAdmission(
            account=account,
            submission=order.submission(messages),
            counted_as=tuple(_counted_as(number.e164, is_number=not asked.is_taken_as_it_is) for number in order.numbers),
            limits=self._acceptance.limits(account),
            served=self._acceptance.takes(account, order.numbers, order.only, is_code=False),
            price=account.price,
            expires_at=times.expires_at,
            idempotency_key=order.idempotency_key,
            body_print=_print(asked) if order.idempotency_key else "",
        )
        return _Plan(self._store.submissions, tuple(Draft(message, asked.body) for message in messages), ask)

    async def _replayed(self, account: Account, submission_id: str) -> Told:
        try:
            return await self.get(account, submission_id)
        except NotFound:
            raise Unavailable("the first request with this idempotency key is still being accepted") from None

    async def _taken(self, account: Account, submission_id: str) -> Exception:
        """The id is taken by what was accepted, or is being accepted: if that comes to nothing, the id is free again."""
        try:
            await self.get(account, submission_id)
        except NotFound:
            return Unavailable("a message with the same ID is being accepted")
        return Conflict("message with the same ID already exists")

    async def get(self, account: Account, submission_id: str) -> Told:
        """Raises `NotFound`, for another account's too."""
        (found,) = await self.read(account.id, [submission_id])
        if found is None:
            raise NotFound(_NOT_FOUND)
        return found

    async def read(self, account_id: str, ids: Sequence[str], *, with_body: bool = False) -> list[Told | None]:
        """The submissions of these ids, in order; None where there is none, or no message of it is recorded.

        Two round trips, or more where they have very many messages: each brings its text along, and one may be long.
        """
        submissions = await self._store.submissions.load(self._store.batch(), account_id, ids)
        found: list[Told | None] = []
        for group in _groups(submissions):
            wanted = [message_id for submission in group if submission is not None for message_id in submission.messages]
            records = iter(await self._store.messages.load(self._store.batch(), wanted))
            for submission in group:
                stored = [next(records) for _ in submission.messages] if submission is not None else []
                found.append(None if submission is None else self._told(submission, stored, with_body=with_body))
        return found

    def _told(self, submission: Submission, records: Sequence[Stored | None], *, with_body: bool = False) -> Told | None:
        known = [stored for stored in records if stored is not None]
        if not known:
            return None
        messages = [None if stored is None else stored.message for stored in records]
        with_text = next((stored for stored in known if stored.sealed_text is not None), None)
        return Told(
            view(submission, messages, self._clock.now()),
            is_hashed=with_text is None,
            data_port=known[0].message.data_port,
            body=open_text(self._store.messages, with_text) if with_body else None,
        )

    async def cancel(self, account: Account, submission_id: str) -> Told:
        """Withdraws what is still pending of it. Raises `NotFound`, and `Conflict` where nothing is."""
        (submission,) = await self._store.submissions.load(self._store.batch(), account.id, [submission_id])
        records = await self._store.messages.load(self._store.batch(), submission.messages) if submission is not None else []
        known = [stored for stored in records if stored is not None]
        if not known:
            raise NotFound(_NOT_FOUND)
        done = await self._transitions.apply([Step(stored.message.id, _cancel, stored) for stored in known])
        if all(result.error is not None for result in done):
            other = next((result.error for result in done if not isinstance(result.error, Stale)), None)
            raise other or Conflict("message is not pending")
        return await self.get(account, submission_id)


class _Order(msgspec.Struct, frozen=True):
    """A submission that was asked for, when all that does not depend on the account's present state is known."""

    service: Submissions
    credential: Credential
    asked: NewSubmission
    id: str
    numbers: tuple[Number, ...]
    parts: int
    only: str
    idempotency_key: str

    @property
    def is_code(self) -> bool:
        return False

    def plan(self, account: Account) -> "_Plan":
        return self.service.plan(account, self)

    def submission(self, messages: Sequence[Message]) -> Submission:
        """What is kept of it beside its messages."""
        return Submission(
            id=self.id,
            account=messages[0].account,
            created_at=messages[0].created_at,
            messages=tuple(message.id for message in messages),
            recipients=tuple(message.to for message in messages),
            device=self.asked.device,
            encrypted=self.asked.encrypted,
        )


class _Plan(msgspec.Struct, frozen=True):
    store: SubmissionStore
    drafts: tuple[Draft, ...]
    ask: SubmissionAdmission

    @property
    def limits(self) -> tuple[int, int, int]:
        return self.ask.limits

    def admit(self, batch: Batch) -> int:
        return self.store.admit(batch, self.ask)

    def undo(self, batch: Batch, drafts: Sequence[Draft]) -> None:
        self.store.undo(batch, self.ask, [draft.message.id for draft in drafts])


def _groups(submissions: Sequence[Submission | None]) -> Iterator[Sequence[Submission | None]]:
    """In their order, as many at once as may be read at once."""
    group: list[Submission | None] = []
    messages = 0
    for submission in submissions:
        count = len(submission.messages) if submission is not None else 0
        if messages + count > _READ_AT_ONCE:
            yield group
            group, messages = [], 0
        group.append(submission)
        messages += count
    yield group


def _cancel(message: Message, now: float) -> Decision:
    """Only what no phone has given to the radio."""
    if state_of(message) != "Pending":
        raise Stale("not pending")
    return lifecycle.cancel(message, now, "cancelled by its sender")


def _counted_as(recipient: str, *, is_number: bool) -> str:
    """What an account's messages to one phone are counted by. A ciphertext is long, and either may hold what keys and charges cannot."""
    return recipient if is_number else hash_key(recipient)[:_HASH_LENGTH]


def _print(asked: NewSubmission) -> str:
    """What two requests with the same idempotency key must have in common."""
    return hashlib.sha256(msgspec.json.encode(("smsgate", asked))).hexdigest()
