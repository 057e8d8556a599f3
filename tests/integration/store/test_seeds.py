import asyncio
from datetime import UTC, datetime

import pytest

from router.domain.lifecycle import Release
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed
from router.store.seeds import Seeds, Slip
from router.store.store import Store
from tests.integration.store.kit import NOW, PHONE, a_seed, ask, everything, open_store

pytestmark = pytest.mark.anyio
CAPACITY = Seed(id="").capacity(Rules())
NO_QUOTA = Quota(half_hour=0, hour=0, day=0)


async def enrolled(store: Store, **fields) -> Seed:
    seed = a_seed(**{"quota": NO_QUOTA} | fields)
    batch = store.batch()
    Seeds.enrol(batch, seed, "hash", NOW)
    await batch.run()
    return seed


async def load(store: Store, seed_id: str, now: float = NOW) -> Seed:
    (seed,) = await store.seeds.load(store.batch(), [seed_id], now)
    assert seed is not None
    return seed


async def reserve(store: Store, seed: Seed, slip: Slip, now: float = NOW, account: str = "ac_1", to: str = PHONE) -> str:
    return (await ask(store, lambda batch: store.seeds.reserve(batch, seed, slip, now, account=account, to=to))).decode()


async def take(store: Store, seed: Seed, limit: int = 10) -> list[Slip]:
    return [Slip.parse(member) for member in await ask(store, lambda batch: store.seeds.take(batch, seed.id, limit, ""))]


async def finish(store: Store, seed: Seed, slip: Slip, outcome: str = "sent", *, handed: bool = True, now: float = NOW) -> int:
    release = Release(seed.id, slip.number, outcome, handed, 2.0 if outcome == "sent" else None)
    return await ask(store, lambda batch: store.seeds.finish(batch, slip, release, now))


# Signs of life


async def test_first_ping_makes_the_seed(store: Store) -> None:
    seed = a_seed(msisdn="+213661000001", kind="seed")

    assert [b"60301", b"0"] == await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, None))
    found = await load(store, seed.id)
    assert (NOW, NOW, "+213661000001", "60301", "DZ") == (found.first_ping, found.lps, found.msisdn, found.carrier, found.country)
    assert found.enabled
    assert not found.enrolled


async def test_later_pings_change_the_time_only(store: Store, redis_url: str) -> None:
    """spec/relaysms.md; what an operator has set stands above what the seed says."""
    seed = a_seed(msisdn="+213661000001")
    await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, None))
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"enabled": "0", "carrier": "60302"}, NOW))
    before = everything(redis_url)[f"seed:{{{seed.id}}}"]
    other = a_seed(id=seed.id, msisdn="+213550000000", carrier="60303", country="MA", kind="node")

    assert [b"60302", b"0"] == await ask(store, lambda batch: Seeds.ping(batch, other, NOW + 7, None))
    assert before | {b"lps": repr(NOW + 7).encode()} == everything(redis_url)[f"seed:{{{seed.id}}}"]


async def test_a_ping_fills_in_what_was_not_known(store: Store) -> None:
    seed = a_seed(carrier="", country="")
    await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, None))
    await ask(store, lambda batch: Seeds.ping(batch, a_seed(id=seed.id, msisdn="+213661000001"), NOW + 1, None))
    found = await load(store, seed.id)

    assert ("60301", "DZ", "+213661000001", NOW) == (found.carrier, found.country, found.msisdn, found.first_ping)


async def test_a_ping_enrols_once(store: Store) -> None:
    """The second ping with the enrolment token does not replace the token that the seed was given."""
    seed = a_seed()

    assert [b"60301", b"1"] == await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, "first"))
    assert [b"60301", b"0"] == await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, "second"))
    known = store.seeds.parse_credentials(await ask(store, lambda batch: Seeds.credentials(batch, seed.id)))
    assert ("first", True, True) == (known.token_hash, known.known, known.enrolled)


