"""Lists of messages for operators: by account (`acct:{<id>}:messages`) and by phone (`phones:{<n>}`, a stream per bucket of phones).
And of submissions, for the account itself: `acct:{<id>}:submissions`.

A list may name messages that have no record (never recorded, or gone by now): readers pass over them. It forgets by itself what is older
than any record, roughly with each new entry, and exactly when the timekeeper trims it: phone numbers do not outlive their messages.
"""

import zlib

from router.domain.templates import LONGEST_LIFE_SECONDS
from router.store.redis import Batch, Script

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
