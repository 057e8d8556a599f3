"""Hours of made-up traffic through the counting and the rules: what is normal is left alone, what is pumping is found. Seeds repeat."""

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from router.domain.fraud import FraudRules, Minute, Others, Reference, Usual, figures_of, usual_conversion, usual_count
from router.domain.message import Message
from router.domain.verdicts import Verdict, judge
from router.services.prefix_tally import PrefixTally, read_sums
from router.tally import Tally

START = 1_999_998_000.0
"""A whole minute."""
CARRIERS = {"5": "60303", "6": "60301", "7": "60302"}
RULES = FraudRules(mode="block")
_ids = itertools.count()


class Town:
    """Applications that send codes, people who type them in, and the router's counting and judging, a minute at a time."""

    def __init__(self, seed: int, rules: FraudRules = RULES) -> None:
        self.random = random.Random(seed)
        self.rules = rules
        self.now = START
        self.tally = Tally()
        self.prefixes = PrefixTally(self.tally)
        self.prefixes.follow(rules)
        self.minutes: dict[int, Minute] = {}
        self.usual: dict[str, Usual] = {}
        self.later: list[tuple[float, int, str, Message]] = []
        self.conversion = 0.75
        self.carrier_down = ""
        self.found: dict[str, Verdict] = {}
        """Prefixes that were ever judged to be pumped, and why."""

    def anybody(self) -> str:
        return f"+213{self.random.choice('567')}{self.random.randrange(10**8):08}"

    def code(self, number: str, converts: float | None = None) -> None:
        """One code: accepted now, sent in seconds, and perhaps verified within a minute."""
        carrier = CARRIERS[number[4]]
        message = Message(
            id=str(next(_ids)), account="ac_1", dialect="gatewire", kind="otp", lane="otp", to=number, country="DZ", carrier=carrier,
            parts=1, price=0, created_at=self.now, expires_at=self.now + 300,
        )  # fmt: skip
        self.prefixes.accepted(message)
        sent_at = self.now + self.random.uniform(1, 8)
        self._at(sent_at, "sent", message)
        share = 0.0 if carrier == self.carrier_down else self.conversion if converts is None else converts
        if self.random.random() < share:
            self._at(sent_at + self.random.uniform(5, 60), "verified", message)

    def _at(self, at: float, what: str, message: Message) -> None:
        heapq.heappush(self.later, (at, next(_ids), what, message))

    def minute(self, each_second: Callable[[], object]) -> None:
        for _ in range(60):
            each_second()
            while self.later and self.later[0][0] <= self.now:
                _, _, what, message = heapq.heappop(self.later)
                getattr(self.prefixes, what)(message, self.now)
            self.now += 1
        self._collect()
        self._judge()

    def _collect(self) -> None:
        fields: dict[int, dict[str, int]] = {}
        for (_, minute, field), n in self.tally.take().sums.items():
            assert minute is not None
            fields.setdefault(minute * 60, {})[field] = n
        for start, counted in fields.items():
            # Nothing is told late here: a minute is whole when it is taken
            assert start not in self.minutes
            self.minutes[start] = read_sums(counted)

    def _judge(self) -> None:
        oldest, past = self.now - self.rules.window_seconds - 60, int(self.now) - self.rules.learn_seconds
        figures = figures_of({start: minute for start, minute in self.minutes.items() if start >= oldest}, self.now, self.rules)
        others = Others.by_carrier(figures.values())
        for prefix, one in figures.items():
            if one.demand < self.rules.floor:
                continue
            now, latest = others[one.carrier].without(one, self.rules.floor)
            reference = Reference(
                count=usual_count(self.usual.get(prefix, Usual()), max(0.0, past + 60 - START), self.now, self.rules),
                conversion=usual_conversion(self.usual.get(one.carrier, Usual()), self.now, self.rules),
                others=now,
                latest=latest,
            )
            verdict = judge(one, reference, self.rules)
            if verdict.reason:
                self.found.setdefault(prefix, verdict)
        for prefix, by_carrier in self.minutes.get(past, {}).items():
            for carrier, sums in by_carrier.items():
                for name in (prefix, carrier) if prefix not in self.found else ():
                    self.usual[name] = self.usual.get(name, Usual()).plus(sums, float(past), self.rules)

    def pass_minutes(self, count: int, per_second: float, who: Callable[[], str] | None = None, **of_code: Any) -> None:
        """Codes to whoever `who` names, at random times."""

        def second() -> None:
            for _ in range(_arrivals(self.random, per_second)):
                self.code((who or self.anybody)(), **of_code)

        for _ in range(count):
            self.minute(second)


def _arrivals(source: random.Random, mean: float) -> int:
    """So many within a second: whole ones, and the rest by chance."""
    return int(mean) + (source.random() < mean % 1)


