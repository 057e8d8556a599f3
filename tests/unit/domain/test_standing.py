import math
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from router.domain.directory import Directory
from router.domain.rules import Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import Need, choose_seed, why_not
from router.domain.standing import NOT_FREE, Standings
from tests.unit.domain.standings import give, standings_of

NOW = 10_000.0
RULES = Rules(pace_seconds=1.0, choices=3)
NEED = Need(carrier="60302", country="DZ")


def seed(id: str = "S", **changes: Any) -> Seed:
    return Seed(**{"id": id, "carrier": "60302", "country": "DZ", "enrolled": True, "lps": NOW, "outcomes": 20.0} | changes)


def score_of(standings: Standings, now: float, slot: int = 0) -> float:
    """What it is chosen with at that time."""
    choice = choose_seed([slot], standings, NEED, now, RULES)
    assert choice.seed is not None
    return choice.score


def heard_each(standings: Standings, seconds: float, times: int, at: float = NOW) -> float:
    """So many signs of life at that distance; gives the time of the last one."""
    for turn in range(1, times + 1):
        standings.heard(0, at + turn * seconds)
        standings.seeds[0].lps = at + turn * seconds
    return at + times * seconds


def test_slots() -> None:
    """A seed keeps its slot, whatever is heard of it later; nobody else gets it."""
    standings = standings_of([seed("a"), seed("b")], NOW, RULES)

    assert (0, 1, None) == (standings.slot("a"), standings.slot("b"), standings.slot("c"))
    assert 0 == standings.put(seed("a", enabled=False))
    assert 2 == standings.put(seed("c"))
    assert ["a", "b", "c"] == standings.ids == [each.id for each in standings]
    assert [3] * 4 == [len(standings), len(standings.score), len(standings.overdue_at), len(standings.turn)]


def test_one_that_nobody_noted_is_looked_at() -> None:
    """A row that was just made promises nothing, nor does that of a seed that was just given a message."""
    standings = Standings(RULES)
    standings.put(seed("a", enabled=False))

    assert NOT_FREE == standings.score[0]
    assert {"disabled": 1} == choose_seed([0], standings, NEED, NOW, RULES).passed_over
    standings.put(seed("a"))
    standings.note(0, free=True)
    assert standings.seeds[0].score(RULES) == standings.score[0]
    standings.given(0)
    standings.seeds[0].in_flight = 5
    assert {"no room": 1} == choose_seed([0], standings, NEED, NOW, RULES).passed_over


def test_free_until_its_window_ends() -> None:
    """Of a seed that is free, only the time says that it is not any more."""
    standings = standings_of([seed(window_seconds=7.0)], NOW, RULES)

    assert choose_seed([0], standings, NEED, NOW + 7, RULES).seed is standings.seeds[0]
    assert {"offline": 1} == choose_seed([0], standings, NEED, NOW + 7.5, RULES).passed_over
    last = heard_each(standings, 5.0, 3)
    assert choose_seed([0], standings, NEED, last + 7, RULES).seed is standings.seeds[0]
    assert {"offline": 1} == choose_seed([0], standings, NEED, last + 7.5, RULES).passed_over


def test_one_that_pings_each_second_and_falls_silent() -> None:
    """When its next sign of life is overdue, in whole seconds, its score begins to rise, by a point a second."""
    standings = standings_of([seed()], NOW, RULES)
    last = heard_each(standings, 1.0, 5)
    usual = standings.seeds[0].score(RULES)

    assert usual == score_of(standings, last + 2)
    assert usual + 1.0 == pytest.approx(score_of(standings, last + 3))
    assert usual + 10.0 == pytest.approx(score_of(standings, last + 12))
    standings.heard(0, last + 12)
    assert usual == score_of(standings, last + 13)


def test_one_that_pings_each_ten_seconds() -> None:
    """It is not punished within its pause, however often it was seen at its end."""
    standings = standings_of([seed()], NOW, RULES)
    last = heard_each(standings, 10.0, 5)
    usual = standings.seeds[0].score(RULES)

    assert usual == score_of(standings, last + 11)
    assert usual + 2.0 == pytest.approx(score_of(standings, last + 13))


def test_a_longer_pause_fades() -> None:
    """One long pause is remembered for a while, a fifth less with each sign of life; never is one longer than half the window usual."""
    standings = standings_of([seed()], NOW, RULES)
    standings.heard(0, NOW + 18)
    usual = standings.seeds[0].score(RULES)
    allowed = []
    for turn in range(4):
        at = NOW + 18 + turn
        standings.heard(0, at)
        standings.seeds[0].lps = at
        allowed.append(round(15.0 + usual - score_of(standings, at + 15), 6))

    assert [11.0, 9.0, 7.0, 6.0] == allowed


