import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from router.domain import pools
from router.domain.directory import LOOKS, Directory
from router.domain.rules import Policy, Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import Need, why_not
from tests.unit.domain.standings import give

NOW = 10_000.0
RULES = Rules(pace_seconds=1.0)
MOBILIS, DJEZZY, INWI = "60301", "60302", "60402"
COUNTRIES = {"": "", MOBILIS: "DZ", DJEZZY: "DZ", INWI: "MA"}
NEED = Need(carrier=DJEZZY, country="DZ")


def seed(id: str = "S", carrier: str = DJEZZY, **changes: Any) -> Seed:
    fields = {"id": id, "carrier": carrier, "country": COUNTRIES[carrier], "enrolled": True, "lps": NOW}
    return Seed(**fields | changes)


def directory(*seeds: Seed, **changes: Any) -> Directory:
    fleet = Directory(msgspec.structs.replace(RULES, **changes), random.Random(1))
    for each in seeds:
        fleet.update(each, NOW)
    return fleet


def found(fleet: Directory, need: Need = NEED, now: float = NOW) -> str | None:
    choice = fleet.find(need, now)
    return choice.seed.id if choice.seed else None


def turns_of(fleet: Directory, need: Need, turns: int) -> list[str | None]:
    """Who serves, one message after the other, each of which is sent at once."""
    served = []
    for turn in range(turns):
        now = NOW + turn / 1000
        choice = fleet.find(need, now)
        served.append(choice.seed.id if choice.seed else None)
        if choice.seed:
            idle = msgspec.structs.replace(choice.seed)
            give(fleet, idle.id, 1, now)
            fleet.update(idle, now)
    return served


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many candidates were drawn from the pools since the counter was cleared."""
    drawn: Counter[str] = Counter()
    for kind in (pools.RandomPool, pools.FreshestPool, pools.TurnPool):

        def counted(pool: pools.Pool, draw: Callable[[pools.Pool], Iterator[int]] = kind.draw) -> Iterator[int]:
            for slot in draw(pool):
                drawn["looks"] += 1
                yield slot

        monkeypatch.setattr(kind, "draw", counted)
    return drawn


def test_empty() -> None:
    """A fleet that nobody heard of has no seed for anything."""
    assert found(directory()) is None
    assert directory().ready(DJEZZY, NOW) == 0
    assert repr(directory()) == "<Directory 0 seeds; ready none>"


def test_known_seeds() -> None:
    """What was heard of is known, whether it is ready or not."""
    fleet = directory(seed("a"), seed("b", enabled=False), seed("c", MOBILIS))

    assert len(fleet) == 3
    assert {each.id for each in fleet.seeds()} == {"a", "b", "c"}
    assert (fleet.get("b") or seed()).enabled is False
    assert fleet.get("z") is None
    assert repr(fleet) == "<Directory 3 seeds; ready 60301: 1, 60302: 1>"


# Heard of, and nothing more


def test_heard_of_a_ready_seed() -> None:
    """Its time is noted, and all else that is known of it stays; it would have been offline without."""
    fleet = directory(seed("a", in_flight=2, used=(2, 2, 2)))

    assert fleet.heard("a", NOW + 50)
    assert seed("a", in_flight=2, used=(2, 2, 2), lps=NOW + 50) == fleet.get("a")
    assert found(fleet, now=NOW + 50) == "a"


def test_heard_of_a_seed_that_used_its_quota() -> None:
    """What it sent may count no more after a minute: then it has to be read. Without a quota, or nothing sent, it need not."""
    unlimited = Quota(half_hour=0, hour=0, day=0)
    fleet = directory(seed("a", used=(2, 2, 2)), seed("b"), seed("c", used=(2, 2, 2), quota=unlimited))

    assert [True, True, True] == [fleet.heard(each, NOW + 59) for each in "abc"]
    assert [False, True, True] == [fleet.heard(each, NOW + 60) for each in "abc"]


@pytest.mark.parametrize(
    "changes",
    [{"enabled": False}, {"draining": True}, {"in_flight": 5}, {"used": (30, 30, 30)}, {"consecutive_failures": 9, "failed_at": NOW}],
)
def test_heard_of_one_that_is_not_ready(changes: dict[str, Any]) -> None:
    """It has to be read: what made it useless may be over. Until then it is as it was."""
    fleet = directory(seed("a", **changes))

    assert not fleet.heard("a", NOW + 1)
    assert seed("a", **changes) == fleet.get("a")


def test_heard_of_one_that_was_met_offline() -> None:
    """It has left its pool, so it is read."""
    fleet = directory(seed("a"))

    assert found(fleet, now=NOW + 100) is None
    assert not fleet.heard("a", NOW + 100)


def test_heard_of_a_stranger() -> None:
    assert not directory(seed("a")).heard("b", NOW)
    assert len(directory(seed("a"))) == 1


def test_freshest_goes_by_what_was_heard() -> None:
    """`freshest` takes the one heard of last, whether or not it was read."""
    fleet = directory(seed("a", lps=NOW - 1), seed("b", lps=NOW - 2), policy="freshest")

    assert found(fleet) == "a"
    assert fleet.heard("b", NOW)
    assert found(fleet) == "b"
    fleet.update(seed("b", lps=NOW, enabled=False), NOW)
    assert found(fleet) == "a"


def test_not_another_carrier() -> None:
    """Without `cross_carrier` only the recipient's own carrier serves."""
    fleet = directory(seed("m", MOBILIS))

    assert found(fleet) is None
    assert fleet.ready(DJEZZY, NOW) == 0


