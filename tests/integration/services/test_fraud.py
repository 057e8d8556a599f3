"""Attacks on a whole router in one process: who is refused, what they hear, what operators see, and what survives."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from router import metrics
from router.domain.account import Account
from router.domain.errors import Blocked, Conflict, CountryNotServed, Invalid, NoSeedAvailable, NotFound, RouterError
from router.domain.fraud import FraudRules
from router.domain.prefix_blocks import MAX_BLOCKS
from router.services.fraud import Fraud, FraudJudge
from router.services.prefix_tally import PREFIXES
from router.services.statistics import Statistics
from router.store.accounts import hash_key
from router.store.fraud import FraudStore
from router.tally import TALLY
from tests.integration.services.test_submissions import App
from tests.integration.services.world import KEY, World
from tests.integration.store.kit import NOW, PHONE, ask, everything, strings_of

pytestmark = pytest.mark.anyio

PUMPED = "+21366123"
MINUTE = 60.0


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What this process counts by is for the tests here alone."""
    yield
    PREFIXES.follow(FraudRules())
    TALLY.take()


class Guarded:
    """A router that blocks, and its judges."""

    def __init__(self, world: World, redis_url: str) -> None:
        self.world = world
        self.redis_url = redis_url
        self.rules = world.settings.fraud_rules()
        PREFIXES.follow(self.rules)
        TALLY.take()
        self.statistics = Statistics(world.store, world.clock, world.settings.families())
        self.judge = self.new_judge()
        self.fraud = Fraud(world.store, self.statistics, world.clock, self.rules, world.presence)

    def new_judge(self) -> FraudJudge:
        return FraudJudge(self.world.store, self.statistics, self.world.clock, self.rules, 0.001)

    async def account(self) -> Account:
        await self.world.seed()
        return await self.world.account(balance=100_000)

    async def attack(self, account: Account, count: int = 30, first: int = 0) -> None:
        for place in range(first, first + count):
            await self.world.submit(account, f"{PUMPED}{place:04}")

    async def judged(self, minutes: int = 3) -> None:
        """What was counted is told, that many minutes pass, and a judgement is made in each."""
        for _ in range(minutes):
            await self.statistics.flush()
            self.world.clock.advance(MINUTE)
            await self.turn()
        await self.world.seed()

    async def turn(self, judge: FraudJudge | None = None) -> bool:
        await ask(self.world.store, lambda batch: batch.add("DEL", "fraud:{prefixes}:turn"))
        return await (judge or self.judge).run()

    def of_account(self, account: Account) -> dict[str, Any]:
        return {key: value for key, value in everything(self.redis_url).items() if f"{{{account.id}}}" in key}

    async def outcome(self, account: Account, phone: str, **fields: Any) -> RouterError | None:
        return await outcome(self.world, account, phone, **fields)


async def outcome(world: World, account: Account, phone: str, **fields: Any) -> RouterError | None:
    """What a client hears; None where his message was accepted."""
    try:
        await world.submit(account, phone, **fields)
    except RouterError as error:
        return error
    return None


def guarded_by(redis_url: str, **settings: Any) -> Guarded:
    return Guarded(World(redis_url, **{"fraud": "block"} | settings), redis_url)


@pytest.fixture
async def guarded(redis_url: str) -> AsyncIterator[Guarded]:
    made = guarded_by(redis_url)
    yield made
    await made.world.close()


def blocks_counted(reason: str) -> float:
    return float(metrics.PREFIX_BLOCKS.labels(reason)._value.get())


async def test_a_run_of_numbers_is_blocked_and_nobody_else(guarded: Guarded) -> None:
    """Within a few judgements. The next number of the run is refused, and neither charged nor counted; other prefixes go on."""
    account = await guarded.account()
    counted = blocks_counted("sequential")
    await guarded.attack(account)
    await guarded.judged()
    balance = await guarded.world.balance(account)
    before = guarded.of_account(account)
    refusal = await guarded.outcome(account, f"{PUMPED}0030")

    assert isinstance(refusal, Blocked)
    assert (PUMPED, "sequential") == (refusal.prefix, refusal.reason)
    assert balance == await guarded.world.balance(account)
    assert before == guarded.of_account(account)
    assert None is await guarded.outcome(account, "+213661240030")
    assert 1 == blocks_counted("sequential") - counted


