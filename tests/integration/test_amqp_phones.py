"""Phones at a real RabbitMQ, strictly simulated, and the relay before them: over a real Redis, in one process."""

import asyncio
import contextlib
import json
import os
import random
import shlex
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import amqp
import msgspec
import pytest

from router import metrics
from router.clock import Clock
from router.domain.account import Account
from router.domain.amqp_phones import DEAD_QUEUE, QueueOfSeed
from router.domain.errors import Conflict
from router.domain.message import Message
from router.domain.seed import Quota
from router.queue.amqp_phones import PhoneBroker
from router.services.amqp_enrolment import AmqpEnrolment
from router.services.amqp_phones import AmqpPhones
from router.services.submit import Accepted
from tests import rabbitmq
from tests.integration.services.world import World
from tests.integration.test_operator_api import running as running_operator
from tests.rabbitmq import RabbitMQ
from tests.stack import Stack, wait_for
from workers.relay import Relay
from workers.simulator.air import Air, Sms, read_ledger
from workers.simulator.amqp_phone import AmqpBehaviour, AmqpPhone, Request, SimQueue

pytestmark = pytest.mark.anyio

VHOST = "phones"
POLICY = (
    '{"dead-letter-exchange":"","dead-letter-routing-key":"seedrouter.phones.dead","dead-letter-strategy":"at-least-once",'
    '"overflow":"reject-publish","delivery-limit":0}'
)
SIMS = ("603010000000001", "603010000000002", "603010000000003")
PHONE = "+213661000001"
PARALLEL = 50
ODD_TEXTS = (
    "a plain code 123456", "رمز التحقق الخاص بك هو 123456", "code 🔑 123456 👍🏽", 'quotes " and \\ and \'', "two\nlines\r\nand\ttabs",
    "é ñ ß € [x] {y} | ~ ^",
    "\u200fاتجاه\u200e and \u2028 lines", "null",
)  # fmt: skip


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def node() -> Iterator[RabbitMQ]:
    """With the virtual host and the policy of docs/amqp-phones.md, and one without a policy."""
    with rabbitmq.running() as made:
        made.control("add_vhost", VHOST, "--default-queue-type", "quorum")
        made.control("set_policy", "-p", VHOST, "--apply-to", "queues", "of-the-tests", "^proj", POLICY)
        made.control("add_vhost", "plain")
        for vhost in (VHOST, "plain"):
            made.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        yield made


@pytest.fixture
def url(node: RabbitMQ) -> str:
    return f"amqp://guest:guest@127.0.0.1:{node.port}/{VHOST}"


_projects = iter(f"proj{number}" for number in range(100))