def test_cross_carrier() -> None:
    """With `cross_carrier` another of the same country serves, when the recipient's own cannot, and no other country's ever."""
    fleet = directory(seed("d", in_flight=4), seed("m", MOBILIS), seed("i", INWI), cross_carrier=True)

    assert fleet.ready(DJEZZY, NOW) == 2
    assert found(fleet) == "d"
    give(fleet, "d", 1)
    choice = fleet.find(NEED, NOW)
    assert choice.seed is fleet.get("m")
    assert not choice.on_net
    assert choice.why == "score 0.80; passed over: 1 no room; another carrier's seed"
    fleet.update(seed("m", MOBILIS, enabled=False), NOW)
    assert found(fleet) is None


def test_cross_carrier_tells_all_reasons() -> None:
    """Where no carrier has a seed, the reasons of all of them are told, the recipient's own included."""
    tried = Need(carrier=DJEZZY, country="DZ", tried={"d": NOW + 1, "m": NOW + 1})
    choice = directory(seed("d"), seed("m", MOBILIS), cross_carrier=True).find(tried, NOW)

    assert choice.seed is None
    assert choice.passed_over == {"tried": 2}


def test_unknown_carrier() -> None:
    """A recipient of an unknown carrier is served by any of the country, and that is no exception."""
    fleet = directory(seed("m", MOBILIS), seed("i", INWI))
    choice = fleet.find(Need(carrier="", country="DZ"), NOW)

    assert choice.seed is fleet.get("m")
    assert choice.on_net
    assert fleet.ready("DZ", NOW) == 1
    assert found(fleet, Need(carrier="", country="TN")) is None


def test_carrier_change() -> None:
    """A SIM that turns out to be another carrier's serves that one, and the old one no more."""
    fleet = directory(seed("a"))
    fleet.update(seed("a", MOBILIS), NOW)

    assert found(fleet) is None
    assert found(fleet, Need(carrier=MOBILIS, country="DZ")) == "a"
    assert len(fleet) == 1


def test_reserve() -> None:
    """What was just given to a seed counts at once, in parts, until the store is read again."""
    fleet = directory(seed("a"))
    give(fleet, "a", 4)
    reserved = fleet.get("a")

    assert reserved is not None
    assert (reserved.in_flight, reserved.used) == (4, (4, 4, 4))
    assert found(fleet) == "a"
    give(fleet, "a", 1)
    assert found(fleet) is None
    assert fleet.ready(DJEZZY, NOW) == 0
    fleet.update(seed("a", in_flight=4), NOW)
    assert found(fleet) == "a"


def test_offline_and_back() -> None:
    """A seed leaves when it falls silent, and is back with its next ping."""
    fleet = directory(seed("a"))

    assert found(fleet, now=NOW + 20) == "a"
    assert found(fleet, now=NOW + 21) is None
    fleet.update(seed("a", lps=NOW + 30), NOW + 30)
    assert found(fleet, now=NOW + 30) == "a"


