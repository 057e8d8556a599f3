"""Accepting a message: who, to whom, may they, then record, publish, answer.

The order of the steps is what makes "accepted is final" true. The wallet is charged first, in one script with every limit; then the
record is written with its timer; then the queue entry; only then does the caller hear yes. A process that dies in between leaves an
admission without a record: the timekeeper puts a tombstone in the record's place and undoes it. If the queue cannot be reached, the
message is withdrawn and the admission undone, and the caller hears that nothing was kept.
"""

import hashlib
from collections import defaultdict
from functools import partial

import msgspec
import structlog
from ulid import ULID

from router import metrics
from router.clock import Clock
from router.domain import lifecycle, otp, templates
from router.domain.account import Account
from router.domain.errors import Conflict, Forbidden, InsufficientBalance, Invalid, LimitReached, NoSeedAvailable, Unauthorized, Unavailable
from router.domain.message import Dialect, Kind, Lane, Message
from router.domain.numbering import Number, parse_number, with_portability
from router.domain.rules import Rules
from router.domain.segments import count_segments
from router.queue.entries import Entry, QueuePublisher
from router.services import observe
from router.services.accounts import AccountDirectory
from router.services.presence import Presence
from router.services.transitions import Step, Transitions
from router.settings import Settings
from router.store.accounts import Admission, Admitted
from router.store.store import Store

