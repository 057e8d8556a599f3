"""No message gets lost in the figures either: accepted = ended + open, whatever becomes of messages."""

from collections.abc import AsyncIterator, Sequence
from functools import partial

import pytest
from prometheus_client import REGISTRY

from router.domain import lifecycle
from router.domain.account import KeyCredential
from router.domain.errors import Unavailable
from router.domain.submission_request import NewSubmission
from router.queue.entries import Entry
from router.services.devices import Devices
from router.services.outbox import Handed
from router.services.reliability import Reliability
from router.services.submissions import Submissions
from router.services.transitions import Step
from router.store.accounts import hash_key
from tests.integration.services.world import IMSI, KEY, World

pytestmark = pytest.mark.anyio
TWO = NewSubmission(recipients=("+213661000011", "+213661000012"), body="two of them")


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    world = World(redis_url, max_attempts=2, probe_number="+213661000077")
    yield world
    await world.close()


def total(name: str, **labels: str) -> float:
    """The sum of a counter's series with these labels, in this process."""
    return sum(
        sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name == f"seedrouter_{name}" and labels.items() <= sample.labels.items()
    )


class Books:
    """What was counted since it was made."""

    NAMES = ("messages_accepted_total", "messages_ended_total", "codes_sent_total", "messages_verified_total")

    def __init__(self, world: World) -> None:
        self._world = world
        self._before = {name: total(name) for name in self.NAMES}

    def since(self, name: str) -> float:
        return total(name) - self._before[name]

    async def difference(self) -> float:
        """Accepted, less ended, less open."""
        still_open = await self._world.store.timers.count(self._world.store.batch())
        return self.since("messages_accepted_total") - self.since("messages_ended_total") - still_open


async def test_accepted_is_ended_and_open(world: World) -> None:
    """Codes and plain SMS: sent, verified, failed, expired, cancelled, sent late, delivered later, taken back, never accepted."""
    books = Books(world)
    account = await world.account()
    await world.seed(pace_seconds=0.01)

    async def give(phone: str, **fields: str) -> Handed:
        """A message in the hands of the seed."""
        await rest(world)
        await world.submit(account, phone, **fields)
        await world.dispatch()
        (handed,) = await world.fetch()
        return handed

    # A code: sent, delivered, verified, whatever is said again; a plain SMS likewise
    handed = await give("+213661000001")
    for state in ("accepted", "radio", "sent", "sent", "delivered", "failed"):
        await world.report(handed, state)
        assert 0 == await books.difference()
    await world.codes.verify(account, handed.id, handed.text.removeprefix("Code "))
    assert (1, 1) == (books.since("codes_sent_total"), books.since("messages_ended_total"))
    handed = await give("+213661000002", text="plain")
    for state in ("accepted", "radio", "sent", "sent", "delivered", "failed"):
        await world.report(handed, state)
        assert 0 == await books.difference()
    assert (1, 2) == (books.since("codes_sent_total"), books.since("messages_ended_total"))
    # A code that comes back right before its seed has said that it was sent
    handed = await give("+213661000003")
    await world.codes.verify(account, handed.id, handed.text.removeprefix("Code "))
    await world.report(handed, "sent")
    assert (2, 2) == (books.since("codes_sent_total"), books.since("messages_verified_total"))
    # One that is cancelled and one that expires in the seed's hands and are sent all the same; one that is replaced; one that fails
    cancelled, expired = await give("+213661000005"), await give("+213661000006")
    await world.transitions.apply([Step(cancelled.id, partial(lifecycle.cancel, reason="test"))])
    await rest(world)
    older = (await world.submit(account, "+213661000007")).message.id
    await world.submit(account, "+213661000007")
    assert "cancelled" == (await world.message(older)).state
    await rest(world, 1000)
    for item in (cancelled, expired):
        assert (await world.message(item.id)).is_final
        await world.report(item, "sent")
    assert 0 == await books.difference()
    handed = await give("+213661000004")
    for _ in range(world.rules.max_attempts):
        await world.report(handed, "failed", error="no service")
        await rest(world, 60)
        await world.dispatch()
        handed = (await world.fetch() or [handed])[0]
    assert "failed" == (await world.message(handed.id)).state
    # A probe; a submission; a number whose carrier has no seed
    await Reliability(world.store, world.queue, world.clock, world.rules, world.settings).start(IMSI)
    await world.submit(account, "+213770000001")
    await submissions_of(world).submit(account, KeyCredential(hash_key(KEY)), TWO)
    await world.dispatch()
    assert 0 == await books.difference()
    # The queue is away: nothing was accepted, so nothing has ended
    ended = books.since("messages_ended_total")
    world.queue.away = True
    with pytest.raises(Unavailable):
        await world.submit(account, "+213661000020")
    world.queue.away = False
    assert ended == books.since("messages_ended_total")
    assert 0 == await books.difference()
    for _ in range(10):
        await rest(world, 4000)

    assert 0 == await world.store.timers.count(world.store.batch())
    assert books.since("messages_accepted_total") == books.since("messages_ended_total") == 12
    assert books.since("messages_verified_total") <= books.since("codes_sent_total")


async def test_taken_back_after_all(world: World) -> None:
    """Where one of a submission has gone too far to be taken back, all of them count as accepted; those that were taken back have ended."""
    books = Books(world)
    account = await world.account()
    await world.seed()
    publish = world.queue.publish

    async def half_kept(entries: Sequence[Entry]) -> None:
        """The first one is with its seed already when it is known that the queue is away."""
        await publish(entries[:1])
        await world.dispatch()
        for handed in await world.fetch():
            await world.report(handed, "sent")
        raise Unavailable("the queue cannot be reached")

    world.queue.publish = half_kept
    await submissions_of(world).submit(account, KeyCredential(hash_key(KEY)), TWO)
    world.queue.publish = publish
    await rest(world, 10)

    assert 2 == books.since("messages_accepted_total") == books.since("messages_ended_total")
    assert 0 == await books.difference()


def submissions_of(world: World) -> Submissions:
    devices = Devices(world.store, world.clock, world.rules, world.settings)
    return Submissions(world.store, world.submitting.acceptance, world.transitions, devices, world.clock, world.rules)


async def rest(world: World, seconds: float = 2) -> None:
    """Time passes, the timekeeper does what is due, and the seed is well again."""
    while await world.time_passes(seconds):
        seconds = 0
    await world.look()
