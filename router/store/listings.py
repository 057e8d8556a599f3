"""Lists of messages for operators: by account (`acct:{<id>}:messages`) and by phone (`phones:{<n>}`, a stream per bucket of phones).
And of submissions, for the account itself: `acct:{<id>}:submissions`.

A list may name messages that have no record (never recorded, or gone by now): readers pass over them. It forgets by itself what is older
than any record, roughly with each new entry, and exactly when the timekeeper trims it: phone numbers do not outlive their messages.
"""

import zlib
from collections.abc import Sequence
from typing import Any

import msgspec

from router.domain.templates import LONGEST_LIFE_SECONDS
from router.store.redis import Batch, Script, text

BUCKETS = 1024
_TRIM = Script("listing_trim")


def by_phone(phone: str) -> str:
    """The key of the list that a phone's messages are in, with those of other phones."""
    return bucket(zlib.crc32(phone.encode()) % BUCKETS)


def bucket(number: int) -> str:
    """The key of one of the `BUCKETS` lists by phone."""
    return f"phones:{{{number}}}"


def by_account(account_id: str) -> str:
    """The key of an account's list."""
    return f"acct:{{{account_id}}}:messages"


def by_submission(account_id: str) -> str:
    """The key of an account's list of submissions."""
    return f"acct:{{{account_id}}}:submissions"


class Listed(msgspec.Struct, frozen=True, order=True):
    """An entry of an account's list; they sort by time, and where two accounts' entries are of one moment by account."""

    milliseconds: int
    number: int
    account: str
    message_id: str = ""

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.number}.{self.account}"

    @classmethod
    def parse(cls, place: str) -> "Listed":
        """A place in the list of all accounts, as `str` gives it. Raises ValueError."""
        entry, _, account = place.partition(".")
        milliseconds, _, number = entry.partition("-")
        return cls(int(milliseconds), int(number), account)


def newest(batch: Batch, account_id: str, before: Listed | None, count: int) -> int:
    """Adds a read of an account's newest entries, those before that place; hand the answer at this place to `parse_newest`."""
    start = "+"
    if before is not None:
        entry = f"{before.milliseconds}-{before.number}"
        start = entry if account_id < before.account else f"({entry}"
    return batch.add("XREVRANGE", by_account(account_id), start, "-", "COUNT", count)


def parse_newest(account_id: str, answer: Sequence[Any]) -> list[Listed]:
    """The entries, latest first."""
    found: list[Listed] = []
    for entry, fields in answer:
        milliseconds, _, number = text(entry).partition("-")
        found.append(Listed(int(milliseconds), int(number), account_id, text(fields[1])))
    return found


class Listings:
    """How long entries are kept: as long as a record can stand."""

    def __init__(self, retention_seconds: float, longest_seconds: float) -> None:
        self._kept_seconds = retention_seconds + max(longest_seconds, LONGEST_LIFE_SECONDS)

    def since_ms(self, now: float) -> int:
        """Entries before that are forgotten."""
        return int((now - self._kept_seconds) * 1000)

    def trim(self, batch: Batch, key: str, now: float) -> int:
        """Adds the forgetting; the answer at this place is how many entries went."""
        return batch.call(_TRIM, (key,), self.since_ms(now))
