"""The simulation of `bench routing`, with a dozen and a half SIMs."""

import functools
import importlib.util
from pathlib import Path

import msgspec
import pytest

from bench.figures import Figure
from bench.routing import fleet as fleets
from bench.routing.clock import Agenda
from bench.routing.main import run_bench
from bench.routing.plots import draw
from bench.routing.policies import POLICIES
from bench.routing.run import Outcome, Run, least_flow, run
from bench.routing.scenarios import SCENARIOS, WARM_UP_SECONDS, Scenario
from tests.conftest import require

FLEET = """
about = "eighteen SIMs, some of which are useless"
pace_seconds = 3.0
code_seconds = 60.0
two_parts = 0.1
reports_lost = 0.02
doze_every_seconds = 100.0
shares = { dozing = 0.1, failing = 0.1, silent = 0.1, slow = 0.1 }
carriers = [
  { code = "60301", seeds = 10, traffic = 0.6 },
  { code = "60302", seeds = 8, traffic = 0.4 },
]
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("fleets") / "tiny.toml"
    made.write_text(FLEET)
    return made


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of an hour would be too long."""
    monkeypatch.setitem(SCENARIOS, "brief", Scenario(about="", load=0.5, seconds=200.0, arrange=SCENARIOS["usual"].arrange))
    monkeypatch.setitem(SCENARIOS, "new", Scenario(about="", load=0.5, seconds=240.0, arrange=SCENARIOS["renewal"].arrange))


def fleet_of(text: str, folder: Path) -> fleets.Fleet:
    file = folder / "other.toml"
    file.write_text(text)
    return fleets.load(str(file))


@functools.cache  # several tests look at the same runs
def played(path: Path, policy: str = "ours", scenario: str = "brief", seed: int = 1, load: float = 0.5) -> Outcome:
    return run(fleets.load(str(path)), "tiny", scenario, policy, load, seed, 0, {})


def test_agenda() -> None:
    """Things happen in the order of their times, and of their entry where those are equal; nothing after the end."""
    agenda = Agenda()
    seen: list[tuple[str, float]] = []

    def note(what: str) -> None:
        seen.append((what, agenda.now))
        if what == "first":
            agenda.after(1.0, note, "made meanwhile")

    for at, what in ((3.0, "last"), (1.0, "first"), (2.0, "second"), (1.0, "first too"), (9.0, "never")):
        agenda.at(at, note, what)
    agenda.run(5.0)

    assert [("first", 1.0), ("first too", 1.0), ("second", 2.0), ("made meanwhile", 2.0), ("last", 3.0)] == seen
    assert 5.0 == agenda.now


def test_the_same_again(path: Path) -> None:
    """The same random numbers, the same run to the last figure; others, another."""
    first = played(path)
    again = run(fleets.load(str(path)), "tiny", "brief", "ours", 0.5, 1, 0, {})
    other = played(path, seed=2)

    assert first == again
    assert first != other


@pytest.mark.parametrize("policy", list(POLICIES))
def test_every_message_is_accounted_for(path: Path, policy: str) -> None:
    """Each one that was accepted has ended, in one way; the outcome counts those after the warm-up."""
    outcome = played(path, policy)
    accepted = sum(row[0] for row in outcome.by_second)

    assert accepted == sum(outcome.ended.values())
    assert outcome.messages == sum(row[0] for row in outcome.by_second[int(WARM_UP_SECONDS) :])
    assert {"sent", "failed", "expired"} >= outcome.ended.keys()
    assert 0.0 <= outcome.never < 0.2 < outcome.within <= 1.0
    assert 0.0 < outcome.p50 <= outcome.p95 <= outcome.p99
    assert sum(outcome.sent_by_seed) <= accepted + outcome.twice


