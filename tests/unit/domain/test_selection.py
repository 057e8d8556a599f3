from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.domain.rules import Policy, Rules
from router.domain.seed import Quota, Seed
from router.domain.selection import REASONS, Choice, Need, Reason, why_not
from tests.unit.domain.standings import choose

NOW = 10_000.0
RULES = Rules(pace_seconds=1.0, choices=3)
NEED = Need(carrier="60302", country="DZ")


def seed(id: str = "S", **changes: Any) -> Seed:
    return Seed(**{"id": id, "carrier": "60302", "country": "DZ", "enrolled": True, "lps": NOW} | changes)


def need(**changes: Any) -> Need:
    return Need(**{"carrier": "60302", "country": "DZ"} | changes)


PASSED_OVER: list[tuple[Reason, Seed, Need]] = [
    ("not enrolled", seed(enrolled=False), NEED),
    ("not enrolled", seed(carrier=""), NEED),
    ("disabled", seed(enabled=False), NEED),
    ("draining", seed(draining=True), NEED),
    ("offline", seed(lps=NOW - 21), NEED),
    ("tripped", seed(consecutive_failures=2, failed_at=NOW - 14), NEED),
    ("tried", seed(), Need(carrier="60302", country="DZ", tried={"S": NOW + 1})),
    ("not known good", seed(), Need(carrier="60302", country="DZ", known_good_only=True)),
    ("not known good", seed(sent=9, consecutive_failures=1), Need(carrier="60302", country="DZ", known_good_only=True)),
    ("quota used", seed(used=(30, 30, 30)), NEED),
    ("quota used", seed(used=(28, 28, 28)), Need(carrier="60302", country="DZ", parts=3)),
    ("quota used", seed(quota=Quota(half_hour=0, day=5), used=(5, 5, 5)), NEED),
    ("no room", seed(in_flight=5), NEED),
    ("no room", seed(in_flight=3), Need(carrier="60302", country="DZ", parts=3)),
    ("no room", seed(in_flight=1, consecutive_failures=2, failed_at=NOW - 20), NEED),
    ("another account's", seed(account="ac_1", shared=False), NEED),
    ("another account's", seed(account="ac_1", shared=False), need(account="ac_2")),
    ("another account's", seed(account="ac_1", shared=False, device="dev"), need(account="ac_2", only="dev")),
    ("another account's", seed(account="ac_1", shared=False), need(account="ac_2", only="ac_1")),
    ("another group's", seed(), need(only="dev")),
    ("another group's", seed(device="dev", account="ac_1"), need(account="ac_2", only="ac_2")),
    ("another SIM", seed(device="dev", sim=1), need(sim=2)),
    ("another SIM", seed(device="dev"), need(sim=1)),
    ("not able", seed(), need(phone_only=True)),
    ("not enrolled", seed(enrolled=False, device="dev"), need(only="dev")),
    ("resting", seed(rest_seconds=30.0, last_given_at=NOW - 29), NEED),
    ("recipients used", seed(quota=Quota(recipients=5), recipients_used=5), NEED),
]


@pytest.mark.parametrize(("reason", "candidate", "need"), PASSED_OVER)
def test_why_not(reason: Reason, candidate: Seed, need: Need) -> None:
    """Each reason to pass a seed over."""
    assert reason == why_not(candidate, need, NOW, RULES)


def test_every_reason_is_tested() -> None:
    """No reason is left out above."""
    assert set(REASONS) == {reason for reason, _, _ in PASSED_OVER}


@pytest.mark.parametrize(
    ("candidate", "need"),
    [
        (seed(), NEED),
        (seed(lps=NOW - 20), NEED),
        (seed(consecutive_failures=1, failed_at=NOW), NEED),
        (seed(consecutive_failures=2, failed_at=NOW - 15), NEED),
        (seed(in_flight=4), NEED),
        (seed(in_flight=2), Need(carrier="60302", country="DZ", parts=3)),
        (seed(used=(29, 29, 29)), NEED),
        (seed(used=(10**6, 10**6, 10**6), quota=Quota(half_hour=0)), NEED),
        (seed(), Need(carrier="60302", country="DZ", parts=9)),
        (seed(sent=1), Need(carrier="60302", country="DZ", known_good_only=True)),
        (seed(), Need(carrier="60302", country="DZ", tried={"other": NOW + 1})),
        (seed(account="ac_1", shared=False), need(account="ac_1")),
        (seed(account="ac_1"), need(account="ac_2")),
        (seed(device="dev", carrier="60301"), need(only="dev")),
        (seed(device="dev", carrier="", country=""), need(only="dev")),
        (seed(device="dev", account="ac_1", sim=2), need(only="ac_1", sim=2, phone_only=True)),
        (seed(rest_seconds=30.0, last_given_at=NOW - 30), NEED),
        (seed(quota=Quota(recipients=5), recipients_used=4), NEED),
        (seed(recipients_used=100), NEED),
    ],
)
def test_may_have_it(candidate: Seed, need: Need) -> None:
    """Up to each bound a seed may have it."""
    assert why_not(candidate, need, NOW, RULES) is None


def test_tried_seeds_come_back() -> None:
    """A seed that had the message is passed over until its rest is over, and then may try again."""
    need = Need(carrier="60302", country="DZ", tried={"S": NOW + RULES.retry_seed_seconds})

    assert why_not(seed(lps=NOW + 10), need, NOW + 14.9, RULES) == "tried"
    assert why_not(seed(lps=NOW + 10), need, NOW + 15.0, RULES) is None