def test_probe() -> None:
    """A tripped seed comes back by itself when its pause is over, for one probe."""
    fleet = directory(seed("a", lps=NOW + 10, consecutive_failures=2, failed_at=NOW))

    assert found(fleet, now=NOW + 14.9) is None
    assert fleet.ready(DJEZZY, NOW + 14.9) == 0
    assert fleet.ready(DJEZZY, NOW + 15.0) == 1
    assert found(fleet, now=NOW + 15.0) == "a"
    give(fleet, "a", 1)
    assert found(fleet, now=NOW + 15.0) is None


def test_probe_that_failed_again() -> None:
    """A probe that fails trips the seed again, for longer; a success before its time brings it back at once."""
    fleet = directory(seed("a", lps=NOW + 40, consecutive_failures=2, failed_at=NOW))
    fleet.update(seed("a", lps=NOW + 40, consecutive_failures=3, failed_at=NOW + 15), NOW + 15)

    assert found(fleet, now=NOW + 15) is None
    assert found(fleet, now=NOW + 44.9) is None
    assert found(fleet, now=NOW + 45) == "a"
    fleet.update(seed("a", lps=NOW + 40, consecutive_failures=4, failed_at=NOW + 46), NOW + 46)
    fleet.update(seed("a", lps=NOW + 40), NOW + 47)
    assert found(fleet, now=NOW + 47) == "a"


def test_a_long_message_does_not_drive_seeds_out() -> None:
    """A seed passed over by one message, for its length or because it had it, is there for the next one."""
    fleet = directory(seed("a", in_flight=3))

    assert found(fleet, Need(carrier=DJEZZY, country="DZ", parts=3)) is None
    assert found(fleet, Need(carrier=DJEZZY, country="DZ", tried={"a": NOW + 1})) is None
    assert found(fleet, Need(carrier=DJEZZY, country="DZ", known_good_only=True)) is None
    assert found(fleet) == "a"


def test_freshest() -> None:
    """`freshest` takes the seed heard of last, again and again, then the one before it."""
    fleet = directory(policy="freshest")
    for age in (3, 2, 1):
        fleet.update(seed(f"{age}s ago", lps=NOW - age), NOW - age)

    order = []
    for _ in range(3):
        order.append(found(fleet))
        give(fleet, order[-1] or "", 5)

    assert order == ["1s ago", "2s ago", "3s ago"]
    assert found(fleet) is None


def test_freshest_goes_by_the_ping_not_by_the_news() -> None:
    """A seed whose place was freed is news, and no fresher for it."""
    fleet = directory(policy="freshest")
    fleet.update(seed("fresh", lps=NOW - 1), NOW)
    fleet.update(seed("older", lps=NOW - 2), NOW)

    assert found(fleet) == "fresh"


def test_round_robin() -> None:
    """`round-robin` takes the longest unused, whoever pinged meanwhile."""
    fleet = directory(seed("a"), seed("b"), seed("c"), policy="round-robin")

    turns = []
    for turn in range(7):
        turns.append(found(fleet))
        give(fleet, turns[-1] or "", 1)
        pinging = "bc"[turn % 2]
        known = fleet.get(pinging)
        assert known is not None
        fleet.update(seed(pinging, in_flight=known.in_flight), NOW)

    assert "".join(map(str, turns)) == "abcabca"


def test_balanced_spreads() -> None:
    """`balanced` gives equals about equal shares, and a bad seed nothing: of the drawn it is the turn of the one that was idle longest."""
    fleet = directory(*(seed(f"s{number}") for number in range(20)), seed("bad", bad=9.0, outcomes=10.0))
    shares = Counter(turns_of(fleet, NEED, 2_000))

    assert shares["bad"] == 0
    assert all(80 < shares[f"s{number}"] < 120 for number in range(20))


def test_idle_longest() -> None:
    """Of those that are about as good it is the turn of the one that was idle longest, though its score is a little higher."""
    fleet = directory(seed("a", outcomes=20.0), seed("b", outcomes=20.0), seed("c", outcomes=20.0, seconds_to_sent=1.4))
    turns = turns_of(fleet, NEED, 6)

    assert {"a", "b", "c"} == set(turns[:3])
    assert turns[:3] == turns[3:]
    fleet.update(seed("c", outcomes=20.0, seconds_to_sent=1.6), NOW)
    assert "c" not in turns_of(fleet, NEED, 3)