async def test_enrol(store: Store) -> None:
    """Before any ping: known and dispatchable, not online. Again: the new token holds, what is not given stays."""
    seed = await enrolled(store, pace_seconds=2.5)
    found = await load(store, seed.id)

    assert (True, True, 2.5, NO_QUOTA, 0.0) == (found.enrolled, found.enabled, found.pace_seconds, found.quota, found.lps)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"enabled": "0"}, NOW))
    await ask(store, lambda batch: Seeds.enrol(batch, Seed(id=seed.id), "another", NOW))
    found = await load(store, seed.id)
    assert (False, 2.5, "60301") == (found.enabled, found.pace_seconds, found.carrier), "an operator's word stands"
    assert "another" == store.seeds.parse_credentials(await ask(store, lambda b: Seeds.credentials(b, seed.id))).token_hash
    assert [seed.id] == await Seeds.all_ids(store.batch())


async def test_unknown_seed(store: Store) -> None:
    assert [None] == await store.seeds.load(store.batch(), ["nobody"], NOW)
    assert not store.seeds.parse_credentials(await ask(store, lambda batch: Seeds.credentials(batch, "nobody"))).known


async def test_move_carrier(store: Store) -> None:
    seed = await enrolled(store)
    await ask(store, lambda batch: Seeds.touch(batch, seed.id, seed.carrier, NOW, first=True))
    listed = await load(store, seed.id)
    await ask(store, lambda batch: Seeds.move(batch, listed, "60302"))
    there = await ask(store, lambda batch: Seeds.pinged_since(batch, "60302", 0.0))
    here = await ask(store, lambda batch: Seeds.pinged_since(batch, "60301", 0.0))

    assert [seed.id.encode(), b"2000000000"] == there
    assert [] == here


async def test_move_between_owners(store: Store) -> None:
    """From its carrier's list to its account's own, and where the carrier is not known from among the unknown."""
    for pool, to in (("60301", "60301@ac_1"), ("", "60301")):
        seed = await enrolled(store, carrier=pool)
        await ask(store, lambda batch, s=seed: Seeds.touch(batch, s.id, s.pool, NOW, first=True))
        listed = await load(store, seed.id)
        await ask(store, lambda batch, s=listed, p=to: Seeds.move(batch, s, p))

        assert seed.id.encode() in await ask(store, lambda batch, p=to: Seeds.pinged_since(batch, p, 0.0))
        assert seed.id.encode() not in await ask(store, lambda batch, p=pool: Seeds.pinged_since(batch, p, 0.0))
    assert {"60301", "60301@ac_1", "-"} == set(await Seeds.carriers(store.batch()))


# Room


async def test_room(store: Store) -> None:
    """Never more in flight than the capacity, whoever asks at once."""
    seed = await enrolled(store, pace_seconds=1.0)
    capacity = seed.capacity(Rules())
    answers = await asyncio.gather(*(reserve(store, seed, Slip(f"wg_{i}", 1, 1)) for i in range(20)))

    assert capacity == answers.count("ok")
    assert {"ok", "no room"} == set(answers)
    assert capacity == (await load(store, seed.id)).in_flight


async def test_a_long_message_fits_an_idle_seed(store: Store) -> None:
    """A message of more parts than the capacity goes to a seed that has nothing else, and fills it."""
    seed = await enrolled(store)

    assert "ok" == await reserve(store, seed, Slip("wg_long", 1, CAPACITY + 5))
    assert "no room" == await reserve(store, seed, Slip("wg_other", 1, 1))