async def test_to_the_client_it_is_a_number_that_no_seed_serves(guarded: Guarded) -> None:
    """The same error with the same text, after the same look at who is online; the reason is for operators."""
    account = await guarded.account()
    await guarded.fraud.block(PUMPED, "they pump")
    blocked = await guarded.outcome(account, f"{PUMPED}0000")
    unserved = await guarded.outcome(account, "+33612345678")

    assert isinstance(blocked, Blocked)
    assert isinstance(unserved, NoSeedAvailable)
    assert not isinstance(unserved, Blocked)
    assert str(blocked) == str(unserved)
    assert "they pump" == blocked.why


async def test_watching_refuses_nobody(redis_url: str) -> None:
    """It marks: operators and alerts see what would have been blocked."""
    guarded = guarded_by(redis_url, fraud="watch")
    account = await guarded.account()
    counted = blocks_counted("sequential")
    await guarded.attack(account)
    await guarded.judged()
    await guarded.turn()
    (block,) = await guarded.fraud.blocks()

    assert None is await guarded.outcome(account, f"{PUMPED}0030")
    assert block.is_active(guarded.world.clock.at)
    assert not block.refuses(guarded.rules)
    assert 1 == blocks_counted("sequential") - counted
    assert (0, 1) == (metrics.PREFIXES_BLOCKED.labels("60301")._value.get(), metrics.PREFIXES_SUSPECTED.labels("60301")._value.get())
    await guarded.world.close()


async def test_off_judges_nothing(redis_url: str) -> None:
    """Only what an operator blocks is blocked."""
    guarded = guarded_by(redis_url, fraud="off")
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.judged()

    assert [] == await guarded.fraud.blocks()
    assert [] == await guarded.fraud.prefixes()
    await guarded.fraud.block(PUMPED, "")
    assert isinstance(await guarded.outcome(account, f"{PUMPED}0030"), Blocked)
    await guarded.world.close()


async def test_codes_that_never_come_back(guarded: Guarded) -> None:
    """Random numbers of one prefix, sent and never verified, while the carrier's other codes come back."""
    world, account = guarded.world, await guarded.account()

    async def one(number: str, *, is_honest: bool) -> None:
        world.clock.advance(0.05)
        message = (await world.submit(account, number)).message
        await world.dispatch()
        (handed,) = await world.fetch()
        assert message.id == handed.id
        await world.report(handed, "radio")
        await world.report(handed, "sent")
        if is_honest:
            await world.codes.verify(account, handed.id, handed.text.split()[1])

    for place in range(110):
        await one(f"+21366{place % 90 + 200:03}{(place * 7919) % 10_000:04}", is_honest=True)
    await guarded.judged(15)
    for place in range(25):
        await one(f"+21366{place % 90 + 200:03}{(place * 7717) % 10_000:04}", is_honest=True)
        await one(f"{PUMPED}{(place * 389) % 10_000:04}", is_honest=False)
    await guarded.judged(3)
    (view, *_) = await guarded.fraud.prefixes()
    (block,) = await guarded.fraud.blocks()

    assert (PUMPED, "60301", "conversion") == (block.prefix, block.carrier, block.reason)
    assert (PUMPED, 25, 25, 0, 0.0, 1.0) == (view.prefix, view.accepted, view.sent, view.verified, view.conversion, view.usual_conversion)


async def test_every_process_refuses_and_a_new_one_too(guarded: Guarded, redis_url: str) -> None:
    """The block is in the store: a second api process knows it at its next look, and one that starts later before its first request."""
    account = await guarded.account()
    await guarded.attack(account)
    second = World(redis_url, clock=guarded.world.clock, queue=guarded.world.queue, fraud="block")
    await second.look()
    await guarded.judged()
    for world in (guarded.world, second):
        await world.look()
        assert isinstance(await outcome(world, account, f"{PUMPED}0030"), Blocked)
    third = World(redis_url, clock=guarded.world.clock, queue=guarded.world.queue, fraud="block")
    await third.presence.look()

    assert isinstance(await outcome(third, account, f"{PUMPED}0030"), Blocked)
    await second.close()
    await third.close()


