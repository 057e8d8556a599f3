"""What each account has set for its phones, sealed, since keys are among it: `acct:{<id>}:settings` hash: version, sealed (JSON)."""

import msgspec

from router.domain.phone_settings import Document
from router.store.accounts import Accounts
from router.store.messages import Seals
from router.store.redis import Batch, Script

_SETTINGS = Script("device_settings")
_decode = msgspec.json.Decoder(Document).decode


class PhoneSettingsStore:
    """Reads and writes whole documents."""

    def __init__(self, sealer: Seals) -> None:
        self._sealer = sealer

    @staticmethod
    def _key(account_id: str) -> str:
        return Accounts.key(account_id, "settings")

    @staticmethod
    def _name(account_id: str) -> str:
        """What the seal is bound to; no message has such an id."""
        return f"settings of {account_id}"

    @staticmethod
    async def load(batch: Batch, account_id: str) -> tuple[int, bytes | None]:
        """The version, for `put`, and the settings for `open`; 0 and None where there are none. Runs the (empty) batch."""
        batch.add("HMGET", PhoneSettingsStore._key(account_id), "version", "sealed")
        ((version, sealed),) = await batch.run()
        return int(version or 0), sealed

    def open(self, account_id: str, sealed: bytes | None) -> Document:
        """Raises `SealBroken`."""
        return {} if sealed is None else _decode(self._sealer.open(sealed, self._name(account_id)))

    def put(self, batch: Batch, account_id: str, version: int, document: Document) -> int:
        """The answer at this place is 0 where somebody else was first."""
        sealed = self._sealer.seal(msgspec.json.encode(document).decode(), self._name(account_id))
        return batch.call(_SETTINGS, (self._key(account_id),), version, sealed)
