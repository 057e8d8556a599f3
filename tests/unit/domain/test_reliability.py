from typing import Any

import pytest

from router.domain import reliability
from router.domain.directory import Directory
from router.domain.errors import LimitReached
from router.domain.lots import is_special, lot_of, parse_lot
from router.domain.message import ONE_SEED
from router.domain.reliability import History, Probe
from router.domain.rules import Rules
from router.domain.seed import Seed
from router.domain.selection import Need
from tests.unit.domain.standings import give
from tests.unit.domain.test_lots import message

NOW = 1_000_000.0
RULES = Rules()


def a_probe(id: int = 1, **fields: Any) -> Probe:
    about: dict[str, Any] = {"message": f"rt_{id}", "started_at": NOW, "deadline": NOW + 600, "needs_arrival": False}
    return Probe(id=id, **about | fields)


def finished(*statuses: str) -> History:
    return tuple(a_probe(id, status=status) for id, status in enumerate(statuses))


def test_sent_is_a_success_where_nobody_tells_of_arrivals() -> None:
    (probe,) = reliability.look((a_probe(),), {1: NOW + 3}, NOW + 5)

    assert ("success", NOW + 3, None) == (probe.status, probe.sent_at, probe.received_at)


def test_sent_is_no_success_where_somebody_does() -> None:
    """A phone that says "sent" and sends nothing is what such a test finds."""
    history = reliability.look((a_probe(needs_arrival=True),), {1: NOW + 3}, NOW + 5)
    assert ("pending", NOW + 3) == (history[0].status, history[0].sent_at)

    (probe,) = reliability.look(history, {}, NOW + 600)
    assert ("timedout", NOW + 3) == (probe.status, probe.sent_at)


@pytest.mark.parametrize("needs_arrival", [True, False])
def test_an_arrival_is_a_success(needs_arrival: bool) -> None:
    """Also before its seed said anything; what the seed says is noted all the same."""
    history = reliability.received((a_probe(needs_arrival=needs_arrival),), 1, NOW + 4, NOW + 5)
    (probe,) = reliability.look(history, {1: NOW + 3}, NOW + 9)

    assert ("success", NOW + 3, NOW + 4, NOW + 5) == (probe.status, probe.sent_at, probe.received_at, probe.routed_at)


@pytest.mark.parametrize(("said", "taken"), [(NOW - 86400, NOW), (NOW + 4, NOW + 4), (NOW + 86400, NOW + 5)])
def test_the_receivers_clock_may_be_wrong(said: float, taken: float) -> None:
    """It arrived after it was begun, and before the router heard of it."""
    (probe,) = reliability.received((a_probe(),), 1, said, NOW + 5)

    assert taken == probe.received_at


def test_an_arrival_is_of_one_probe() -> None:
    history = reliability.received((a_probe(1), a_probe(2)), 2, NOW, NOW)

    assert ["pending", "success"] == [probe.status for probe in history]


def test_what_happened_counts_and_not_when_it_was_looked_at() -> None:
    """A timekeeper that was away for an hour finds what it would have found in time."""
    late = NOW + 3600
    assert "success" == reliability.look((a_probe(),), {1: NOW + 600}, late)[0].status
    assert "timedout" == reliability.look((a_probe(),), {1: NOW + 601}, late)[0].status
    assert "timedout" == reliability.look((a_probe(),), {}, late)[0].status
    assert "pending" == reliability.look((a_probe(),), {}, NOW + 599)[0].status


def test_the_end_is_final() -> None:
    (lost,) = reliability.look((a_probe(),), {}, NOW + 600)

    assert (lost,) == reliability.received((lost,), 1, NOW + 601, NOW + 601)
    assert "timedout" == reliability.look((lost,), {1: NOW + 601}, NOW + 602)[0].status
    (arrived,) = reliability.received((a_probe(),), 1, NOW + 1, NOW + 1)
    assert (arrived,) == reliability.received((arrived,), 1, NOW + 5, NOW + 5)
    assert "success" == reliability.look((arrived,), {}, NOW + 700)[0].status


def test_news_of_an_arrival_after_the_deadline_are_none() -> None:
    (probe,) = reliability.received((a_probe(),), 1, NOW + 10, NOW + 601)

    assert ("pending", None) == (probe.status, probe.routed_at)


def test_the_share_is_of_finished_probes() -> None:
    score = reliability.score((*finished("success", "timedout", "success"), a_probe(9)), RULES)

    assert ("0.67", 3) == (score.as_text, score.finished)
    assert ("0.00", 0) == ((none := reliability.score((a_probe(),), RULES)).as_text, none.finished)
    assert "1.00" == reliability.score(finished("success"), RULES).as_text


def test_the_share_is_of_the_latest() -> None:
    history = finished("timedout", "timedout", "success", "success", "timedout", "success")

    assert 0.75 == reliability.score(history, Rules(probes_counted=4)).share


@pytest.mark.parametrize(("seconds", "share"), [(180.0, 1.0), (181.0, 0.0)])
def test_a_success_that_was_told_late_does_not_count(seconds: float, share: float) -> None:
    """spec/relaysms.md: routed − received ≤ 180 s."""
    (probe,) = reliability.received((a_probe(),), 1, NOW + 5, NOW + 5 + seconds)

    assert "success" == probe.status
    assert share == reliability.score((probe,), RULES).share


