"""A message as most dialects submit it: one recipient, a code that is made here or a plain text. How it is accepted: `acceptance`."""

import hashlib
from collections.abc import Sequence

import msgspec
from ulid import ULID

from router import metrics
from router.clock import Clock
from router.domain import otp, templates
from router.domain.account import Account, Credential
from router.domain.errors import (
    Blocked,
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
from router.domain.message import Dialect, Kind, Lane, Message
from router.domain.numbering import Number, parse_number
from router.domain.rules import Rules
from router.domain.segments import count_segments
from router.domain.texts import check_text
from router.queue.entries import QueuePublisher
from router.services.acceptance import Acceptance, Draft, check_idempotency_key
from router.services.accounts import AccountDirectory
from router.services.presence import Presence
from router.services.transitions import Transitions
from router.settings import Settings
from router.store.accounts import Accounts, Admission
from router.store.redis import Batch
from router.store.store import Store

_ID_PREFIX = "wg_"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect hands in. `text` makes a plain SMS; without it a code is made from the template."""

    dialect: Dialect
    credential: Credential
    """What the caller has shown: it must still hold when the message is admitted."""
    phone: str
    template_key: str | None = None
    text: str | None = None
    lane: Lane = "otp"
    idempotency_key: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """The message as it was accepted; `replayed` when the same request was accepted before."""

    message: Message
    replayed: bool = False


class Submit:
    """One per api process."""

    def __init__(
        self, store: Store, publisher: QueuePublisher, transitions: Transitions, accounts: AccountDirectory, presence: Presence,
        clock: Clock, rules: Rules, settings: Settings, code_pepper: bytes,
    ) -> None:  # fmt: skip
        self.acceptance = Acceptance(store, publisher, transitions, accounts, presence, clock, rules, settings)
        self.allowed = self.acceptance.allowed
        self._store = store
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._pepper = code_pepper

    async def submit(self, account: Account, request: Request) -> Accepted:
        """Accepts a message, or raises: `Forbidden`, `Invalid`, `LimitReached`, `InsufficientBalance`, `NoSeedAvailable`, `Unavailable`."""
        account = await self.allowed(account, is_code=request.text is None)
        check_idempotency_key(request.idempotency_key)
        number = parse_number(request.phone, self._rules.default_region)
        self._check(account, request)
        (number,) = await self.acceptance.prepare(account, [number], is_code=request.text is None)
        outcome = await self.acceptance.accept(account, _OneOrder(self, request, number))
        if outcome.admitted.outcome == "replay":
            return Accepted(await self._replayed(outcome.admitted.id), replayed=True)
        return Accepted(outcome.plan.drafts[0].message)

    def _check(self, account: Account, request: Request) -> None:
        if request.text is None:
            account.template(request.template_key)
        elif not request.text.strip():
            raise Invalid("message", "must not be empty")
        else:
            check_text("message", request.text, self._settings.max_text_length)

    def plan(self, account: Account, request: Request, number: Number) -> "OnePlan":
        """A message with a new id, and a new code where it is one; and what is asked of the account for it."""
        draft = self._draft(account, request, number)
        message = draft.message
        ask = Admission(
            account=account,
            message_id=message.id,
            to=message.to,
            now=message.created_at,
            limits=self.acceptance.limits(account),
            served=self.acceptance.takes(account, [number], is_code=message.kind == "otp"),
            is_code=message.kind == "otp",
            price=message.price,
            idempotency_key=request.idempotency_key,
            body_print=_print(request) if request.idempotency_key else "",
        )
        return OnePlan(self._store.accounts, (draft,), ask)

    def _draft(self, account: Account, request: Request, number: Number) -> Draft:
        now = self._clock.now()
        message_id = f"{_ID_PREFIX}{ULID.from_timestamp(now)}"
        kind: Kind = "otp" if request.text is None else "sms"
        lifetime, code_hash, length = self._rules.sms_seconds, None, 0
        if request.text is None:
            template = account.template(request.template_key)
            code = otp.new_code(template.code_length)
            body = templates.render(template, code)
            lifetime, length = template.code_seconds, template.code_length
            code_hash = otp.hash_code(self._pepper, message_id, code)
        else:
            body = request.text
        message = Message(
            id=message_id, account=account.id, dialect=request.dialect, kind=kind, lane=request.lane, to=number.e164,
            country=number.country, carrier=number.carrier or "", parts=count_segments(body).parts, price=account.price,
            created_at=now, expires_at=now + lifetime, queued_at=now, ambiguous_policy=account.ambiguous_policy, code_hash=code_hash,
            code_length=length, tries_left=self._rules.code_tries if code_hash else 0,
        )  # fmt: skip
        return Draft(message, body)

    async def _replayed(self, message_id: str) -> Message:
        (stored,) = await self._store.messages.load(self._store.batch(), [message_id])
        if stored is None:
            raise Unavailable("the first request with this idempotency key is still being accepted")
        return stored.message


class _OneOrder(msgspec.Struct, frozen=True):
    """A code, or a plain SMS to one recipient."""

    submit: Submit
    request: Request
    number: Number

    @property
    def credential(self) -> Credential:
        return self.request.credential

    @property
    def is_code(self) -> bool:
        return self.request.text is None

    def plan(self, account: Account) -> "OnePlan":
        return self.submit.plan(account, self.request, self.number)


class OnePlan(msgspec.Struct, frozen=True):
    """One message, and what is asked of its account."""

    accounts: Accounts
    drafts: tuple[Draft]
    ask: Admission

    @property
    def limits(self) -> tuple[int, int, int]:
        return self.ask.limits

    def admit(self, batch: Batch) -> int:
        return self.accounts.admit(batch, self.ask)

    def undo(self, batch: Batch, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            charge = self.accounts.charge_entry(self.ask)
            self.accounts.undo(batch, draft.message.account, draft.message.id, charge, self.ask.now, is_refunded=True)


def _print(request: Request) -> str:
    """What two requests with the same idempotency key must have in common."""
    parts = (request.dialect, request.phone, request.template_key, request.text, request.lane)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (Unauthorized, "unauthorized"),
    (Forbidden, "forbidden"),
    (CountryNotServed, "country"),
    (Invalid, "invalid"),
    (Conflict, "invalid"),
    (LimitReached, "limit"),
    (InsufficientBalance, "balance"),
    (Blocked, "blocked"),
    (NoSeedAvailable, "no_seed"),
    (Unavailable, "unavailable"),
)


def refused(dialect: Dialect, error: Exception) -> None:
    """Counts a refusal, for the dialects' error handlers."""
    reason = next((name for kind, name in _REFUSALS if isinstance(error, kind)), None)
    if reason:
        metrics.REFUSED.labels(dialect, reason).inc()
