"""What accounts and operators do with webhooks: register, list and delete them; look at dead deliveries and replay them."""

import re
from collections.abc import AsyncIterator

import structlog
from msgspec.structs import replace

from router.clock import Clock
from router.domain.addresses import check_url
from router.domain.errors import Conflict, Invalid, LimitReached, NotFound, Unavailable
from router.domain.webhooks import EVENTS, MAX_DEVICE_ID_LENGTH, MAX_WEBHOOK_ID_LENGTH, PHONES, Webhook
from router.ids import random_id
from router.services.devices import Devices
from router.services.phone_settings import PhoneSettings
from router.services.webhooks import WebhookDirectory
from router.settings import Settings
from router.store.deliveries import Delivery, StoredDelivery
from router.store.redis import Batch
from router.store.store import Store

_log = structlog.get_logger()
_ID_SHAPE = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9_.:@~+-]{1,36}", re.ASCII)
"""Such as can stand in a path as they are: they are deleted by it."""
_RETRY_SECONDS = 3600
_PAGE = 200


class WebhookRegistry:
    """One per api process."""

    def __init__(self, store: Store, devices: Devices, phone_settings: PhoneSettings, settings: Settings) -> None:
        self._store = store
        self._devices = devices
        self._phone_settings = phone_settings
        self._most = settings.max_webhooks
        self._allow_http = settings.webhook_allow_http
        self._allow_private = settings.webhook_allow_private

    async def of(self, account_id: str) -> list[Webhook]:
        """All of an account, by id."""
        return (await self._store.webhooks.of(self._store.batch(), [account_id]))[account_id]

    async def for_phone(self, account_id: str, device_id: str) -> list[Webhook]:
        """Those that this phone of the account has to tell itself: what the router tells is never among them."""
        return [webhook for webhook in await self.of(account_id) if webhook.event in PHONES and webhook.wants(webhook.event, device_id)]

    async def put(self, account_id: str, *, id: str | None, url: str, event: str, device_id: str | None) -> Webhook:
        """Makes or replaces the webhook of that id; without one, a new one. The account has a signing key from then on.

        Raises `Invalid`, and `LimitReached` where it would be one too many.
        """
        webhook = Webhook(id=id or random_id(), url=url, event=event, device_id=device_id or None)
        self._check(webhook)
        # Before the webhook: what is sent to it must be signed with a key that the account can read
        await self._phone_settings.ensure_signing_key(account_id)
        batch = self._store.batch()
        place = self._store.webhooks.put(batch, account_id, webhook, self._most)
        if not (await batch.run())[place]:
            raise LimitReached("webhooks", self._most, _RETRY_SECONDS)
        _log.info("webhook.registered", account=account_id, webhook=webhook.id, webhook_event=event)
        await self._tell_phones(account_id)
        return webhook

    async def remove(self, account_id: str, webhook_id: str) -> None:
        """What still waits for it is not delivered any more. That there is none is no error."""
        batch = self._store.batch()
        place = self._store.webhooks.remove(batch, account_id, webhook_id)
        if (await batch.run())[place]:
            _log.info("webhook.deleted", account=account_id, webhook=webhook_id)
            await self._tell_phones(account_id)

    async def _tell_phones(self, account_id: str) -> None:
        """A hint: the change stands without it, and phones ask again by themselves."""
        try:
            await self._devices.notify_account(account_id, "WebhooksUpdated")
        except Unavailable as error:
            _log.warning("phones.not_told", account=account_id, error=str(error))

    def _check(self, webhook: Webhook) -> None:
        if not _ID_SHAPE.fullmatch(webhook.id):
            raise Invalid("id", f"1 to {MAX_WEBHOOK_ID_LENGTH} of A-Z a-z 0-9 _ . : @ ~ + -")
        if webhook.event not in EVENTS:
            raise Invalid("event", f"one of {', '.join(sorted(EVENTS))}")
        if webhook.device_id is not None and len(webhook.device_id) > MAX_DEVICE_ID_LENGTH:
            raise Invalid("deviceId", f"at most {MAX_DEVICE_ID_LENGTH} characters")
        check_url(webhook.url, allow_http=self._allow_http, allow_private=self._allow_private)


class DeadDeliveries:
    """What an operator does with deliveries that were given up. One per api process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._directory = WebhookDirectory(store)

    async def latest(self, account_id: str = "", limit: int = 50) -> list[Delivery]:
        """The latest first, of one account or of all."""
        found: list[Delivery] = []
        async for page in self._pages():
            found += [stored.delivery for stored in page if account_id in ("", stored.delivery.account)]
            # Each shard's are in order; of those of all, the latest `limit` are sure only at the end of a page
            found = sorted(found, key=lambda delivery: delivery.died_at or 0.0, reverse=True)[:limit]
        return found

    async def _pages(self) -> AsyncIterator[list[StoredDelivery]]:
        skip = 0
        while page := await self._store.deliveries.dead(self._store.batch(), self._store.batch(), _PAGE, skip):
            yield page
            skip += _PAGE

    async def replay(self, delivery_id: str) -> None:
        """It is due at once, with all tries before it. Raises `NotFound`, and `Conflict` where its webhook is gone."""
        stored = await self._store.deliveries.get(self._store.batch(), delivery_id)
        if stored is None or stored.delivery.died_at is None:
            raise NotFound("no such dead delivery")
        if await self._directory.find(stored.delivery.account, stored.delivery.webhook) is None:
            raise Conflict("its webhook was deleted")
        batch = self._store.batch()
        self._revive(batch, stored)
        if not (await batch.run())[0]:
            raise Conflict("it was replayed by somebody else")
        _log.info("delivery.replayed", delivery_id=delivery_id, account=stored.delivery.account)

    async def replay_all(self, account_id: str = "") -> int:
        """All of one account, or of all; answers how many. Those whose webhook is gone are dropped by the courier."""
        dead = [stored async for page in self._pages() for stored in page if account_id in ("", stored.delivery.account)]
        replayed = 0
        for start in range(0, len(dead), _PAGE):
            batch = self._store.batch()
            for stored in dead[start : start + _PAGE]:
                self._revive(batch, stored)
            replayed += sum(await batch.run())
        _log.info("deliveries.replayed", count=replayed, account=account_id)
        return replayed

    def _revive(self, batch: Batch, stored: StoredDelivery) -> None:
        now = self._clock.now()
        self._store.deliveries.again(batch, stored, replace(stored.delivery, tries=0, died_at=None, made_at=now), now)