_log = structlog.get_logger()
_RELOADS = 3
_ID_PREFIX = "wg_"
_LIMIT_NAMES = {"day": "daily", "hour": "hourly", "phone": "phone"}


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What a dialect hands in. `text` makes a plain SMS; without it a code is made from the template."""

    dialect: Dialect
    key_hash: str
    """The API key's hash: it must still be the account's when the message is admitted."""
    phone: str
    template_key: str | None = None
    text: str | None = None
    lane: Lane = "otp"
    idempotency_key: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """The message as it was accepted; `replayed` when the same request was accepted before."""

    message: Message
    replayed: bool = False


class _Draft(msgspec.Struct, frozen=True):
    message: Message
    body: str


class Submit:
    """One per api process."""

    def __init__(
        self, store: Store, publisher: QueuePublisher, transitions: Transitions, accounts: AccountDirectory, presence: Presence,
        clock: Clock, rules: Rules, settings: Settings, code_pepper: bytes,
    ) -> None:  # fmt: skip
        self._store = store
        self._publisher = publisher
        self._transitions = transitions
        self._accounts = accounts
        self._presence = presence
        self._clock = clock
        self._rules = rules
        self._settings = settings
        self._pepper = code_pepper
        self._recorded: defaultdict[str, list[str]] = defaultdict(list)
        """Messages by account that were recorded since: the next batch confirms their admissions, or after a while the timekeeper."""

    async def submit(self, account: Account, request: Request) -> Accepted:
        """Accepts a message, or raises: `Forbidden`, `Invalid`, `LimitReached`, `InsufficientBalance`, `NoSeedAvailable`, `Unavailable`."""
        account = await self.allowed(account, is_code=request.text is None)
        if len(request.idempotency_key) > 255:
            raise Invalid("Idempotency-Key", "at most 255 characters")
        number = parse_number(request.phone, self._rules.default_region)
        self._check(account, request)
        if self._publisher.depth >= self._settings.max_queue_length:
            raise Unavailable("the queue is full", retry_after_seconds=5)
        number = await self._ported(number)
        if not self._presence.serves(number.carrier or "", number.country):
            await self._presence.look_again()
        for _ in range(_RELOADS):
            draft = self._draft(account, request, number)
            ask = self._ask(account, request, draft.message)
            admitted = await self._admit(ask)
            if admitted.outcome != "changed":
                break
            account = await self._accounts.reload(account.id)
            if request.key_hash not in account.key_hashes:
                raise Unauthorized("the key was revoked")
            account = await self.allowed(account, is_code=request.text is None)
        self._raise_refusal(account, ask, admitted)
        if admitted.outcome == "replay":
            return Accepted(await self._replayed(admitted.id), replayed=True)
        await self._record(draft, ask)
        await self._publish(draft.message, ask)
        if admitted.id and self._rules.replace_older_code:
            await self._replace(admitted.id)
        observe.accepted(draft.message)
        return Accepted(draft.message)

    async def allowed(self, account: Account, *, is_code: bool) -> Account:
        """The account, if it may send at all; a copy that says no is read again first. Raises `Forbidden`."""
        if not _may_send(account, is_code=is_code):
            account = await self._accounts.reload(account.id)
            if not _may_send(account, is_code=is_code):
                raise Forbidden("this service is not enabled for the account")
        return account

    def _check(self, account: Account, request: Request) -> None:
        if request.text is None:
            account.template(request.template_key)
        elif not request.text.strip():
            raise Invalid("message", "must not be empty")
        elif len(request.text) > self._settings.max_text_length:
            raise Invalid("message", f"at most {self._settings.max_text_length} characters")
        elif any("\ud800" <= character <= "\udfff" for character in request.text):
            raise Invalid("message", "holds half of a surrogate pair")

    async def _ported(self, number: Number) -> Number:
        if not self._presence.has_ported_numbers:
            return number
        batch = self._store.batch()
        self._store.portability.read(batch, number.e164)
        return with_portability(number, self._store.portability.parse((await batch.run())[0]))

    def _draft(self, account: Account, request: Request, number: Number) -> _Draft:
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
        return _Draft(message, body)

    def _ask(self, account: Account, request: Request, message: Message) -> Admission:
        limits, defaults = account.limits, self._settings
        return Admission(
            account=account,
            message_id=message.id,
            to=message.to,
            now=message.created_at,
            limits=(
                defaults.daily_limit if limits.daily is None else limits.daily,
                defaults.hourly_limit if limits.hourly is None else limits.hourly,
                defaults.phone_hourly_limit if limits.phone_hourly is None else limits.phone_hourly,
            ),
            served=self._presence.serves(message.carrier, message.country),
            is_code=message.kind == "otp",
            price=message.price,
            idempotency_key=request.idempotency_key,
            body_print=_print(request) if request.idempotency_key else "",
        )

    async def _admit(self, ask: Admission) -> Admitted:
        batch = self._store.batch()
        place = self._store.accounts.admit(batch, ask)
        return self._store.accounts.parse_admitted((await batch.run())[place])

    @staticmethod
    def _raise_refusal(account: Account, ask: Admission, admitted: Admitted) -> None:
        match admitted.outcome:
            case "changed":
                raise Unavailable("the account is being changed")
            case "mismatch":
                raise Conflict("the idempotency key was used for another request")
            case "day" | "hour" | "phone":
                maximum = dict(zip(("day", "hour", "phone"), ask.limits, strict=True))[admitted.outcome]
                raise LimitReached(_LIMIT_NAMES[admitted.outcome], maximum, admitted.wait_seconds)
            case "balance":
                raise InsufficientBalance(f"the wallet of {account.id} is too low")
            case "unserved":
                raise NoSeedAvailable("no online seed can serve the number")
            case "ok" | "replay":
                return

    async def _replayed(self, message_id: str) -> Message:
        (stored,) = await self._store.messages.load(self._store.batch(), [message_id])
        if stored is None:
            raise Unavailable("the first request with this idempotency key is still being accepted")
        return stored.message

    async def _record(self, draft: _Draft, ask: Admission) -> None:
        batch = self._store.batch()
        place = self._store.messages.create(batch, draft.message, draft.body)
        self._store.timers.set(batch, draft.message.id, lifecycle.next_due(draft.message, self._rules))
        for account_id, ids in self._recorded.items():
            self._store.accounts.confirm(batch, account_id, *ids)
        self._recorded = defaultdict(list)
        if (await batch.run())[place] is None:
            # Between charge and record so much time passed that the timekeeper has voided it: nothing was kept
            raise Unavailable("it took too long to accept the message")
        self._recorded[ask.account.id].append(draft.message.id)
        _log.debug("message.recorded", message_id=draft.message.id, account=ask.account.id)

    async def _publish(self, message: Message, ask: Admission) -> None:
        try:
            await self._publisher.publish([Entry.of(message, message.created_at)])
        except Unavailable:
            cancelled = Step(message.id, partial(lifecycle.cancel, reason="the queue could not be reached"))
            (done,) = await self._transitions.apply([cancelled])
            if isinstance(done.error, lifecycle.Stale):
                # It was queued after all, and has gone too far to be withdrawn
                return
            batch = self._store.batch()
            charge = self._store.accounts.charge_entry(ask)
            self._store.accounts.undo(batch, message.account, message.id, charge, ask.now, is_refunded=True)
            await batch.run()
            raise

    async def _replace(self, older_id: str) -> None:
        (done,) = await self._transitions.apply([Step(older_id, partial(lifecycle.cancel, reason="replaced by a newer code"))])
        if done.error is not None:
            _log.debug("message.not_replaced", message_id=older_id, reason=str(done.error))


def _may_send(account: Account, *, is_code: bool) -> bool:
    return account.enabled and (account.otp_enabled or not is_code)


def _print(request: Request) -> str:
    """What two requests with the same idempotency key must have in common."""
    parts = (request.dialect, request.phone, request.template_key, request.text, request.lane)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


_REFUSALS: tuple[tuple[type[Exception], str], ...] = (
    (Unauthorized, "unauthorized"),
    (Forbidden, "forbidden"),
    (Invalid, "invalid"),
    (Conflict, "invalid"),
    (LimitReached, "limit"),
    (InsufficientBalance, "balance"),
    (NoSeedAvailable, "no_seed"),
    (Unavailable, "unavailable"),
)


def refused(dialect: Dialect, error: Exception) -> None:
    """Counts a refusal, for the dialects' error handlers."""
    reason = next((name for kind, name in _REFUSALS if isinstance(error, kind)), None)
    if reason:
        metrics.REFUSED.labels(dialect, reason).inc()
