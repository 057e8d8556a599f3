"""A fleet in figures."""

import math

import pytest

from router.domain.census import Census
from router.domain.loads import Loads, unevenness
from router.domain.rules import Rules
from router.domain.seed import Seed

RULES = Rules(lease_seconds=8.0, lease_fill=0.5, pace_seconds=1.0, parts_per_half_hour=30)
NOW = 10_000.0


def seed(id: str, **fields: object) -> Seed:
    return Seed(**{"id": id, "carrier": "60301", "country": "DZ", "enrolled": True, "lps": NOW - 1} | fields)  # type: ignore[arg-type]


def test_online_seeds_and_their_room() -> None:
    """Room is what the lease, the quota and the breaker leave; who is offline, disabled or unknown has none."""
    census = Census(NOW, RULES, {"busy": 30, "idle": 10})
    for one in (
        seed("idle"), seed("busy", in_flight=3), seed("used up", used=(30, 30, 30)), seed("full", in_flight=9),
        seed("tripped", consecutive_failures=2, failed_at=NOW, in_flight=1), seed("offline", lps=NOW - 3600, in_flight=2),
        seed("disabled", enabled=False), seed("never heard of", lps=0.0), seed("stranger", enrolled=False),
    ):  # fmt: skip
        census.count(one, "60301")
    tally = census.tallies["60301"]

    assert (8, 5, 1) == (tally.enrolled, tally.online, tally.tripped)
    assert 5 + 2 == tally.room
    assert 15 == tally.in_flight
    assert 1.0 / 5 == tally.mean_quota_used
    assert 30 / (40 / 5) == tally.unevenness


def test_ready_seeds() -> None:
    """They may be given a message of one part at once: neither tripped, resting, full nor used up."""
    census = Census(NOW, RULES, {})
    for one in (
        seed("ready", in_flight=4), seed("full", in_flight=5), seed("used up", used=(30, 30, 30)),
        seed("tripped", consecutive_failures=2, failed_at=NOW), seed("resting", rest_seconds=60.0, last_given_at=NOW - 59),
        seed("rested", rest_seconds=60.0, last_given_at=NOW - 60), seed("draining", draining=True),
    ):  # fmt: skip
        census.count(one, "60301")

    assert (6, 2) == (census.tallies["60301"].online, census.tallies["60301"].ready)


def test_who_could_take_nothing_and_why() -> None:
    """Enrolled seeds that serve everybody, each by the first reason; those that are ready, or somebody's own, are not among them."""
    census = Census(NOW, RULES, {})
    for one in (
        seed("ready", in_flight=4), seed("full", in_flight=5), seed("used up", used=(30, 30, 30)), seed("offline", lps=NOW - 3600),
        seed("tripped", consecutive_failures=2, failed_at=NOW), seed("resting", rest_seconds=60.0, last_given_at=NOW - 59),
        seed("draining", draining=True), seed("disabled", enabled=False, lps=0.0), seed("gone", lps=0.0),
        seed("stranger", enrolled=False), seed("own", lps=0.0, account="ac_1", shared=False),
    ):  # fmt: skip
        census.count(one, "60301")
    expected = {"no room": 1, "quota used": 1, "offline": 2, "tripped": 1, "resting": 1, "draining": 1, "disabled": 1}

    assert {"60301": expected} == census.unready


def test_tallies_under_one_name() -> None:
    """Sums of both, but the busiest seed is the busier of the two."""
    census = Census(NOW, RULES, {"a": 5, "b": 3, "c": 9})
    for id, carrier in (("a", "20801"), ("b", "26201"), ("c", "60301")):
        census.count(seed(id, in_flight=1), carrier)
    joined = census.by(lambda carrier: carrier if carrier == "60301" else "other")

    assert {"60301", "other"} == set(joined)
    assert (2, 2, 8, 5) == (joined["other"].online, joined["other"].in_flight, joined["other"].given, joined["other"].most_given)
    assert census.tallies["60301"] == joined["60301"]
    assert 5 == census.tallies["20801"].given


def test_failing_seeds() -> None:
    """More than half of what an online seed was given lately has failed."""
    census = Census(NOW, RULES, {})
    census.count(seed("bad", bad=9.0, outcomes=10.0), "60301")
    census.count(seed("good", bad=1.0, outcomes=10.0), "60301")
    census.count(seed("new"), "60301")

    assert 1 == census.tallies["60301"].failing


def test_ping_ages_add_up() -> None:
    """As many as were heard of within each bound; the last is for all that ever were."""
    census = Census(NOW, RULES, {})
    for age in (0.0, 5.0, 5.1, 400.0, NOW - 1):
        census.count(seed(str(age), lps=NOW - age), "other")
    census.count(seed("never", lps=0.0), "other")

    assert [2, 3, 4, 5] == census.heard_within((5.0, 60.0, 500.0, math.inf))


def test_five_minutes_of_loads() -> None:
    """What was given longer ago is forgotten."""
    loads = Loads()
    for at in (0.0, 59.0, 60.0, 299.0):
        loads.add("a", at)
    loads.add("b", 301.0)

    assert {"a": 2, "b": 1} == loads.by_seed(301.0)
    assert {"b": 1} == loads.by_seed(599.0)
    assert {} == loads.by_seed(10_000.0)


@pytest.mark.parametrize(
    ("busiest", "total", "seeds", "ratio"), [(0, 0, 10, 0.0), (1, 10, 1000, 1.0), (20, 100, 10, 2.0), (10, 10, 10, 10.0), (3, 3, 0, 1.0)]
)
def test_unevenness(busiest: int, total: int, seeds: int, ratio: float) -> None:
    """Few messages over many seeds cannot be more even than one each."""
    assert ratio == unevenness(busiest, total, seeds)
