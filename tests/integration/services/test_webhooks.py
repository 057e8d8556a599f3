"""From what happened to a delivery, and what a courier makes of it: over a real Redis, with a post office of the test."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from router.domain.errors import Unavailable
from router.domain.events import Announcement
from router.domain.message import Attempt, Event, Message
from router.domain.webhooks import Webhook, WebhookRules
from router.services.courier import TOO_OLD, Courier
from router.services.postman import Outcome
from router.services.webhooks import Announcer
from router.store.deliveries import StoredDelivery
from router.store.store import Store
from tests.integration.store.kit import NOW, SetClock, a_message, everything, open_store

pytestmark = pytest.mark.anyio

DEVICE = "abcdefghij_klmnop-123"
RULES = WebhookRules(
    timeout_seconds=2.0, tries=3, retry_seconds=10.0, retry_max_seconds=100.0, per_target=2, total=8, breaker_failures=4, jitter=0.0,
    breaker_pause_seconds=60.0, breaker_pause_max_seconds=600.0, max_age_seconds=10_000.0, dead_seconds=5_000.0, max_dead=100,
)  # fmt: skip


class Office:
    """Where the network would be: keeps what is posted; answers by `answer`, after `gate`."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[Mapping[str, str]] = []
        self.answer: Callable[[str], Outcome] = lambda url: Outcome(200)
        self.gates: dict[str, asyncio.Event] = {}

    async def post(self, url: str, body: bytes, headers: Callable[[], Mapping[str, str]]) -> Outcome:
        self.posted.append((url, json.loads(body)))
        self.headers.append(headers())
        if url in self.gates:
            await self.gates[url].wait()
        return self.answer(url)

    def urls(self) -> list[str]:
        return [url for url, _ in self.posted]


async def posts(office: Office, count: int) -> None:
    """Waits until so many are posted, answered or not."""
    for _ in range(2000):
        if len(office.posted) >= count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(office.posted)} were posted of {count}")


class Keys:
    """One key for all."""

    async def of(self, account_id: str) -> str:
        return f"key of {account_id}"


class Scene:
    """A store, a clock that stands still, an announcer and a courier; `second` is another courier."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.store: Store = open_store(url)
        self.clock = SetClock()
        self.announcer = Announcer(self.store, self.clock)
        self.office = Office()
        self.courier = self.another()
        self.couriers = [self.courier]

    def another(self, **rules: Any) -> Courier:
        office: Any = self.office
        keys: Any = Keys()
        return Courier(self.store, self.clock, office, keys, replace(RULES, **rules), rng=random.Random(1))

    async def webhook(self, id: str = "w", url: str = "https://a.example/hook", event: Event = "sms:sent", **fields: Any) -> Webhook:
        made = Webhook(id=id, url=url, event=event, device_id=fields.get("device_id"))
        batch = self.store.batch()
        self.store.webhooks.put(batch, fields.get("account", "ac_1"), made, 50)
        await batch.run()
        return made

    async def remove(self, webhook_id: str) -> None:
        batch = self.store.batch()
        self.store.webhooks.remove(batch, "ac_1", webhook_id)
        await batch.run()

    async def tell(self, *messages: Message, event: Event = "sms:sent", announcer: Announcer | None = None) -> None:
        told = [Announcement(message, event, self.clock.now()) for message in messages]
        await (announcer or Announcer(self.store, self.clock)).announce(told)

    async def work(self, courier: Courier | None = None) -> list[str]:
        """Looks until nothing is due any more; answers where was posted meanwhile."""
        before = len(self.office.posted)
        working = courier or self.courier
        for _ in range(200):
            begun = await working._begin()
            while working._tasks:
                await asyncio.wait(set(working._tasks), timeout=10)
            if not begun:
                return self.office.urls()[before:]
        raise AssertionError("it never ends")

    async def waiting(self) -> int:
        return (await self.store.deliveries.counts(self.store.batch()))[0]

    async def dead(self) -> list[StoredDelivery]:
        return await self.store.deliveries.dead(self.store.batch(), self.store.batch(), 100)

    def leftovers(self) -> dict[str, Any]:
        """What stands of deliveries but for the marks that they were made."""
        return {key: value for key, value in everything(self.url).items() if key.startswith("deliveries:") and ":told:" not in key}


@pytest.fixture
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    made = Scene(redis_url)
    yield made
    await made.store.close()


def sent(**fields: Any) -> Message:
    attempt = Attempt(number=1, seed=f"{DEVICE}.1", carrier="60301", state="sent", assigned_at=NOW, sent_at=NOW)
    return a_message(**{"dialect": "smsgate", "kind": "sms", "attempts": (attempt,), "sent_at": NOW, "submission": "s"} | fields)


async def test_told_once(scene: Scene) -> None:
    """One delivery for each webhook that wants the event; telling again makes none, before it was delivered and after."""
    await scene.webhook("a")
    await scene.webhook("b", "https://b.example/")
    await scene.webhook("c", event="sms:failed")
    await scene.webhook("d", account="ac_2")
    message = sent()

    await scene.tell(message, message)
    await scene.tell(message)
    assert 2 == await scene.waiting()
    assert ["https://a.example/hook", "https://b.example/"] == sorted(await scene.work())
    await scene.tell(message)
    assert [] == await scene.work()
    assert {} == scene.leftovers()


async def test_what_is_told(scene: Scene) -> None:
    """The event with a stable id, signed for this try by the account's key."""
    await scene.webhook()
    await scene.tell(sent(submission="mine"))
    await scene.work()

    ((_, body),) = scene.office.posted
    assert ("mine", "w", "sms:sent", DEVICE) == (body["payload"]["messageId"], body["webhookId"], body["event"], body["deviceId"])
    assert str(int(NOW)) == scene.office.headers[0]["X-Timestamp"]


