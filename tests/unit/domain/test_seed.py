from typing import Any

import pytest

from router.domain.rules import Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import Need, why_not

NOW = 10_000.0
RULES = Rules(
    lease_seconds=8.0, lease_fill=0.5, pace_seconds=3.0, online_window_seconds=20.0, parts_per_half_hour=30,
    breaker_failures=2, breaker_pause_seconds=15.0, breaker_pause_max_seconds=100.0,
)  # fmt: skip


def seed(**changes: Any) -> Seed:
    return Seed(**{"id": "S", "carrier": "60302", "country": "DZ", "enrolled": True, "lps": NOW} | changes)


@pytest.mark.parametrize(
    ("lps", "window_seconds", "online"),
    [
        (NOW, 0.0, True),
        (NOW - 20, 0.0, True),
        (NOW - 20.001, 0.0, False),
        (NOW - 60, 60.0, True),
        (NOW - 6, 5.0, False),
        (NOW + 1, 0.0, True),
        (0.0, 0.0, False),
        (0.0, 1e9, False),
    ],
)
def test_online(lps: float, window_seconds: float, online: bool) -> None:
    """A seed is online within its own window, or else the setting, of its last ping; never before its first."""
    assert online == seed(lps=lps, window_seconds=window_seconds).is_online(NOW, RULES)


def test_dispatchable() -> None:
    """Only an enrolled, enabled seed of a known carrier that is not drained may be given anything (invariant 6)."""
    assert seed().is_dispatchable()
    assert not seed(enrolled=False).is_dispatchable()
    assert not seed(enabled=False).is_dispatchable()
    assert not seed(draining=True).is_dispatchable()
    assert not seed(carrier="").is_dispatchable()
    assert not Seed(id="new").is_dispatchable()


@pytest.mark.parametrize(
    ("failures", "pause"), [(0, None), (1, None), (2, 15.0), (3, 30.0), (4, 60.0), (5, 100.0), (6, 100.0), (10**6, 100.0)]
)
def test_breaker(failures: int, pause: float | None) -> None:
    """Two failures in a row trip the breaker; its pause doubles with each further one, up to the longest."""
    tripped = seed(consecutive_failures=failures, failed_at=NOW)

    assert (NOW + pause if pause else 0.0) == tripped.tripped_until(RULES)
    assert (pause is not None) == tripped.is_on_probation(RULES)


def test_one_probe_on_probation() -> None:
    """Until a success closes the breaker, one message at a time, however fast the seed is."""
    probation = seed(consecutive_failures=2, failed_at=NOW - 15, pace_seconds=0.5)

    assert probation.capacity(RULES) == 1
    assert probation.has_room(1, RULES)
    probation.in_flight = 1
    assert not probation.has_room(1, RULES)
    probation.consecutive_failures = 0
    assert probation.capacity(RULES) == 9
    assert probation.has_room(8, RULES)
    assert not probation.has_room(9, RULES)


@pytest.mark.parametrize(("failures", "sent", "known_good"), [(0, 1, True), (0, 0, False), (1, 50, False), (2, 50, False)])
def test_known_good(failures: int, sent: int, known_good: bool) -> None:
    """A seed is known to be good when its last outcome was a success; a new one is not known."""
    assert known_good == seed(consecutive_failures=failures, sent=sent).is_known_good()


def test_failure_share() -> None:
    """A seed without a history stands at one in ten, and its record tells more and more."""
    assert seed().failure_share() == pytest.approx(0.1)
    assert seed(bad=0.0, outcomes=20.0).failure_share() == pytest.approx(0.02)
    assert seed(bad=20.0, outcomes=20.0).failure_share() == pytest.approx(0.82)


@pytest.mark.parametrize(
    ("quota", "limits"),
    [
        (Quota(), (30, 0, 0)),
        (Quota(half_hour=5), (5, 0, 0)),
        (Quota(half_hour=0), (0, 0, 0)),
        (Quota(hour=50, day=200), (30, 50, 200)),
    ],
)
def test_quota_limits(quota: Quota, limits: tuple[int, int, int]) -> None:
    """A seed's own quota goes before the setting, in each window; 0 is no limit, not no message."""
    assert limits == seed(quota=quota).quota_limits(RULES)


@pytest.mark.parametrize(
    ("quota", "used", "left"),
    [
        (Quota(), (0, 0, 0), 30),
        (Quota(), (29, 500, 500), 1),
        (Quota(), (30, 30, 30), 0),
        (Quota(), (31, 31, 31), 0),
        (Quota(hour=40), (0, 38, 38), 2),
        (Quota(hour=40, day=100), (0, 0, 99), 1),
        (Quota(half_hour=0), (10**5, 10**5, 10**5), 1_000_000),
        (Quota(half_hour=0, day=10), (8, 8, 8), 2),
    ],
)
def test_quota_left(quota: Quota, used: tuple[int, int, int], left: int) -> None:
    """What is left is what every limited window still allows, and never less than nothing."""
    assert left == seed(quota=quota, used=used).quota_left(RULES)


