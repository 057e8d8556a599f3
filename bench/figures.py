"""How a figure is told."""

import statistics
import sys
from collections.abc import Mapping, Sequence

import msgspec


class Figure(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One figure: the median of its runs. `ratio` = value : baseline, both measured in turn in the same call."""

    bench: str
    figure: str
    value: float
    unit: str
    baseline: float | None = None
    ratio: float | None = None
    runs: int
    details: dict[str, float] = {}


def progress(bench: str, turn: int, runs: int) -> None:
    """Says on stderr which run begins."""
    say(bench, f"run {turn + 1} of {runs}")


def say(bench: str, what: str) -> None:
    """Says on stderr what is going on."""
    print(f"{bench}: {what}", file=sys.stderr, flush=True)


def medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The details of several runs in one: the median of each that every run has."""
    shared = [name for name in runs[0] if all(name in run for run in runs)] if runs else []
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in shared}


def tell(
    bench: str, figure: str, unit: str, values: Sequence[float], baselines: Sequence[float] = (), details: dict[str, float] | None = None
) -> None:
    """Prints a figure as one JSON line."""
    value = statistics.median(values)
    baseline = statistics.median(baselines) if baselines else None
    ratio = round(value / baseline, 4) if baseline else None
    made = Figure(
        bench=bench, figure=figure, value=round(value, 3), unit=unit, baseline=round(baseline, 3) if baseline else None, ratio=ratio,
        runs=len(values), details=details or {},
    )  # fmt: skip
    print(msgspec.json.encode(made).decode(), flush=True)