async def test_only_of_one_phone(scene: Scene) -> None:
    """A webhook that names a phone hears of that phone only."""
    await scene.webhook("a", "https://a.example/", device_id=DEVICE)
    await scene.webhook("b", "https://b.example/", device_id="z" * 21)
    await scene.tell(sent(), a_message(dialect="smsgate", state="sent"))

    assert ["https://a.example/"] == await scene.work()


async def test_a_webhook_hears_what_happens_right_after(scene: Scene) -> None:
    """That an account has none, or which ones it has, is never said from memory."""
    announcer = Announcer(scene.store, scene.clock)
    await scene.tell(sent(), announcer=announcer)
    await scene.webhook()
    await scene.tell(sent(), announcer=announcer)

    assert (1, 0) == await scene.store.deliveries.counts(scene.store.batch())


async def test_store_away(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the caller is told so, and tells again."""
    await scene.webhook()

    async def away(*_: Any) -> None:
        raise Unavailable("away")

    monkeypatch.setattr("router.store.redis.Batch.run", away)
    with pytest.raises(Unavailable):
        await scene.tell(sent())


async def test_retries_then_death(scene: Scene) -> None:
    """After a failure it waits, twice as long each time; after the last try it is dead, with what went wrong."""
    await scene.webhook()
    await scene.tell(sent())
    scene.office.answer = lambda url: Outcome(500, "HTTP 500")
    tries = []
    for _ in range(40):
        tries += [scene.clock.now() - NOW for _ in await scene.work()]
        scene.clock.advance(1.0)

    assert [0.0, 10.0, 30.0] == tries
    (dead,) = await scene.dead()
    assert (3, 500, "HTTP 500", NOW + 30.0) == (dead.delivery.tries, dead.delivery.status, dead.delivery.error, dead.delivery.died_at)
    assert 0 == await scene.waiting()
    assert {dead.delivery.id} == {told["id"] for _, told in scene.office.posted}


async def test_success_after_failures(scene: Scene) -> None:
    """Nothing is left of it, and it is not made again."""
    await scene.webhook()
    message = sent()
    await scene.tell(message)
    scene.office.answer = lambda url: Outcome(None, "no answer within 2 s")
    await scene.work()
    scene.office.answer = lambda url: Outcome(204)
    scene.clock.advance(10.0)

    assert 1 == len(await scene.work())
    assert {} == scene.leftovers()
    await scene.tell(message)
    assert {} == scene.leftovers()


async def test_a_dead_one_is_not_made_again(scene: Scene) -> None:
    """Telling of a dead delivery's event again does not bring it back to life."""
    scene.courier = scene.another(tries=1)
    await scene.webhook()
    message = sent()
    await scene.tell(message)
    scene.office.answer = lambda url: Outcome(404, "HTTP 404")
    await scene.work()
    for key in [key for key in everything(scene.url) if ":told:" in key]:
        batch = scene.store.batch()
        batch.add("DEL", key)
        await batch.run()
    await scene.tell(message)

    assert 0 == await scene.waiting()
    assert 1 == len(await scene.dead())


async def test_two_couriers_share(scene: Scene) -> None:
    """Each delivery is held by one of them."""
    await scene.webhook()
    messages = [sent() for _ in range(20)]
    await scene.tell(*messages)
    second = scene.another()
    await asyncio.gather(scene.work(), scene.work(second))

    assert 20 == len(scene.office.posted) == len({told["id"] for _, told in scene.office.posted})


async def test_a_courier_that_dies(scene: Scene) -> None:
    """What it had in hand is due again when its hold is over; the receiver sees the same id twice."""
    await scene.webhook()
    await scene.tell(sent())
    scene.office.gates["https://a.example/hook"] = asyncio.Event()
    await scene.courier._begin()
    await asyncio.sleep(0)
    for task in scene.courier._tasks:
        task.cancel()
    second = scene.another()
    scene.office.gates.clear()

    assert [] == await scene.work(second)
    scene.clock.advance(RULES.timeout_seconds + 10.0)
    assert 1 == len(await scene.work(second))
    assert {} == scene.leftovers()


async def test_stopped_in_the_middle(scene: Scene) -> None:
    """Within the grace it finishes; what is left goes back at once, without a try being counted."""
    await scene.webhook("quick", "https://quick.example/")
    await scene.webhook("slow", "https://slow.example/")
    await scene.tell(sent())
    quick = scene.office.gates["https://quick.example/"] = asyncio.Event()
    scene.office.gates["https://slow.example/"] = asyncio.Event()
    await scene.courier._begin()
    await posts(scene.office, 2)
    asyncio.get_running_loop().call_later(0.05, quick.set)
    await scene.courier.stop(0.5)

    assert 1 == await scene.waiting()
    scene.office.gates.clear()
    assert ["https://slow.example/"] == await scene.work(scene.another(tries=1))
    assert [] == await scene.dead()


async def test_a_late_word_changes_nothing(scene: Scene) -> None:
    """A courier that was thought dead fails its try after another one has delivered: it stays delivered."""
    await scene.webhook()
    await scene.tell(sent())
    gate = scene.office.gates["https://a.example/hook"] = asyncio.Event()
    scene.office.answer = lambda url: Outcome(None, "broken off")
    await scene.courier._begin()
    await posts(scene.office, 1)
    scene.clock.advance(RULES.timeout_seconds + 10.0)
    slow, scene.office.gates = scene.office, {}
    scene.office = Office()
    await scene.work(scene.another())
    gate.set()
    while scene.courier._tasks:
        await asyncio.wait(set(scene.courier._tasks))

    assert (1, 1) == (len(slow.posted), len(scene.office.posted))
    assert {} == scene.leftovers()


async def test_a_target_that_hangs_holds_up_nobody(scene: Scene) -> None:
    """A hundred deliveries hang or wait at one target: those of another go out meanwhile."""
    await scene.webhook("hangs", "https://hangs.example/")
    await scene.tell(*[sent() for _ in range(100)])
    await scene.webhook("quick", "https://quick.example/", account="ac_2")
    await scene.tell(*[sent(account="ac_2") for _ in range(50)])
    scene.office.gates["https://hangs.example/"] = asyncio.Event()
    for _ in range(200):
        await scene.courier._begin()
        await asyncio.sleep(0.002)
        if scene.office.urls().count("https://quick.example/") == 50:
            break

    assert 50 == scene.office.urls().count("https://quick.example/")
    assert RULES.per_target == scene.office.urls().count("https://hangs.example/")
    await scene.courier.stop(0.0)


async def test_many_targets_that_hang(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many targets hang, one that is known to be good has room, and is found behind them."""
    monkeypatch.setattr("router.services.courier._PAGE", 8)
    await scene.webhook("quick", "https://quick.example/", account="ac_2")
    await scene.tell(sent(account="ac_2"))
    await scene.work()
    for number in range(30):
        await scene.webhook(f"w{number}", f"https://hangs-{number}.example/")
        scene.office.gates[f"https://hangs-{number}.example/"] = asyncio.Event()
    await scene.tell(sent(), sent())
    await scene.tell(*[sent(account="ac_2") for _ in range(20)])
    for _ in range(200):
        await scene.courier._begin()
        await asyncio.sleep(0.002)
        # The last good ones are posted before the store has heard of it
        if scene.office.urls().count("https://quick.example/") == 21 and len(scene.courier._tasks) <= RULES.total // 2:
            break

    assert 21 == scene.office.urls().count("https://quick.example/")
    assert RULES.total // 2 == len(scene.courier._tasks)
    await scene.courier.stop(0.0)


async def test_breaker(scene: Scene) -> None:
    """After failures in a row a target is left alone, by every courier, and no tries are counted; then one probe goes out."""
    scene.courier = scene.another(tries=15)
    await scene.webhook()
    await scene.tell(*[sent() for _ in range(10)])
    scene.office.answer = lambda url: Outcome(503, "HTTP 503")
    assert 4 == len(await scene.work())

    assert [] == await scene.work(scene.another(tries=15))
    scene.clock.advance(59.0)
    assert [] == await scene.work()
    scene.clock.advance(1.0)
    assert 1 == len(await scene.work())
    scene.office.answer = lambda url: Outcome(200)
    scene.clock.advance(120.0)
    assert 10 == len(await scene.work())
    assert {} == scene.leftovers()


async def test_new_ones_for_a_paused_target_wait(scene: Scene) -> None:
    """What is made while the breaker is open waits for its end too."""
    await scene.webhook()
    # So many that some wait in each shard: a pause is kept where something waits
    await scene.tell(*[sent() for _ in range(40)])
    scene.office.answer = lambda url: Outcome(503, "HTTP 503")
    await scene.work()
    await scene.tell(*[sent() for _ in range(4)])

    assert [] == await scene.work(scene.another())
    assert [] == await scene.store.deliveries.due(scene.store.batch(), scene.clock.now(), 10)


async def test_moved_webhook(scene: Scene) -> None:
    """What waits follows its webhook to another address; the tries stay counted."""
    await scene.webhook(url="https://wrong.example/")
    await scene.tell(sent())
    scene.office.answer = lambda url: Outcome(404, "HTTP 404")
    await scene.work()
    await scene.webhook(url="https://right.example/")
    scene.office.answer = lambda url: Outcome(200)
    scene.clock.advance(10.0)

    assert ["https://right.example/"] == await scene.work(scene.another())
    assert {} == scene.leftovers()


async def test_deleted_webhook(scene: Scene) -> None:
    """Nobody wants what waits for it any more."""
    await scene.webhook()
    await scene.tell(sent())
    await scene.remove("w")

    assert [] == await scene.work(scene.another())
    assert {} == scene.leftovers()


async def test_registered_a_moment_ago(scene: Scene) -> None:
    """A courier whose copy of an account's webhooks is older than a new one does not take its deliveries for unwanted."""
    await scene.webhook("a", "https://a.example/")
    await scene.tell(sent())
    await scene.work()
    await scene.webhook("b", "https://b.example/")
    await scene.tell(sent())

    assert ["https://a.example/", "https://b.example/"] == sorted(await scene.work())


async def test_waited_too_long(scene: Scene) -> None:
    """What could not be tried for so long is dead."""
    await scene.webhook()
    await scene.tell(sent())
    await scene.courier.tidy()
    assert 1 == await scene.waiting()
    scene.clock.advance(RULES.max_age_seconds + 1.0)
    await scene.courier.tidy()

    (dead,) = await scene.dead()
    assert (TOO_OLD, 0) == (dead.delivery.error, dead.delivery.tries)
    assert [] == await scene.work()


async def test_the_dead_are_forgotten(scene: Scene) -> None:
    """After their time, and the oldest where there are too many."""
    scene.courier = scene.another(tries=1, max_dead=2, breaker_failures=1000)
    await scene.webhook()
    scene.office.answer = lambda url: Outcome(404, "HTTP 404")
    for _ in range(20):
        await scene.tell(sent())
        await scene.work()
        scene.clock.advance(1.0)

    dead = await scene.dead()
    assert 2 == len(dead), "one in each shard"
    scene.clock.advance(RULES.dead_seconds)
    await scene.courier.tidy()
    assert {} == scene.leftovers()


async def test_store_away_after_the_receiver_said_yes(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The courier keeps in mind what the receiver said until the store can be told."""
    monkeypatch.setattr("router.services.courier._RETRY_SECONDS", 0.01)
    await scene.webhook()
    await scene.tell(sent())
    gate = scene.office.gates["https://a.example/hook"] = asyncio.Event()
    await scene.courier._begin()
    await asyncio.sleep(0.05)
    batch = scene.store.batch
    failures = iter(range(5))

    def sometimes_away() -> Any:
        if next(failures, None) is not None:
            raise Unavailable("away")
        return batch()

    scene.store.batch = sometimes_away  # type: ignore[method-assign]
    gate.set()
    while scene.courier._tasks:
        await asyncio.wait(set(scene.courier._tasks), timeout=10)

    assert {} == scene.leftovers()
    assert 1 == len(scene.office.posted)


async def test_look_waits_for_an_end(scene: Scene) -> None:
    """With nothing to do it returns after a moment; when something ends, at once."""
    await scene.webhook()
    await scene.tell(*[sent() for _ in range(30)])
    for _ in range(200):
        await scene.courier.look()
        if len(scene.office.posted) == 30:
            break

    assert 30 == len(scene.office.posted)
    await scene.courier.stop(5.0)
    assert {} == scene.leftovers()
