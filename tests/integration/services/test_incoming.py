"""SMS that come in: who hears of them, what a repeat is, what is kept where, and what happens when something is away."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from router.domain.account import Account
from router.domain.errors import Invalid, Unauthorized, Unavailable
from router.domain.webhooks import WebhookRules, sign
from router.queue.inbound import Inbound
from router.secrets import SealBroken, Sealer
from router.services.courier import Courier
from router.services.incoming import IncomingMessages, Received, Taken
from router.services.phone_incoming import PhoneIncoming
from router.services.phone_settings import PhoneSettings
from router.services.reliability import Reliability
from router.services.signing_keys import SigningKeys
from router.services.webhook_registry import WebhookRegistry
from router.services.webhooks import IncomingAnnouncer
from router.store.deliveries import Deliveries, Delivery
from router.store.seeds import Seeds
from tests.integration.services.world import IMSI, OTHER_IMSI, World
from tests.integration.store.kit import NOW, everything, strings_of

pytestmark = pytest.mark.anyio
TEXT = "the meeting is at noon, under the clock"
SENDER = "+213770123456"


class InboundQueue:
    """Where the exchange would be."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.away = False
        self.depth = 0

    async def publish(self, messages: Sequence[Inbound]) -> None:
        if self.away:
            raise Unavailable("the inbound queue cannot be reached")
        self.messages += messages

    @property
    def told(self) -> list[dict[str, Any]]:
        return [json.loads(message.body) for message in self.messages]


class Inbox:
    """An api process as far as incoming SMS are concerned. `settings` are those of `Settings`."""

    def __init__(self, redis_url: str, **settings: Any) -> None:
        self.world = World(redis_url, webhook_allow_private=True, **settings)
        world = self.world
        self.queue = InboundQueue()
        named = [account for account in world.settings.inbound_accounts.split(",") if account]
        announcer = IncomingAnnouncer(world.store, world.clock, named)
        reliability = Reliability(world.store, world.queue, world.clock, world.rules, world.settings)
        self.incoming = IncomingMessages(
            world.store, self.queue, announcer, world.registry, world.clock, world.settings, reliability  # type: ignore[arg-type]
        )
        self.phone_settings = PhoneSettings(world.store, world.devices, world.rules)
        self.phones = PhoneIncoming(
            self.incoming, world.devices, SigningKeys(self.phone_settings), world.clock, world.rules, world.settings, b"a key"
        )
        self.registry = WebhookRegistry(world.store, world.devices, self.phone_settings, world.settings)

    async def webhook(self, account: Account, device_id: str | None = None, event: str = "sms:received") -> str:
        made = await self.registry.put(account.id, id=None, url="http://127.0.0.1:9/", event=event, device_id=device_id)
        return made.id

    async def deliveries(self) -> list[Delivery]:
        store = self.world.store
        found = await store.deliveries.too_old(store.batch(), store.batch(), self.world.clock.now() + 1, 1000)
        return [stored.delivery for stored in found]

    async def forget_repeats(self) -> None:
        """As if their time were over."""
        redis = self.world.store.redis
        async for key in redis.scan_iter("incoming:*"):  # type: ignore[union-attr]
            await redis.delete(key)  # type: ignore[union-attr]

    async def heard(self) -> list[str]:
        """Whose webhooks are told, once for each delivery."""
        return sorted(delivery.account for delivery in await self.deliveries())

    async def at_seed(self, *received: Received, imsi: str = IMSI) -> Taken:
        batch = self.world.store.batch()
        Seeds.credentials(batch, imsi)
        known = self.world.store.seeds.parse_credentials((await batch.run())[0])
        return await self.incoming.from_seed(imsi, known, received)


@pytest.fixture
async def make(redis_url: str) -> AsyncIterator[Callable[..., Inbox]]:
    made: list[Inbox] = []

    def make(**settings: Any) -> Inbox:
        made.append(Inbox(redis_url, **settings))
        return made[-1]

    yield make
    for inbox in made:
        await inbox.world.close()


@pytest.fixture
def inbox(make: Callable[..., Inbox]) -> Inbox:
    return make()


# Who hears