def test_what_was_just_given_is_seen_at_once() -> None:
    """Before the store is read again, a reserved place weighs in the score, and the last place makes the seed useless."""
    fleet = directory(seed("a", outcomes=20.0, seconds_to_sent=5.0), seed("b", outcomes=20.0, seconds_to_sent=1.0))
    order = []
    for _ in range(8):
        choice = fleet.find(NEED, NOW)
        assert choice.seed is not None
        order.append((choice.seed.id, choice.seed.in_flight))
        assert choice.score == choice.seed.score(RULES)
        fleet.take(choice, 1, NOW)

    assert {("b", 0), ("b", 1), ("a", 0)} < set(order)
    assert {"a", "b"} == {seed_id for seed_id, _ in order}


def test_a_seed_that_fell_silent_is_passed_by() -> None:
    """It pinged each second and does so no more: its rivals that do are chosen, long before it counts as offline."""
    fleet = directory(seed("silent", outcomes=50.0), seed("alive"))
    for second in range(1, 10):
        assert fleet.heard("alive", NOW + second)
        if second <= 5:
            assert fleet.heard("silent", NOW + second)

    choice = fleet.find(NEED, NOW + 9)
    assert choice.seed is fleet.get("alive")
    assert choice.why == "score 0.80; better than silent 2.07"
    assert fleet.heard("silent", NOW + 9)
    assert found(fleet, now=NOW + 9) == "silent"


# Whose seeds they are, and what they can do


def owned(id: str, account: str = "ac_1", carrier: str = DJEZZY, **changes: Any) -> Seed:
    return seed(id, carrier, account=account, shared=False, **changes)


def phone(id: str, device: str, sim: int = 0, carrier: str = DJEZZY, **changes: Any) -> Seed:
    return seed(id, carrier, device=device, sim=sim, **changes)


def need(**changes: Any) -> Need:
    return Need(**{"carrier": DJEZZY, "country": "DZ", "account": "ac_1"} | changes)


def test_nobody_says_who_could_not() -> None:
    """By the last census: of the recipient's carrier, or of the country where another may serve; nothing where it is bound to a phone."""
    fleet = directory()
    fleet.unready = {DJEZZY: {"offline": 3}, MOBILIS: {"tripped": 1, "offline": 1}}
    abroad = directory(seed("gone", enabled=False), seed("m", MOBILIS, enabled=False), cross_carrier=True)
    abroad.unready = fleet.unready

    assert {"offline": 3} == fleet.find(need(), NOW).unready
    assert {} == fleet.find(need(only="ac_1"), NOW).unready == fleet.find(need(carrier="60399"), NOW).unready
    assert {"offline": 4, "tripped": 1} == abroad.find(need(), NOW).unready


@pytest.mark.parametrize("policy", ["balanced", "freshest", "round-robin"])
def test_own_seeds_first(policy: Policy) -> None:
    """An account's own seeds serve before the shared ones, however many of those are better."""
    shared = [seed(f"s{number}", outcomes=20.0, lps=NOW + 1) for number in range(20)]
    fleet = directory(owned("own", bad=2.0, outcomes=20.0), *shared, policy=policy)

    assert found(fleet, need()) == "own"
    assert (found(fleet, need(account="ac_2")) or "").startswith("s")
    give(fleet, "own", 5)
    choice = fleet.find(need(), NOW)
    assert choice.seed in shared
    assert choice.on_net


@pytest.mark.parametrize("wanted", [{}, {"carrier": ""}, {"only": "dev"}, {"only": "ac_1"}, {"sim": 1}, {"phone_only": True}])
def test_an_accounts_own_seed_serves_nobody_else(wanted: dict[str, Any]) -> None:
    """Whatever another account's message asks for, and whoever else could not take it."""
    fleet = directory(owned("own", device="dev", sim=1), cross_carrier=True)

    assert found(fleet, need(**wanted)) == "own"
    assert found(fleet, need(account="ac_2", **wanted)) is None
    assert found(fleet, need(account="", **wanted)) is None
    assert found(fleet, need(account="ac_2", **wanted | {"carrier": MOBILIS})) is None


def test_own_seeds_of_another_carrier() -> None:
    """With `cross_carrier` an account's own seed of another carrier goes before a shared one of that."""
    fleet = directory(owned("own", carrier=MOBILIS), seed("m", MOBILIS), cross_carrier=True)
    choice = fleet.find(need(), NOW)

    assert choice.seed is fleet.get("own")
    assert not choice.on_net
    assert found(fleet, need(account="ac_2")) == "m"
    assert found(directory(owned("own", carrier=MOBILIS)), need()) is None