async def test_reserving_again_takes_nothing(store: Store) -> None:
    """Neither while it waits nor while the seed holds it."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 1)

    assert ["ok", "ok"] == [await reserve(store, seed, slip) for _ in range(2)]
    assert [slip] == await take(store, seed)
    assert "ok" == await reserve(store, seed, slip)
    found = await load(store, seed.id)
    assert (1, (1, 1, 1)) == (found.in_flight, found.used)


@pytest.mark.parametrize(
    ("fields", "reason"), [({"enrolled": "0"}, "not enrolled"), ({"enabled": "0"}, "disabled"), ({"draining": "1"}, "draining")]
)
async def test_who_may_not(store: Store, fields: dict[str, str], reason: str) -> None:
    """Invariant 6 in the last instance: the copy that the choice was made on may be out of date."""
    seed = await enrolled(store)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, fields, NOW))

    assert reason == await reserve(store, seed, Slip("wg_1", 1, 1))
    assert 0 == (await load(store, seed.id)).in_flight


async def test_unknown_seed_gets_nothing(store: Store, redis_url: str) -> None:
    assert "not enrolled" == await reserve(store, a_seed(), Slip("wg_1", 1, 1))
    assert {} == everything(redis_url)


async def test_open_seeds(redis_url: str) -> None:
    """Enrolment is waived where the operator says so; nothing else is."""
    store = open_store(redis_url, open_seeds=True)
    seed = a_seed()
    await ask(store, lambda batch: Seeds.ping(batch, seed, NOW, None))

    assert "ok" == await reserve(store, seed, Slip("wg_1", 1, 1))
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"draining": "1"}, NOW))
    assert "draining" == await reserve(store, seed, Slip("wg_2", 1, 1))
    await store.close()


# Quotas

WINDOWS = [("half_hour", 1800), ("hour", 3600), ("day", 86400)]


@pytest.mark.parametrize(("window", "seconds"), WINDOWS)
async def test_quota_counts_parts(store: Store, window: str, seconds: int) -> None:
    """Five parts per window: two messages of two parts and one of one; the sixth part has to wait, and only for so long."""
    seed = await enrolled(store, quota=Quota(**{"half_hour": 0, "hour": 0, "day": 0, window: 5}))
    for i, parts in enumerate((2, 2)):
        slip = Slip(f"wg_{i}", 1, parts)
        assert "ok" == await reserve(store, seed, slip)
        await take(store, seed)
        await finish(store, seed, slip)
    two, one = Slip("wg_two", 1, 2), Slip("wg_one", 1, 1)

    assert "quota used" == await reserve(store, seed, two)
    assert "ok" == await reserve(store, seed, one)
    await take(store, seed)
    await finish(store, seed, one)
    assert "quota used" == await reserve(store, seed, Slip("wg_more", 1, 1), NOW + 60)
    assert "ok" == await reserve(store, seed, Slip("wg_more", 1, 5), NOW + seconds)


async def test_used_slides(store: Store) -> None:
    seed = await enrolled(store)
    await reserve(store, seed, Slip("wg_1", 1, 1))
    used = [(await load(store, seed.id, NOW + after)).used for after in (0, 1740, 1800, 3540, 3600, 82_800, 86_400)]

    assert [(1, 1, 1), (1, 1, 1), (0, 1, 1), (0, 1, 1), (0, 0, 1), (0, 0, 1), (0, 0, 0)] == used


async def test_usage_is_pruned(store: Store, redis_url: str) -> None:
    """Buckets that no window looks at go when somebody looks, so that a seed's hash stays small; all of it goes by itself."""
    seed = await enrolled(store)
    for hour in range(30):
        slip = Slip(f"wg_{hour}", 1, 1)
        await reserve(store, seed, slip, NOW + hour * 3600)
        await take(store, seed)
        await finish(store, seed, slip, now=NOW + hour * 3600)
    found = await load(store, seed.id, NOW + 29 * 3600)
    kept = everything(redis_url)[f"quota:{{{seed.id}}}"]

    assert (1, 1, 24) == found.used
    assert 25 == len(kept)
    assert 0 < await ask(store, lambda batch: batch.add("TTL", f"quota:{{{seed.id}}}")) <= 90_000