@pytest.mark.parametrize("scenario", ["brief", "new"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_on_the_air_once(path: Path, scenario: str, seed: int) -> None:
    """Twice only where an attempt was ambiguous: no two seeds ever had a message in their hands in one lease."""
    outcome = played(path, scenario=scenario, seed=seed)

    assert outcome.explained_twice == outcome.twice


def test_clocks_that_are_minutes_off(path: Path, tmp_path: Path) -> None:
    """Phones that go by leases alone, with wrong clocks and every fifth report late: nothing unexplained is sent twice."""
    wrong = "clock_off = 1.0\napp_share = 1.0\nreports_late = 0.2\n"
    outcome = run(fleet_of(wrong + FLEET, tmp_path), "tiny", "brief", "ours", 0.5, 1, 0, {})

    assert outcome.explained_twice == outcome.twice
    assert outcome.within > 0.5


def test_who_knows_more_is_better(path: Path) -> None:
    """To know which phones would send is worth something, and so is failover: without it more are never sent."""
    ours, once, oracle = (played(path, policy) for policy in ("ours", "random-once", "oracle"))

    assert oracle.within >= ours.within - 0.02
    assert oracle.within > once.within
    assert ours.within > once.within
    assert ours.never < once.never > oracle.never
    assert {"unfetched"} >= once.failovers.keys()


def test_scenarios(path: Path) -> None:
    """Each arranges its trouble on any fleet, and says when it is."""
    for name in SCENARIOS:
        made = Run(fleets.load(str(path)), name, "ours", 0.5, 1, {})
        assert 18 == len(made.phones)
        assert (name in ("usual", "brief")) == (not made.troubles)


def test_new_sims(path: Path) -> None:
    """Half of the SIMs are others afterwards; what the old ones held has gone out."""
    one = Run(fleets.load(str(path)), "new", "ours", 0.3, 1, {})
    before = {phone.seed_id for phone in one.phones}
    one.go(0)
    after = {phone.seed_id for phone in one.phones}

    assert (18, 18, 9) == (len(before), len(after), len(before & after))
    assert all(record.in_flight == 0 for record in one.router.records.values())
    assert all(not record.held for record in one.router.records.values())


def test_progress_changes_nothing(path: Path) -> None:
    """It is heard of a hundred times, and the run is the same to the last figure."""
    heard: list[float] = []
    watched = run(fleets.load(str(path)), "tiny", "brief", "ours", 0.5, 1, 0, {}, heard.append)

    assert [percent / 100 for percent in range(1, 101)] == heard
    assert played(path) == watched


def test_load_is_by_the_time_that_a_sim_was_there(path: Path) -> None:
    """A SIM that came late has sent less than its share of all time, and is not idle for that."""
    one = Run(fleets.load(str(path)), "new", "ours", 0.3, 1, {})
    one.go(0)

    assert {0.0, 300.0} == {phone.since for phone in one.phones}
    assert 1.0 < played(path, scenario="new", load=0.3).busiest < 2.5


def test_the_worst_half_minute(path: Path) -> None:
    """What the other policy sent is the measure; after the warm-up only, and of whole half minutes."""
    outcome = played(path)
    rows = [(1, 1, 1)] * 240
    same = msgspec.structs.replace(outcome, by_second=rows)
    late = msgspec.structs.replace(outcome, by_second=[*rows[:150], *[(1, 1, 0)] * 6, *rows[156:]])
    early = msgspec.structs.replace(outcome, by_second=[*[(1, 1, 0)] * 100, *rows[100:]])

    assert (1.0, 0.8, 1.0) == (least_flow(same, same), least_flow(late, same), least_flow(early, same))


# The reference fleet: what docs/routing.md promises of it. Time is virtual here, and the same on any machine


def reference(scenario: str, load: float, policy: str = "ours", messages: int = 12_000) -> Outcome:
    return run(fleets.load("dz-500"), "dz-500", scenario, policy, load, 1, messages, {})


def test_usual_misery() -> None:
    """999 of 1000 within ten seconds, at a load that a fleet should have."""
    outcome = reference("usual", 0.6)

    assert outcome.within >= 0.999
    assert outcome.busiest < 1.5
    assert outcome.explained_twice == outcome.twice


def test_close_to_the_oracle() -> None:
    """At a load that leaves little to choose, within three in a thousand of a router that knows which phones would send."""
    ours, oracle = (reference("usual", 0.85, policy) for policy in ("ours", "oracle"))

    assert ours.within >= oracle.within - 0.003
    assert least_flow(ours, oracle) >= 0.95


def test_two_fifths_die() -> None:
    """And come back after 90 s: 995 of 1000 within ten seconds over all of it, and as before within half a minute."""
    outcome = reference("die", 0.5, messages=0)

    assert outcome.within >= 0.995
    assert outcome.back_seconds <= 30.0
    assert outcome.explained_twice == outcome.twice


# Fleets


def test_the_fleets_that_come_along() -> None:
    """Each can be read, and has what its name says."""
    sizes = {name: fleets.load(name).size for name in fleets.names()}

    assert sizes.items() >= {"dz-50": 50, "dz-500": 500, "dz-5000": 5000}.items()
    for name in sizes:
        shares = [carrier.traffic for carrier in fleets.load(name).carriers]
        assert 1.0 == pytest.approx(sum(shares))


def test_full_load(path: Path) -> None:
    """What the busiest carrier's SIMs can send: 10 for 6 of 10 messages, a part each three seconds, 1.1 parts a message."""
    assert 10 / 0.6 / 3.3 == pytest.approx(fleets.load(str(path)).per_second)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("about = ", "other.toml: Invalid value"),
        ('about = "x"', "other.toml: Object missing required field `carriers`"),
        ('about = "x"\ncarriers = []\npase_seconds = 1.0', "other.toml: Object contains unknown field `pase_seconds`"),
        ('about = "x"\ncarriers = []\nfails = 1.5', r"other.toml: Expected `float` <= 1.0 - at `\$.fails`"),
        ('about = "x"\ncarriers = [{ code = "60301", seeds = "many", traffic = 1.0 }]', r"other.toml: Expected `int`.*carriers\[0\].seeds"),
    ],
)
def test_broken_fleets(tmp_path: Path, text: str, says: str) -> None:
    """It says which file it is, and what is wrong with it."""
    with pytest.raises(ValueError, match=says):
        fleet_of(text, tmp_path)


