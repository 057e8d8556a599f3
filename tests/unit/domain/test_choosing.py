import random
from typing import Any

import pytest
from msgspec.structs import replace

from router.domain.choosing import FRUITLESS_SECONDS, Chooser
from router.domain.directory import Directory
from router.domain.message import Attempt, Message
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import FailoverBudget

NOW = 10_000.0
RULES = Rules(pace_seconds=1.0, failover_budget=0.25, failover_budget_burst=2.0, failover_budget_per_second=0.5, retry_seed_seconds=15.0)
LOT = "60302"


def seed(id: str = "S", **changes: Any) -> Seed:
    return Seed(**{"id": id, "carrier": "60302", "country": "DZ", "enrolled": True, "lps": NOW} | changes)


def message(**changes: Any) -> Message:
    about: dict[str, Any] = {
        "id": "m", "account": "ac_1", "dialect": "gatewire", "kind": "otp", "lane": "otp", "to": "+213551234567", "country": "DZ",
        "carrier": "60302", "parts": 1, "price": 5, "created_at": NOW, "expires_at": NOW + 300,
    }  # fmt: skip
    return Message(**about | changes)


def failed_over(seed_id: str = "gone", ended_at: float = NOW, **changes: Any) -> Message:
    attempt = Attempt(
        number=1, seed=seed_id, carrier="60302", state="silent", assigned_at=ended_at - 6, handed_at=ended_at - 6, ended_at=ended_at
    )
    return message(attempts=(attempt,), **changes)


def chooser(*seeds: Seed, **changes: Any) -> Chooser:
    rules = replace(RULES, **changes)
    directory = Directory(rules, random.Random(1))
    for each in seeds:
        directory.update(each, NOW)
    return Chooser(directory, FailoverBudget(rules), rules)


def chosen(by: Chooser, message: Message, now: float = NOW) -> str | None:
    choice = by.choose(message, now)
    return choice.seed.id if choice.seed else None


def test_what_a_message_asks() -> None:
    """Its home, its size, whose it is, and what it is bound to."""
    asks = message(parts=2, only="dev", sim=2, data_port=7)
    need = chooser().need(asks, NOW)

    assert ("60302", "DZ", 2, "ac_1", "dev", 2, True) == (
        need.carrier, need.country, need.parts, need.account, need.only, need.sim, need.phone_only,
    )  # fmt: skip
    assert (False, False, {}) == (need.is_ordinary, need.known_good_only, need.tried)
    assert chooser().need(message(), NOW).is_ordinary


def test_who_had_it_rests_for_it() -> None:
    """From the end of its attempt, or from its beginning while nobody knows of an end."""
    ended = failed_over("a", ended_at=NOW)
    begun = replace(ended.attempts[0], number=2, seed="b", ended_at=None, assigned_at=NOW + 1)
    need = chooser().need(replace(ended, attempts=(*ended.attempts, begun)), NOW + 2)

    assert {"a": NOW + 15, "b": NOW + 16} == need.tried
    assert not need.is_ordinary
    assert None is chosen(chooser(seed("a")), ended)
    assert "a" == chosen(chooser(seed("a")), ended, NOW + 15)


def test_what_is_chosen_counts_at_once() -> None:
    """The last place at a seed is given away once, before the store is read again."""
    by = chooser(seed("a", in_flight=3))

    assert ["a", "a", None] == [chosen(by, message()) for _ in range(3)]
    assert 5 == (by.directory.get("a") or seed()).in_flight


def test_nobody_costs_nothing() -> None:
    """A message that finds no seed is no failover, nor a first attempt."""
    by = chooser(seed("a", enabled=False))
    for _ in range(100):
        assert None is chosen(by, failed_over())

    assert "<FailoverBudget 2.0 of 2>" == repr(by._budget)


def test_the_budget() -> None:
    """Past it failovers go to seeds only that are known to be good; four first attempts, or two seconds, pay for another."""
    by = chooser(seed("new"), parts_per_half_hour=0, lease_seconds=60.0)

    assert ["new", "new", None] == [chosen(by, failed_over()) for _ in range(3)]
    assert ["new"] * 4 == [chosen(by, message()) for _ in range(4)]
    assert ["new", None] == [chosen(by, failed_over()) for _ in range(2)]
    assert ["new", None] == [chosen(by, failed_over(), NOW + 2) for _ in range(2)]
    by.directory.update(seed("good", sent=1), NOW)
    assert ["good", "good"] == [chosen(by, failed_over(), NOW + 2) for _ in range(2)]


def test_what_was_never_handed_over_is_no_failover() -> None:
    """Its seed did not fetch it: to choose another costs nothing of the budget."""
    moved = failed_over()
    moved = replace(moved, attempts=(replace(moved.attempts[0], state="unfetched", handed_at=None),))
    by = chooser(seed("new"), lease_seconds=60.0)

    assert ["new"] * 5 == [chosen(by, moved) for _ in range(5)]
    assert "<FailoverBudget 2.0 of 2>" == repr(by._budget)


def test_a_fruitless_lot_is_left_alone() -> None:
    """For half a second after nothing could leave it; a lot that something left is looked at again at once."""
    by = chooser(seed("a"))

    assert by.is_worth_a_look(LOT, NOW)
    by.looked(LOT, NOW, in_vain=True)
    assert not by.is_worth_a_look(LOT, NOW + FRUITLESS_SECONDS - 0.01)
    assert by.is_worth_a_look("DZ", NOW)
    assert by.is_worth_a_look(LOT, NOW + FRUITLESS_SECONDS)
    by.looked(LOT, NOW, in_vain=True)
    by.looked(LOT, NOW, in_vain=False)
    assert by.is_worth_a_look(LOT, NOW)


@pytest.mark.parametrize("changes", [{"enabled": False}, {"in_flight": 5}, {"carrier": "60301"}])
def test_a_lot_without_a_seed(changes: dict[str, Any]) -> None:
    """It is not worth a look while nobody could take what waits there."""
    assert not chooser(seed("a", **changes)).is_worth_a_look(LOT, NOW)