@pytest.mark.parametrize(
    ("said", "silent_for"),
    [
        ([{"window_seconds": 60.0, "lps": NOW - 30}, {"window_seconds": 60.0}, {"window_seconds": 6.0}], 20.0),
        ([{"window_seconds": 1.0, "lps": NOW + 0.6}], 1.4),
    ],
)
def test_never_beyond_its_window(said: list[dict[str, Any]], silent_for: float) -> None:
    """A row never says more than the record: not where the window was shortened, nor where it is a second or two."""
    fleet = Directory(RULES)
    for word in said:
        fleet.update(seed(**word), NOW)
    known = seed(**said[-1])
    now = known.lps + silent_for

    assert "offline" == why_not(known, NEED, now, RULES)
    assert None is fleet.find(NEED, now).seed


def test_an_old_sign_of_life_changes_nothing() -> None:
    """News of a moment before the latest comes late: its next one is expected no sooner, and it is not online for longer."""
    standings = standings_of([seed()], NOW, RULES)
    last = heard_each(standings, 1.0, 5)
    standings.heard(0, last - 0.5)
    before = score_of(standings, last + 1.5)
    standings.heard(0, last + 1)
    standings.seeds[0].lps = last + 1

    assert before == standings.seeds[0].score(RULES)
    assert standings.overdue_at[0] <= last + 1 + 20


def test_the_weight_of_silence() -> None:
    """Without a weight nothing is added."""
    rules = msgspec.structs.replace(RULES, silence_weight=0.0)
    standings = standings_of([seed()], NOW, rules)

    assert choose_seed([0], standings, NEED, NOW + 19, rules).score == standings.seeds[0].score(rules)


def test_a_silent_one_is_passed_by() -> None:
    """Of two, one pings each second and fell silent, the other each ten seconds and is within its pause: that one is chosen."""
    standings = standings_of([seed("quick"), seed("calm", bad=1.0)], NOW, RULES)
    for second in range(1, 26):
        standings.heard(0, NOW + second)
        if second % 10 == 0:
            standings.heard(1, NOW + second)
    for slot, at in ((0, NOW + 25), (1, NOW + 20)):
        standings.seeds[slot].lps = at

    assert "quick" == (choose_seed([0, 1], standings, NEED, NOW + 26, RULES).seed or seed()).id
    choice = choose_seed([0, 1], standings, NEED, NOW + 30, RULES)
    assert "calm" == (choice.seed or seed()).id
    assert "quick" == choice.next


def test_ties_go_to_the_one_idle_longest() -> None:
    """Whatever their order; one that was never given anything was idle longest, and one that is worse has no turn for its idleness."""
    standings = standings_of([seed("a"), seed("b", seconds_to_sent=0.5), seed("c"), seed("bad", bad=9.0)], NOW, RULES)
    for slot in (1, 2, 0):
        standings.given(slot)
    five = msgspec.structs.replace(RULES, choices=5)

    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        choice = choose_seed(order, standings, NEED, NOW + 4, msgspec.structs.replace(five, silence_weight=0.0))
        assert choice.seed is standings.seeds[1]
        assert [0, 2] == [slot for _, slot in choice.even]
        assert ("bad", 1) == (choice.next, len(choice.beaten))
        assert choice.why == "score 0.26; as good as 2 others, and idle longest; better than bad 3.04"


# Rows and records

IDS = [f"s{number}" for number in range(6)]
SEEDS = st.fixed_dictionaries(
    {
        "id": st.sampled_from(IDS),
        "enrolled": st.sampled_from([True, True, True, False]),
        "enabled": st.sampled_from([True, True, True, False]),
        "draining": st.sampled_from([False, False, False, True]),
        "in_flight": st.sampled_from([0, 0, 1, 4, 5]),
        "used": st.sampled_from([(0, 0, 0), (28, 28, 28), (30, 30, 30)]),
        "quota": st.sampled_from([Quota(), Quota(), Quota(half_hour=0)]),
        "consecutive_failures": st.sampled_from([0, 0, 0, 1, 2, 3]),
        "bad": st.sampled_from([0.0, 0.0, 1.0, 5.0]),
        "outcomes": st.just(5.0),
        "sent": st.integers(0, 1),
        "rest_seconds": st.sampled_from([0.0, 0.0, 0.0, 20.0]),
        "recipients_used": st.sampled_from([0, 0, 2, 3]),
        "window_seconds": st.sampled_from([0.0, 0.0, 6.0, 60.0]),
    }
)
QUARTERS = st.integers(0, 80).map(lambda quarters: quarters / 4)


