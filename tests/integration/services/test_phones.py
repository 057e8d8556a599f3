from collections.abc import AsyncIterator
from functools import partial

import msgspec
import pytest

from router.domain import lifecycle
from router.domain.device import Device
from router.domain.errors import Unauthorized
from router.domain.message import Message
from router.domain.phone_messages import phone_id
from router.services.phones import Listed, PhoneReport
from router.services.transitions import Step
from router.store.accounts import hash_key
from router.store.phones import PHONES_CHANNEL, News, parse_news
from tests.integration.services.world import KEY, World
from tests.integration.store.kit import PHONE, ask, seal_forged

pytestmark = pytest.mark.anyio
OTHER_NUMBER = "+213661999998"


async def pull(world: World, device: Device) -> list[Listed]:
    """As the phone is known now."""
    return await world.phones.pull(await world.devices.get(device.id), 100, "lifo")


async def tell(world: World, device: Device, id: str, state: str, *times: float, error: str | None = None) -> int:
    report = PhoneReport(id=id, state=state, error=error, times=times)  # type: ignore[arg-type]
    return await world.phones.report(await world.devices.get(device.id), [report])


async def known(world: World) -> bool:
    return await ask(world.store, lambda batch: world.store.accounts.owner_of_key(batch, hash_key(KEY))) is not None


async def sms(world: World, device: Device | None = None, **fields: object) -> Message:
    """An SMS that was dispatched; with a device it was also fetched, by that one."""
    account = await world.accounts.authenticate(hash_key(KEY)) if await known(world) else await world.account()
    message = (await world.submit(account, text="Hello", **fields)).message
    await world.dispatch()
    if device is not None:
        assert [phone_id(message.id, 1)] == [listed.id for listed in await pull(world, device)]
    return await world.message(message.id)


async def test_a_phone_is_a_seed(world: World) -> None:
    """What was submitted comes out at the phone, with the SIM that is to send it; what it says of it is the message's state."""
    account = await world.account(key="sk_phone_owner")
    device = await world.phone(account, "+213771999999", "+213661999999")
    message = await sms(world)
    (listed,) = await pull(world, device)

    assert (phone_id(message.id, 1), PHONE, "Hello", 2, False) == (listed.id, listed.to, listed.text, listed.sim, listed.is_cancelling)
    assert world.clock.at + 5 == listed.valid_until
    assert 1 == await tell(world, device, listed.id, "radio", world.clock.at)
    assert "radio" == (await world.message(message.id)).attempts[0].state
    assert 1 == await tell(world, device, listed.id, "sent", world.clock.at)
    assert 1 == await tell(world, device, listed.id, "delivered", world.clock.at)
    done = await world.message(message.id)
    assert ("sent", True, True) == (done.state, done.delivered_at is not None, done.settled)


async def test_listed_until_it_says_something(world: World) -> None:
    """A pull is no receipt: its answer may be lost. After a word of the phone it is not listed again."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    await sms(world, device)
    again = await pull(world, device)

    assert ["Hello"] == [listed.text for listed in again]
    await tell(world, device, again[0].id, "radio")
    assert [] == await pull(world, device)


async def test_a_text_that_cannot_be_opened_holds_up_nobody(world: World) -> None:
    """Another seal key was given meanwhile: that message is not listed again, and the phone's pull goes on."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    await seal_forged(world.store, message.id)

    assert [] == await pull(world, device)


