"""The key that signs what an account's webhooks are sent: its setting `webhooks.signing_key`, where it can read and change it."""

import time

from router.services.phone_settings import PhoneSettings

_COPY_SECONDS = 1.0
_KEPT = 10_000


class SigningKeys:
    """One per process. A copy in memory may be a second old."""

    def __init__(self, settings: PhoneSettings) -> None:
        self._settings = settings
        self._copies: dict[str, tuple[float, str]] = {}

    async def of(self, account_id: str) -> str:
        """The account's key, made where there is none. Raises `Unavailable`."""
        read_at, key = self._copies.get(account_id, (float("-inf"), ""))
        if time.monotonic() - read_at < _COPY_SECONDS:
            return key
        key = await self._settings.ensure_signing_key(account_id)
        if len(self._copies) >= _KEPT:
            self._copies.clear()
        self._copies[account_id] = (time.monotonic(), key)
        return key