async def test_quota_comes_back_only_if_never_handed_over(store: Store) -> None:
    """What a phone has had may have been sent, whatever it says."""
    seed = await enrolled(store)
    kept, returned = Slip("wg_kept", 1, 2), Slip("wg_returned", 1, 3)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"pace_seconds": "0.1"}, NOW))
    roomy = await load(store, seed.id)
    assert ["ok", "ok"] == [await reserve(store, roomy, slip) for slip in (kept, returned)]
    await finish(store, seed, kept, "failed", handed=True)

    assert (3, (5, 5, 5)) == ((found := await load(store, seed.id)).in_flight, found.used)
    await finish(store, seed, returned, "returned", handed=False, now=NOW + 200)
    assert (0, (2, 2, 2)) == ((found := await load(store, seed.id)).in_flight, found.used)


# Distinct recipients

OCTOBER = datetime(2033, 10, 31, 9, tzinfo=UTC).timestamp()
"""15 hours before the end of a UTC month."""


def recipient(number: int) -> str:
    return f"+2136610{number:05}"


async def test_recipients_of_a_month(store: Store, redis_url: str) -> None:
    """A new one beyond the limit is refused, a known one never is; with the month all of them are forgotten."""
    seed = await enrolled(store, quota=Quota(half_hour=0, hour=0, day=0, recipients=2), pace_seconds=0.01)

    async def send(number: int, to: int, now: float) -> str:
        return await reserve(store, seed, Slip(f"wg_{number}", 1, 1), now, to=recipient(to))

    assert ["ok", "ok", "ok", "recipients used", "ok"] == [await send(i, to, OCTOBER) for i, to in enumerate((1, 2, 1, 3, 2))]
    assert 2 == (await load(store, seed.id, OCTOBER)).recipients_used
    last = OCTOBER + 15 * 3600 - 1
    assert "recipients used" == await send(10, 3, last)
    assert ["ok", "ok", "recipients used"] == [await send(10 + to, to, last + 1) for to in (3, 4, 1)]
    assert [2, 0] == [(await load(store, seed.id, at)).recipients_used for at in (last + 1, last + 1 + 30 * 86400)]
    kept = str(everything(redis_url)[f"recipients:{{{seed.id}}}"])
    assert not any(recipient(number)[-8:] in kept for number in range(1, 5)), "no number is kept"
    assert 0 < await ask(store, lambda batch: batch.add("TTL", f"recipients:{{{seed.id}}}")) <= 32 * 86400


async def test_recipients_are_not_kept_without_a_limit(store: Store, redis_url: str) -> None:
    seed = await enrolled(store)
    await reserve(store, seed, Slip("wg_1", 1, 1))

    assert not [key for key in everything(redis_url) if key.startswith("recipients:")]


async def test_a_recipient_that_never_had_it(store: Store) -> None:
    """Counts no more when the attempt is taken back before the seed had it, unless another attempt was for the same one."""
    seed = await enrolled(store, quota=Quota(half_hour=0, hour=0, day=0, recipients=2), pace_seconds=0.01)
    once, twice, again = Slip("wg_once", 1, 1), Slip("wg_twice", 1, 1), Slip("wg_again", 1, 1)
    for slip, to in ((once, 1), (twice, 2), (again, 2)):
        assert "ok" == await reserve(store, seed, slip, to=recipient(to))

    await finish(store, seed, twice, "returned", handed=False)
    assert 2 == (await load(store, seed.id)).recipients_used
    await finish(store, seed, once, "returned", handed=False)
    await finish(store, seed, once, "returned", handed=False)
    assert 1 == (await load(store, seed.id)).recipients_used
    await take(store, seed)
    await finish(store, seed, again, "failed")
    assert 1 == (await load(store, seed.id)).recipients_used, "a phone has had it: it may have been sent"
    assert ["ok", "recipients used"] == [await reserve(store, seed, Slip(f"wg_{i}", 1, 1), to=recipient(i)) for i in (3, 4)]


async def test_taken_back_in_the_next_month(store: Store) -> None:
    """It is counted in the old month, and takes nothing from the new one."""
    seed = await enrolled(store, quota=Quota(half_hour=0, hour=0, day=0, recipients=2), pace_seconds=0.01)
    await reserve(store, seed, Slip("wg_old", 1, 1), OCTOBER, to=recipient(1))
    november = OCTOBER + 16 * 3600
    await reserve(store, seed, Slip("wg_new", 1, 1), november, to=recipient(1))
    await finish(store, seed, Slip("wg_old", 1, 1), "returned", handed=False, now=november)

    assert 1 == (await load(store, seed.id, november)).recipients_used


