"""Messages from their acceptance to their end, over the real store and the real queue, looked at from below."""

import base64
from collections.abc import AsyncIterator
from functools import partial
from importlib.resources import files

import pytest
from msgspec.structs import replace

from router.domain import lifecycle
from router.domain.account import Account, KeyCredential
from router.domain.fraud import Usual
from router.domain.prefix_blocks import Block
from router.domain.submission_request import NewSubmission
from router.domain.sync import SyncRules
from router.domain.webhooks import Webhook
from router.queue.broker import Broker
from router.queue.consumer import BatchConsumer
from router.queue.entries import QueuePublisher
from router.queue.publisher import publisher_for
from router.services.devices import Devices
from router.services.phone_settings import PhoneSettings
from router.services.reliability import Reliability, TestResults
from router.services.submissions import Submissions
from router.services.transitions import Step
from router.store.accounts import hash_key
from router.store.deliveries import Delivery
from router.store.fraud import Learned, StoredBlock
from router.store.parking import EMPTY_SECONDS, Parking
from router.store.sync import Claim
from tests.integration.queue.kit import Collecting, until
from tests.integration.services.identity import PASSWORD, Identity
from tests.integration.services.world import IMSI, KEY, World
from tests.integration.store.kit import NOW, CallsSeen, a_message, ask, everything, hash_tag, strings_of

pytestmark = pytest.mark.anyio
TEXT = "Your very secret code is {code}, tell nobody"
PLAIN = "Meet me behind the old lighthouse at noon"


class Life(World):
    """A world whose queue is the real one."""

    def __init__(self, redis_url: str, publisher: QueuePublisher, broker: Broker) -> None:
        super().__init__(redis_url, queue=publisher, max_attempts=2)
        self.redis_url = redis_url
        self.broker = broker

    async def dispatch(self) -> list[str]:
        """Everything that stands on the queue."""
        async with Collecting(self.broker) as collecting:
            await until(lambda: collecting.taken, "something on the queue")
        await self.fleet.refresh()
        return await self.dispatching.run(collecting.taken)

    def shows(self, *secrets: str) -> list[tuple[str, str]]:
        """Where a secret stands in the clear, or as hex, or in base 64, in any key or value."""
        needles = {secret: (secret.encode(), secret.encode().hex().encode()) for secret in secrets}
        found: list[tuple[str, str]] = []
        for key, value in everything(self.redis_url).items():
            for string in strings_of([key.encode(), value]):
                for readable in (string, *_unpacked(string)):
                    found += [(key, secret) for secret, words in needles.items() if any(word in readable for word in words)]
        return found


def _unpacked(string: bytes) -> list[bytes]:
    """What stands in base 64 inside (kombu's envelopes have their body so)."""
    unpacked: list[bytes] = []
    for word in string.replace(b'"', b" ").split():
        try:
            unpacked.append(base64.b64decode(word, validate=True))
        except ValueError:
            continue
    return unpacked


@pytest.fixture
async def life(redis_url: str) -> AsyncIterator[Life]:
    broker = Broker(redis_url)
    publisher = publisher_for(broker)
    publisher.start()
    made = Life(redis_url, publisher, broker)
    yield made
    await publisher.stop()
    await made.close()


async def test_the_scan_finds(life: Life) -> None:
    """The scan below can see what it looks for."""
    batch = life.store.batch()
    batch.add("HSET", "h", "f", b'{"x": "a secret"}')
    batch.add("LPUSH", "l", b'{"body": "' + base64.b64encode(b"..a secret..") + b'"}')
    batch.add("ZADD", "z", 1, "a secret")
    batch.add("SADD", "s", "no")
    batch.add("SET", "t:a secret", 1)
    batch.add("SET", "m", b"1:3:\x00\xff:\x93\x01\xa8a secret\xc0")
    batch.add("XADD", "x", "*", "body", base64.b64encode(b"..a secret.."))
    batch.add("XADD", "y", "*", "f", b"\x93\x01\xa8a secret\xc0")
    await batch.run()

    assert {"h", "l", "z", "t:a secret", "m", "x", "y"} == {key for key, _ in life.shows("a secret")}


