"""Accounts as an operator sees them: with what the wallet holds, and what was used today."""

import asyncio
from typing import Final

import msgspec

from router.clock import Clock
from router.domain.account import Account
from router.services.accounts import AccountAdmin
from router.store.store import Store

MOST_LISTED: Final = 200


class AccountUse(msgspec.Struct, frozen=True, kw_only=True):
    """`balance` in minor units; `today` and `hour`: messages admitted this UTC day and this hour, as the limits count them."""

    account: Account
    balance: int
    today: int
    hour: int


class AccountsFound(msgspec.Struct, frozen=True):
    """The newest first; `total` is how many match, of which `MOST_LISTED` at most are here."""

    total: int
    accounts: list[AccountUse]


class AccountViews:
    """One per api process."""

    def __init__(self, store: Store, admin: AccountAdmin, clock: Clock) -> None:
        self._store = store
        self._admin = admin
        self._clock = clock

    async def find(self, text: str = "") -> AccountsFound:
        """Those whose id or name holds the text, whatever its case."""
        wanted = text.casefold()
        names = await self._admin.names()
        ids = [account_id for account_id, name in names.items() if wanted in name.casefold() or wanted in account_id.casefold()]
        shown = ids[::-1][:MOST_LISTED]
        # Concurrent tasks share exchanges with the store
        return AccountsFound(len(ids), list(await asyncio.gather(*map(self.get, shown))))

    async def get(self, account_id: str) -> AccountUse:
        """Raises `NotFound`."""
        batch = self._store.batch()
        balance = self._store.accounts.balance(batch, account_id)
        day, hour = self._store.accounts.admitted(batch, account_id, self._clock.now())
        account, answers = await asyncio.gather(self._admin.get(account_id), batch.run())
        return AccountUse(
            account=account, balance=int(answers[balance] or 0), today=int(answers[day] or 0), hour=int(answers[hour] or 0)
        )