def test_a_seed_that_is_given_away() -> None:
    """A shared seed that becomes somebody's own serves nobody else from then on, and the other way round."""
    fleet = directory(seed("a", account="ac_1"))
    assert found(fleet, need(account="ac_2")) == "a"
    fleet.update(owned("a"), NOW)

    assert found(fleet, need(account="ac_2")) is None
    assert found(fleet, need()) == "a"
    assert fleet.ready(DJEZZY, NOW) == 0
    fleet.update(seed("a", account="ac_1"), NOW)
    assert found(fleet, need(account="ac_2")) == "a"
    assert fleet.owns("ac_1")
    assert not fleet.owns("ac_2")


def test_groups() -> None:
    """A message that is bound to a phone, or to an account's phones, goes there, whatever the carrier, and nowhere else."""
    fleet = directory(
        phone("d.1", "d", 1, account="ac_1"), phone("d.2", "d", 2, MOBILIS, account="ac_1"), phone("e.1", "e", 1, account="ac_1"),
        phone("f.1", "f", 1, account="ac_2"), seed("s"),
    )  # fmt: skip

    assert {"d.1": 25, "d.2": 25} == Counter(turns_of(fleet, need(only="d"), 50))
    assert {"d.1": 20, "d.2": 20, "e.1": 20} == Counter(turns_of(directory(*fleet.seeds()), need(only="ac_1"), 60))
    assert found(fleet, need(only="d", sim=2, carrier="", country="")) == "d.2"
    assert found(fleet, need(only="e", sim=2)) is None
    assert found(fleet, need(only="g")) is None
    give(fleet, "d.1", 5)
    fleet.update(phone("d.2", "d", 2, MOBILIS, account="ac_1", enabled=False), NOW)
    assert found(fleet, need(only="d")) is None
    assert found(fleet, need(only="ac_1")) == "e.1"


def test_a_sim_of_an_unknown_carrier() -> None:
    """Nobody knows whom it could serve on-net; a message that is bound to its phone need not ask."""
    fleet = directory(phone("d.0", "d", carrier="", account="ac_1"))

    assert found(fleet, need(only="d")) == "d.0"
    assert found(fleet, need(only="ac_1")) == "d.0"
    assert found(fleet, need(carrier="")) is None
    assert found(fleet, need()) is None
    assert fleet.heard("d.0", NOW)
    assert fleet.ready("@d", NOW) == 1


@pytest.mark.parametrize("policy", ["balanced", "freshest", "round-robin"])
@pytest.mark.parametrize("wanted", [{"sim": 2}, {"phone_only": True}, {"sim": 2, "phone_only": True}])
def test_few_that_can_among_many(looks: Counter[str], policy: Policy, wanted: dict[str, Any]) -> None:
    """A message that only one of 10,000 seeds can take finds that one, and looks at no other."""
    fleet = directory(*(seed(str(number)) for number in range(9_999)), policy=policy)
    fleet.update(phone("d.2", "d", 2, lps=NOW - 1), NOW)
    looks.clear()

    assert found(fleet, need(**wanted)) == "d.2"
    assert looks["looks"] == 1
    assert found(fleet, need(account="ac_2", **wanted)) == "d.2"
    assert found(fleet, need(**wanted | {"sim": 3})) is None


@pytest.mark.parametrize("policy", ["balanced", "freshest", "round-robin"])
def test_an_account_with_many_phones(looks: Counter[str], policy: Policy) -> None:
    """Bound to an account with 5,000 phones, a message looks at as few as any other, also where none of them will do."""
    phones = [phone(f"{number}.1", str(number), 1, account="ac_1") for number in range(5_000)]
    fleet = directory(*phones, policy=policy)
    looks.clear()
    assert found(fleet, need(only="ac_1", phone_only=True)) is not None
    few = looks["looks"]
    assert found(fleet, need(only="ac_1", known_good_only=True)) is None

    assert few == (5 if policy == "balanced" else 1)
    assert looks["looks"] == few + LOOKS
    assert found(fleet, need(only="ac_1", sim=2)) is None
    assert looks["looks"] == few + LOOKS


