"""What a dispatcher tells of its choices, and of the fleet as it sees it."""

from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace
from prometheus_client import REGISTRY

from router import metrics
from router.domain.seed import Quota
from tests.integration.services.world import IMSI, OTHER_IMSI, World

pytestmark = pytest.mark.anyio
DJEZZY = "603020000000001"


@pytest.fixture
async def world(redis_url: str) -> AsyncIterator[World]:
    world = World(redis_url, cross_carrier=True, accept_when="always")
    yield world
    await world.close()


class Counted:
    """What counters say since it was made."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> dict[str, float]:
        names = {"outcome": ("choices_total", metrics.OUTCOMES), "reason": ("passed_over_total", metrics.REASONS)}
        return {
            value: REGISTRY.get_sample_value(f"seedrouter_{name}", {label: value}) or 0.0
            for label, (name, values) in names.items()
            for value in values
        }

    def since(self) -> dict[str, float]:
        return {name: count - self._before[name] for name, count in self._now().items() if count != self._before[name]}


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(f"seedrouter_{name}", labels)


async def test_choices_by_outcome(world: World) -> None:
    """Of its own carrier; of another one; none, which is counted once however often it is looked again."""
    account, counted = await world.account(), Counted()
    await world.seed(pace_seconds=0.01)
    await world.submit(account)
    await world.dispatch()
    assert {"on_net": 1} == counted.since()
    await world.submit(account, "+213770000001")
    await world.dispatch()
    assert {"on_net": 1, "cross_carrier": 1} == counted.since()
    await world.registry.change(IMSI, enabled=False)
    world.clock.advance(1)
    await world.submit(account)
    await world.dispatch()
    for _ in range(3):
        assert (1, 1) == await world.dispatching.run_parked("60301", 10)

    assert {"on_net": 1, "cross_carrier": 1, "parked": 1} == {name: n for name, n in counted.since().items() if name in metrics.OUTCOMES}


async def test_refused_by_the_record(world: World) -> None:
    """A copy that is out of date chooses a seed that the store then refuses; another one gets the message."""
    account, counted = await world.account(), Counted()
    await world.seed()
    await world.submit(account)
    await world.registry.change(IMSI, draining=True)
    # The dispatcher does not know yet
    ids = world.queue.drain()
    assert [] == await world.dispatching.run(ids)
    outcomes = {name: count for name, count in counted.since().items() if name in metrics.OUTCOMES}

    assert {"reserve_refused": 1, "parked": 1} == outcomes


async def test_why_seeds_were_passed_over(world: World) -> None:
    """By reason, as the trace of the message tells it."""
    account, counted = await world.account(), Counted()
    await world.seed(OTHER_IMSI)
    await world.submit(account)
    await world.dispatch()
    (handed,) = await world.fetch(OTHER_IMSI)
    await world.seed(DJEZZY)
    await world.report(handed, "failed", OTHER_IMSI, error="no service")
    world.clock.advance(1)
    await world.dispatch()
    (_, second) = (await world.message(handed.id)).attempts

    assert DJEZZY == second.seed
    assert "passed over: 1 tried" in second.why
    assert {"tried": 1, "on_net": 1, "cross_carrier": 1} == counted.since()


async def test_the_fleet_in_figures(world: World) -> None:
    """Enrolled, online, room, quota and load by carrier; the heartbeat's seed is none of them."""
    account = await world.account()
    await world.seed(pace_seconds=0.5, quota=Quota(half_hour=10, hour=0, day=0))
    await world.seed(OTHER_IMSI, pace_seconds=0.5)
    await world.registry.enrol(DJEZZY)
    batch = world.store.batch()
    world.store.heartbeat.announce(batch, world.clock.now(), 60.0)
    await batch.run()
    await world.submit(account)
    await world.dispatch()
    await world.fleet.observe()
    mobilis = {"carrier": "60301"}

    assert (2, 2, 1) == (gauge("seeds_enrolled", **mobilis), gauge("seeds_online", **mobilis), gauge("in_flight_parts", **mobilis))
    assert 2 * 9 - 1 == gauge("seed_room_parts", **mobilis)
    assert 1.0 == gauge("seed_load_max_ratio", **mobilis)
    assert gauge("seeds_quota_used_ratio", **mobilis) in (0.0, pytest.approx(0.05))
    assert (1, 0) == (gauge("seeds_enrolled", carrier="60302"), gauge("seeds_online", carrier="60302"))
    assert (0, 0) == (gauge("seeds_enrolled", carrier="other"), gauge("seeds_online", carrier="other"))
    assert (2, 2) == (gauge("seeds_by_ping_age", le="1.0"), gauge("seeds_by_ping_age", le="+Inf"))


async def test_the_queue_and_what_is_open(world: World) -> None:
    """As the timekeeper sees it; a heartbeat that is under way is not among the open messages."""
    account = await world.account()
    await world.submit(account)
    world.queue.lanes["otp"] = replace(world.queue.lanes["otp"], in_hands=7)
    await world.timekeeping.observe()
    assert (7, 1) == (gauge("queue_unacknowledged", lane="otp"), gauge("messages_open"))
    await world.timekeeping.observe(apart=1)

    assert 0 == gauge("messages_open")
