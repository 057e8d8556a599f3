"""What accounts set for their phones, with the router's own defaults under it."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from router.domain.errors import Unavailable
from router.domain.phone_settings import Document, defaults, merged, over, replaced, shown
from router.domain.rules import Rules
from router.secrets import SealBroken
from router.services.devices import Devices
from router.store.store import Store

_log = structlog.get_logger()
_TRIES = 8


class PhoneSettings:
    """One per process."""

    def __init__(self, store: Store, devices: Devices, rules: Rules) -> None:
        self._store = store
        self._devices = devices
        self._rules = rules

    async def of(self, account_id: str) -> dict[str, Any]:
        """All of it, keys included: what the account's phones are told."""
        _, document = await self._load(account_id)
        return dict(over(defaults(self._rules), document))

    async def shown(self, account_id: str) -> dict[str, Any]:
        """What the account itself may read."""
        return dict(shown(await self.of(account_id)))

    async def replace(self, account_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Sets these and no others, but for the keys, which stay until they are named. Answers like `shown`. Raises `Invalid`."""
        return await self._change(account_id, lambda document: replaced(document, given))

    async def patch(self, account_id: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Sets these; null takes away. Answers like `shown`. Raises `Invalid`."""
        return await self._change(account_id, lambda document: merged(document, change))

    async def ensure_signing_key(self, account_id: str) -> str:
        """The key that the account's webhooks are signed with; made at the first question, and the same for all who ask at once."""
        made = secrets.token_urlsafe(32)

        def with_key(document: Document) -> Document:
            webhooks = document.get("webhooks", {})
            return document if "signing_key" in webhooks else document | {"webhooks": webhooks | {"signing_key": made}}

        document = await self._write(account_id, with_key)
        return str(document["webhooks"]["signing_key"])

    async def _change(self, account_id: str, change: Callable[[Document], Document]) -> dict[str, Any]:
        document = await self._write(account_id, change)
        return dict(shown(over(defaults(self._rules), document)))

    async def _write(self, account_id: str, change: Callable[[Document], Document]) -> Document:
        """Changes the settings by compare-and-set, and tells the account's phones where they are others now."""
        for _ in range(_TRIES):
            version, before = await self._load(account_id)
            after = change(before)
            if after == before:
                return after
            batch = self._store.batch()
            place = self._store.phone_settings.put(batch, account_id, version, after)
            if (await batch.run())[place]:
                await self._devices.notify_account(account_id, "SettingsUpdated")
                return after
        raise Unavailable("the settings are being changed by others")

    async def _load(self, account_id: str) -> tuple[int, Document]:
        version, sealed = await self._store.phone_settings.load(self._store.batch(), account_id)
        try:
            return version, self._store.phone_settings.open(account_id, sealed)
        except SealBroken as error:
            # As if there were none: phones keep what they have been told, and the account can set them again
            _log.error("settings.unreadable", account=account_id, error=str(error), hint="is it the same seal_key?")
            return version, {}