async def test_its_lease_in_its_own_time(world: World) -> None:
    """A clock five minutes behind: after its first report, a second after the hand-over, leases are told by the phone's clock."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    world.clock.advance(1)
    await tell(world, device, phone_id(message.id, 1), "sent", world.clock.at - 300)
    other = await sms(world)
    (listed,) = await pull(world, device)

    assert world.clock.at + 5 - 299 == pytest.approx(listed.valid_until, abs=0.01)
    assert 15.0 == (await world.message(message.id)).attempts[0].margin_seconds
    assert 2.0 == (await world.message(other.id)).attempts[0].margin_seconds


async def test_silence_is_ambiguous_and_moves(world: World) -> None:
    """The lease and the margin of an unknown clock pass without a word: another phone has it next, with a new id; the first is asked."""
    owner = await world.account(key="sk_phone_owner")
    first = await world.phone(owner)
    message = await sms(world, first)
    second = await world.phone(owner, OTHER_NUMBER)
    await world.time_passes(5 + 15 - 0.5)
    assert "handed" == (await world.message(message.id)).attempts[0].state
    await world.time_passes(0.6)
    await world.dispatch()
    moved = await world.message(message.id)

    assert ["ambiguous", "assigned"] == [attempt.state for attempt in moved.attempts]
    assert [phone_id(message.id, 2)] == [listed.id for listed in await pull(world, second)]
    (asked,) = await pull(world, first)
    assert (phone_id(message.id, 1), "", False) == (asked.id, asked.text, asked.is_cancelling)
    assert asked.valid_until <= message.created_at
    await tell(world, first, asked.id, "failed", error="TTL expired")
    assert [] == await pull(world, first)
    assert ["failed", "handed"] == [attempt.state for attempt in (await world.message(message.id)).attempts]


class Line:
    """What phones are told on their open lines."""

    def __init__(self, world: World) -> None:
        self.listening = world.store.redis.pubsub()
        self.redis = world.store.redis

    async def open(self) -> None:
        await self.listening.subscribe(PHONES_CHANNEL)
        while await self.listening.get_message(timeout=5) is None:
            pass

    async def told(self) -> list[tuple[str, str]]:
        """Devices, and the events that they were told since, in order."""
        await self.redis.publish(PHONES_CHANNEL, msgspec.json.encode(News("nobody", "that is all")))
        told: list[tuple[str, str]] = []
        async for hint in self.listening.listen():
            news = parse_news(hint["data"])
            if news.device == "nobody":
                break
            told.append((news.device, news.event))
        return told


@pytest.fixture
async def line(world: World) -> AsyncIterator[Line]:
    made = Line(world)
    await made.open()
    yield made
    await made.listening.aclose()


async def test_asked_before_its_lease_ends(world: World, line: Line) -> None:
    """Its report was lost. It is told to look at its list, and told again, tells what it did, and no other phone ever has the message."""
    owner = await world.account(key="sk_phone_owner")
    first = await world.phone(owner)
    message = await sms(world, first)
    second = await world.phone(owner, OTHER_NUMBER)
    await line.told()
    await world.time_passes(3.75)
    assert [] == await line.told()
    await world.time_passes(0.25)
    assert [(first.id, "MessageEnqueued")] == await line.told()
    await world.time_passes(0.75)
    assert [] == await line.told()
    await world.time_passes(0.75)
    assert [(first.id, "MessageEnqueued")] == await line.told()

    (listed,) = await pull(world, first)
    assert (phone_id(message.id, 1), "Hello", False) == (listed.id, listed.text, listed.is_cancelling)
    assert listed.valid_until < world.clock.at
    assert 1 == await tell(world, first, listed.id, "sent")
    await world.time_passes(30)
    await world.dispatch()
    done = await world.message(message.id)
    assert ("sent", 1, world.clock.at - 30) == (done.state, len(done.attempts), done.attempts[0].asked_at)
    assert [] == await pull(world, second) == await pull(world, first)


async def test_asked_late_is_not_asked_twice(world: World, line: Line) -> None:
    """The timekeeper was away beyond the margin: the attempt is ambiguous at once, and the phone is told so, as ever."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    await line.told()
    await world.time_passes(5 + 15)

    assert [(device.id, "MessageCancelled"), (device.id, "MessageEnqueued")] == await line.told()
    (attempt,) = (await world.message(message.id)).attempts
    assert ("ambiguous", None) == (attempt.state, attempt.asked_at)


async def test_a_late_truth_takes_it_back(world: World) -> None:
    """It was on the radio after all, and nobody else has it in hand: the second phone is never given it."""
    owner = await world.account(key="sk_phone_owner")
    first = await world.phone(owner)
    message = await sms(world, first)
    second = await world.phone(owner, OTHER_NUMBER)
    await world.time_passes(5 + 15.1)
    await world.dispatch()
    await tell(world, first, phone_id(message.id, 1), "radio")
    back = await world.message(message.id)

    assert ["radio", "withdrawn"] == [attempt.state for attempt in back.attempts]
    assert [] == await pull(world, second)
    await tell(world, first, phone_id(message.id, 1), "sent")
    assert "sent" == (await world.message(message.id)).state
    assert 0 == (await world.registry.get(f"{second.id}.1")).in_flight