async def test_one_hash_tag(life: Life, calls: CallsSeen) -> None:
    """Every script that there is, in stories that need each of them: all keys of a call have one tag (`CallsSeen` fails else)."""
    token = await life.seed()
    assert token
    account = await life.account(text=TEXT)
    await life.admin.topup(account.id, 5)
    await life.submit(account, idempotency_key="k")
    await life.dispatch()
    (handed,) = await life.fetch()
    await life.report(handed, "radio")
    await life.report(handed, "sent")
    await life.codes.verify(account, handed.id, handed.text.split()[5].strip(","))
    life.clock.advance(30)
    await life.timekeeping.confirm_admissions()
    await life.timekeeping.tidy(3600)
    # One that waits for its seed, and one whose record never came
    await life.seed()
    await life.submit(account, "+213770000001")
    await life.dispatch()
    await life.dispatching.run_parked("60302", 10)
    create = life.submitting.acceptance._record

    async def dies(*arguments: object) -> None:
        raise KeyboardInterrupt

    life.submitting.acceptance._record = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        await life.submit(account, "+213661000009")
    life.submitting.acceptance._record = create  # type: ignore[method-assign]
    life.clock.advance(30)
    await life.timekeeping.confirm_admissions()
    await life.timekeeping.run_due()
    # A submission
    devices = Devices(life.store, life.clock, life.rules, life.settings)
    submissions = Submissions(life.store, life.submitting.acceptance, life.transitions, devices, life.clock, life.rules)
    await life.seed()
    two = NewSubmission(recipients=("+213661000011", "+213661000012"), body=PLAIN)
    told = await submissions.submit(account, KeyCredential(hash_key(KEY)), two, "another k")
    await submissions.cancel(account, told.view.submission.id)
    # One that is fetched before its attempt has begun
    await life.seed()
    begin = life.dispatching._begin
    life.dispatching._begin = dies  # type: ignore[method-assign]
    await life.submit(account, "+213661000010")
    with pytest.raises(KeyboardInterrupt):
        await life.dispatch()
    life.dispatching._begin = begin  # type: ignore[method-assign]
    assert [] == await life.fetch()
    # A lot that only some messages wait in, and nobody any more
    bound = a_message(only="a-phone")
    await ask(life.store, lambda batch: Parking.park(batch, bound, life.clock.at))
    await ask(life.store, lambda batch: Parking.leave(batch, bound))
    life.clock.advance(EMPTY_SECONDS + 1)
    await life.fleet.refresh()

    await _of_a_login(life)
    await _of_a_phone(life, account)
    await _of_a_delivery(life, account)
    await _of_a_synchronisation(life)
    await _of_a_test(life)
    await _of_a_prefix(life)
    await ask(life.store, lambda batch: life.store.amqp_phones.lead(batch, "a relay", 5.0))

    included = {"usage", "admission", "delivery_lib"}
    scripts = {file.name.removesuffix(".lua") for file in (files("router.store") / "lua").iterdir()} - included
    assert scripts == calls.names


async def _of_a_login(life: Life) -> None:
    """Tokens, a password that changes, a code that a phone registers with."""
    identity = Identity(life)
    account = await identity.account()
    minted = await identity.tokens.refresh((await identity.mint(account)).refresh_token)
    await identity.tokens.revoke(account, minted.id)
    await identity.logins.redeem_code((await identity.logins.new_code(account)).code)
    await identity.logins.change_password(account, PASSWORD, f"{PASSWORD} and more")


async def _of_a_synchronisation(life: Life) -> None:
    """A session is shown, looked at, taken on, finished and ended."""
    sync, now, rules, claim = life.store.sync, life.clock.at, SyncRules(), Claim("shop", "000", "a token")
    await ask(life.store, lambda batch: sync.show(batch, claim, "s2", "s1", now=now, rules=rules))
    await ask(life.store, lambda batch: sync.look(batch, claim, "s2", now))
    await ask(life.store, lambda batch: sync.handshake(batch, "shop", "s2", "a PEM", rules))
    await ask(life.store, lambda batch: sync.may_try(batch, "ac_1", is_counted=True, now=now, rules=rules))
    await ask(life.store, lambda batch: sync.ack(batch, "shop", "s2"))
    await ask(life.store, lambda batch: sync.end(batch, claim, "s2", ("acked",), is_leaving=True))


async def _of_a_test(life: Life) -> None:
    """A probe through a seed whose word never comes, until its time is over."""
    await life.seed()
    reliability = Reliability(life.store, life.queue, life.clock, life.rules, life.settings)
    await reliability.start(IMSI)
    life.clock.advance(life.rules.probe_seconds + 1)
    await TestResults(life.store, life.clock, life.rules).run_due()


async def _of_a_prefix(life: Life) -> None:
    """It is blocked, and a minute is learned."""
    fraud = life.store.fraud
    await ask(life.store, lambda batch: fraud.change(batch, "+21366123", StoredBlock(), a_block("+21366123")))
    await ask(life.store, lambda batch: fraud.learn(batch, None, Learned(0, 0), {"+21366123": Usual()}))

    assert ["+21366123"] == list(await fraud.blocks(life.store.batch()))


def a_block(prefix: str) -> Block:
    return Block(prefix=prefix, carrier="60301", reason="operator", why="", since=NOW, until=None, by="operator")


async def _of_a_phone(life: Life, account: Account) -> None:
    """It registers, has another SIM and then none of them, is told settings, and is deleted."""
    device = await life.phone(account, "+213661000021", "+213771000021")
    device = await life.devices.update(device, sims=device.sims[:1])
    await PhoneSettings(life.store, life.devices, life.rules).ensure_signing_key(account.id)
    await life.devices.delete(device.id)