async def test_nobody_is_refused_by_an_old_copy(guarded: Guarded, redis_url: str) -> None:
    """Before it refuses, a process looks again: a lift holds at once, also where it has not been heard of."""
    account = await guarded.account()
    second = World(redis_url, clock=guarded.world.clock, queue=guarded.world.queue, fraud="block")
    await guarded.fraud.block(PUMPED, "")
    await second.look()
    await guarded.fraud.lift(PUMPED)

    assert 1 == len(second.presence.blocked)
    assert None is await outcome(second, account, f"{PUMPED}0030")
    await second.close()


async def test_an_operator_lifts_and_it_holds(guarded: Guarded) -> None:
    """The attack goes on, and the router leaves the prefix alone for an hour; then it is blocked anew."""
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.judged()
    lifted = await guarded.fraud.lift(PUMPED)
    assert lifted.lifted
    assert "operator" == lifted.lifted_by
    with pytest.raises(NotFound):
        await guarded.fraud.lift(PUMPED)
    await guarded.attack(account, first=30)
    await guarded.judged()
    assert None is await guarded.outcome(account, f"{PUMPED}0099")
    guarded.world.clock.advance(3600)
    await guarded.world.seed()
    await guarded.attack(account, first=100, count=80)
    await guarded.judged()

    assert isinstance(await guarded.outcome(account, f"{PUMPED}0199"), Blocked)


async def test_a_block_ends_and_the_next_is_longer(guarded: Guarded) -> None:
    """By its time, with nobody's help; who begins again is caught again."""
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.judged()
    (first,) = await guarded.fraud.blocks()
    assert first.until is not None
    guarded.world.clock.at = first.until
    await guarded.world.seed()
    await guarded.attack(account, first=200)
    await guarded.judged()
    (second,) = await guarded.fraud.blocks()

    assert (1, 2) == (first.strikes, second.strikes)
    assert second.until is not None
    assert 2 * (first.until - first.since) == second.until - second.since


async def test_who_goes_on_asking_stays_blocked(guarded: Guarded) -> None:
    """What is refused counts as demand; when it ends, the prefix is freed before its time."""
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.judged()
    for minute in range(9):
        for place in range(5):
            assert isinstance(await guarded.outcome(account, f"{PUMPED}{9000 + 10 * minute + place}"), Blocked)
        await guarded.judged(1)
    (block,) = await guarded.fraud.blocks()
    (view,) = await guarded.fraud.prefixes()
    assert not block.lifted
    assert 45 == view.refused
    await guarded.judged(5)
    (block,) = await guarded.fraud.blocks()

    assert not block.is_active(guarded.world.clock.at)


async def test_two_judges_write_one_block(guarded: Guarded) -> None:
    """At the same time, by the same figures: it is written, counted and told once; a minute is learned once."""
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.statistics.flush()
    guarded.world.clock.advance(3 * MINUTE)
    counted = blocks_counted("sequential")
    judges = [guarded.new_judge() for _ in range(4)]
    await asyncio.gather(*(judge._judge({}) for judge in judges))
    changes = await ask(guarded.world.store, FraudStore.changes)
    guarded.world.clock.at = NOW + guarded.rules.learn_seconds
    await asyncio.gather(*(judge._learn({}) for judge in judges))
    usual = await FraudStore.usual(guarded.world.store.batch(), [PUMPED])

    assert 1 == blocks_counted("sequential") - counted
    assert b"1" == changes
    assert 30 == round(usual[PUMPED].accepted)


async def test_one_judge_at_a_time(guarded: Guarded) -> None:
    """Others pass over their turn, and show the figures all the same."""
    await guarded.fraud.block(PUMPED, "")
    slow = FraudJudge(guarded.world.store, guarded.statistics, guarded.world.clock, guarded.rules, 60.0)
    other = guarded.new_judge()

    assert await slow.run()
    metrics.PREFIXES_BLOCKED.labels("60301").set(0)
    assert not await other.run()
    assert 1 == metrics.PREFIXES_BLOCKED.labels("60301")._value.get()


