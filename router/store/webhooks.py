"""The webhooks of an account: `acct:{<id>}:webhooks`, a hash webhook id → webhook (JSON)."""

from collections.abc import Sequence

import msgspec

from router.domain.webhooks import Webhook
from router.store.accounts import Accounts
from router.store.redis import Batch, Script

_PUT = Script("webhook_put")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Webhook).decode


class Webhooks:
    """Every method adds to a batch, or runs an empty one where it says so."""

    @staticmethod
    def put(batch: Batch, account_id: str, webhook: Webhook, most: int) -> int:
        """Makes or replaces it, by its id; the answer at this place is 0 where the account has `most` of them already."""
        return batch.call(_PUT, (_key(account_id),), webhook.id, _encode(webhook), most)

    @staticmethod
    def remove(batch: Batch, account_id: str, webhook_id: str) -> int:
        """The answer at this place is 1 where there was one."""
        return batch.add("HDEL", _key(account_id), webhook_id)

    @staticmethod
    async def of(batch: Batch, account_ids: Sequence[str]) -> dict[str, list[Webhook]]:
        """All webhooks of these accounts, by id. Runs the (empty) batch."""
        for account_id in account_ids:
            batch.add("HVALS", _key(account_id))
        answers = await batch.run()
        return {
            account_id: sorted(map(_decode, values), key=lambda webhook: webhook.id)
            for account_id, values in zip(account_ids, answers, strict=True)
        }


def _key(account_id: str) -> str:
    return Accounts.key(account_id, "webhooks")
