"""Submissions at rest: `acct:{<account>}:sub:<id>`, a string of `<messages not undone>:<entry in the list>:<record, msgpack>`, and their
list, the stream `acct:{<account>}:submissions`.

The record is written by the script that charges for the messages, and is gone shortly before theirs are, or when the last of them is
undone. So an id is taken as long as anything is known of it, and never by what was not accepted.
"""

from collections.abc import Sequence

import msgspec

from router.domain.account import Account
from router.domain.submission import Submission
from router.store.accounts import Accounts
from router.store.listings import Listings, by_submission
from router.store.redis import Batch, Script, text

_ADMIT = Script("submission_admit")
_EARLIER_SECONDS = 1.0
"""So much before its messages the record goes: whoever finds it finds them."""
_CLOCKS_SECONDS = 5.0
"""What the clock that times the list's entries, Redis' own, may be off from the one that times submissions."""
_PAGE = 1000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Submission).decode


class SubmissionAdmission(msgspec.Struct, frozen=True, kw_only=True):
    """What submission_admit.lua is asked."""

    account: Account
    submission: Submission
    counted_as: tuple[str, ...]
    """What each recipient is counted by, in their order; without a `|`."""
    limits: tuple[int, int, int]
    """Day, hour, phone and hour; 0 = none."""
    served: bool
    """Can seeds serve all of them?"""
    price: int
    """Of each message."""
    expires_at: float
    idempotency_key: str = ""
    body_print: str = ""


class Listed(msgspec.Struct, frozen=True):
    """An entry of the list. Times are Unix milliseconds."""

    id: str
    created_ms: int


class Submissions:
    """Every method adds to a batch, or runs an empty one where it says so."""

    def __init__(self, accounts: Accounts, idempotency_seconds: int, retention_seconds: int, listings: Listings) -> None:
        self._accounts = accounts
        self._idempotency_seconds = idempotency_seconds
        self._retention_seconds = retention_seconds
        self._listings = listings

    @staticmethod
    def key(account_id: str, submission_id: str) -> str:
        return Accounts.key(account_id, f"sub:{submission_id}")

    def admit(self, batch: Batch, ask: SubmissionAdmission) -> int:
        """Adds charges, counts and the record; hand the answer at this place to `Accounts.parse_admitted`."""
        submission, account_id, at = ask.submission, ask.account.id, ask.submission.created_at
        keys = (
            *self._accounts.admission_keys(account_id, at),
            Accounts.idempotency_key(account_id, ask.idempotency_key),
            self.key(account_id, submission.id),
            by_submission(account_id),
            *(Accounts.key(account_id, f"phone:{to}") for to in (ask.counted_as if ask.limits[2] else ())),
        )
        gone_at = ask.expires_at + self._retention_seconds - _EARLIER_SECONDS
        return batch.call(
            _ADMIT, keys, ask.account.rev, repr(at), ask.price, *ask.limits, int(ask.served),
            ask.body_print if ask.idempotency_key else "", self._idempotency_seconds, self._listings.since_ms(at), _accepted_as(ask),
            submission.id, _encode(submission), round(at * 1000), int(gone_at * 1000),
            *(word for pair in zip(submission.messages, ask.counted_as, strict=True) for word in pair),
        )  # fmt: skip

    def undo(self, batch: Batch, ask: SubmissionAdmission, message_ids: Sequence[str]) -> None:
        """Undoes the admission of these messages, which were recorded and cancelled; to be asked once."""
        submission = ask.submission
        counted_as = dict(zip(submission.messages, ask.counted_as, strict=True))
        for message_id in message_ids:
            charge = f"{ask.price}|{counted_as[message_id]}|{_accepted_as(ask)}"
            self._accounts.undo(batch, submission.account, message_id, charge, submission.created_at, is_refunded=True)

    @staticmethod
    async def load(batch: Batch, account_id: str, ids: Sequence[str]) -> list[Submission | None]:
        """The records of these ids, in order; None where there is none (any more). Runs the (empty) batch."""
        return await Submissions.load_of(batch, [(account_id, submission_id) for submission_id in ids])

    @staticmethod
    async def load_of(batch: Batch, owned: Sequence[tuple[str, str]]) -> list[Submission | None]:
        """The records of these (account, id), like `load`."""
        for account_id, submission_id in owned:
            batch.add("GET", Submissions.key(account_id, submission_id))
        return [None if answer is None else _decode(answer.split(b":", 2)[2]) for answer in await batch.run()]

    @staticmethod
    async def page(
        batch: Batch, account_id: str, now: float, *, after: str, since: float | None, until: float | None, newest_first: bool
    ) -> tuple[list[Listed], str]:
        """Some entries of the list, made from `since` to `until`, both included; and what to say as `after` to go on ('' = no more).

        Begin with '' as `after`. Runs the (empty) batch.
        """
        low = "-" if since is None else str(max(0, int((since - _CLOCKS_SECONDS) * 1000)))
        high = "+" if until is None else str(int((until + _CLOCKS_SECONDS) * 1000))
        if newest_first:
            batch.add("XREVRANGE", by_submission(account_id), f"({after}" if after else high, low, "COUNT", _PAGE)
        else:
            batch.add("XRANGE", by_submission(account_id), f"({after}" if after else low, high, "COUNT", _PAGE)
        ((*entries,),) = await batch.run()
        found: list[Listed] = []
        for _, (_, submission_id, _, created_ms, _, gone_ms) in entries:
            listed = Listed(text(submission_id), int(created_ms))
            is_after = since is None or listed.created_ms >= round(since * 1000)
            is_before = until is None or listed.created_ms <= round(until * 1000)
            if is_after and is_before and int(gone_ms) > now * 1000:
                found.append(listed)
        return found, text(entries[-1][0]) if len(entries) == _PAGE else ""


def _accepted_as(ask: SubmissionAdmission) -> str:
    """What stands behind the phone in a charge: see submission_admit.lua. A header cannot hold a NUL, nor does an id."""
    return f"\0{ask.submission.id}\0{ask.idempotency_key}"