async def test_never_more_than_the_limits(redis_url: str) -> None:
    """Many dispatchers at once, each with a copy of its own: no quota is ever passed, in parts or in recipients, and each is used up."""
    stores = [open_store(redis_url) for _ in range(5)]
    quota = Quota(half_hour=40, hour=0, day=0, recipients=7)
    seed = await enrolled(stores[0], quota=quota, pace_seconds=0.01)
    tos = [recipient(number % 12) for number in range(200)]
    parts = [1 + number % 3 for number in range(200)]
    answers = await asyncio.gather(
        *(reserve(stores[i % 5], seed, Slip(f"wg_{i}", 1, parts[i]), to=tos[i], now=NOW + i / 100) for i in range(200))
    )
    given = [i for i, answer in enumerate(answers) if answer == "ok"]
    found = await load(stores[0], seed.id)
    for store in stores:
        await store.close()

    assert {"ok", "quota used", "recipients used"} == set(answers)
    assert 38 <= sum(parts[i] for i in given) <= 40
    assert 7 == len({tos[i] for i in given}) == found.recipients_used
    assert sum(parts[i] for i in given) == found.used[0] == found.in_flight


# Whose it is


async def test_another_accounts_seed(store: Store) -> None:
    """In the last instance too: a copy may not have heard yet that a seed was given away."""
    seed = await enrolled(store)
    shared = await load(store, seed.id)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"account": "ac_1", "shared": "0"}, NOW))

    assert "another account's" == await reserve(store, shared, Slip("wg_1", 1, 1), account="ac_2")
    assert "another account's" == await reserve(store, shared, Slip("wg_1", 1, 1), account="")
    assert "ok" == await reserve(store, shared, Slip("wg_1", 1, 1), account="ac_1")
    assert 1 == (await load(store, seed.id)).in_flight
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"shared": "1"}, NOW))
    await finish(store, seed, Slip("wg_1", 1, 1))
    assert "ok" == await reserve(store, shared, Slip("wg_2", 1, 1), account="ac_2")


async def test_an_own_seed_of_nobody(store: Store) -> None:
    """A record that lost its account serves nobody rather than everybody."""
    seed = await enrolled(store)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"shared": "0"}, NOW))

    assert "another account's" == await reserve(store, seed, Slip("wg_1", 1, 1))


async def test_enrol_a_phones_sim(store: Store) -> None:
    """Phone, SIM and owner are kept, and told to who checks its calls; enrolling again without them leaves them."""
    seed = await enrolled(store, id="a-phone.2", device="a-phone", sim=2, account="ac_1", shared=False)
    for _ in range(2):
        found = await load(store, seed.id)
        known = store.seeds.parse_credentials(await ask(store, lambda batch: Seeds.credentials(batch, seed.id)))

        assert ("a-phone", 2, "ac_1", False, "60301@ac_1") == (found.device, found.sim, found.account, found.shared, found.pool)
        assert ("ac_1", False, "60301@ac_1") == (known.account, known.shared, known.pool)
        await ask(store, lambda batch: Seeds.enrol(batch, Seed(id=seed.id), "another", NOW))
    assert ["60301@ac_1"] == [pool for pool in await Seeds.carriers(store.batch()) if "@" in pool]
    await enrolled(store, id=seed.id, device="a-phone", sim=2, account="ac_2", shared=True)
    assert ("ac_2", True, "60301") == ((found := await load(store, seed.id)).account, found.shared, found.pool)


async def test_a_seed_of_before(store: Store) -> None:
    """Without any of these fields it is everybody's, as ever."""
    seed = await enrolled(store)
    found = await load(store, seed.id)

    assert ("", 0, "", True, "60301") == (found.device, found.sim, found.account, found.shared, found.pool)
    assert "ok" == await reserve(store, found, Slip("wg_1", 1, 1), account="whoever")