async def test_what_a_seed_received_is_for_its_account_alone(make: Callable[..., Inbox]) -> None:
    """Nobody else hears of it, however named."""
    inbox = make(inbound_accounts="*")
    owner, other = await inbox.world.account(), await inbox.world.account(key="sk_test_other")
    await inbox.world.seed(account=owner.id, shared=False)
    await inbox.webhook(owner)
    await inbox.webhook(other)
    taken = await inbox.at_seed(Received(SENDER, TEXT))

    assert Taken(1, 0) == taken
    assert [owner.id] == await inbox.heard()
    assert [(IMSI, owner.id, "seed", SENDER)] == [(one["seed"], one["account"], one["via"], one["from"]) for one in inbox.queue.told]


async def test_by_default_what_came_to_nobodys_sim_is_told_to_nobody(inbox: Inbox) -> None:
    """It is on the queue, which the operator alone can read: anybody can make a webhook. Forwarders' SMS are told to all."""
    account = await inbox.world.account()
    await inbox.webhook(account)
    await inbox.world.seed()
    await inbox.at_seed(Received(SENDER, TEXT))
    before = await inbox.heard()
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=f"{TEXT} again")

    assert ([], [account.id]) == (before, await inbox.heard())
    assert ["seeds.received", "gmail"] == [message.routing_key for message in inbox.queue.messages]


async def test_named_accounts_hear_of_what_is_nobodys(make: Callable[..., Inbox], inbox: Inbox) -> None:
    first, second = await inbox.world.account(), await inbox.world.account(key="sk_test_2")
    third = await inbox.world.account(key="sk_test_3")
    for account in (first, second, third):
        await inbox.webhook(account)
    named = make(inbound_accounts=f"{first.id},{second.id}")
    await named.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    by_a_forwarder = await inbox.heard()
    await named.world.seed()
    await named.at_seed(Received(SENDER, f"{TEXT} again"))

    assert sorted([first.id, second.id]) == by_a_forwarder
    assert sorted([first.id, second.id] * 2) == await inbox.heard()


async def test_a_star_is_everybody_who_asks_for_all_phones(make: Callable[..., Inbox]) -> None:
    """Webhooks of other events, or bound to a phone, do not hear of it."""
    inbox = make(inbound_accounts="*")
    first, second, third = [await inbox.world.account(key=f"sk_test_{number}") for number in range(3)]
    await inbox.webhook(first)
    await inbox.webhook(second, device_id="a_phone_of_21_letters")
    await inbox.webhook(third, event="sms:sent")
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)

    assert [first.id] == await inbox.heard()


async def test_webhooks_of_one_phone_hear_of_that_one(inbox: Inbox) -> None:
    account = await inbox.world.account()
    await inbox.world.seed(account=account.id)
    await inbox.world.seed(OTHER_IMSI, account=account.id)
    bound = await inbox.webhook(account, device_id=IMSI)
    free = await inbox.webhook(account)
    await inbox.at_seed(Received(SENDER, "one"))
    await inbox.at_seed(Received(SENDER, "two"), imsi=OTHER_IMSI)

    assert sorted([bound, free, free]) == sorted(delivery.webhook for delivery in await inbox.deliveries())


async def test_a_webhook_that_was_just_made_hears_of_the_next(make: Callable[..., Inbox]) -> None:
    inbox = make()
    account = await inbox.world.account()
    await inbox.world.seed(account=account.id)
    await inbox.at_seed(Received(SENDER, "before"))
    await inbox.webhook(account)
    await inbox.at_seed(Received(SENDER, "after"))

    assert [account.id] == await inbox.heard()


# Repeats


async def test_told_again_is_told_once(inbox: Inbox) -> None:
    """By the phone's own id, whatever else it says by then; and by the content."""
    account = await inbox.world.account()
    await inbox.world.seed(account=account.id)
    await inbox.webhook(account)
    first = await inbox.at_seed(Received(SENDER, TEXT, id="7"), Received(SENDER, "other", received_at=NOW - 5))
    again = await inbox.at_seed(Received(SENDER, "longer by now", id="7"), Received(SENDER, "other", received_at=NOW - 5))
    twice = await inbox.at_seed(Received(SENDER, "twin", id="8"), Received(SENDER, "twin", id="8"))

    assert (Taken(2, 0), Taken(0, 2), Taken(1, 1)) == (first, again, twice)
    assert 3 == len(inbox.queue.messages)
    assert 3 == len(await inbox.deliveries())