class Scene:
    """A router with a relay, all of it in this process, and its phones."""

    def __init__(self, redis_url: str, url: str, folder: Path, **settings: Any) -> None:
        quick = {
            "lease_seconds": 2.0, "skew_seconds": 0.2, "pickup_seconds": 2.0, "online_window_seconds": 3.0, "republish_seconds": 1.0,
            "pace_seconds": 0.05, "retry_seed_seconds": 0.5, "breaker_pause_seconds": 0.5, "breaker_pause_max_seconds": 1.0,
            "accept_when": "always", "max_attempts": 20,
        }  # fmt: skip
        self.world = World(redis_url, clock=Clock(), **quick | settings)  # type: ignore[arg-type]  # one that goes
        self.url = url
        self.project = next(_projects)
        self.enrolment = AmqpEnrolment(self.world.store, self.world.clock, self.project)
        self.air = Air(folder / f"{self.project}.jsonl")
        self.tasks: list[asyncio.Task[None]] = []
        self.phones: list[AmqpPhone] = []
        self.relays: list[Relay] = []

    def relay(self, **options: Any) -> Relay:
        world, broker = self.world, PhoneBroker(self.url)
        phones = AmqpPhones(
            world.store, broker, world.outbox, world.transitions, world.clock, world.rules,
            **{"margin_seconds": 0.5, "settle_seconds": 0.02} | options,
        )  # fmt: skip
        relay = Relay(world.store, broker, phones, world.clock)
        self.relays.append(relay)
        self.tasks.append(asyncio.create_task(relay.run()))
        return relay

    def run_router(self) -> None:
        """The dispatcher's and the timekeeper's loops."""

        async def dispatch() -> None:
            while True:
                await self.world.fleet.refresh()
                await self.world.dispatching.run(self.world.queue.drain())
                await self.world.dispatching.run_parked("60301", PARALLEL)
                await asyncio.sleep(0.03)

        async def keep_time() -> None:
            while True:
                await self.world.timekeeping.run_due()
                await asyncio.sleep(0.05)

        self.tasks += [asyncio.create_task(dispatch()), asyncio.create_task(keep_time())]

    async def enrol(self, seed: str, subscription_id: int, project: str = "") -> SimQueue:
        place = self.enrolment.plan(seed, "60301", str(subscription_id), project=project or f"{self.project}-{subscription_id}")
        await self.world.registry.enrol(seed, carrier="60301", quota=Quota(half_hour=0, hour=0, day=0))
        await self.enrolment.claim(place)
        return sim_of(place)

    def phone(self, *sims: SimQueue, **behaviour: Any) -> AmqpPhone:
        phone = AmqpPhone(self.url, sims, self.air, AmqpBehaviour(**behaviour))
        self.phones.append(phone)
        phone.start()
        return phone

    async def is_online(self, seed: str) -> bool:
        return (await self.world.registry.get(seed)).is_online(self.world.clock.now(), self.world.rules)

    async def send(self, account: Account, text: str, phone: str = PHONE) -> Accepted:
        return await self.world.submit(account, phone, text=text, lane="notification")

    def ledger(self) -> list[Sms]:
        return read_ledger(self.air.path)

    async def close(self) -> None:
        for relay in self.relays:
            relay.stop()
        for task in self.tasks[len(self.relays) :]:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*self.tasks, return_exceptions=True), 20)
        for phone in self.phones:
            await asyncio.to_thread(phone.stop)
        self.air.close()
        await self.world.close()


def sim_of(place: QueueOfSeed) -> SimQueue:
    return SimQueue(
        project=place.project, binding=place.binding, subscription_id=int(place.subscription_id), seed=place.seed, carrier=place.carrier
    )


