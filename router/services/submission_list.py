"""An account's submissions, found by when they were made, by their state and by their device."""

from collections.abc import AsyncIterator, Sequence

import msgspec

from router.clock import Clock
from router.domain.account import Account
from router.domain.errors import Invalid
from router.domain.submission import ProcessState
from router.services.submissions import Submissions, Told
from router.store.store import Store

_MOST_PAGES = 10
"""Of the list, 1,000 entries each, that one call looks at: beyond them the total counts no further, and nothing is found."""
_MOST_READ = 20_000
"""Messages that one call reads, about 20 MB: a state is not indexed, since it is computed from the messages each time."""
_CHUNK = 50
"""Submissions whose state is computed at once: so long others wait."""
_HIGHEST_LIMIT = 100


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What to find. Times are Unix seconds, both included; None and empty = any."""

    since: float | None = None
    until: float | None = None
    state: ProcessState | None = None
    device: str = ""
    limit: int = 50
    offset: int = 0
    newest_first: bool = True
    with_body: bool = False


class Page(msgspec.Struct, frozen=True):
    """What was found, and how many there are in all."""

    total: int
    submissions: Sequence[Told]


class SubmissionList:
    """One per api process."""

    def __init__(self, store: Store, submissions: Submissions, clock: Clock) -> None:
        self._store = store
        self._submissions = submissions
        self._clock = clock

    async def find(self, account: Account, query: Query) -> Page:
        """Newest first unless asked otherwise. Raises `Invalid`."""
        if not 1 <= query.limit <= _HIGHEST_LIMIT:
            raise Invalid("limit", f"1 to {_HIGHEST_LIMIT}")
        if query.offset < 0:
            raise Invalid("offset", "0 or more")
        if query.state is None and not query.device:
            return await self._in_order(account, query)
        return await self._filtered(account, query)

    async def _in_order(self, account: Account, query: Query) -> Page:
        """Only those of the page are read."""
        total = 0
        wanted: list[str] = []
        async for ids in self._ids(account, query):
            wanted += ids[max(0, query.offset - total) : max(0, query.offset + query.limit - total)]
            total += len(ids)
        found: list[Told] = []
        for start in range(0, len(wanted), _CHUNK):
            found += await self._read(account, wanted[start : start + _CHUNK], query)
        return Page(total, found)

    async def _filtered(self, account: Account, query: Query) -> Page:
        total, read = 0, 0
        page: list[Told] = []
        async for ids in self._ids(account, query):
            for start in range(0, len(ids), _CHUNK):
                if read >= _MOST_READ:
                    return Page(total, page)
                found = await self._read(account, ids[start : start + _CHUNK], query)
                read += sum(len(told.view.recipients) for told in found)
                matching = [told for told in found if _matches(told, query)]
                page += matching[max(0, query.offset - total) : max(0, query.offset + query.limit - total)]
                total += len(matching)
        return Page(total, page)

    async def _ids(self, account: Account, query: Query) -> AsyncIterator[list[str]]:
        """The ids in the list, in order, a page at a time."""
        after = ""
        for _ in range(_MOST_PAGES):
            page, after = await self._store.submissions.page(
                self._store.batch(), account.id, self._clock.now(), after=after, since=query.since, until=query.until,
                newest_first=query.newest_first,
            )  # fmt: skip
            yield [listed.id for listed in page]
            if not after:
                return

    async def _read(self, account: Account, ids: Sequence[str], query: Query) -> list[Told]:
        found = await self._submissions.read(account.id, ids, with_body=query.with_body)
        return [told for told in found if told is not None]


def _matches(told: Told, query: Query) -> bool:
    return (query.state is None or told.view.state == query.state) and (not query.device or told.view.device == query.device)