# Learned limits


async def limited(store: Store, seed: Seed, number: int, at: float) -> Seed:
    """Given a message, and told two seconds later that it was too fast."""
    slip = Slip("wg_1", number, 1)
    assert "ok" == await reserve(store, await load(store, seed.id), slip, now=at)
    await finish(store, seed, slip, "limited", now=at + 2)
    return await load(store, seed.id)


async def test_limit_errors_teach_to_rest(store: Store) -> None:
    """First its pace or some seconds, then twice as long each time, up to Android's window; it is no failure of the seed."""
    seed = await enrolled(store)
    now, rests = NOW, []
    for number in range(1, 12):
        found = await limited(store, seed, number, now)
        rests.append(found.rest_seconds)
        assert (now + 2 + found.rest_seconds) == pytest.approx(found.resting_until())
        now = found.resting_until()

    assert [5, 10, 20, 40, 80, 160, 320, 640, 1280, 1800, 1800] == rests
    assert (0, 0, 0.0, 0.0, 0) == (found.failed, found.consecutive_failures, found.bad, found.outcomes, found.in_flight)
    assert "resting" == await reserve(store, found, Slip("wg_2", 1, 1), now=now - 0.1)
    assert "ok" == await reserve(store, found, Slip("wg_2", 1, 1), now=now)
    assert "resting" == await reserve(store, found, Slip("wg_3", 1, 1), now=now + 1799)


@pytest.mark.parametrize(("pace_seconds", "rest"), [(0.0, 5.0), (0.5, 5.0), (30.0, 30.0), (3600.0, 1800.0)])
async def test_first_rest(store: Store, pace_seconds: float, rest: float) -> None:
    seed = await enrolled(store, pace_seconds=pace_seconds)

    assert rest == (await limited(store, seed, 1, NOW)).rest_seconds


async def test_a_limit_counts_occasions(store: Store) -> None:
    """What the seed held already when it was told went down with the same cause, or was sent before it."""
    seed = await enrolled(store, pace_seconds=0.5)
    slips = [Slip("wg_1", number, 1) for number in (1, 2, 3, 4)]
    for slip in slips:
        assert "ok" == await reserve(store, seed, slip)
    for second, (slip, outcome) in enumerate(zip(slips, ("limited", "limited", "limited", "sent"), strict=True), 1):
        await finish(store, seed, slip, outcome, now=NOW + second)
    found = await load(store, seed.id)

    assert (5.0, NOW + 3) == (found.rest_seconds, found.last_given_at)
    assert 1 == found.sent


async def test_successes_shorten_the_rest(store: Store) -> None:
    """By a fifth each, until it would be shorter than the first one: then it is over. What was taken back says nothing."""
    seed = await enrolled(store)
    found = await limited(store, seed, 1, NOW)
    found = await limited(store, seed, 2, found.resting_until())
    rests = []
    for number, outcome in enumerate(("sent", "returned", "sent", "sent", "sent"), 3):
        slip = Slip("wg_1", number, 1)
        now = found.resting_until() or found.last_given_at + 100
        assert "ok" == await reserve(store, found, slip, now=now)
        await finish(store, seed, slip, outcome, now=now + 1)
        found = await load(store, seed.id)
        rests.append(found.rest_seconds)

    assert [8.0, 8.0, 6.4, 5.12, 0.0] == rests
    assert 0.0 == found.resting_until()
    assert (4, 0) == (found.sent, found.failed)


async def test_an_attempt_that_was_never_fetched_costs_no_rest(store: Store) -> None:
    """The phone had nothing: it may have the next one as if this had not been."""
    seed = await enrolled(store)
    found = await limited(store, seed, 1, NOW)
    slip = Slip("wg_2", 1, 1)
    now = found.resting_until() + 60
    assert "ok" == await reserve(store, found, slip, now=now)
    assert now == (await load(store, seed.id)).last_given_at
    await finish(store, seed, slip, "returned", handed=False, now=now + 4)

    assert found.last_given_at == (await load(store, seed.id)).last_given_at
    assert "ok" == await reserve(store, found, Slip("wg_3", 1, 1), now=now + 4)


