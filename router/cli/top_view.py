"""What `top` shows, as lines for a terminal of a given size. Pure: answers of the operator API in, text out.

In 80 columns and 24 lines every figure has its place; carriers and failovers that do not fit are summed up, or the latest are shown.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from rich.text import Text

from router.cli.output import NOTHING

SPARK_MINUTES: Final = 30
_LEVELS: Final = "▁▂▃▄▅▆▇█"
_WIDE: Final = 120
"""From here on there is room for messages' ids."""
_STALE_SECONDS: Final = 15.0
_FEWEST_FAILOVERS: Final = 3
_SEED_FIGURES: Final = ("online", "ready", "tripped", "room", "in_flight", "parked")


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the router answered: GET /flow, /carriers, /queue and /failovers."""

    flow: dict[str, Any]
    carriers: dict[str, Any]
    queue: dict[str, Any]
    failovers: list[dict[str, Any]]


def render(snapshot: Snapshot, *, width: int, height: int | None = None) -> list[Text]:
    """No line is longer than `width`, and there are no more than `height` of them (None: as many as it takes)."""
    lines = [*_flow(snapshot.flow), _rule(width), *_queue(snapshot.queue), _rule(width)]
    carriers, failovers = snapshot.carriers["carriers"], snapshot.failovers
    warning = list(_warning(snapshot.carriers["age_seconds"]))
    if height is not None:
        # Two headings, and the rule between them
        left = height - len(lines) - len(warning) - 3
        kept = min(len(failovers), max(_FEWEST_FAILOVERS, left - len(carriers)))
        rows = max(1, left - kept)
        carriers, failovers = _fitted(carriers, rows), failovers[:kept]
    lines += [*warning, *_carriers(carriers), _rule(width), *_failovers(failovers, width)]
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return lines if height is None else lines[:height]


def sparkline(values: Sequence[int]) -> str:
    """One character a value, as high as its share of the largest; a dot for zero."""
    most = max(values, default=0)
    return "".join("·" if not value else _LEVELS[min(len(_LEVELS) - 1, value * len(_LEVELS) // (most + 1))] for value in values)


def compact(n: int) -> str:
    """At most five characters, up to a thousand millions."""
    if n < 10_000:
        return str(n)
    if n < 999_500:
        return f"{n / 1000:.3g}k"
    return f"{n / 1_000_000:.3g}M"


def printable(value: object) -> str:
    """Texts of phones and clients may hold what a terminal would obey."""
    return "".join(character if character.isprintable() else "·" for character in str(value))


def _flow(flow: Mapping[str, Any]) -> Iterable[Text]:
    minutes = flow["minutes"]
    totals = [minute["total"] for minute in minutes]
    # Codes that were sent and never typed are among them
    unverified = [total["failed"] + total["expired"] + total["cancelled"] for total in totals]
    yield _heading(f"{'messages':<12}{'now':>7}{'minute':>8}{'hour':>8}   the last {SPARK_MINUTES} minutes")
    rows = [(name, [total[name] for total in totals]) for name in ("accepted", "sent", "verified", "failovers")]
    for name, values in (*rows, ("unverified", unverified)):
        now, before = values[-1], values[-2] if len(values) > 1 else 0
        style = "" if name != "failovers" or not (now or before) else "yellow"
        figures = f"{compact(now):>7}{compact(before):>8}{compact(sum(values[-60:])):>8}"
        yield Text.assemble((f"{name:<12}", "bold"), (figures, style), "   ", (sparkline(values[-SPARK_MINUTES:]), "cyan"))
    recent, whole = flow["recent"], flow["total"]
    yield Text.assemble(
        ("conversion ", "bold"), _pair(_share(recent["conversion"]), _share(whole["conversion"])),
        ("   sent p50 ", "bold"), _pair(_seconds(recent["sent_p50_seconds"]), _seconds(whole["sent_p50_seconds"])),
        ("   p95 ", "bold"), _pair(_seconds(recent["sent_p95_seconds"]), _seconds(whole["sent_p95_seconds"])),
        ("   5 min, hour", "dim"),
    )  # fmt: skip


def _queue(queue: Mapping[str, Any]) -> Iterable[Text]:
    lanes = [f"{name} {compact(lane['depth'])} ({_seconds(lane['oldest_seconds'])})" for name, lane in queue["lanes"].items()]
    yield Text.assemble(("queue       ", "bold"), "   ".join(lanes), ("   (oldest)", "dim"))
    parked = sum(queue["parked"].values())
    yield Text.assemble(
        ("waiting     ", "bold"), f"open {compact(queue['open'])}   ", _alarming(f"parked {compact(parked)}", parked),
        f"   inbound {compact(queue['inbound'])}   webhooks {compact(queue['webhooks_waiting'])}",
    )  # fmt: skip
    letters, webhooks = queue["dead_letters"], queue["webhooks_dead"]
    yield Text.assemble(
        ("dead        ", "bold"), _alarming(f"letters {compact(letters)}", letters), "   ",
        _alarming(f"webhooks {compact(webhooks)}", webhooks),
    )  # fmt: skip


def _warning(age_seconds: float | None) -> Iterable[Text]:
    if age_seconds is None or age_seconds > _STALE_SECONDS:
        told = "nobody has told of the seeds" if age_seconds is None else f"the seeds are as they were {age_seconds:.0f} s ago"
        yield Text(f"{told}: does a dispatcher run?", style="bold red")


def _carriers(carriers: Sequence[Mapping[str, Any]]) -> Iterable[Text]:
    columns = f"{'online':>7}{'ready':>7}{'tripped':>8}{'room':>7}{'in flight':>10}{'parked':>7}{'failed over':>12}"
    yield _heading(f"{'carriers':<20}{columns}")
    for carrier in carriers:
        shown = {figure: compact(carrier[figure]) for figure in _SEED_FIGURES}
        name = printable(f"{carrier['carrier']} {carrier['carrier_name']}".strip()) or "unknown"
        yield Text.assemble(
            f"{name[:19]:<20}", _alarming(f"{shown['online']:>7}", not carrier["online"]), f"{shown['ready']:>7}",
            _alarming(f"{shown['tripped']:>8}", carrier["tripped"]), f"{shown['room']:>7}{shown['in_flight']:>10}",
            _alarming(f"{shown['parked']:>7}", carrier["parked"]), f"{_share(carrier['failed_over']):>12}",
        )  # fmt: skip


def _fitted(carriers: Sequence[Mapping[str, Any]], rows: int) -> Sequence[Mapping[str, Any]]:
    """Where there is no room for all: those with the most to do, and all others in one line."""
    if len(carriers) <= rows:
        return carriers
    ordered = sorted(carriers, key=lambda carrier: (-carrier["parked"], -carrier["hour"]["accepted"], carrier["carrier"]))
    shown, others = ordered[: rows - 1], ordered[rows - 1 :]
    sums = {figure: sum(carrier[figure] for carrier in others) for figure in _SEED_FIGURES}
    failovers = sum(carrier["hour"]["failovers"] for carrier in others)
    attempts = failovers + sum(carrier["hour"]["dispatched"] for carrier in others)
    failed_over = failovers / attempts if attempts else None
    return [*shown, {"carrier": f"{len(others)} others", "carrier_name": "", "failed_over": failed_over, **sums}]


def _failovers(failovers: Sequence[Mapping[str, Any]], width: int) -> Iterable[Text]:
    yield _heading(f"{'failovers':<13}{'from seed':<17}{'to':<14}why")
    if not failovers:
        yield Text("none lately", style="dim")
    for failover in failovers:
        at = datetime.fromtimestamp(failover["at"], UTC).strftime("%H:%M:%S")
        why = printable(failover["reason"] if not failover["error"] else f"{failover['reason']}: {failover['error']}")
        message = f"   {failover['message']}" if width >= _WIDE else ""
        seed, to = printable(failover["seed"])[:16], printable(failover["to"])[:13]
        yield Text(f"{at + ' #' + str(failover['attempt']):<13}{seed:<17}{to:<14}{why}{message}")


def _heading(words: str) -> Text:
    return Text(words, style="bold reverse")


def _rule(width: int) -> Text:
    return Text("─" * width, style="dim")


def _alarming(words: str, is_so: object) -> tuple[str, str]:
    return words, "bold red" if is_so else ""


def _pair(recent: str, hour: str) -> str:
    return f"{recent} {hour}"


def _share(value: float | None) -> str:
    return NOTHING if value is None else f"{value * 100:.0f} %"


def _seconds(value: float | None) -> str:
    """At most seven characters."""
    if value is None:
        return NOTHING
    for size, unit, least in ((86_400.0, "d", 172_800.0), (3600.0, "h", 7200.0), (60.0, "min", 100.0)):
        if value >= least:
            return f"{value / size:.0f} {unit}"
    return f"{value:.1f} s"