async def test_an_attack_does_not_become_usual(guarded: Guarded) -> None:
    """Its minutes are not learned, neither for its prefix nor for its carrier."""
    guarded = guarded_by(guarded.redis_url, fraud="watch")
    account = await guarded.account()
    await guarded.attack(account)
    await guarded.judged()
    for minute in range(5):
        await guarded.attack(account, first=100 + 40 * minute)
        await guarded.world.submit(account, f"+21366124{minute:04}")
        await guarded.judged(1)
    await guarded.judged(20)
    usual = await FraudStore.usual(guarded.world.store.batch(), [PUMPED, "60301"])

    assert 0 == usual[PUMPED].accepted
    assert 5 == round(usual["60301"].accepted)
    await guarded.world.close()


async def test_a_repeat_of_what_was_accepted_is_answered(guarded: Guarded) -> None:
    """With its Idempotency-Key, from before the block: it was accepted, and accepted is final."""
    account = await guarded.account()
    first = await guarded.world.submit(account, f"{PUMPED}0001", idempotency_key="k")
    await guarded.fraud.block(PUMPED, "")
    again = await guarded.world.submit(account, f"{PUMPED}0001", idempotency_key="k")

    assert again.replayed
    assert first.message.id == again.message.id
    assert isinstance(await guarded.outcome(account, f"{PUMPED}0001", idempotency_key="other"), Blocked)


@pytest.mark.parametrize("recipient", [f"{PUMPED}0001", "00213661230001", "0661230001", "+213 661 23 00 01"])
async def test_a_submission_goes_nowhere_where_one_recipient_is_blocked(guarded: Guarded, recipient: str) -> None:
    """All or none, as for one that no seed serves; also where the client wants his numbers taken as they are."""
    account, app = await guarded.account(), App(guarded.world)
    await guarded.fraud.block(PUMPED, "they pump")
    for as_it_is in (True, False):
        with pytest.raises(Blocked):
            await app.send(account, PHONE, recipient, skip_phone_validation=as_it_is)

    assert (await app.send(account, PHONE, "+213661240001")).view.submission.messages


async def test_automatic_blocks_are_for_codes(guarded: Guarded) -> None:
    """A company that sends plain SMS to its customers there was not judged, and is not refused, unless a setting says so."""
    account, app = await guarded.account(), App(guarded.world)
    await guarded.attack(account)
    await guarded.judged()

    assert isinstance(await guarded.outcome(account, f"{PUMPED}0500"), Blocked)
    assert None is await guarded.outcome(account, f"{PUMPED}0500", text="a plain text", lane="notification")
    assert (await app.send(account, f"{PUMPED}0501")).view.submission.messages


async def test_countries(redis_url: str) -> None:
    """Numbers of other countries are told so, before anything else is looked at; as they are too, as far as they can be read."""
    guarded = guarded_by(redis_url, countries="TN,DZ", accept_when="always")
    account, app = await guarded.account(), App(guarded.world)

    assert None is await guarded.outcome(account, PHONE)
    assert None is await guarded.outcome(account, "+21620123456")
    for foreign in ("+33612345678", "+212661234567"):
        assert isinstance(await guarded.outcome(account, foreign), CountryNotServed)
        for as_it_is in (True, False):
            with pytest.raises(CountryNotServed):
                await app.send(account, PHONE, foreign, skip_phone_validation=as_it_is)
    await guarded.world.close()


async def test_countries_of_an_account(redis_url: str) -> None:
    """Its own list narrows the router's, for all that it submits; it holds for the next message, whatever an api process has a copy of."""
    guarded = guarded_by(redis_url, countries="TN,DZ", accept_when="always")
    account, app = await guarded.account(), App(guarded.world)
    abroad = "+21620123456"
    assert None is await guarded.outcome(account, abroad)
    balance = await guarded.world.balance(account)
    changed = await guarded.world.admin.change(account.id, countries=["DZ", "FR"])

    assert frozenset({"DZ", "FR"}) == changed.countries
    for foreign in (abroad, "+33612345678"):
        assert isinstance(await guarded.outcome(account, foreign), CountryNotServed)
        for as_it_is in (True, False):
            with pytest.raises(CountryNotServed):
                await app.send(account, PHONE, foreign, skip_phone_validation=as_it_is)
    assert balance == await guarded.world.balance(account)
    assert None is await guarded.outcome(account, PHONE)
    stale = await guarded.world.accounts.authenticate(hash_key(KEY))
    await guarded.world.admin.change(account.id, countries=[])
    assert frozenset({"DZ", "FR"}) == stale.countries, "the copy in memory has the old list"
    assert None is await guarded.outcome(account, "+21620123457")
    with pytest.raises(Invalid, match="XX: no ISO code"):
        await guarded.world.admin.change(account.id, countries=["DZ", "XX"])
    await guarded.world.close()