def test_best_score_wins() -> None:
    """`balanced` takes the lowest score of the first that may have it, and tells what it was better than."""
    fleet = [seed("busy", in_flight=3), seed("best", outcomes=20.0), seed("new"), seed("beyond", outcomes=100.0)]
    choice, _ = choose(fleet, NEED, NOW, RULES)

    assert choice.seed is fleet[1]
    assert choice.score == pytest.approx(0.16)
    assert choice.beaten == ((pytest.approx(0.8), 2), (pytest.approx(1.4), 0))
    assert choice.even == ()
    assert choice.why == "score 0.16; better than new 0.80 and 1 more"


def test_first_of_equals() -> None:
    """Of equals, none of which was ever given anything, one is taken, and the others are counted as such."""
    fleet = [seed("b"), seed("a"), seed("c")]
    choice, _ = choose(fleet, NEED, NOW, RULES)

    assert choice.seed is fleet[0]
    assert choice.why == "score 0.80; as good as 2 others, and idle longest"


@pytest.mark.parametrize("policy", ["freshest", "round-robin"])
def test_other_policies_take_the_first(policy: Policy) -> None:
    """The other policies take the first that may have it, whatever its score: their candidates come in order."""
    fleet = [seed("off", enabled=False), seed("first", in_flight=3), seed("better")]
    choice, drawn = choose(fleet, NEED, NOW, Rules(pace_seconds=1.0, policy=policy))

    assert choice.seed is fleet[1]
    assert choice.beaten == choice.even == ()
    assert drawn == 2


def test_nobody() -> None:
    """Without a seed that may have it there is none, and the reasons are counted."""
    fleet = [seed("a", enabled=False), seed("b", in_flight=5), seed("c", in_flight=6)]
    choice, _ = choose(fleet, NEED, NOW, RULES)

    assert choice.seed is None
    assert choice.passed_over == {"disabled": 1, "no room": 2}
    assert choice.why == "no seed; passed over: 1 disabled, 2 no room"
    assert choose([], NEED, NOW, RULES) == (Choice(), 0)
    assert Choice().why == "no seed"


def test_nobody_of_a_whole_fleet() -> None:
    """Those that nobody looked at, since they could take nothing anyway, are told of as well; who was looked at counts once."""
    choice = Choice(passed_over={"tried": 1, "no room": 3}, unready={"offline": 7, "no room": 2})

    assert choice.why == "no seed; passed over: 1 tried, 3 no room, 7 offline"
    assert Choice(unready={"tripped": 1}).why == "no seed; passed over: 1 tripped"


def test_another_carriers_seed() -> None:
    """A choice says when it is not of the recipient's carrier."""
    assert Choice(seed=seed(), score=0.8, on_net=False).why == "score 0.80; another carrier's seed"


def test_all_the_words_of_a_choice() -> None:
    """What it was as good as, what it was better than, and whom it passed over, in that order."""
    choice = Choice(
        seed=seed(), score=0.1, even=((0.104, 1), (0.3, 2)), beaten=((2.0, 3), (3.456, 4), (5.0, 5)), next="c",
        passed_over={"offline": 2, "tried": 1}, on_net=False,
    )  # fmt: skip

    assert choice.why == (
        "score 0.10; as good as 2 others, and idle longest; better than c 2.00 and 2 more; passed over: 2 offline, 1 tried; "
        "another carrier's seed"
    )


def test_no_more_looks_than_needed() -> None:
    """Candidates are drawn until `choices` of them may have it, and no further."""
    _, drawn = choose([seed("off", enabled=False), *(seed(str(number)) for number in range(100))], NEED, NOW, RULES)

    assert drawn == 1 + RULES.choices


CANDIDATES = st.builds(
    seed,
    enabled=st.sampled_from([True, True, False]),
    lps=st.sampled_from([NOW, NOW - 30]),
    in_flight=st.integers(0, 5),
    used=st.integers(25, 31).map(lambda parts: (parts, parts, parts)),
    consecutive_failures=st.integers(0, 3),
    failed_at=st.sampled_from([NOW, NOW - 20]),
    sent=st.integers(0, 1),
    bad=st.floats(0.0, 5.0),
    outcomes=st.just(5.0),
)


@given(
    st.lists(CANDIDATES, max_size=12),
    st.builds(Need, carrier=st.just("60302"), country=st.just("DZ"), parts=st.integers(1, 6), known_good_only=st.booleans()),
    st.sampled_from(["balanced", "freshest", "round-robin"]),
    st.integers(1, 6),
)
def test_choice_is_the_best_of_the_first(fleet: list[Seed], need: Need, policy: Policy, choices: int) -> None:
    """Whatever the fleet: the choice may have it, none of those compared is better by much, and each one drawn is accounted for."""
    rules = Rules(pace_seconds=1.0, policy=policy, choices=choices)
    fleet = [msgspec.structs.replace(each, id=str(place)) for place, each in enumerate(fleet)]
    choice, drawn = choose(fleet, need, NOW, rules)
    able = [candidate for candidate in fleet if why_not(candidate, need, NOW, rules) is None]
    compared = able[: choices if policy == "balanced" else 1]

    assert (choice.seed is not None) == bool(able)
    assert drawn == len(compared) + sum(choice.passed_over.values())
    if choice.seed is not None:
        scores = {candidate.id: candidate.score(rules) for candidate in compared}
        enough = min(scores.values()) + rules.even_score
        assert choice.score == scores.pop(choice.seed.id) <= enough
        assert {fleet[slot].id: score for score, slot in choice.even} == {id: score for id, score in scores.items() if score <= enough}
        assert {fleet[slot].id: score for score, slot in choice.beaten} == {id: score for id, score in scores.items() if score > enough}
