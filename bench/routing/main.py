"""`bench routing`: the router's own rules over a simulated fleet, in virtual time. What it shows stands in docs/routing.md.

Each run's outcome is a JSON line; the ratio is to the oracle's share within 10 s, where that was run on the same traffic.
"""

import argparse
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from multiprocessing import Manager
from multiprocessing.managers import DictProxy
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from bench.figures import say, tell
from bench.routing import fleet as fleets
from bench.routing.cost import Ground
from bench.routing.plots import draw
from bench.routing.policies import POLICIES
from bench.routing.run import Outcome, least_flow, run
from bench.routing.scenarios import SCENARIOS
from router.domain.rules import Rules

_SIZES = (100, 1_000, 10_000, 100_000)
_LOADS = (0.3, 0.6, 0.85)
_COST_TURNS = 30
_SAY_EVERY_SECONDS = 5.0


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One run to be made."""

    fleet: str
    scenario: str
    policy: str
    load: float
    seed: int


def run_bench(arguments: Sequence[str]) -> None:
    """Options: see `--help`."""
    options = _options(arguments)
    tasks = list(_tasks(options))
    outcomes = _play(tasks, options)
    _tell(outcomes)
    if options.cost:
        _tell_costs()
    if options.plots is not None:
        for path in draw(outcomes, options.plots):
            say(__name__, f"drew {path}")


def _play(tasks: Sequence[Task], options: argparse.Namespace) -> list[Outcome]:
    """All of them, as many at a time as there are to be, with their progress."""
    outcomes: list[Outcome] = []
    began = time.monotonic()
    with Manager() as manager, ProcessPoolExecutor(options.jobs) as pool:
        played: DictProxy[int, float] = manager.dict()
        waiting = {pool.submit(_run, number, task, options.messages, options.set, played) for number, task in enumerate(tasks)}
        while waiting:
            done, waiting = wait(waiting, timeout=_SAY_EVERY_SECONDS, return_when=FIRST_COMPLETED)
            so_far = f"{len(outcomes) + len(done)} of {len(tasks)} runs, {sum(played.values()) / len(tasks):.0%}"
            so_far += f" in {time.monotonic() - began:.0f} s"
            if not done:
                say(__name__, so_far)
            for one in done:
                outcomes.append(one.result())
                last = outcomes[-1]
                what = f"{last.fleet} {last.scenario} {last.policy} at {last.load:.0%}"
                say(__name__, f"{so_far}: {what}: {last.within:.3%} within 10 s, p99 {last.p99:.1f} s")
    return outcomes


def _run(number: int, task: Task, messages: int, changes: dict[str, Any], played: "DictProxy[int, float]") -> Outcome:
    def progress(share: float) -> None:
        played[number] = share

    fleet = fleets.load(task.fleet)
    name = Path(task.fleet).stem
    return run(fleet, name, task.scenario, task.policy, task.load, task.seed, messages, changes, progress)


def _tasks(options: argparse.Namespace) -> Iterator[Task]:
    for fleet in options.fleet:
        for scenario in options.scenario:
            loads = options.load or (_LOADS if scenario == "usual" else (SCENARIOS[scenario].load,))
            for load in loads:
                for policy in options.policy:
                    for seed in range(1, options.seeds + 1):
                        yield Task(fleet=fleet, scenario=scenario, policy=policy, load=load, seed=seed)


def _tell(outcomes: Sequence[Outcome]) -> None:
    groups: dict[tuple[str, str, float, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: (o.fleet, o.scenario, o.load, list(POLICIES).index(o.policy), o.seed)):
        groups.setdefault((outcome.fleet, outcome.scenario, outcome.load, outcome.policy), []).append(outcome)
    for (fleet, scenario, load, policy), found in groups.items():
        oracle = groups.get((fleet, scenario, load, "oracle"), []) if policy != "oracle" else []
        name = f"{fleet} {scenario} at {load:.0%}, {policy}: on the air within 10 s"
        tell("routing", name, "%", [100 * o.within for o in found], [100 * o.within for o in oracle], _details(found, oracle))


def _details(found: Sequence[Outcome], oracle: Sequence[Outcome]) -> dict[str, float]:
    sums = {
        "messages": sum(o.messages for o in found), "twice": sum(o.twice for o in found),
        "twice_not_ambiguous": sum(o.twice - o.explained_twice for o in found), "failovers": sum(sum(o.failovers.values()) for o in found),
        "parked": sum(o.parked for o in found),
    }  # fmt: skip
    medians = {
        name: round(statistics.median([getattr(o, name) for o in found]), 4)
        for name in ("never", "p50", "p95", "p99", "busiest", "back_seconds")
    }
    flows = [least_flow(mine, best) for mine, best in zip(found, oracle, strict=False)]
    return {**sums, **medians, **({"least_flow": round(min(flows), 3)} if flows else {})}


def _tell_costs() -> None:
    """In turn, so that what else the machine does falls on all sizes alike."""
    grounds = {}
    for size in _SIZES:
        say(__name__, f"enrols {size} seeds")
        grounds[size] = Ground(size)
    found: dict[int, list[float]] = {size: [] for size in _SIZES}
    for _ in range(_COST_TURNS):
        for size, ground in grounds.items():
            found[size].append(ground.seconds_per_choice(500) * 1e6)
    for size in _SIZES:
        # The least of many short turns: what the machine did meanwhile is in the others
        tell("routing", f"choosing among {size} seeds", "µs", [min(found[size])], [min(found[_SIZES[0]])] if size != _SIZES[0] else ())


def _change(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    hints = get_type_hints(Rules)
    if name not in hints:
        raise argparse.ArgumentTypeError(f"no rule is called {name}: see router/domain/rules.py")
    try:
        return name, msgspec.convert(value, hints[name], strict=False)
    except msgspec.ValidationError as error:
        raise argparse.ArgumentTypeError(f"{name}: {error}") from None


def _words(known: Sequence[str], *, paths: bool = False) -> Any:
    def parse(text: str) -> list[str]:
        words = list(known) if text == "all" else text.split(",")
        if unknown := [word for word in words if word not in known and not (paths and word.endswith(".toml"))]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there are {', '.join(known)}, and all")
        return words

    return parse


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench routing")
    fleet = _words(fleets.names(), paths=True)
    parser.add_argument("--fleet", type=fleet, default=["dz-500"], help="names with commas, paths of .toml files, or all")
    parser.add_argument("--scenario", type=_words(list(SCENARIOS)), default=["usual"], help=f"{', '.join(SCENARIOS)}, or all")
    parser.add_argument("--policy", type=_words(list(POLICIES)), default=["ours", "oracle"], help=f"{', '.join(POLICIES)}, or all")
    parser.add_argument("--load", type=_loads, default=None, help="shares of full load, e.g. 0.3,0.6; without it the scenario's own")
    parser.add_argument("--messages", type=int, default=0, help="about so many are measured; 0 = as long as the scenario lasts")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each, with random numbers of their own")
    parser.add_argument("--set", type=_change, action="append", default=[], metavar="RULE=VALUE", help="another number of the rules")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 2) - 1), help="runs at a time, a process each")
    parser.add_argument("--cost", action="store_true", help="measure too what a choice costs, by the size of the fleet")
    parser.add_argument("--plots", type=Path, default=None, metavar="DIR", help="draw what was found, as PNG and SVG")
    options = parser.parse_args(arguments)
    options.set = dict(options.set)
    return options


def _loads(text: str) -> list[float]:
    loads = [float(word) for word in text.split(",")]
    if min(loads) <= 0.0:
        raise argparse.ArgumentTypeError("a load is above 0, e.g. 0.6")
    return loads