async def _of_a_delivery(life: Life, account: Account) -> None:
    """Made, claimed, tried again, held up with its target, delivered; another one dies and is forgotten."""
    store = life.store.deliveries
    webhook = Webhook(id="w", url="https://example.org/", event="sms:sent")
    await ask(life.store, lambda batch: life.store.webhooks.put(batch, account.id, webhook, 5))
    for id in ("d1", "d2"):
        made = Delivery(
            id=id, account=account.id, webhook="w", event="sms:sent", url=webhook.url, target="https://example.org:443", body=b"{}",
            made_at=NOW,
        )  # fmt: skip
        await ask(life.store, partial(store.put, delivery=made))
        (due,) = await store.due(life.store.batch(), NOW + 1, 10)
        ((record,),) = [await ask(life.store, lambda batch, due=due: store.claim(batch, due, NOW + 1, 10, 10.0))]
        (read,) = store.parse([record])
        await ask(life.store, lambda batch, read=read: store.again(batch, read, replace(read.delivery, tries=1), NOW + 5))
        stored = await store.get(life.store.batch(), id)
        assert stored is not None
        if id == "d1":
            await ask(life.store, lambda batch: store.pause(batch, made.target, NOW + 9))  # noqa: B023 - called at once
            await ask(life.store, partial(store.done, delivery=stored.delivery))
        else:
            dead = replace(stored.delivery, died_at=NOW + 6)
            await ask(life.store, lambda batch, stored=stored, dead=dead: store.bury(batch, stored, dead, 10))
    await ask(life.store, lambda batch: store.forget(batch, NOW + 10, 10))

    assert (0, 0) == await store.counts(life.store.batch())


@pytest.mark.parametrize(("key", "tag"), [("acct:{a}:idem:{b}", "a"), ("{x}", "x"), ("a{b{c}d", "b{c")])
def test_hash_tag_as_redis_cluster_has_it(key: str, tag: str) -> None:
    assert tag == hash_tag(key)


@pytest.mark.parametrize("end", ["verified", "cancelled", "expired", "failed"])
async def test_no_text_and_no_code_in_the_clear(life: Life, end: str) -> None:
    """At no time, in no key and no value; and when the message is over, what was sealed is gone as well (invariant 6)."""
    await life.seed()
    account = await life.account(text=TEXT)
    words = "Your very secret code"

    async def sealed(message_id: str) -> bool:
        (stored,) = await life.store.messages.load(life.store.batch(), [message_id])
        assert stored is not None
        return stored.sealed_text is not None

    message = (await life.submit(account, idempotency_key="k")).message
    # The account's template is no secret: it stands there without a code
    template = life.shows(words)
    assert {f"acct:{{{account.id}}}:templates"} == {key for key, _ in template}
    assert await sealed(message.id)
    await life.dispatch()
    assert template == life.shows(words)
    (handed,) = await life.fetch()
    code = handed.text.split()[5].strip(",")
    assert handed.text == TEXT.format(code=code)
    assert 10 == len(code)
    for state in ("accepted", "radio"):
        await life.report(handed, state)
        assert template == life.shows(words, code)
    assert await sealed(message.id)
    match end:
        case "verified":
            await life.report(handed, "sent")
            assert not await sealed(message.id)
            await life.codes.verify(account, message.id, code)
        case "cancelled":
            await life.transitions.apply([Step(message.id, partial(lifecycle.cancel, reason="test"))])
        case "expired":
            await life.time_passes(300)
        case "failed":
            for _ in range(life.rules.max_attempts - 1):
                await life.report(handed, "failed", error="no service")
                # After its rest and the breaker's pause the seed may try again
                life.clock.advance(1)
                await life.dispatch()
                life.clock.advance(49)
                await life.registry.ping(IMSI, "+213661999999", "seed")
                await life.fleet.refresh()
                await life.dispatching.run_parked("60301", 10)
                (handed,) = await life.fetch()
            await life.report(handed, "failed")

    assert end == (await life.message(message.id)).state
    assert not await sealed(message.id)
    assert template == life.shows(words, code)


async def test_no_plain_text_in_the_clear(life: Life) -> None:
    """Nor the text of a plain SMS, from its submission to its end."""
    await life.seed()
    account = await life.account()
    message = (await life.submit(account, text=PLAIN, idempotency_key="k")).message
    assert [] == life.shows(PLAIN, "lighthouse")
    await life.dispatch()
    (handed,) = await life.fetch()
    assert PLAIN == handed.text
    await life.report(handed, "sent")

    assert [] == life.shows(PLAIN, "lighthouse")
    (stored,) = await life.store.messages.load(life.store.batch(), [message.id])
    assert stored is not None
    assert stored.sealed_text is None


async def test_dead_letters_hold_no_text(life: Life) -> None:
    """A message whose record is gone is buried by its id."""
    await life.seed()
    message = (await life.submit(await life.account(), text=PLAIN)).message
    batch = life.store.batch()
    batch.add("DEL", life.store.messages.key(message.id))
    await batch.run()
    dead: list[str] = []

    async def handle(found):
        missing = await life.dispatching.run([entry.id for entry in found])
        return dict.fromkeys(missing, "unknown_message")

    consumer = BatchConsumer(life.broker, handle, prefetch=10, on_dead=dead.append)
    consumer.start()
    await until(lambda: dead, "the dead letter")
    await consumer.stop()

    assert ["unknown_message"] == dead
    assert [] == life.shows(PLAIN)
