"""What accounts want to be told, and the deliveries that are made of what happened; the courier carries them out."""

import time
from collections.abc import Collection, Mapping, Sequence

import structlog

from router.clock import Clock
from router.domain.addresses import target_of
from router.domain.events import Announcement
from router.domain.incoming import EVENT, Incoming, body_for, told_id
from router.domain.webhooks import Webhook, body_of, delivery_id, device_of
from router.store.deliveries import Delivery
from router.store.store import Store

_log = structlog.get_logger()
_COPY_SECONDS = 1.0
_LIST_SECONDS = 5.0
_KEPT = 10_000


class WebhookDirectory:
    """The webhooks of accounts, as they were at most a second ago. One per process."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._copies: dict[str, tuple[float, list[Webhook]]] = {}

    async def of(self, account_ids: Collection[str]) -> Mapping[str, list[Webhook]]:
        """By account; one round trip for all that are not in memory. Raises `Unavailable`."""
        now = time.monotonic()
        known = {account_id: self._copies.get(account_id, (float("-inf"), [])) for account_id in account_ids}
        old = [account_id for account_id, (read_at, _) in known.items() if now - read_at >= _COPY_SECONDS]
        return {account_id: webhooks for account_id, (_, webhooks) in known.items()} | await self.read(old)

    async def find(self, account_id: str, webhook_id: str) -> Webhook | None:
        """One webhook; that there is none is never said from memory. Raises `Unavailable`."""
        webhooks = (await self.of([account_id]))[account_id]
        found = next((webhook for webhook in webhooks if webhook.id == webhook_id), None)
        if found is None:
            webhooks = (await self.read([account_id]))[account_id]
            found = next((webhook for webhook in webhooks if webhook.id == webhook_id), None)
        return found

    async def read(self, account_ids: Collection[str]) -> dict[str, list[Webhook]]:
        """By account, as they are now; one round trip. Raises `Unavailable`."""
        if not account_ids:
            return {}
        now = time.monotonic()
        read = await self._store.webhooks.of(self._store.batch(), list(account_ids))
        if len(self._copies) + len(read) > _KEPT:
            self._copies.clear()
        self._copies.update({account_id: (now, webhooks) for account_id, webhooks in read.items()})
        return read


class Announcer:
    """Makes a delivery per event and webhook that wants it; telling twice makes one. One per process."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._directory = WebhookDirectory(store)

    async def announce(self, announcements: Sequence[Announcement]) -> None:
        """To be called after the change of the message is committed, and again where that process died in between. Raises `Unavailable`."""
        if not announcements:
            return
        # Never from memory: what happens right after a webhook was made has to be told
        webhooks = await self._directory.read({told.message.account for told in announcements})
        now = self._clock.now()
        batch = self._store.batch()
        for told in announcements:
            device = device_of(told.message, told.event)
            for webhook in webhooks[told.message.account]:
                if webhook.wants(told.event, device):
                    self._store.deliveries.put(batch, _delivery(webhook, told, now))
        made = sum(await batch.run())
        if made:
            _log.debug("deliveries.made", count=made)


class IncomingAnnouncer:
    """Makes a delivery per SMS that came in and webhook that is to hear of it; telling twice makes one. One per api process.

    What came to an account's seed is for that account alone. What a forwarder told is for the accounts that the operator named, `*` being
    all; what came to nobody's seed is for those that were named one by one, since it is what people wrote to that SIM.
    """

    def __init__(self, store: Store, clock: Clock, accounts: Collection[str]) -> None:
        """`accounts`: who hears of what is no account's. `*`: of forwarders' SMS everybody hears who has such a webhook for all phones."""
        self._store = store
        self._clock = clock
        self._named = set(accounts) - {"*"}
        self._hears_all = "*" in accounts
        self._directory = WebhookDirectory(store)
        self._everybody: tuple[float, set[str]] = (float("-inf"), set())

    async def announce(self, incoming: Sequence[Incoming]) -> int:
        """Answers how many deliveries were made. What a phone of SMSGate's app told is not among them: it tells webhooks itself.

        Raises `Unavailable`.
        """
        told = [one for one in incoming if one.via != "phone"]
        forwarded = self._named | await self._everybody_of_now() if any(one.via == "platform" for one in told) else set()
        webhooks = await self._directory.read({one.account for one in told if one.account} | self._named | forwarded)
        now = self._clock.now()
        batch = self._store.batch()
        for one in told:
            for account in (one.account,) if one.account else sorted(forwarded if one.via == "platform" else self._named):
                for webhook in webhooks[account]:
                    # One that is bound to a phone hears of that phone; what came to nobody's seed came to none
                    if webhook.wants(EVENT, one.device or one.seed) and (one.account or webhook.device_id is None):
                        self._store.deliveries.put(batch, _incoming_delivery(account, webhook, one, now))
        return sum(await batch.run())

    async def _everybody_of_now(self) -> set[str]:
        """With `*`: who has such a webhook, as it was at most five seconds ago."""
        if not self._hears_all:
            return set()
        read_at, found = self._everybody
        if time.monotonic() - read_at >= _LIST_SECONDS:
            every = await self._store.accounts.all_ids(self._store.batch())
            webhooks = await self._directory.read(every)
            found = {account for account, theirs in webhooks.items() if any(webhook.event == EVENT for webhook in theirs)}
            self._everybody = (time.monotonic(), found)
        return found


def _incoming_delivery(account: str, webhook: Webhook, incoming: Incoming, now: float) -> Delivery:
    return Delivery(
        id=told_id(webhook, incoming), account=account, webhook=webhook.id, event=EVENT, url=webhook.url, target=target_of(webhook.url),
        body=body_for(webhook, incoming), made_at=now, is_sealed=True,
    )  # fmt: skip


def _delivery(webhook: Webhook, told: Announcement, now: float) -> Delivery:
    return Delivery(
        id=delivery_id(told.message.id, told.event, webhook.id),
        account=told.message.account,
        webhook=webhook.id,
        event=told.event,
        url=webhook.url,
        target=target_of(webhook.url),
        body=body_of(webhook, told.message, told.event, told.at),
        made_at=now,
    )