async def test_ids_of_two_seeds_are_two(inbox: Inbox) -> None:
    await inbox.world.seed()
    await inbox.world.seed(OTHER_IMSI)
    await inbox.at_seed(Received(SENDER, TEXT, id="7"))
    other = await inbox.at_seed(Received(SENDER, TEXT, id="7"), imsi=OTHER_IMSI)

    assert Taken(1, 0) == other


async def test_the_same_text_may_come_twice(make: Callable[..., Inbox]) -> None:
    """With another time, from somebody else, or for another platform at once; without a time after the window of repeats."""
    inbox = make(incoming_repeat_seconds=3600)
    told = [
        await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok", date=NOW - 10),
        await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok", date=NOW - 9),
        await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok"),
        await inbox.incoming.from_platform("gmail", sender=SENDER + "7", text="ok"),
        await inbox.incoming.from_platform("twitter", sender=SENDER, text="ok"),
        await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok", date=NOW - 10),
        await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok"),
    ]
    await inbox.forget_repeats()
    later = await inbox.incoming.from_platform("gmail", sender=SENDER, text="ok")
    ids = [one["id"] for one in inbox.queue.told]

    assert [1, 1, 1, 1, 1, 0, 0] == [taken.accepted for taken in told]
    assert 1 == later.accepted
    assert 6 == len(set(ids)) == len(ids)


async def test_broker_away(make: Callable[..., Inbox]) -> None:
    """Refused, and no webhook hears of it; told again, it is taken as if nothing had been."""
    inbox = make(inbound_accounts="*")
    account = await inbox.world.account()
    await inbox.webhook(account)
    inbox.queue.away = True
    with pytest.raises(Unavailable):
        await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    before = await inbox.deliveries()
    inbox.queue.away = False
    taken = await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)

    assert [] == before
    assert Taken(1, 0) == taken
    assert 1 == len(inbox.queue.messages) == len(await inbox.deliveries())


async def test_died_before_the_webhooks(make: Callable[..., Inbox], monkeypatch: pytest.MonkeyPatch) -> None:
    """Told again: a second time on the queue under the same id, and every webhook once."""
    inbox = make(inbound_accounts="*")
    account = await inbox.world.account()
    await inbox.webhook(account)
    announce = IncomingAnnouncer.announce

    async def dies_after(self: IncomingAnnouncer, incoming: Any) -> int:
        await announce(self, incoming)
        raise Unavailable("the store went away")

    monkeypatch.setattr(IncomingAnnouncer, "announce", dies_after)
    with pytest.raises(Unavailable):
        await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    monkeypatch.setattr(IncomingAnnouncer, "announce", announce)
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    ids = [one["id"] for one in inbox.queue.told]

    assert 2 == len(ids)
    assert 1 == len(set(ids))
    assert 1 == len(await inbox.deliveries())


# What is kept


async def test_a_text_lies_sealed(make: Callable[..., Inbox], redis_url: str) -> None:
    """Neither it nor a number stands in the store in the open; the courier can open it, and nobody without the key."""
    inbox = make(inbound_accounts="*")
    account = await inbox.world.account()
    await inbox.webhook(account)
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    (delivery,) = await inbox.deliveries()
    strings = b"\n".join(text for kept in everything(redis_url).items() for text in strings_of([kept[0].encode(), kept[1]]))
    body = json.loads(inbox.world.store.deliveries.body_of(delivery))
    with pytest.raises(SealBroken):
        Deliveries(2, Sealer(bytes(32))).body_of(delivery)
    with pytest.raises(SealBroken):
        inbox.world.store.deliveries.body_of(replace(delivery, id="another"))

    assert TEXT.encode() not in strings
    assert SENDER.encode() not in strings
    assert (TEXT, SENDER) == (body["payload"]["message"], body["payload"]["sender"])