class RowsAndRecords(RuleBasedStateMachine):
    """Whatever was updated, heard and reserved: to choose through the rows is to choose by `why_not` and `Seed.score` of the records."""

    @initialize(even_score=st.sampled_from([0.0, 0.3]), choices=st.integers(1, 6))
    def start(self, even_score: float, choices: int) -> None:
        self.rules = Rules(pace_seconds=1.0, recipients_per_month=3, even_score=even_score, choices=choices)
        self.directory = Directory(self.rules)
        self.now = NOW
        self.heard_at: dict[str, float] = {}
        self.usual: dict[str, float] = {}
        self.given_at: dict[str, float] = {}

    @property
    def standings(self) -> Standings:
        return self.directory._standings

    def note(self, known: Seed, at: float) -> None:
        """The model of signs of life: how long the longest pause was of late."""
        before = self.heard_at.get(known.id)
        if before is None:
            self.heard_at[known.id], self.usual[known.id] = at, 0.0
        elif at > before:
            longest = (known.window_seconds or self.rules.online_window_seconds) / 2
            self.usual[known.id] = min(max(at - before, self.usual[known.id] * 0.8), longest)
            self.heard_at[known.id] = at

    @rule(fields=SEEDS, own=st.booleans(), silent_for=st.sampled_from([0.0, 0.0, 5.0, 20.0, 25.0]), failed_for=st.integers(0, 60))
    def update(self, fields: dict[str, Any], own: bool, silent_for: float, failed_for: int) -> None:
        times = {"lps": self.now - silent_for, "failed_at": self.now - failed_for, "last_given_at": self.now - failed_for}
        known = seed(**fields | times | {"account": "ac_1", "shared": not own})
        self.directory.update(known, self.now)
        self.note(known, known.lps)

    @rule(seed_id=st.sampled_from(IDS), late_by=st.sampled_from([0.0, 0.0, 0.0, 1.0]))
    def hear(self, seed_id: str, late_by: float) -> None:
        if self.directory.heard(seed_id, self.now - late_by):
            self.note(self.directory.get(seed_id) or seed(), self.now - late_by)

    @rule(seconds=QUARTERS)
    def hear_all_later(self, seconds: float) -> None:
        self.now += seconds
        for known in list(self.directory.seeds()):
            self.hear(known.id, 0.0)

    @rule(seconds=QUARTERS)
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: len(self.directory))
    @rule(data=st.data(), parts=st.integers(1, 3))
    def reserve(self, data: st.DataObject, parts: int) -> None:
        known = data.draw(st.sampled_from(sorted(each.id for each in self.directory.seeds())))
        give(self.directory, known, parts, self.now)
        self.given_at[known] = self.now

    @rule(
        order=st.permutations(range(len(IDS))), own=st.booleans(), parts=st.sampled_from([1, 1, 1, 2, 6]), known_good_only=st.booleans(),
        tried=st.dictionaries(st.sampled_from(IDS), st.sampled_from([-1.0, 10.0]), max_size=2), is_plain=st.booleans(),
    )  # fmt: skip
    def choose(self, order: list[int], own: bool, parts: int, known_good_only: bool, tried: dict[str, float], is_plain: bool) -> None:
        need = Need(carrier="60302", country="DZ", account="ac_1")
        if not is_plain:
            tried = {seed_id: self.now + rest for seed_id, rest in tried.items()}
            need = msgspec.structs.replace(need, parts=parts, known_good_only=known_good_only, tried=tried)
        pool = [slot for slot in order if slot < len(self.standings) and self.standings.seeds[slot].shared != own]
        useless: list[int] = []
        choice = choose_seed(pool, self.standings, need, self.now, self.rules, useless)

        reasons = {slot: why_not(self.standings.seeds[slot], need, self.now, self.rules) for slot in pool}
        able = [slot for slot in pool if reasons[slot] is None][: self.rules.choices]
        looked = pool if len(able) < self.rules.choices else pool[: pool.index(able[-1]) + 1]
        assert useless == [slot for slot in looked if reasons[slot] is not None]
        assert sum(choice.passed_over.values()) == len(useless)
        assert (choice.seed is None) == (not able)
        if choice.seed is None:
            return
        names = self.standings.ids
        found = {names[slot]: score for score, slot in ((choice.score, choice.slot), *choice.even, *choice.beaten)}
        assert {self.standings.ids[slot]: pytest.approx(self.score(slot)) for slot in able} == found
        enough = min(found.values()) + self.rules.even_score
        even = {seed_id for seed_id, score in found.items() if score <= enough}
        assert {choice.seed.id, *(names[slot] for _, slot in choice.even)} == even
        assert self.given_at.get(choice.seed.id, 0.0) == min(self.given_at.get(seed_id, 0.0) for seed_id in even)

    def score(self, slot: int) -> float:
        known = self.standings.seeds[slot]
        window = known.window_seconds or self.rules.online_window_seconds
        heard = self.heard_at[known.id]
        overdue = self.now - min(math.ceil(heard + min(self.usual[known.id], window / 2) + 0.5), math.floor(heard + window))
        return known.score(self.rules) + max(0.0, overdue) * self.rules.silence_weight


TestRowsAndRecords = RowsAndRecords.TestCase
TestRowsAndRecords.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