async def test_limit(redis_url: str) -> None:
    """So many codes to a prefix within a window, whoever wants them; a window later it goes on."""
    guarded = guarded_by(redis_url, fraud_limit=10)
    account = await guarded.account()
    for place in range(11):
        await guarded.world.submit(account, f"{PUMPED}{place * 700:04}")
    await guarded.statistics.flush()
    await guarded.turn()
    await guarded.world.look()
    refusal = await guarded.outcome(account, f"{PUMPED}0001")
    guarded.world.clock.advance(600)
    await guarded.world.seed()

    assert isinstance(refusal, Blocked)
    assert "velocity" == refusal.reason
    assert None is await guarded.outcome(account, f"{PUMPED}0001")
    await guarded.world.close()


async def test_no_number_is_kept_for_it(guarded: Guarded) -> None:
    """Neither the counts nor the blocks nor what is usual hold anything of a number behind its prefix."""
    account = await guarded.account()
    await guarded.attack(account, count=30, first=4570)
    await guarded.world.submit(account, "+213661244570")
    await guarded.judged(15)
    ours = {key: value for key, value in everything(guarded.redis_url).items() if key.startswith(("fraud:", "stats:{prefix:"))}

    assert {"fraud:{prefixes}:blocks", "fraud:{prefixes}:usual"} < ours.keys()
    for key, value in ours.items():
        for string in strings_of([key.encode(), value]):
            assert not any(f"{place}".encode() in string for place in range(4570, 4600)), (key, string)


@pytest.mark.parametrize(
    ("prefix", "why", "seconds"), [("0661", "", None), ("+21366", "x" * 201, None), ("+21366", "a\nb", None), ("+21366", "", 0.0)]
)
async def test_what_an_operator_may_not_block(guarded: Guarded, prefix: str, why: str, seconds: float | None) -> None:
    """A prefix is a country's code and more, a reason is short, a time is a time."""
    with pytest.raises(Invalid):
        await guarded.fraud.block(prefix, why, seconds)


async def test_blocks_are_bounded(guarded: Guarded) -> None:
    """Beyond so many prefixes no further one is blocked; one that is remembered can still be."""
    await guarded.fraud.block("+21366", "")
    fields = [word for place in range(MAX_BLOCKS - 1) for word in (f"x{place}", "{}")]
    await ask(guarded.world.store, lambda batch: batch.add("HSET", "fraud:{prefixes}:blocks", *fields))
    with pytest.raises(Conflict):
        await guarded.fraud.block(PUMPED, "")
    await guarded.fraud.lift("+21366")

    assert [("+21366", True)] == [(block.prefix, block.lifted) for block in await guarded.fraud.blocks()]


async def test_what_is_over_is_forgotten(guarded: Guarded) -> None:
    """A day after its end, by a judge."""
    await guarded.fraud.block(PUMPED, "", 60)
    guarded.world.clock.advance(60 + 86_400)
    assert 1 == len(await guarded.fraud.blocks())
    await guarded.turn()

    assert [] == await guarded.fraud.blocks()


async def test_the_quiet_past_is_forgotten(guarded: Guarded) -> None:
    """What would not change a verdict; carriers are kept."""
    account = await guarded.account()
    await guarded.world.submit(account, "+213661240001")
    await guarded.attack(account, count=10)
    await guarded.judged(15)
    assert {"+21366124", PUMPED, "60301"} == (await FraudStore.all_usual(guarded.world.store.batch())).keys()
    guarded.world.clock.advance(2 * 3600)
    for _ in range(4):
        await guarded.turn()

    assert {PUMPED, "60301"} == (await FraudStore.all_usual(guarded.world.store.batch())).keys()
    assert NOW < guarded.world.clock.at