def test_demands_do_not_drive_seeds_out() -> None:
    """A seed that one message could not use for what it asks is there for the next one."""
    fleet = directory(phone("d.1", "d", 1))

    assert found(fleet, need(sim=2)) is None
    assert found(fleet, need(only="d", sim=2)) is None
    assert found(fleet, need(only="other")) is None
    assert found(fleet) == "d.1"
    assert found(fleet, need(only="d")) == "d.1"


def test_ready_by_lot() -> None:
    """A lot counts those that could take what waits there."""
    fleet = directory(
        seed("s"), phone("d.1", "d", 1), phone("d.2", "d", 2, MOBILIS), owned("o", device="e", sim=2), owned("p", "ac_2"),
        phone("u.0", "u", carrier=""),
    )  # fmt: skip
    lots = {
        DJEZZY: 2, f"{DJEZZY}#d": 1, f"{DJEZZY}#1": 1, f"{DJEZZY}#2": 0, f"{DJEZZY}@ac_1": 3, f"{DJEZZY}@ac_1#2": 1, f"{DJEZZY}@ac_3": 2,
        MOBILIS: 1, "DZ": 3, "DZ#d": 2, "DZ@ac_1": 4, "DZ@ac_2": 4, "DZ@ac_2#d": 2, "MA": 0, "@d": 2, "@d#2": 1, "@u": 1, "@ac_1": 1,
        "@ac_1#d": 1, "@ac_9": 0,
    }  # fmt: skip

    assert lots == {lot: fleet.ready(lot, NOW) for lot in lots}


def test_rest() -> None:
    """A seed that was taught to rest comes back by itself when it has rested, and rests after each message."""
    fleet = directory(phone("d.1", "d", 1, lps=NOW + 100, rest_seconds=30.0, last_given_at=NOW))

    assert found(fleet, now=NOW + 29.9) is None
    assert fleet.ready(DJEZZY, NOW + 29.9) == fleet.ready("@d", NOW + 29.9) == 0
    assert not fleet.heard("d.1", NOW + 29.9)
    assert fleet.ready(DJEZZY, NOW + 30) == fleet.ready("@d", NOW + 30) == 1
    assert found(fleet, now=NOW + 30) == "d.1"
    give(fleet, "d.1", 1, NOW + 30)
    assert found(fleet, now=NOW + 59.9) is None
    assert found(fleet, now=NOW + 60) == "d.1"


def test_rest_after_a_pause() -> None:
    """Tripped and resting: it comes back when both are over."""
    fleet = directory(seed("a", lps=NOW + 100, consecutive_failures=2, failed_at=NOW, rest_seconds=30.0, last_given_at=NOW))

    assert found(fleet, now=NOW + 15) is None
    assert found(fleet, now=NOW + 29) is None
    assert found(fleet, now=NOW + 30) == "a"


def test_recipients_used() -> None:
    """It leaves its pools, and is read again with each sign of life: the month may be over."""
    fleet = directory(seed("a", quota=Quota(recipients=3), recipients_used=3))

    assert found(fleet) is None
    assert not fleet.heard("a", NOW)
    fleet.update(seed("a", quota=Quota(recipients=3)), NOW)
    assert found(fleet) == "a"


# The cost


@pytest.mark.parametrize(("policy", "expected"), [("balanced", 5), ("freshest", 1), ("round-robin", 1)])
def test_same_looks_for_any_fleet(looks: Counter[str], policy: Policy, expected: int) -> None:
    """As many candidates are drawn from 20,000 seeds as from 100."""
    for size in (100, 20_000):
        fleet = directory(*(seed(str(number)) for number in range(size)), policy=policy)
        looks.clear()
        for _ in range(50):
            assert found(fleet) is not None

        assert looks["looks"] == 50 * expected


@pytest.mark.parametrize("policy", ["balanced", "freshest", "round-robin"])
def test_never_more_than_so_many_looks(looks: Counter[str], policy: Policy) -> None:
    """Where no seed will do for this one message, the search ends after `LOOKS` of them, for any fleet."""
    for size in (100, 20_000):
        fleet = directory(*(seed(str(number)) for number in range(size)), policy=policy)
        looks.clear()

        assert found(fleet, Need(carrier=DJEZZY, country="DZ", known_good_only=True)) is None
        assert looks["looks"] == LOOKS