async def test_a_courier_without_the_key_posts_nothing(make: Callable[..., Inbox]) -> None:
    """It counts as a failed try: the delivery is kept, and can be replayed."""
    inbox = make(inbound_accounts="*")
    account = await inbox.world.account()
    await inbox.webhook(account)
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    (delivery,) = await inbox.deliveries()
    nobody: Any = None
    courier = Courier(inbox.world.store, inbox.world.clock, nobody, nobody, WebhookRules())
    outcome = await courier._post(replace(delivery, id="sealed for another"), delivery.url, "key")

    assert not outcome.is_success
    assert (None, "its body cannot be opened") == (outcome.status, outcome.error)


async def test_delivered_is_erased(make: Callable[..., Inbox]) -> None:
    inbox = make(inbound_accounts="*")
    account = await inbox.world.account()
    await inbox.webhook(account)
    await inbox.incoming.from_platform("gmail", sender=SENDER, text=TEXT)
    (delivery,) = await inbox.deliveries()
    store = inbox.world.store
    batch = store.batch()
    store.deliveries.done(batch, delivery)
    await batch.run()

    assert await store.deliveries.get(store.batch(), delivery.id) is None


async def test_a_report_is_a_sign_of_life(inbox: Inbox) -> None:
    """Also an empty one."""
    await inbox.world.seed()
    inbox.world.clock.advance(100)
    taken = await inbox.at_seed()
    seen = await inbox.world.seen()

    assert Taken(0, 0) == taken
    assert inbox.world.clock.now() == seen.lps


async def test_the_time_is_the_phones_where_it_can_be(inbox: Inbox) -> None:
    await inbox.world.seed()
    await inbox.at_seed(
        Received(SENDER, "1", received_at=NOW - 60), Received(SENDER, "2", received_at=5.0), Received(SENDER, "3"),
    )  # fmt: skip

    assert [NOW - 60, NOW, NOW] == [one["received_at"] for one in inbox.queue.told]
    assert {"+213661999999"} == {one["to"] for one in inbox.queue.told}


@pytest.mark.parametrize("received", [Received("", TEXT), Received(SENDER, "x" * 16_001), Received(SENDER, TEXT, id="")])
async def test_one_that_cannot_be_taken_refuses_all(inbox: Inbox, received: Received) -> None:
    await inbox.world.seed()
    with pytest.raises(Invalid):
        await inbox.at_seed(Received(SENDER, TEXT), received)

    assert [] == inbox.queue.messages


# Phones with SMSGate's app


def posted(**fields: Any) -> bytes:
    payload = {
        "messageId": "1a2b3c", "message": TEXT, "sender": SENDER, "phoneNumber": SENDER, "simNumber": 1,
        "receivedAt": "2033-05-18T04:33:20.000+01:00",
    }  # fmt: skip
    return json.dumps({"id": "e", "webhookId": "w", "event": "sms:received", "deviceId": "d", "payload": payload | fields}).encode()


@pytest.fixture
def public(make: Callable[..., Inbox]) -> Inbox:
    return make(public_url="https://router.example.org/")


async def secret_of(inbox: Inbox, device: Any) -> str:
    webhook = await inbox.phones.webhook(device)
    assert webhook is not None
    return webhook.url.rpartition("/")[2]


async def test_the_routers_own_webhook(public: Inbox, inbox: Inbox) -> None:
    """Another for each phone, always the same; none where phones cannot reach the router by https."""
    account = await public.world.account()
    device, other = await public.world.phone(account), await public.world.phone(account)
    webhook, again = await public.phones.webhook(device), await public.phones.webhook(device)
    others = await public.phones.webhook(other)

    assert webhook is not None
    assert others is not None
    assert webhook == again
    assert ("sms:received", device.id) == (webhook.event, webhook.device_id)
    assert webhook.url.startswith(f"https://router.example.org/mobile/v1/incoming/{device.id}.")
    assert webhook.url.rpartition(".")[2] != others.url.rpartition(".")[2]
    assert len(webhook.id) <= 36
    assert await inbox.phones.webhook(device) is None