async def test_sent_by_another_meanwhile_is_recalled(world: World) -> None:
    """The first phone's late word that it was sent: the second is told to drop it, and both of its words count."""
    owner = await world.account(key="sk_phone_owner")
    first = await world.phone(owner)
    message = await sms(world, first)
    second = await world.phone(owner, OTHER_NUMBER)
    await world.time_passes(5 + 15.1)
    await world.dispatch()
    assert 1 == len(await pull(world, second))
    await tell(world, first, phone_id(message.id, 1), "sent")
    (recalled,) = await pull(world, second)

    assert (phone_id(message.id, 2), "", True) == (recalled.id, recalled.text, recalled.is_cancelling)
    await tell(world, second, recalled.id, "cancelled")
    done = await world.message(message.id)
    assert ("sent", ["sent", "returned"], 1) == (done.state, [attempt.state for attempt in done.attempts], done.times_on_air)


async def test_cancelled_while_a_phone_has_it(world: World) -> None:
    """The phone is told to drop it; the charge is given back when it has, not before."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    await cancel(world, message)
    (listed,) = await pull(world, device)
    before = await world.message(message.id)
    await tell(world, device, listed.id, "cancelled")
    after = await world.message(message.id)

    assert (True, "") == (listed.is_cancelling, listed.text)
    assert ("cancelled", False) == (before.state, before.settled)
    assert ("cancelled", True) == (after.state, after.settled)
    assert [] == await pull(world, device)


async def test_cancelled_too_late(world: World) -> None:
    """It had gone out: it is paid, and known as sent."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    await cancel(world, message)
    await tell(world, device, phone_id(message.id, 1), "sent")
    done = await world.message(message.id)

    assert ("cancelled", True, True) == (done.state, done.sent_at is not None, done.settled)
    assert 995 == await world.balance(await world.accounts.reload(done.account))


async def test_repeated_and_out_of_order(world: World) -> None:
    """Delivered before sent, sent before processed, all of it twice: one message, sent once, and nothing runs backwards."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    id = phone_id(message.id, 1)
    changed = [await tell(world, device, id, state) for state in ("delivered", "sent", "radio", "delivered", "failed", "accepted")]
    done = await world.message(message.id)

    assert [1, 0, 0, 0, 0, 0] == changed
    assert ("sent", 1, True) == (done.state, done.times_on_air, done.delivered_at is not None)


async def test_others_are_told_nothing(world: World) -> None:
    """A report of another phone's message changes nothing, nor does one of what never was."""
    owner = await world.account(key="sk_phone_owner")
    device = await world.phone(owner)
    message = await sms(world, device)
    stranger = await world.phone(owner, OTHER_NUMBER)
    changed = [await tell(world, stranger, id, "failed") for id in (phone_id(message.id, 1), phone_id(message.id, 2), "nonsense", "wg_x_1")]

    assert [0, 0, 0, 0] == changed
    assert "handed" == (await world.message(message.id)).attempts[0].state


async def test_a_deleted_phone_is_given_nothing(world: World) -> None:
    device = await world.phone(await world.account(key="sk_phone_owner"))
    await sms(world)
    await world.devices.delete(device.id)

    with pytest.raises(Unauthorized):
        await world.phones.pull(device, 100, "lifo")
    assert None is await ask(world.store, lambda batch: batch.add("GET", f"device-token:{{{device.token_hash}}}"))


async def test_limit_errors_are_not_failures(world: World) -> None:
    """The SIM sends too fast: it rests, and neither its breaker nor its share of failures is touched."""
    device = await world.phone(await world.account(key="sk_phone_owner"))
    message = await sms(world, device)
    await tell(world, device, phone_id(message.id, 1), "failed", error="RESULT_ERROR_LIMIT_EXCEEDED")
    seed = await world.registry.get(f"{device.id}.1")

    assert (0, 0.0) == (seed.consecutive_failures, seed.bad)
    assert seed.rest_seconds > 0


async def cancel(world: World, message: Message) -> None:
    (done,) = await world.transitions.apply([Step(message.id, partial(lifecycle.cancel, reason="cancelled by the client"))])
    assert done.error is None