@pytest.mark.parametrize("policy", ["balanced", "freshest", "round-robin"])
def test_useless_seeds_are_met_once(looks: Counter[str], policy: Policy) -> None:
    """When most of a fleet falls silent, each of the silent is looked at once, not once per message."""
    alive = {str(number) for number in range(0, 20_000, 100)}
    fleet = directory(*(seed(str(number), lps=NOW + 100 * (str(number) in alive)) for number in range(20_000)), policy=policy)
    looks.clear()
    found_by = Counter(found(fleet, now=NOW + 100) is not None for _ in range(1_000))

    assert looks["looks"] <= 20_000 + 1_000 * 5
    assert found_by[True] > 300
    looks.clear()
    for _ in range(100):
        assert found(fleet, now=NOW + 100) in alive
    assert looks["looks"] <= 100 * LOOKS


def test_filling_a_fleet(looks: Counter[str]) -> None:
    """A fleet is filled to its last place, each seed leaving when it is full, and nobody is given more than fits."""
    fleet = directory(*(seed(str(number)) for number in range(50)))
    for _ in range(50 * 5):
        give(fleet, found(fleet) or "", 1)

    assert found(fleet) is None
    assert {each.in_flight for each in fleet.seeds()} == {5}
    looks.clear()
    assert found(fleet) is None
    assert looks["looks"] == 0


# Against brute force

IDS = [f"s{number}" for number in range(8)]
SEEDS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "carrier": st.sampled_from([DJEZZY, DJEZZY, DJEZZY, MOBILIS, INWI, ""]),
        "enrolled": st.sampled_from([True, True, True, False]),
        "enabled": st.sampled_from([True, True, True, False]),
        "draining": st.sampled_from([False, False, False, True]),
        "in_flight": st.sampled_from([0, 0, 1, 4, 5]),
        "used": st.sampled_from([(0, 0, 0), (28, 28, 28), (30, 30, 30)]),
        "consecutive_failures": st.integers(0, 4),
        "bad": st.floats(0.0, 5.0),
        "outcomes": st.just(5.0),
        "sent": st.integers(0, 1),
        "rest_seconds": st.sampled_from([0.0, 0.0, 0.0, 20.0]),
        "recipients_used": st.sampled_from([0, 0, 2, 3]),
    }
)
OWNERS = st.sampled_from([("", True), ("", True), ("ac_1", True), ("ac_1", False), ("ac_2", False)])
PHONES = st.sampled_from([("", 0), ("", 0), ("d", 0), ("d", 1), ("d", 2), ("e", 1)])