async def test_http_only_in_closed_networks(make: Callable[..., Inbox]) -> None:
    plain = make(public_url="http://10.0.0.1:8080")
    closed = make(public_url="http://10.0.0.1:8080", webhook_allow_http=True)
    account = await plain.world.account()
    device = await plain.world.phone(account)

    assert await plain.phones.webhook(device) is None
    assert await closed.phones.webhook(device) is not None


async def test_what_a_phone_posts_goes_on_the_queue_and_to_no_webhook(make: Callable[..., Inbox]) -> None:
    """The phone tells the account's webhooks itself: they are on its list."""
    public = make(public_url="https://router.example.org", inbound_accounts="*")
    account = await public.world.account()
    device = await public.world.phone(account, "+213661000009")
    await public.webhook(account)
    first = await public.phones.take(device, posted())
    again = await public.phones.take(device, posted())
    (told,) = public.queue.told

    assert (Taken(1, 0), Taken(0, 1)) == (first, again)
    assert [] == await public.deliveries()
    assert ("phone", SENDER, TEXT, f"{device.id}.1", account.id, 1) == tuple(
        told[name] for name in ("via", "from", "text", "seed", "account", "sim")
    )
    assert ("+213661000009", device.id) == (told["to"], told["device"])
    assert "seeds.received" == public.queue.messages[0].routing_key


def other_than(letter: str) -> str:
    return chr(ord(letter) ^ 1)


async def test_signed_lately_with_the_accounts_key(public: Inbox) -> None:
    """By the phone's clock as far as it is known; else by ours."""
    account = await public.world.account()
    device = await public.world.phone(account)
    secret, key = await secret_of(public, device), await public.phone_settings.ensure_signing_key(account.id)
    body, now = posted(), str(int(NOW))
    good = await public.phones.authenticate(secret, body, sign(key, body, now), now)
    upper = await public.phones.authenticate(secret, body, sign(key, body, now).upper(), now)
    refused = [
        (secret, body, sign("another key", body, now), now),
        (secret, body, sign(key, b"another body", now), now),
        (secret, body, sign(key, body, now), str(int(NOW) + 1)),
        (secret, body, "", ""),
        (secret, body, "é", now),
        *((secret, body, sign(key, body, at), at) for at in (str(int(NOW) - 301), str(int(NOW) + 301), "", "now", "-1", "9" * 30, "1e9")),
        *((wrong, body, sign(key, body, now), now) for wrong in (
            secret[:-1] + other_than(secret[-1]), secret[:-1], "", other_than(secret[0]) + secret[1:], device.id,
        )),
    ]
    for arguments in refused:
        with pytest.raises(Unauthorized):
            await public.phones.authenticate(*arguments)

    assert device.id == good.id == upper.id


async def test_a_deleted_phone_posts_no_more(public: Inbox) -> None:
    account = await public.world.account()
    device = await public.world.phone(account)
    secret, key = await secret_of(public, device), await public.phone_settings.ensure_signing_key(account.id)
    await public.world.devices.delete(device.id)
    now = str(int(NOW))
    with pytest.raises(Unauthorized) as refused:
        await public.phones.authenticate(secret, posted(), sign(key, posted(), now), now)

    assert "unknown phone" == str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"event":"sms:received"}', b'{"event":"sms:received","payload":[]}',
        posted(message=None), posted(message=5), posted(sender="", phoneNumber=""), posted(simNumber="one"),
        posted().replace(b"sms:received", b"sms:sent"),
    ],
)  # fmt: skip
async def test_what_the_app_does_not_post(public: Inbox, body: bytes) -> None:
    account = await public.world.account()
    device = await public.world.phone(account)
    with pytest.raises(Invalid) as refused:
        await public.phones.take(device, body)

    assert TEXT not in str(refused.value)
    assert [] == public.queue.messages


async def test_a_sim_that_is_not_known(public: Inbox) -> None:
    """The SMS is taken all the same, without a seed."""
    account = await public.world.account()
    device = await public.world.phone(account)
    await public.phones.take(device, posted(simNumber=3))
    await public.phones.take(device, posted(simNumber=None, messageId="2"))

    assert [None, None] == [one.get("seed") for one in public.queue.told]
    assert [3, None] == [one.get("sim") for one in public.queue.told]