@pytest.mark.parametrize(
    ("pace_seconds", "lease_seconds", "lease_fill", "capacity"),
    [
        (0.0, 8.0, 0.5, 2),
        (1.0, 8.0, 0.5, 5),
        (1.0, 8.0, 1.0, 9),
        (0.9, 8.0, 0.5, 5),
        (4.0, 8.0, 0.5, 2),
        (4.1, 8.0, 0.5, 1),
        (60.0, 8.0, 0.5, 1),
        (3.0, 60.0, 0.5, 11),
    ],
)
def test_capacity(pace_seconds: float, lease_seconds: float, lease_fill: float, capacity: int) -> None:
    """A seed holds the part that it sends, and those whose turn comes within the planned share of a lease at its pace."""
    rules = Rules(lease_seconds=lease_seconds, lease_fill=lease_fill, pace_seconds=3.0)

    assert capacity == seed(pace_seconds=pace_seconds).capacity(rules)


def test_no_pace() -> None:
    """A pace of nothing promises nothing: one message."""
    assert seed().capacity(Rules(pace_seconds=0.0)) == 1


@pytest.mark.parametrize(
    ("in_flight", "parts", "room"),
    [(0, 5, True), (1, 4, True), (1, 5, False), (4, 1, True), (5, 1, False), (0, 9, True), (0, 31, True)],
)
def test_room(in_flight: int, parts: int, room: bool) -> None:
    """Parts fit up to the capacity; a longer message fits an idle seed. The quota is asked for itself: `quota_left`."""
    assert room == seed(pace_seconds=1.0, in_flight=in_flight).has_room(parts, RULES)


@pytest.mark.parametrize(("parts", "reason"), [(2, None), (3, "quota used")])
def test_choosing_asks_the_quota_too(parts: int, reason: str | None) -> None:
    """A seed whose quota leaves two parts may get a message of two and none of three, though it has the room."""
    nearly_used = seed(pace_seconds=1.0, used=(28, 28, 28))

    assert nearly_used.has_room(parts, RULES)
    assert reason == why_not(nearly_used, Need(carrier="60302", country="DZ", parts=parts), NOW, RULES)


@pytest.mark.parametrize(
    ("fields", "pool"),
    [({}, "60302"), ({"account": "ac_1"}, "60302"), ({"account": "ac_1", "shared": False}, "60302@ac_1"), ({"carrier": ""}, "")],
)
def test_pool(fields: dict[str, Any], pool: str) -> None:
    """A seed is chosen from its carrier's pool, or from its account's own one where it serves that account only."""
    assert pool == seed(**fields).pool


def test_rest() -> None:
    """A seed that was taught to rest may have its next message so long after the last; any other need not."""
    assert NOW + 30 == seed(rest_seconds=30.0, last_given_at=NOW).resting_until()
    assert 0.0 == seed(last_given_at=NOW).resting_until()


@pytest.mark.parametrize(
    ("fields", "share"),
    [
        ({}, 0.0),
        ({"used": (15, 15, 15)}, 0.5),
        ({"used": (30, 40, 40)}, 1.0),
        ({"used": (15, 20, 20), "quota": Quota(hour=25, day=100)}, 0.8),
        ({"used": (0, 0, 90), "quota": Quota(hour=25, day=100)}, 0.9),
        ({"used": (9, 9, 9), "quota": Quota(half_hour=0)}, 0.0),
        ({"used": (3, 3, 3), "quota": Quota(recipients=4), "recipients_used": 3}, 0.75),
        ({"recipients_used": 3}, 0.0),
    ],
)
def test_quota_share(fields: dict[str, Any], share: float) -> None:
    """How much of the tightest of its limits is used; what has no limit has no share."""
    assert share == pytest.approx(seed(**fields).quota_share(RULES))


def test_what_is_left_decides_among_equals_only() -> None:
    """Of two equal seeds the one with more left is better; one that fails more often, or is slower, is worse all the same."""
    fresh, used = seed(), seed(used=(29, 29, 29))
    failing = seed(bad=3.0, outcomes=15.0)
    unlimited = seed(used=(29, 29, 29), quota=Quota(half_hour=0))

    assert fresh.score(RULES) < used.score(RULES) < failing.score(RULES)
    assert used.score(RULES) - fresh.score(RULES) == pytest.approx(0.5 * 29 / 30)
    assert fresh.score(RULES) == unlimited.score(RULES)
    assert used.score(RULES) < seed(seconds_to_sent=6.0).score(RULES)


def test_score() -> None:
    """The score is in flight, as a share of the capacity, + 8 × failure share + a fifth of the recent seconds to sent; lowest is best."""
    idle = seed(pace_seconds=1.0)
    busy = seed(pace_seconds=1.0, in_flight=2)
    failing = seed(pace_seconds=1.0, bad=5.0, outcomes=10.0)
    slow = seed(pace_seconds=1.0, seconds_to_sent=12.0)

    assert idle.score(RULES) == pytest.approx(0.8)
    assert busy.score(RULES) == pytest.approx(0.8 + 2 / 5)
    assert failing.score(RULES) == pytest.approx(8 * 5.5 / 15)
    assert slow.score(RULES) == pytest.approx(0.8 + 2.4)