class AgainstBruteForce(RuleBasedStateMachine):
    """A small fleet, and a dictionary that hears the same: whom one finds there by looking at all, the directory finds."""

    @initialize(policy=st.sampled_from(["balanced", "freshest", "round-robin"]), cross_carrier=st.booleans(), luck=st.integers(0, 9))
    def start(self, policy: Policy, cross_carrier: bool, luck: int) -> None:
        # Overdue signs of life are left to test_standing.py
        self.rules = Rules(
            pace_seconds=1.0, policy=policy, cross_carrier=cross_carrier, choices=len(IDS), recipients_per_month=3, silence_weight=0.0
        )
        self.directory = Directory(self.rules, random.Random(luck))
        self.fleet: dict[str, Seed] = {}
        self.given_at: dict[str, float] = {}
        self.now = NOW

    @rule(
        fields=SEEDS,
        owner=OWNERS,
        phone=PHONES,
        silent_for=st.sampled_from([0.0, 0.0, 10.0, 20.0, 25.0]),
        failed_for=st.integers(0, 60),
    )
    def update(self, fields: dict[str, Any], owner: tuple[str, bool], phone: tuple[str, int], silent_for: float, failed_for: int) -> None:
        (account, shared), (device, sim) = owner, phone
        times = {"lps": self.now - silent_for, "failed_at": self.now - failed_for, "last_given_at": self.now - failed_for}
        known = seed(account=account, shared=shared, device=device, sim=sim, **times, **fields)
        self.fleet[known.id] = msgspec.structs.replace(known)
        self.directory.update(known, self.now)

    @rule()
    def all_ping(self) -> None:
        for known in self.fleet.values():
            known.lps = self.now
            self.directory.update(msgspec.structs.replace(known), self.now)

    @rule()
    def all_are_heard(self) -> None:
        """Read again where the directory asks for it."""
        for known in self.fleet.values():
            known.lps = self.now
            if not self.directory.heard(known.id, self.now):
                self.directory.update(msgspec.structs.replace(known), self.now)

    @rule(seconds=st.sampled_from([1.0, 5.0, 15.0, 30.0, 60.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        carrier=st.sampled_from([DJEZZY, DJEZZY, MOBILIS, INWI, "20801", ""]),
        parts=st.sampled_from([1, 1, 2, 5]),
        tried=st.dictionaries(st.sampled_from(IDS), st.sampled_from([-1.0, 0.0, 10.0]), max_size=3),
        known_good_only=st.booleans(),
        asks=st.fixed_dictionaries(
            {
                "account": st.sampled_from(["ac_1", "ac_2", "ac_3"]),
                "only": st.sampled_from(["", "", "d", "e", "ac_1"]),
                "sim": st.sampled_from([0, 0, 1, 2]),
                "phone_only": st.sampled_from([False, False, True]),
            }
        ),
        takes_it=st.booleans(),
    )
    def find(
        self, carrier: str, parts: int, tried: dict[str, float], known_good_only: bool, asks: dict[str, Any], takes_it: bool
    ) -> None:
        need = Need(
            carrier=carrier,
            country=COUNTRIES.get(carrier, "DZ") or "DZ",
            parts=parts,
            tried={seed_id: self.now + rest for seed_id, rest in tried.items()},
            known_good_only=known_good_only,
            **asks,
        )
        able = [known for known in self.fleet.values() if why_not(known, need, self.now, self.rules) is None]
        turns = self.turns(need, able)
        choice = self.directory.find(need, self.now)

        if choice.seed is None:
            assert not any(turns)
            return
        first = next(turn for turn in turns if turn)
        assert choice.seed.id in {known.id for known in first}
        assert choice.seed.shared or choice.seed.account == need.account
        if not need.only:
            assert choice.on_net == (not carrier or choice.seed.carrier == carrier)
        if self.rules.policy == "balanced":
            rivals = first if need.only else [known for known in first if known.carrier == choice.seed.carrier]
            scores = {known.id: known.score(self.rules) for known in rivals}
            even = {seed_id for seed_id, score in scores.items() if score <= min(scores.values()) + self.rules.even_score}
            assert choice.score == scores[choice.seed.id]
            assert choice.seed.id in even
            assert self.given_at.get(choice.seed.id, 0.0) == min(self.given_at.get(seed_id, 0.0) for seed_id in even)
            names = self.directory._standings.ids
            assert {names[slot] for _, slot in choice.even} == even - {choice.seed.id}
            assert {names[slot] for _, slot in choice.beaten} == scores.keys() - even
        if takes_it:
            self.directory.take(choice, parts, self.now)
            self.given_at[choice.seed.id] = self.now
            known = self.fleet[choice.seed.id]
            known.in_flight += parts
            known.used = (known.used[0] + parts, known.used[1] + parts, known.used[2] + parts)
            if known.rest_seconds:
                known.last_given_at = self.now

    def turns(self, need: Need, able: list[Seed]) -> list[list[Seed]]:
        """Who serves, before whom: the account's own seeds before the shared ones, and on-net before any other of the country."""
        if need.only:
            return [able]
        on_net = [known for known in able if need.carrier and known.carrier == need.carrier]
        others = [known for known in able if known.country == need.country and known not in on_net]
        turns = [on_net, others if self.rules.cross_carrier or not need.carrier else []]
        return [[known for known in turn if known.shared == shared] for turn in turns for shared in (False, True)]

    @rule(carrier=st.sampled_from([DJEZZY, MOBILIS, INWI]))
    def ready(self, carrier: str) -> None:
        """Never fewer than there are."""
        need = Need(carrier=carrier, country=COUNTRIES[carrier])
        able = [known for known in self.fleet.values() if why_not(known, need, self.now, self.rules) is None]

        assert self.directory.ready(carrier, self.now) >= sum(known.carrier == carrier for known in able)

    @invariant()
    def both_know_the_same(self) -> None:
        assert {known.id: known for known in self.directory.seeds()} == self.fleet


TestAgainstBruteForce = AgainstBruteForce.TestCase
TestAgainstBruteForce.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
