"""Finding messages for operators: by an id that anybody may know it by, by phone, by account, by state; newest first, a page at a time.

What a search costs is bounded, however many messages there are. The lists of all accounts are merged: their newest entries are looked at
first, and only the accounts that could be on the page are read further.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from heapq import nlargest
from typing import Final, Literal

import msgspec

from router.domain.errors import Invalid
from router.domain.message import Message
from router.domain.numbering import parse_number
from router.domain.rules import Rules
from router.services.inquiry import MessageSummary, summary
from router.store.accounts import Accounts
from router.store.listings import Listed, newest, parse_newest
from router.store.redis import text
from router.store.store import Store
from router.store.submissions import Submissions

MOST_SHOWN: Final = 500
MOST_READ: Final = 5000
"""Records that one search reads, about 5 MB: a state is not indexed."""
_CHUNK: Final = 200
_LONGEST: Final = 256
"""Of what is searched for: an idempotency key may be that long."""

TermKind = Literal["phone", "submission"]


class Term(msgspec.Struct, frozen=True):
    """What is searched for besides the filters: a number in E.164, or the id that a client knows a submission by."""

    kind: TermKind
    value: str


class Found(msgspec.Struct, frozen=True):
    """`older`: what to say as `before` to go on; empty where there is no more. `looked_at`: how many records were read for this."""

    messages: list[MessageSummary]
    older: str
    looked_at: int


class MessageSearch:
    """One per api process."""

    def __init__(self, store: Store, rules: Rules) -> None:
        self._store = store
        self._rules = rules

    def phone(self, number: str) -> Term:
        """A number in any spelling. Raises `Invalid`."""
        return Term("phone", parse_number(number, self._rules.default_region).e164)

    async def identify(self, words: str) -> Term | str:
        """What somebody has typed: a message's id (as ours, as a phone of SMSGate's app knows it, or by its `Idempotency-Key`) gives that
        id; a submission's id, or a number in any spelling, what to search for. Raises `Invalid`, whose reason does not repeat it.
        """
        words = words.strip()
        if not 0 < len(words) <= _LONGEST:
            raise Invalid("search", f"1 to {_LONGEST} characters")
        known_as = await self._admitted_by(words)
        attempt_id, _, number = words.rpartition("_")
        ids = [words, attempt_id, *known_as] if number.isdigit() and attempt_id else [words, *known_as]
        for stored in await self._store.messages.load(self._store.batch(), ids):
            if stored is not None:
                return stored.message.id
        for submission_id in (words, *known_as):
            if await self._submissions_of(submission_id):
                return Term("submission", submission_id)
        try:
            return self.phone(words)
        except Invalid as error:
            reason = error.reason if any(map(str.isdigit, words)) else "not a phone number"
            raise Invalid("search", f"no message, submission or Idempotency-Key is known by that; and as a phone: {reason}") from None

    async def _admitted_by(self, idempotency_key: str) -> list[str]:
        """The ids of messages and submissions that any account's requests with that key have made."""
        batch = self._store.batch()
        for account_id in await self._store.accounts.all_ids(self._store.batch()):
            Accounts.made_with(batch, account_id, idempotency_key)
        return [text(answer) for answer in await batch.run() if answer is not None]

    async def _submissions_of(self, submission_id: str) -> list[str]:
        """The messages of all submissions that any account's client knows by that id, in the order of their recipients."""
        accounts = await self._store.accounts.all_ids(self._store.batch())
        found = await Submissions.load_of(self._store.batch(), [(account_id, submission_id) for account_id in accounts])
        return [message_id for submission in found if submission is not None for message_id in submission.messages]

    async def find(
        self, term: Term | None = None, *, account: str = "", state: str = "", limit: int = 50, before: str = ""
    ) -> Found:
        """The newest messages first. Raises `Invalid`."""
        if not 1 <= limit <= MOST_SHOWN:
            raise Invalid("limit", f"1 to {MOST_SHOWN}")
        looked_at = 0
        wanted: list[Message] = []
        older, place = "", ""
        count = _CHUNK if state or (term and account) else limit + 1
        async with aclosing(self._places(term, account, before, count)) as places:
            async for chunk in places:
                records = await self._store.messages.load(self._store.batch(), [message_id for _, message_id in chunk])
                for (at, _), stored in zip(chunk, records, strict=True):
                    if len(wanted) == limit or looked_at == MOST_READ:
                        older = place
                        break
                    place = at
                    looked_at += 1
                    if stored is not None and _matches(stored.message, account, state):
                        wanted.append(stored.message)
                if older:
                    break
        wanted.sort(key=lambda message: message.created_at, reverse=True)
        return Found([summary(message) for message in wanted], older, looked_at)

    async def _places(self, term: Term | None, account: str, before: str, count: int) -> AsyncGenerator[list[tuple[str, str]]]:
        """(place, message id), newest first; `before` is a place."""
        if term is not None:
            ids = await self._ids_of(term)
            start = _offset(before)
            for first in range(start, len(ids), _CHUNK):
                yield [(str(first + n + 1), message_id) for n, message_id in enumerate(ids[first : first + _CHUNK])]
            return
        accounts = [account] if account else await self._store.accounts.all_ids(self._store.batch())
        try:
            last = Listed.parse(before) if before else None
        except ValueError:
            raise Invalid("before", "not a place in the list") from None
        while chunk := await self._merged(accounts, last, count):
            yield [(str(entry), entry.message_id) for entry in chunk]
            if len(chunk) < count:
                return
            last, count = chunk[-1], _CHUNK

    async def _ids_of(self, term: Term) -> list[str]:
        if term.kind == "submission":
            return await self._submissions_of(term.value)
        return await self._store.messages.ids_of_phone(self._store.batch, term.value, MOST_SHOWN)

    async def _merged(self, accounts: Sequence[str], before: Listed | None, count: int) -> list[Listed]:
        """The newest entries of these accounts' lists, latest first."""
        if len(accounts) > count:
            heads = nlargest(count, await self._newest(accounts, before, 1))
            accounts = [entry.account for entry in heads]
        return nlargest(count, await self._newest(accounts, before, count))

    async def _newest(self, accounts: Sequence[str], before: Listed | None, count: int) -> list[Listed]:
        batch = self._store.batch()
        for account_id in accounts:
            newest(batch, account_id, before, count)
        answers = zip(accounts, await batch.run(), strict=True)
        return [entry for account_id, answer in answers for entry in parse_newest(account_id, answer)]


def _matches(message: Message, account: str, state: str) -> bool:
    return (not state or message.state == state) and (not account or message.account == account)


def _offset(before: str) -> int:
    if not before:
        return 0
    if not (before.isascii() and before.isdigit() and len(before) < 6):
        raise Invalid("before", "not a place in the list")
    return int(before)