@pytest.fixture
async def scene(redis_url: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """Its broker has the policy, however slow it is to prove it."""
    monkeypatch.setattr("router.queue.amqp_phones._PROOF_SECONDS", 15.0)
    made = Scene(redis_url, url, tmp_path)
    yield made
    await made.close()


async def until(check: Callable[[], Awaitable[Any]], what: str, seconds: float = 30.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := await check():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


def unsure_attempts(message: Message) -> int:
    """Those of which nobody knew for a while, or still does, whether they went out."""
    return sum(attempt.state == "ambiguous" or "ambiguous" in (attempt.error or "") for attempt in message.attempts)


async def states(scene: Scene, accepted: Sequence[Accepted]) -> list[Message]:
    found = await scene.world.store.messages.load(scene.world.store.batch(), [item.message.id for item in accepted])
    return [stored.message for stored in found if stored is not None]


async def test_a_thousand_messages_over_three_sims(scene: Scene) -> None:
    """Phones are killed while they work, also right after a send, and brought back: nothing is lost, nothing altered, and nothing is on the
    air more often than once and once for each of its ambiguous attempts.
    """
    queues = [await scene.enrol(seed, number + 1) for number, seed in enumerate(SIMS)]
    account = await scene.world.account(balance=100_000)
    phones = [scene.phone(*queues[:2], dies_after_send_rate=0.01), scene.phone(queues[2], dies_after_send_rate=0.01)]
    scene.relay()
    scene.run_router()
    texts = [f"{number}: {ODD_TEXTS[number % len(ODD_TEXTS)]}" for number in range(1000)]
    accepted: list[Accepted] = []
    rng = random.Random(7)

    async def submit_all() -> None:
        for start in range(0, len(texts), PARALLEL):
            accepted.extend(await asyncio.gather(*(scene.send(account, text) for text in texts[start : start + PARALLEL])))

    async def trouble() -> None:
        while True:
            await asyncio.sleep(rng.uniform(1.0, 2.0))
            phone = rng.choice(phones)
            await asyncio.to_thread(phone.kill)
            # As long as a phone takes at least: one that is back at once looks like one that gave its message back
            await asyncio.sleep(rng.uniform(1.5, 2.5))
            phone.start()

    async def all_final() -> bool:
        await asyncio.sleep(0.5)
        return all(message.is_final for message in await states(scene, accepted))

    await submit_all()
    scene.tasks.append(asyncio.create_task(trouble()))
    await until(all_final, "the end of all messages", 120)
    ended = {message.id: message for message in await states(scene, accepted)}
    by_text = {item.message.id: text for item, text in zip(accepted, texts, strict=True)}
    on_air = Counter(sms.text for sms in scene.ledger())
    unsure = {by_text[message.id]: unsure_attempts(message) for message in ended.values()}

    assert {"sent"} == {message.state for message in ended.values()}
    assert set(texts) == set(on_air)
    assert {} == {text: count for text, count in on_air.items() if count > 1 + unsure[text]}
    assert 0 == sum(phone.counts["looped"] for phone in phones)
    assert {PHONE} == {sms.to for sms in scene.ledger()}
    assert 0 < sum(phone.counts["died"] for phone in phones)


def raw(url: str) -> Any:
    """A connection past all that is ours."""
    server, vhost = url.removeprefix("amqp://guest:guest@").split("/", 1)
    connection = amqp.Connection(server, "guest", "guest", virtual_host=vhost, connect_timeout=5)
    connection.connect()
    return connection


async def test_what_is_published(scene: Scene) -> None:
    """Exactly the four keys, the lease as expiration, persistent; behind it something that the app cannot read, which stays."""
    queue = await scene.enrol(SIMS[0], 7)
    account = await scene.world.account()
    connection = await asyncio.to_thread(raw, scene.url)
    channel, got = connection.channel(), []
    channel.basic_qos(0, 5, False)
    await asyncio.to_thread(channel.queue_declare, queue.queue, durable=True, auto_delete=False)
    channel.basic_consume(queue.queue, callback=got.append)
    scene.relay()
    scene.run_router()
    await scene.send(account, "رمز 🔑")

    async def two() -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.to_thread(connection.drain_events, timeout=0.1)
        return len(got) == 2

    await until(two, "a message and its marker")
    message, marker = got
    found = msgspec.json.decode(message.body)
    connection.close()

    assert {"text": "رمز 🔑", "to": PHONE, "sid": "7"} == {key: value for key, value in found.items() if key != "id"}
    assert {"text", "to", "sid", "id"} == set(found)
    assert type(found["id"]) is int
    assert 0 < found["id"] < 2**31
    assert 2 == message.properties["delivery_mode"]
    assert 0 < int(message.properties["expiration"]) <= 2000
    assert "{}" == marker.body
    assert "expiration" not in marker.properties


async def test_a_queue_without_a_consumer_is_offline(scene: Scene) -> None:
    """That a queue exists is no sign of life; a consumer is one, and its going ends it."""
    queue = await scene.enrol(SIMS[0], 1)
    scene.relay()
    await asyncio.sleep(1.5)
    without = await scene.is_online(SIMS[0])
    phone = scene.phone(queue)
    await until(lambda: scene.is_online(SIMS[0]), "a phone to be online")
    await asyncio.to_thread(phone.stop)

    async def offline() -> bool:
        return not await scene.is_online(SIMS[0])

    await until(offline, "a phone to be offline")

    assert not without


async def test_a_failing_number_does_not_loop(scene: Scene) -> None:
    """The app rejects without end what it cannot send; here each attempt is one try, reported as failed at once, and then it is over."""
    queue = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account()
    phone = scene.phone(queue, fails=_fails_for_one)
    scene.relay()
    scene.run_router()
    bad, good = await scene.send(account, "no", "+213661000099"), await scene.send(account, "yes")

    async def sent() -> bool:
        return (await scene.world.message(good.message.id)).state == "sent"

    async def failed_twice() -> list[str]:
        found = [attempt.state for attempt in (await scene.world.message(bad.message.id)).attempts]
        return found if found.count("failed") >= 2 else []

    await until(sent, "the good number")
    attempts = await until(failed_twice, "the bad number's second failure")

    assert "ambiguous" not in attempts
    assert phone.counts["failed"] <= len((await scene.world.message(bad.message.id)).attempts)
    assert ["yes"] == [sms.text for sms in scene.ledger()]


def _fails_for_one(request: Request) -> bool:
    return request.to == "+213661000099"


async def test_untaken_messages_move_at_once(scene: Scene) -> None:
    """A phone that does not take its message (it holds another one) loses it at the lease's end: given back, not ambiguous."""
    place = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account()
    connection = await asyncio.to_thread(raw, scene.url)
    channel = connection.channel()
    await asyncio.to_thread(channel.queue_declare, place.queue, durable=True, auto_delete=False)
    channel.basic_qos(0, 1, False)
    channel.basic_consume(place.queue, callback=_ignore)
    channel.basic_publish(amqp.Message("{}"), routing_key=place.queue)
    await asyncio.to_thread(connection.drain_events, timeout=5)
    # Time enough for the broker's word, which ends the attempt at once
    scene.relay(margin_seconds=20.0)
    scene.run_router()
    accepted = await scene.send(account, "late")

    async def ended() -> str:
        attempts = (await scene.world.message(accepted.message.id)).attempts
        return next((attempt.state for attempt in attempts if attempt.was_handed_over and not attempt.is_open), "")

    state = await until(ended, "the end of the attempt")
    connection.close()

    assert "returned" == state


def _ignore(message: Any) -> None:
    """It is held."""


async def test_a_phone_that_dies_with_a_message_makes_it_ambiguous(scene: Scene) -> None:
    """It may have been sent: not called sent, nor failed, but ambiguous at the lease's end; and the broker does not give it out again."""
    queue = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account()
    phone = scene.phone(queue, dies_after_send_rate=1.0)
    scene.relay()
    scene.run_router()
    accepted = await scene.send(account, "once")

    async def ambiguous() -> bool:
        return any(attempt.state == "ambiguous" for attempt in (await scene.world.message(accepted.message.id)).attempts)

    await until(ambiguous, "an ambiguous attempt")
    await asyncio.to_thread(phone.kill)
    message = await scene.world.message(accepted.message.id)

    assert {"ambiguous"} >= {attempt.state for attempt in message.attempts if attempt.was_handed_over and not attempt.is_open}
    assert len(scene.ledger()) <= message.handed_over


async def test_two_phones_at_one_queue_get_nothing(scene: Scene) -> None:
    """Nothing could be said of who has a message: such a queue is not online, and nothing is put into it."""
    queue = await scene.enrol(SIMS[0], 1)
    scene.phone(queue)
    scene.phone(queue)
    connection = await asyncio.to_thread(raw, scene.url)
    channel = connection.channel()

    async def both() -> bool:
        with contextlib.suppress(amqp.NotFound):
            answer = await asyncio.to_thread(channel.queue_declare, queue.queue, passive=True)
            return bool(answer.consumer_count == 2)
        return False

    await until(both, "two consumers")
    scene.relay()
    await asyncio.sleep(1.5)
    online = await scene.is_online(SIMS[0])
    connection.close()

    assert not online


async def test_a_marker_that_another_consumer_takes(scene: Scene) -> None:
    """A phone holds a message on a connection that is as good as dead; it connects anew and takes the marker there: that is no proof."""
    queue = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account(ambiguous_policy="wait")
    held: list[Any] = []
    first = await asyncio.to_thread(raw, scene.url)
    channel = first.channel()
    await asyncio.to_thread(channel.queue_declare, queue.queue, durable=True, auto_delete=False)
    channel.basic_qos(0, 1, False)
    channel.basic_consume(queue.queue, callback=held.append)
    scene.relay()
    scene.run_router()
    accepted = await scene.send(account, "held")

    async def taken() -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.to_thread(first.drain_events, timeout=0.1)
        return bool(held)

    await until(taken, "the message")
    phone = scene.phone(queue)

    async def marker_rejected() -> bool:
        return phone.counts["undecodable"] > 0

    await until(marker_rejected, "the marker")
    await until(lambda: _attempt_over(scene, accepted), "the end of the attempt")
    attempt = (await scene.world.message(accepted.message.id)).attempts[0]
    first.collect()

    assert "ambiguous" == attempt.state
    assert attempt.sent_at is None


async def _attempt_over(scene: Scene, accepted: Accepted) -> bool:
    attempts = (await scene.world.message(accepted.message.id)).attempts
    return bool(attempts) and attempts[0].was_handed_over and not attempts[0].is_open


async def test_one_relay_is_at_work(scene: Scene) -> None:
    """A second one stands by, and takes over when the first ends."""
    queue = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account()
    scene.phone(queue)
    first = scene.relay()
    await until(lambda: _true(first.is_at_work), "the first relay")
    second = scene.relay()
    await asyncio.sleep(1.0)
    both = first.is_at_work and second.is_at_work
    first.stop()
    await until(lambda: _true(second.is_at_work), "the second relay")
    scene.run_router()
    accepted = await scene.send(account, "by the second")

    async def sent() -> bool:
        return (await scene.world.message(accepted.message.id)).state == "sent"

    await until(sent, "the message")

    assert not both
    assert ["by the second"] == [sms.text for sms in scene.ledger()]


async def _true(value: bool) -> bool:
    return value


async def test_rabbitmq_away(redis_url: str, node: RabbitMQ, url: str, tmp_path: Path) -> None:
    """While it is stopped nothing is taken from outboxes; when it is back, what waited is sent once."""
    scene = Scene(redis_url, url, tmp_path)
    try:
        queue = await scene.enrol(SIMS[0], 1)
        account = await scene.world.account()
        scene.phone(queue)
        scene.relay()
        scene.run_router()
        await until(lambda: scene.is_online(SIMS[0]), "a phone to be online")
        await asyncio.to_thread(node.stop)
        accepted = [await scene.send(account, f"{number}") for number in range(3)]
        await asyncio.sleep(1.0)
        await asyncio.to_thread(node.start)

        async def all_sent() -> bool:
            return all(message.state == "sent" for message in await states(scene, accepted))

        await until(all_sent, "all messages", 60)
        ended = await states(scene, accepted)
        on_air = Counter(sms.text for sms in scene.ledger())

        assert {"0", "1", "2"} == set(on_air)
        assert sum(on_air.values()) <= 3 + sum(map(unsure_attempts, ended))
    finally:
        await scene.close()


async def test_without_the_policy(redis_url: str, node: RabbitMQ, tmp_path: Path) -> None:
    """Where the broker buries nothing the relay notices; messages go out, and what is not known is called ambiguous, not sent."""
    scene = Scene(redis_url, f"amqp://guest:guest@127.0.0.1:{node.port}/plain", tmp_path, sms_seconds=60.0)
    try:
        queue = await scene.enrol(SIMS[0], 1)
        account = await scene.world.account(ambiguous_policy="wait")
        scene.phone(queue)
        broker = PhoneBroker(scene.url)
        broker.start(_nothing)
        await until(lambda: _true(broker.is_reading), "dead letters to be read")
        proven = await broker.prove(queue.project)
        await broker.stop()
        scene.relay()
        scene.run_router()
        accepted = await scene.send(account, "hello")

        async def ambiguous() -> bool:
            return bool(unsure_attempts(await scene.world.message(accepted.message.id)))

        await until(ambiguous, "an ambiguous attempt", 40)

        assert not proven
        assert "hello" == scene.ledger()[0].text
        assert (await scene.world.message(accepted.message.id)).sent_at is None
    finally:
        await scene.close()


def _nothing() -> None:
    """Nobody listens."""


async def test_the_policy_is_proven(scene: Scene) -> None:
    """By a message of our own that comes back once; what it was tried with is gone afterwards."""
    broker = PhoneBroker(scene.url)
    broker.start(_nothing)
    await until(lambda: _true(broker.is_reading), "dead letters to be read")
    proven = await broker.prove(scene.project)
    looks = await broker.look([f"{scene.project}_seedrouter_check", DEAD_QUEUE])
    await broker.stop()

    assert proven
    assert looks[f"{scene.project}_seedrouter_check"] is None


async def test_one_queue_is_one_seed(scene: Scene) -> None:
    """A queue is claimed once; a seed that is enrolled for another one leaves its first."""
    await scene.enrol(SIMS[0], 1, project="shared")
    with pytest.raises(Conflict):
        await scene.enrol(SIMS[1], 2, project="shared")
    await scene.enrol(SIMS[0], 1, project="other")
    await scene.enrol(SIMS[1], 2, project="shared")

    assert {(SIMS[0], "other_213_60301"), (SIMS[1], "shared_213_60301")} == {
        (place.seed, place.queue) for place in await scene.enrolment.every()
    }


async def test_what_is_counted(scene: Scene) -> None:
    """Published and acknowledged messages, and the phones that are there."""
    before = metrics.AMQP_MESSAGES.labels("acknowledged")._value.get()
    queue = await scene.enrol(SIMS[0], 1)
    account = await scene.world.account()
    scene.phone(queue)
    scene.relay()
    scene.run_router()
    accepted = await scene.send(account, "counted")

    async def sent() -> bool:
        return (await scene.world.message(accepted.message.id)).state == "sent"

    await until(sent, "the message")

    assert before + 1 == metrics.AMQP_MESSAGES.labels("acknowledged")._value.get()
    assert 1 == metrics.AMQP_PHONES._value.get()


def commands_of_the_docs() -> list[list[str]]:
    """The lines of docs/amqp-phones.md that set RabbitMQ up."""
    page = Path(__file__).parents[2] / "docs" / "amqp-phones.md"
    lines = [line for line in page.read_text().splitlines() if line.startswith("rabbitmqctl ")]
    return [shlex.split(line)[1:] for line in lines if "list_queues" not in line]


def test_the_documented_setup(node: RabbitMQ, redis_url: str, tmp_path: Path) -> None:
    """RabbitMQ as the page says, with its users; the roles as processes; a seed enrolled by the command; a relay that is killed."""
    commands = commands_of_the_docs()
    for command in commands:
        if command[:2] != ["add_vhost", VHOST]:
            node.control(*command)
    relay_url, phone_url = (f"amqp://{user}@127.0.0.1:{node.port}/{VHOST}" for user in ("relay:RELAY_PASSWORD", "phone1:PHONE_PASSWORD"))
    stack = Stack(redis_url, tmp_path / "data", {"SEEDROUTER_PHONES_AMQP_URL": relay_url, "SEEDROUTER_RELAY_METRICS_PORT": "0"})
    environment = os.environ | {"COLUMNS": "200"}
    try:
        stack.start()
        stack.start_role("relay")
        environment |= {"SEEDROUTER_URL": stack.url, "SEEDROUTER_OPERATOR_TOKEN": stack.operator_token}
        words = ["seeds", "enrol", SIMS[0], "--protocol", "amqp", "--carrier", "60301", "--subscription-id", "1", "--json"]
        ran = subprocess.run(
            [sys.executable, "-m", "router.cli.main", *words], env=environment, capture_output=True, text=True, timeout=60, check=True
        )
        seed = json.loads(ran.stdout)
        account = stack.account()
        with Air(tmp_path / "air.jsonl") as air:
            sim = SimQueue(project="seedrouter", binding=seed["binding"], subscription_id=1, seed=SIMS[0], carrier="60301")
            phone = AmqpPhone(phone_url, [sim], air)
            phone.start()
            try:
                wait_for(lambda: stack.operator("GET", f"/seeds/{SIMS[0]}")["online"], f"the phone ({stack.log('relay')[-2000:]})")
                first = wait_for(lambda: _sent(stack, account["id"], "first"), "the first to be accepted")
                stack.wait_for_state(first, "sent")
                stack.kill_role("relay")
                stack.start_role("relay")
                second = wait_for(lambda: _sent(stack, account["id"], "second"), "the second to be accepted")
                stack.wait_for_state(second, "sent", seconds=60)
            finally:
                phone.stop()

            assert ["first", "second"] == [sms.text for sms in read_ledger(air.path)]
        assert ("seedrouter.213.60301", "seedrouter_213_60301") == (seed["binding"], seed["queue"])
        assert "seedrouter_213_60301" == stack.operator("GET", "/seeds")[0]["queue"]
        assert "phones_amqp.no_policy" not in stack.log("relay")
        assert 6 == len(commands)
    finally:
        stack.stop()


def _sent(stack: Stack, account: str, text: str) -> str:
    """The id; empty while no seed is known to be online."""
    body = {"account": account, "phone": PHONE, "text": text, "lane": "notification"}
    headers = {"Authorization": f"Bearer {stack.operator_token}"}
    answer = stack.http.post("/operator/v1/messages", json=body, headers=headers)
    assert answer.status_code in (201, 503), answer.text
    return str(answer.json()["id"]) if answer.is_success else ""


def test_enrolments_that_are_refused(redis_url: str, tmp_path: Path) -> None:
    """What the app would not understand, what is another seed's, and what is said of a seed that is not at RabbitMQ."""
    amqp_seed = {"imsi": SIMS[0], "protocol": "amqp", "subscription_id": 1}
    with running_operator(redis_url, tmp_path) as operator:
        made = operator.call("POST", "/seeds", amqp_seed)
        refusals = [
            operator.refusal("POST", "/seeds", {"imsi": SIMS[1]} | body)[0]
            for body in (
                {"protocol": "amqp", "subscription_id": 1}, {"protocol": "amqp"}, {"subscription_id": 1},
                {"protocol": "amqp", "subscription_id": -1}, {"protocol": "amqp", "subscription_id": 1, "project": "a.b"},
                {"protocol": "amqp", "subscription_id": 1, "calling_code": "x"}, {"protocol": "smpp"},
            )
        ]  # fmt: skip
        known = {seed["imsi"] for seed in operator.call("GET", "/seeds")}
        released = operator.call("POST", "/seeds", {"imsi": SIMS[0], "protocol": "seeds"})
        other = operator.call("POST", "/seeds", amqp_seed | {"imsi": SIMS[1], "calling_code": "+213"})

    assert "seedrouter_213_60301" == made["queue"] == other["queue"]
    assert "" == released["queue"]
    assert [409, 422, 422] == refusals[:3]
    assert {SIMS[0]} == known
    assert all(status in (400, 422) for status in refusals[3:])