async def test_one_of_many_while_it_rests(store: Store) -> None:
    """Whoever asks at once: a seed that rests is given one message per rest."""
    seed = await enrolled(store, pace_seconds=0.01)
    found = await limited(store, seed, 1, NOW)
    now = found.resting_until()
    answers = await asyncio.gather(*(reserve(store, found, Slip(f"wg_{i}", 1, 1), now=now + i / 100) for i in range(20)))

    assert (1, 19) == (answers.count("ok"), answers.count("resting"))


# Fetching and ending


async def test_take_oldest_first(store: Store) -> None:
    seed = await enrolled(store, pace_seconds=0.1)
    slips = [Slip(f"wg_{i}", 1, 1) for i in range(4)]
    for age, slip in enumerate(reversed(slips)):
        await reserve(store, seed, slip, NOW - age)

    assert 4 == await ask(store, lambda batch: Seeds.waiting(batch, seed.id))
    # Reserved last to first with falling times: the oldest is the first slip
    assert slips[:1] == await take(store, seed, 1)
    assert slips[1:] == await take(store, seed)
    assert [] == await take(store, seed)


async def test_take_with_a_token_that_was_replaced(store: Store) -> None:
    """What waits stays where it is, for who has the new one."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 1)
    await reserve(store, seed, slip)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"token_hash": "new"}, NOW))

    assert await ask(store, lambda batch: store.seeds.take(batch, seed.id, 10, "old")) is None
    assert [str(slip).encode()] == await ask(store, lambda batch: store.seeds.take(batch, seed.id, 10, "new"))
    assert [] == await ask(store, lambda batch: store.seeds.take(batch, seed.id, 10, "new"))
    assert await ask(store, lambda batch: store.seeds.take(batch, "603010000009999", 10, "any")) is None


async def test_two_fetches_at_once_share(store: Store) -> None:
    seed = await enrolled(store, pace_seconds=0.01)
    slips = [Slip(f"wg_{i}", 1, 1) for i in range(30)]
    for slip in slips:
        await reserve(store, seed, slip)
    taken = [slip for found in await asyncio.gather(*(take(store, seed, 7) for _ in range(6))) for slip in found]

    assert sorted(map(str, slips)) == sorted(map(str, taken))


@pytest.mark.parametrize("fetched", [True, False])
async def test_finish_once(store: Store, redis_url: str, fetched: bool) -> None:
    """Its place and its mark in the seed's record, once, from the outbox or from the seed's hands."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 1)
    await reserve(store, seed, slip)
    if fetched:
        await take(store, seed)

    assert [1, 0, 0] == [await finish(store, seed, slip, "failed") for _ in range(3)]
    found = await load(store, seed.id)
    assert (0, 1, 1, NOW) == (found.in_flight, found.failed, found.consecutive_failures, found.failed_at)
    assert not {key for key in everything(redis_url) if key.startswith(("outbox", "held"))}


