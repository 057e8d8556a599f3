"""The scripts against `domain/record.py`: whatever is reserved and ended, in any order, both know the same of a seed."""

import asyncio
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from router.domain.lifecycle import Outcome, Release
from router.domain.record import Record, Refused
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import REASONS
from router.store.seeds import Seeds, Slip
from tests.integration.store.kit import NOW, PHONE, a_seed, ask, open_store

RULES = Rules(pace_seconds=1.0, limit_rest_seconds=5.0, limit_rest_max_seconds=30.0, parts_per_half_hour=12, breaker_failures=2)
COUNTS = ("enrolled", "enabled", "draining", "in_flight", "used", "consecutive_failures", "failed_at", "sent", "failed", "last_given_at")
SHARES = ("bad", "outcomes", "seconds_to_sent", "rest_seconds")
"""The scripts round these."""
OUTCOMES: tuple[Outcome, ...] = ("sent", "sent", "failed", "limited", "silent", "returned")
QUARTERS = st.integers(0, 80).map(lambda quarters: quarters / 4)


class Both(RuleBasedStateMachine):
    """One seed on Redis, and its record here."""

    redis_url = ""
    refusals: set[Refused]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.Runner()
        self.store = open_store(self.redis_url, RULES)
        self.now = NOW
        self.slips: list[Slip] = []

    def do(self, add: Any) -> Any:
        return self.loop.run(ask(self.store, add))

    @initialize(
        pace=st.sampled_from([0.0, 0.0, 0.5, 8.0]),
        quota=st.sampled_from([Quota(), Quota(half_hour=0), Quota(half_hour=0, hour=9), Quota(half_hour=8, hour=10, day=14)]),
        is_enrolled=st.integers(0, 9).map(bool),
    )
    def begin(self, pace: float, quota: Quota, is_enrolled: bool) -> None:
        known = a_seed(pace_seconds=pace, quota=quota)
        self.id = known.id
        if is_enrolled:
            self.do(lambda batch: Seeds.enrol(batch, known, "hash", self.now))
        else:
            fields = {"carrier": known.carrier, "pace_seconds": repr(pace), "quota": msgspec.json.encode(quota).decode()}
            self.do(lambda batch: Seeds.change(batch, known.id, fields, self.now))
        self.record = Record(id=known.id, enrolled=is_enrolled, pace_seconds=pace, quota=quota)

    def stored(self) -> Seed:
        (seed,) = self.loop.run(self.store.seeds.load(self.store.batch(), [self.id], self.now))
        assert seed is not None
        return seed

    def reserve_both(self, slip: Slip) -> str:
        refused = self.record.reserve(str(slip), slip.parts, self.now, RULES)
        seed = self.stored()
        answer = self.do(lambda batch: self.store.seeds.reserve(batch, seed, slip, self.now, account="ac_1", to=PHONE)).decode()

        assert (refused or "ok") == answer
        if refused:
            self.refusals.add(refused)
            event(refused)
        return answer

    def finish_both(self, slip: Slip, outcome: Outcome, handed_over: bool, seconds: float | None) -> int:
        release = Release(self.id, slip.number, outcome, handed_over, seconds)
        is_freed = self.record.finish(str(slip), outcome, self.now, RULES, handed_over=handed_over, seconds=seconds)

        assert is_freed == self.do(lambda batch: self.store.seeds.finish(batch, slip, release, self.now))
        return is_freed

    @rule(parts=st.sampled_from([1, 1, 1, 2, 3, 7]))
    def reserve(self, parts: int) -> None:
        slip = Slip("m", len(self.slips) + 1, parts)
        if "ok" == self.reserve_both(slip):
            self.slips.append(slip)

    @precondition(lambda self: self.slips)
    @rule(data=st.data())
    def reserve_again(self, data: st.DataObject) -> None:
        """The dispatcher did not hear the answer. What has ended meanwhile is taken for a new one."""
        self.reserve_both(data.draw(st.sampled_from(self.slips)))

    @rule(limit=st.integers(1, 3))
    def fetch(self, limit: int) -> None:
        """It changes nothing that is kept of the seed."""
        self.do(lambda batch: self.store.seeds.take(batch, self.id, limit, ""))

    @precondition(lambda self: self.slips)
    @rule(data=st.data(), outcome=st.sampled_from(OUTCOMES), handed_over=st.booleans(), seconds=st.none() | QUARTERS)
    def finish(self, data: st.DataObject, outcome: Outcome, handed_over: bool, seconds: float | None) -> None:
        """Also of what has ended before."""
        self.finish_both(data.draw(st.sampled_from(self.slips)), outcome, handed_over, seconds)

    @precondition(lambda self: self.record.held)
    @rule(outcome=st.sampled_from(OUTCOMES), seconds=QUARTERS)
    def finish_all(self, outcome: Outcome, seconds: float) -> None:
        """A cause that they have in common."""
        for slip in [slip for slip in self.slips if str(slip) in self.record.held]:
            assert 1 == self.finish_both(slip, outcome, handed_over=True, seconds=seconds)

    @rule(outcomes=st.lists(st.sampled_from(OUTCOMES), min_size=1, max_size=4), pause=st.sampled_from([1.0, 30.0]))
    def one_after_the_other(self, outcomes: list[Outcome], pause: float) -> None:
        """The usual course, in one step, so that the stories get further."""
        for outcome in outcomes:
            slip = Slip("m", len(self.slips) + 1, 1)
            if "ok" == self.reserve_both(slip):
                self.slips.append(slip)
                self.now += 1.5
                self.finish_both(slip, outcome, handed_over=True, seconds=1.5)
            self.now += pause

    @rule(seconds=QUARTERS | st.sampled_from([60.0, 900.0, 1800.0, 3600.0, 40_000.0, 86_400.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(enabled=st.integers(0, 4).map(bool), draining=st.integers(0, 4).map(lambda number: not number))
    def operator_changes(self, enabled: bool, draining: bool) -> None:
        self.record.enabled, self.record.draining = enabled, draining
        fields = {"enabled": str(int(enabled)), "draining": str(int(draining))}
        self.do(lambda batch: Seeds.change(batch, self.id, fields, self.now))

    @invariant()
    def both_know_the_same(self) -> None:
        stored = self.stored()
        here = msgspec.structs.replace(self.record, used=self.record.usage(self.now))

        assert {name: getattr(here, name) for name in COUNTS} == {name: getattr(stored, name) for name in COUNTS}
        assert {name: pytest.approx(getattr(here, name), abs=0.001) for name in SHARES} == {name: getattr(stored, name) for name in SHARES}
        assert here.in_flight == sum(parts for _, parts in here.held.values())

    @invariant()
    def neither_grows_for_ever(self) -> None:
        """What is older than the windows is forgotten."""
        assert len(self.record.minutes) <= 60
        assert len(self.record.hours) <= 24

    def teardown(self) -> None:
        self.loop.run(self.store.close())
        self.loop.close()


def test_record(redis_url: str) -> None:
    """The same refusals, and the same numbers after each step; and every refusal was met."""
    met: set[Refused] = set()

    class Bound(Both):
        refusals = met

    Bound.redis_url = redis_url
    slow_is_fine = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run_state_machine_as_test(
        Bound, settings=settings(max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=slow_is_fine)
    )

    assert set(get_args(Refused)) == met


def test_every_refusal_is_a_reason() -> None:
    """A record refuses in the words of the choice; the scripts know more: recipients, and whose seed it is."""
    assert set(get_args(Refused)) < set(REASONS)