def test_so_many_an_hour() -> None:
    rules = Rules(probes_per_hour=2)
    history = reliability.begin(reliability.begin((), a_probe(1), rules), a_probe(2, started_at=NOW + 600), rules)

    with pytest.raises(LimitReached) as refused:
        reliability.begin(history, a_probe(3, started_at=NOW + 700), rules)
    assert 2901 == refused.value.retry_after_seconds
    assert 3 == len(reliability.begin(history, a_probe(3, started_at=NOW + 3601), rules))
    with pytest.raises(LimitReached):
        reliability.begin((), a_probe(), Rules(probes_per_hour=0))


def test_so_many_are_kept() -> None:
    rules = Rules(probes_kept=3, probes_per_hour=100)
    history: History = ()
    for id in range(1, 6):
        history = reliability.begin(history, a_probe(id), rules)

    assert [3, 4, 5] == [probe.id for probe in history]


def test_looks_grow_rare_and_end() -> None:
    """Soon at first; at the deadline at the latest; never again when all is known."""
    young = (a_probe(),)

    assert NOW + 1 == reliability.next_look(young, NOW)
    assert NOW + 20 == reliability.next_look(young, NOW + 10)
    assert NOW + 260 == reliability.next_look(young, NOW + 200)
    assert NOW + 600 == reliability.next_look(young, NOW + 590)
    assert NOW + 11 == reliability.next_look((*young, a_probe(2, started_at=NOW + 10)), NOW + 10)
    assert None is reliability.next_look(reliability.look(young, {1: NOW + 1}, NOW + 2), NOW + 2)
    assert None is reliability.next_look(reliability.look(young, {}, NOW + 600), NOW + 600)


def test_unreliable_seeds_score_worse() -> None:
    """As far as there are enough tests to say so."""
    untested, good, bad = Seed(id="1"), Seed(id="2", reliability=1.0, probes=9), Seed(id="3", reliability=0.5, probes=9)

    assert untested.score(RULES) == good.score(RULES)
    assert 2.0 == pytest.approx(bad.score(RULES) - good.score(RULES))
    assert good.score(RULES) == Seed(id="4", reliability=0.0, probes=RULES.probes_least - 1).score(RULES)


def ready_seed(id: str, **fields: Any) -> Seed:
    return Seed(**{"id": id, "carrier": "60301", "country": "DZ", "enrolled": True, "lps": NOW} | fields)


def a_need(seed_id: str, **fields: Any) -> Need:
    return Need(**{"carrier": "60302", "country": "DZ", "account": "~tests", "only": ONE_SEED + seed_id} | fields)


def test_a_probe_finds_its_seed_and_no_other() -> None:
    """Whatever the recipient's carrier, and also where the seed serves one account only."""
    directory = Directory(RULES)
    for seed in (ready_seed("1"), ready_seed("2"), ready_seed("3", shared=False, account="ac_1", device="d1", sim=1)):
        directory.update(seed, NOW)

    for id in ("1", "2", "3"):
        choice = directory.find(a_need(id), NOW)
        assert choice.seed is not None
        assert id == choice.seed.id
    assert None is directory.find(a_need("4"), NOW).seed
    # What begins with the id of another one
    assert None is directory.find(a_need(""), NOW).seed


@pytest.mark.parametrize("fields", [{"enrolled": False}, {"enabled": False}, {"lps": NOW - 3600}, {"in_flight": 5}])
def test_a_probe_waits_for_a_seed_that_cannot_have_it(fields: dict[str, Any]) -> None:
    """Its lot then says that nobody is ready, and that somebody is as soon as the seed is."""
    directory = Directory(RULES)
    directory.update(ready_seed("1", **fields), NOW)
    lot = lot_of(message(only=f"{ONE_SEED}1"))

    assert None is directory.find(a_need("1"), NOW).seed
    assert 0 == directory.ready(lot, NOW)
    directory.update(ready_seed("1"), NOW)
    assert 1 == directory.ready(lot, NOW)
    assert 0 == directory.ready(lot_of(message(only=f"{ONE_SEED}2")), NOW)


def test_a_seed_that_is_full_is_not_looked_at_again_and_again() -> None:
    """A copy that only the reservation has filled leaves the ready ones when it is met, as in every pool."""
    directory = Directory(RULES)
    directory.update(ready_seed("1"), NOW)
    give(directory, "1", 5, NOW)

    assert None is directory.find(a_need("1"), NOW).seed
    assert 0 == directory.ready("@=1", NOW)


def test_where_a_probe_waits() -> None:
    lot = lot_of(message(only=f"{ONE_SEED}603010000000001"))

    assert "@=603010000000001" == lot
    assert is_special(lot)
    assert ("603010000000001", True, "") == ((about := parse_lot(lot)).seed, about.is_group, about.demands)
    assert "" == parse_lot("@ac_1").seed
    assert "" == parse_lot("60301").seed
