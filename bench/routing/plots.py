"""What runs have shown, drawn: share on the air against time, p99 by load, load per seed, throughput in a scenario. As PNG and SVG."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bench.routing.run import GOOD_SECONDS, Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLOCK_SECONDS: Final = 5
_COLOURS: Final = {
    "ours": "#0b6e4f", "oracle": "#444444", "random": "#c8553d", "random-once": "#f28f3b", "round-robin": "#3d5a80", "freshest": "#7b2d8b",
    "least-in-flight": "#8d99ae", "newest-first": "#5fb49c",
}  # fmt: skip


def draw(outcomes: Sequence[Outcome], folder: Path) -> Iterator[Path]:
    """Draws what these outcomes have enough of; gives the paths. Raises `SystemExit` where matplotlib is missing."""
    try:
        import matplotlib as mpl  # noqa: PLC0415 - an extra, which the other runs do without
    except ImportError:
        raise SystemExit("plots need matplotlib: pip install 'seedrouter[plots]'") from None
    mpl.use("agg")
    # The same figures give the same files
    mpl.rcParams["svg.hashsalt"] = "seedrouter"
    folder.mkdir(parents=True, exist_ok=True)
    first = [outcome for outcome in outcomes if outcome.seed == 1]
    by_fleet = itertools.groupby(sorted(first, key=lambda o: o.fleet), key=lambda o: o.fleet)
    for fleet, found in by_fleet:
        runs = list(found)
        usual = [o for o in runs if o.scenario == "usual"]
        if len({o.load for o in usual}) > 1:
            yield from _save(_by_load, usual, folder / f"routing-{fleet}-load", 2)
        if usual:
            yield from _save(_per_seed, usual, folder / f"routing-{fleet}-seeds", 1)
        for scenario in sorted({o.scenario for o in runs} - {"usual"}):
            yield from _save(_against_time, [o for o in runs if o.scenario == scenario], folder / f"routing-{fleet}-{scenario}", 3)


def _save(paint: Any, outcomes: Sequence[Outcome], path: Path, columns: int) -> Iterator[Path]:
    from matplotlib.figure import Figure  # noqa: PLC0415 - ditto

    figure = Figure(figsize=(5.2 * columns, 3.6), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(visible=True, alpha=0.25)
    paint(axes, outcomes)
    for kind in (".png", ".svg"):
        figure.savefig(path.with_suffix(kind), dpi=110, metadata={"Date": None} if kind == ".svg" else None)
        yield path.with_suffix(kind)


def _colour(policy: str) -> dict[str, Any]:
    return {"color": _COLOURS.get(policy, "black"), "label": policy, "linewidth": 2.2 if policy == "ours" else 1.2}


def _policies(outcomes: Sequence[Outcome]) -> Iterator[tuple[str, list[Outcome]]]:
    for policy in _COLOURS:
        if found := [o for o in outcomes if o.policy == policy]:
            yield policy, sorted(found, key=lambda o: o.load)


def _by_load(axes: "Sequence[Axes]", outcomes: Sequence[Outcome]) -> None:
    late, slow = axes
    for policy, found in _policies(outcomes):
        loads = [100 * o.load for o in found]
        late.plot(loads, [100 * (1 - o.within) for o in found], marker="o", **_colour(policy))
        slow.plot(loads, [o.p99 for o in found], marker="o", **_colour(policy))
    xlabel = "load, % of what all SIMs could send"
    late.set(title=f"Not on the air within {GOOD_SECONDS:.0f} s", xlabel=xlabel, ylabel="% of messages", yscale="log")
    slow.set(title="99 of 100 were on the air within", xlabel=xlabel, ylabel="seconds", yscale="log")
    # 0.01, 0.1, 1 and 6, 8, 10 instead of powers of ten
    late.yaxis.set_major_formatter(_plain)
    slow.yaxis.set_major_formatter(_plain)
    slow.yaxis.set_minor_formatter(_plain)
    slow.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _plain(value: float, _place: float) -> str:
    return f"{value:g}"


def _per_seed(axes: "Sequence[Axes]", outcomes: Sequence[Outcome]) -> None:
    (load,) = axes
    lowest = min(o.load for o in outcomes)
    for policy, found in _policies([o for o in outcomes if o.load == lowest]):
        sent = found[0].sent_by_seed
        mean = sum(sent) / len(sent)
        load.plot([100 * i / len(sent) for i in range(len(sent))], [each / mean for each in sent], **_colour(policy))
    load.set(title=f"Load per good SIM at {lowest:.0%}", xlabel="SIMs, % (least used first)", ylabel="sent ÷ mean", ylim=(0, None))
    load.legend(fontsize="small")


def _against_time(axes: "Sequence[Axes]", outcomes: Sequence[Outcome]) -> None:
    share, flow, room = axes
    for policy, found in _policies(outcomes):
        blocks = list(_blocks(found[0]))
        times = [at for at, *_ in blocks]
        share.plot(times, [100 * good / made if made else 100.0 for _, made, good, _ in blocks], **_colour(policy))
        flow.plot(times, [sent / _BLOCK_SECONDS for *_, sent in blocks], **_colour(policy))
        room.plot([at for at, _ in found[0].room], [free for _, free in found[0].room], **_colour(policy))
    first = outcomes[0]
    accepted = [(at, made / _BLOCK_SECONDS) for at, made, *_ in _blocks(first)]
    flow.plot(*zip(*accepted, strict=True), color="#bbbbbb", label="accepted", zorder=0)
    for what, since, until in first.troubles:
        for each in axes:
            each.axvspan(since, max(until, since + 2), color="#d00000", alpha=0.08, label=what if each is flow else None)
    share.set(title=f"On the air within {GOOD_SECONDS:.0f} s", xlabel="accepted, s after the start", ylabel="% of messages", ylim=(0, 101))
    room.set(title="Room", xlabel="s after the start", ylabel="parts that SIMs online could still take", ylim=(0, None))
    flow.set(title="Throughput", xlabel="s after the start", ylabel="messages/s", ylim=(0, None))
    flow.legend(fontsize="small")


def _blocks(outcome: Outcome) -> Iterator[tuple[int, int, int, int]]:
    rows = outcome.by_second
    for start in range(0, len(rows) - _BLOCK_SECONDS, _BLOCK_SECONDS):
        block = rows[start : start + _BLOCK_SECONDS]
        yield start, sum(r[0] for r in block), sum(r[1] for r in block), sum(r[2] for r in block)