def test_unknown_fleets() -> None:
    with pytest.raises(ValueError, match="there is no fleet nowhere: there are dz-150, dz-50"):
        fleets.load("nowhere")


# The command


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--set", "nonsense=1"], "no rule is called nonsense"),
        (["--set", "choices=some"], "choices: Expected `int`"),
        (["--set", "policy=best"], "policy: Invalid enum value"),
        (["--policy", "ours,best"], "best: there are ours"),
        (["--scenario", "flood"], "flood: there are usual"),
        (["--fleet", "dz-7"], "dz-7: there are dz-150, dz-50"),
    ],
)
def test_wrong_options(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    """They are refused before anything runs."""
    with pytest.raises(SystemExit, match="2"):
        run_bench(arguments)
    assert says in capsys.readouterr().err


def test_lines_and_plots(capsys: pytest.CaptureFixture[str], path: Path, tmp_path: Path) -> None:
    """A JSON line for each policy, ours with the ratio to the oracle on the same traffic; and the plots of what was found."""
    require(importlib.util.find_spec("matplotlib"), "matplotlib (pip install 'seedrouter[plots]')")
    options = ["--fleet", str(path), "--scenario", "die", "--load", "0.3", "--policy", "ours,oracle", "--set", "choices=3", "--jobs", "2"]
    run_bench([*options, "--plots", str(tmp_path / "plots")])
    captured = capsys.readouterr()
    ours, oracle = (msgspec.json.decode(line, type=Figure, strict=True) for line in captured.out.splitlines())

    assert ("routing", "%", 1, 1) == (ours.bench, ours.unit, ours.runs, oracle.runs)
    named = [f"tiny die at 30%, {policy}: on the air within 10 s" for policy in ("ours", "oracle")]
    assert named == [ours.figure, oracle.figure]
    assert (oracle.value, None) == (ours.baseline, oracle.ratio)
    assert ours.ratio == pytest.approx(ours.value / oracle.value, abs=0.0001)
    assert {"messages", "twice", "twice_not_ambiguous", "never", "p50", "p99", "busiest", "back_seconds"} <= ours.details.keys()
    assert ours.details["messages"] == oracle.details["messages"]
    assert 0 == ours.details["twice_not_ambiguous"] == oracle.details["twice_not_ambiguous"]
    assert "2 of 2 runs" in captured.err
    assert ["routing-tiny-die.png", "routing-tiny-die.svg"] == sorted(file.name for file in (tmp_path / "plots").iterdir())


def test_all_plots(path: Path, tmp_path: Path) -> None:
    """By load where there are several, per SIM, and against time where there was a trouble; the same figures give the same files."""
    require(importlib.util.find_spec("matplotlib"), "matplotlib (pip install 'seedrouter[plots]')")
    loads = [msgspec.structs.replace(played(path, load=load), scenario="usual") for load in (0.3, 0.5)]
    drawn = list(draw([*loads, played(path, scenario="new")], tmp_path / "a"))
    again = list(draw([*loads, played(path, scenario="new")], tmp_path / "b"))

    assert [f"routing-tiny-{what}.{kind}" for what in ("load", "seeds", "new") for kind in ("png", "svg")] == [file.name for file in drawn]
    assert [file.read_bytes() for file in drawn] == [file.read_bytes() for file in again]
    assert all(file.stat().st_size > 1000 for file in drawn)