SEEDS = range(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_morning_rush_is_left_alone(seed: int) -> None:
    """Five times as many as usual, from one minute to the next."""
    town = Town(seed)
    town.pass_minutes(22, 2.0)
    town.pass_minutes(12, 10.0)

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("conversion", [0.75, 0.3])
def test_a_prefix_with_a_tenth_of_all_numbers_is_left_alone(seed: int, conversion: float) -> None:
    """A small country, in its morning rush, with customers who type in most of their codes, or few."""
    town = Town(seed)
    town.conversion = conversion

    def somebody() -> str:
        return town.anybody() if town.random.random() < 0.9 else f"+21366123{town.random.randrange(10**4):04}"

    town.pass_minutes(18, 2.0, somebody)
    town.pass_minutes(12, 10.0, somebody)

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_customer_in_one_town_is_left_alone(seed: int) -> None:
    """His prefix was never heard of before, and now has hundreds of codes; they come back."""
    town = Town(seed)
    town.pass_minutes(10, 2.0)
    town.pass_minutes(12, 1.0, lambda: f"+21366123{town.random.randrange(10**4):04}")

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_company_whose_numbers_stand_in_a_row_is_left_alone(seed: int) -> None:
    """Two hundred phones of one contract log in within some minutes: near numbers, far above the usual, and the codes come back."""
    town = Town(seed)
    town.pass_minutes(10, 2.0)
    town.pass_minutes(10, 0.4, lambda: f"+213661234{town.random.randrange(200):03}")

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_carrier_that_is_down_is_not_pumping(seed: int) -> None:
    """No code of it comes back, everybody asks again, and the busiest prefix is far above its usual."""
    town = Town(seed)

    def somebody() -> str:
        return town.anybody() if town.random.random() < 0.8 else f"+21366123{town.random.randrange(10**4):04}"

    town.pass_minutes(24, 2.0)
    town.carrier_down = "60301"
    town.pass_minutes(12, 8.0, somebody)

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_developer_with_a_few_phones_is_left_alone(seed: int) -> None:
    """Hundreds of codes to five numbers, none typed in."""
    town = Town(seed)
    phones = [f"+21366123450{digit}" for digit in range(5)]

    def second() -> None:
        for _ in range(2):
            town.code(town.anybody())
        if town.random.random() < 0.5:
            town.code(town.random.choice(phones), converts=0.0)

    for _ in range(20):
        town.minute(second)

    assert {} == town.found


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [1, -1, 3])
def test_a_run_of_numbers_is_found(seed: int, step: int) -> None:
    """Upwards, downwards, or in small steps, one in two seconds; nobody else is."""
    town = Town(seed)
    town.pass_minutes(8, 2.0)
    run = itertools.count(5000, step)

    def second() -> None:
        town.code(town.anybody())
        if int(town.now) % 2:
            town.code(f"+21377555{next(run):04}", converts=0.0)

    for _ in range(4):
        town.minute(second)

    assert {"+21377555": "sequential"} == {prefix: verdict.reason for prefix, verdict in town.found.items()}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_shuffled_range_is_found(seed: int) -> None:
    """A hundred numbers in no order, asked again and again."""
    town = Town(seed)
    town.pass_minutes(8, 2.0)

    def second() -> None:
        town.code(town.anybody())
        town.code(f"+2137755510{town.random.randrange(100):02}", converts=0.0)

    for _ in range(5):
        town.minute(second)

    assert {"+21377555"} == town.found.keys()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_numbers_whose_codes_never_come_back_are_found(seed: int) -> None:
    """Pumped to three prefixes at once, louder than all honest traffic together: it is the conversion that tells."""
    town = Town(seed)
    town.pass_minutes(17, 2.0)
    pumped = ("+21366123", "+21366124", "+21366125")

    def second() -> None:
        for _ in range(2):
            town.code(town.anybody())
        for prefix in pumped:
            town.code(f"{prefix}{town.random.randrange(10**4):04}", converts=0.0)

    for _ in range(5):
        town.minute(second)

    assert dict.fromkeys(pumped, "conversion") == {prefix: verdict.reason for prefix, verdict in town.found.items()}


@pytest.mark.parametrize("processes", [2, 4])
def test_a_run_that_several_processes_share_is_found(processes: int) -> None:
    """Each sees a part of it only, as a balancer deals."""
    numbers = random.Random(processes)
    tally = Tally()
    shares = [PrefixTally(tally) for _ in range(processes)]
    town = Town(0)
    for place in range(200):
        message = Message(
            id=str(place), account="ac_1", dialect="gatewire", kind="otp", lane="otp", to=f"+21377555{place:04}", country="DZ",
            carrier="60302", parts=1, price=0, created_at=town.now + place, expires_at=town.now + 300,
        )  # fmt: skip
        numbers.choice(shares).accepted(message)
    near = sum(n for (_, _, field), n in tally.take().sums.items() if field.endswith("|n"))

    assert near > 200 * RULES.near_share