async def test_in_flight_never_negative(store: Store) -> None:
    """Not even where the record was lost or set back behind its slips."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 3)
    await reserve(store, seed, slip)
    await ask(store, lambda batch: Seeds.change(batch, seed.id, {"in_flight": "1"}, NOW))
    await finish(store, seed, slip)

    assert 0 == (await load(store, seed.id)).in_flight


async def test_stats(store: Store) -> None:
    """Failures and silences count against the seed, a success ends the run of them, what was taken back says nothing."""
    seed = await enrolled(store)

    async def one(outcome: str, number: int) -> Seed:
        slip = Slip("wg_1", number, 1)
        assert "ok" == await reserve(store, await load(store, seed.id), slip, now=NOW + number - 0.5)
        await finish(store, seed, slip, outcome, now=NOW + number)
        return await load(store, seed.id)

    failed = await one("failed", 1)
    assert (1, 1, 1.0, 1.0, NOW + 1) == (failed.failed, failed.consecutive_failures, failed.bad, failed.outcomes, failed.failed_at)
    silent = await one("silent", 2)
    assert (2, 2, 1.95, 1.95) == (silent.failed, silent.consecutive_failures, silent.bad, silent.outcomes)
    returned = await one("returned", 3)
    assert (2, 2, 1.95, 1.95, NOW + 2) == (
        returned.failed, returned.consecutive_failures, returned.bad, returned.outcomes, returned.failed_at,
    )  # fmt: skip
    sent = await one("sent", 4)
    assert (1, 0, 2.0) == (sent.sent, sent.consecutive_failures, sent.seconds_to_sent)
    assert (pytest.approx(1.8525), pytest.approx(2.8525)) == (sent.bad, sent.outcomes)


async def test_a_run_of_failures_counts_occasions(store: Store) -> None:
    """A seed that goes silent with three messages in its hands has failed once; what it is given after that counts anew."""
    seed = await enrolled(store, pace_seconds=1.0)
    for number in (1, 2, 3):
        assert "ok" == await reserve(store, await load(store, seed.id), Slip("wg_1", number, 1))
    for number in (1, 2, 3):
        await finish(store, seed, Slip("wg_1", number, 1), "silent", now=NOW + 8 + number)
    once = await load(store, seed.id)
    assert "ok" == await reserve(store, once, Slip("wg_2", 1, 1), now=NOW + 20)
    await finish(store, seed, Slip("wg_2", 1, 1), "silent", now=NOW + 28)
    twice = await load(store, seed.id)

    assert (3, 1, NOW + 9) == (once.failed, once.consecutive_failures, once.failed_at)
    assert (4, 2, NOW + 28) == (twice.failed, twice.consecutive_failures, twice.failed_at)


async def test_seconds_to_sent_is_smoothed(store: Store) -> None:
    seed = await enrolled(store)
    for number, seconds in enumerate((2.0, 12.0, None), 1):
        slip = Slip("wg_1", number, 1)
        await reserve(store, seed, slip)
        release = Release(seed.id, number, "sent", handed_over=True, seconds=seconds)
        await ask(store, lambda batch, s=slip, r=release: store.seeds.finish(batch, s, r, NOW))

    assert pytest.approx(5.0) == (await load(store, seed.id)).seconds_to_sent


async def test_put_back_keeps_its_place_and_its_quota(store: Store) -> None:
    """A slip that was fetched too early waits again as if it had never been fetched: its quota is found when it is taken back."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 1)
    await reserve(store, seed, slip)
    await take(store, seed)
    await ask(store, lambda batch: store.seeds.put_back(batch, seed.id, slip))
    assert [slip] == await take(store, seed)
    await ask(store, lambda batch: store.seeds.put_back(batch, seed.id, slip))
    await finish(store, seed, slip, "returned", handed=False, now=NOW + 100)
    found = await load(store, seed.id, NOW + 100)

    assert (0, (0, 0, 0)) == (found.in_flight, found.used)


async def test_put_back_what_was_freed_meanwhile(store: Store) -> None:
    """The dispatcher has freed the place between the fetch and the putting back: there is no slip to come back."""
    seed = await enrolled(store)
    slip = Slip("wg_1", 1, 1)
    await reserve(store, seed, slip)
    await take(store, seed)
    await finish(store, seed, slip, "returned", handed=False)
    await ask(store, lambda batch: store.seeds.put_back(batch, seed.id, slip))

    assert [] == await take(store, seed)


async def test_changes_are_trimmed(store: Store) -> None:
    await ask(store, lambda batch: Seeds.mark_changed(batch, "old", NOW - 601))
    await ask(store, lambda batch: Seeds.mark_changed(batch, "new", NOW - 599))
    await ask(store, lambda batch: Seeds.trim_changes(batch, NOW))

    assert [b"new"] == (await ask(store, lambda batch: Seeds.changed_since(batch, 0.0)))[::2]
