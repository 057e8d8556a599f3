"""What `top` draws: every figure in 80 columns and 24 lines, whatever the size of the fleet, and nothing that a terminal would obey."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.cli.top_view import Snapshot, compact, printable, render, sparkline
from tests.unit.cli.conftest import Run

COUNTS = {
    "accepted": 12_345_678, "dispatched": 900, "sent": 12_345_678, "verified": 999_999, "failed": 3, "expired": 2, "cancelled": 1,
    "failovers": 88_000, "ambiguous": 0, "codes_sent": 10, "conversion": 0.934, "sent_p50_seconds": 2.11, "sent_p95_seconds": 299.97,
}  # fmt: skip
QUIET: dict[str, Any] = dict.fromkeys(COUNTS, 0) | {"conversion": None, "sent_p50_seconds": None, "sent_p95_seconds": None}


def a_carrier(number: int, **fields: Any) -> dict[str, Any]:
    about = {
        "carrier": f"603{number:02}", "carrier_name": "Tunisie Telecom and more", "online": 100_000, "ready": 99_999, "tripped": 12_345,
        "room": 1_234_567, "in_flight": 1_234_567, "parked": 0, "failed_over": 0.031, "hour": COUNTS,
    }  # fmt: skip
    return about | fields


def a_failover(number: int, **fields: Any) -> dict[str, Any]:
    about = {
        "at": 1_000_000_000.0 + number, "message": f"wg_{number}", "to": "+2136*****01", "carrier": "60301", "seed": "603010000000001",
        "reason": "failed", "error": "RESULT_ERROR_NO_SERVICE", "attempt": 1,
    }  # fmt: skip
    return about | fields


def a_snapshot(carriers: int = 3, failovers: int = 50, *, age_seconds: float | None = 1.0, counts: dict[str, Any] = COUNTS) -> Snapshot:
    lane = {"depth": 1_000_000, "oldest_seconds": 86_399.9}
    return Snapshot(
        flow={
            "now": 0.0, "recent": counts, "total": counts,
            "minutes": [{"at": 60.0 * minute, "total": counts, "carriers": {}} for minute in range(60)],
        },
        carriers={"age_seconds": age_seconds, "carriers": [a_carrier(number) for number in range(carriers)]},
        queue={
            "lanes": {"otp": lane, "notification": lane, "bulk": lane}, "dead_letters": 100_000, "parked": {"60301": 40_000, "DZ": 2},
            "open": 1_000_000, "inbound": 100_000, "webhooks_waiting": 1_000_000, "webhooks_dead": 10_000,
        },
        failovers=[a_failover(number) for number in range(failovers, 0, -1)],
    )  # fmt: skip


def drawn(snapshot: Snapshot, width: int = 80, height: int | None = 23) -> list[str]:
    return [line.plain for line in render(snapshot, width=width, height=height)]


@pytest.mark.parametrize("carriers", [0, 1, 3, 9, 40])
@pytest.mark.parametrize("failovers", [0, 2, 50])
@pytest.mark.parametrize("age_seconds", [None, 1.0, 4000.0])
def test_all_of_it_in_80_by_24(carriers: int, failovers: int, age_seconds: float | None) -> None:
    """One line is the title's. Nothing is cut, however large the figures: no ellipsis stands anywhere."""
    lines = drawn(a_snapshot(carriers, failovers, age_seconds=age_seconds))
    text = "\n".join(lines)

    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert "…" not in text
    words = "accepted sent verified conversion p50 p95 otp notification bulk open parked inbound webhooks letters online tripped room why"
    for word in words.split():
        assert word in text
    assert min(failovers, 3) <= sum("failed: RESULT_ERROR_NO_SERVICE" in line for line in lines)
    assert ("does a dispatcher run?" in text) is (age_seconds != 1.0)


@given(st.integers(1, 300), st.integers(1, 100), st.integers(0, 30), st.integers(0, 30))
def test_any_terminal(width: int, height: int, carriers: int, failovers: int) -> None:
    lines = drawn(a_snapshot(carriers, failovers), width, height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width


def test_carriers_that_do_not_fit_are_summed_up() -> None:
    """Those with waiting messages come first; the others are one line."""
    snapshot = a_snapshot(0)
    snapshot.carriers["carriers"] = [
        a_carrier(number, carrier_name=f"number {number}", online=1, parked=5 * (number == 17), failed_over=0.5) for number in range(20)
    ]
    lines = drawn(snapshot)
    (others,) = [line for line in lines if " others" in line]
    shown = [line for line in lines if "number" in line]

    assert "number 17" in shown[0]
    assert [f"{20 - len(shown)}", "others", f"{20 - len(shown)}", "1.6M"] == others.split()[:4]


def test_nothing_yet() -> None:
    """A router that has just begun."""
    text = "\n".join(drawn(a_snapshot(0, 0, age_seconds=None, counts=QUIET)))

    assert "none lately" in text
    assert "nobody has told of the seeds" in text
    assert "conversion – –" in text
    assert "·" * 30 in text


def test_what_a_phone_says_is_shown_and_not_obeyed() -> None:
    """Escape sequences, newlines and rich's markup in an error are text."""
    snapshot = a_snapshot()
    snapshot.failovers[0] |= {"error": "\x1b[2J[red]boom[/]\r\nsecond line\x9b31m"}
    text = "".join(drawn(snapshot, 200))

    assert "failed: ·[2J[red]boom[/]··second line·31m" in text
    assert "\x1b" not in text
    assert "a·b" == printable("a\x07b")


def test_messages_have_names_where_there_is_room() -> None:
    assert any("wg_50" in line for line in drawn(a_snapshot(), 140))
    assert not any("wg_50" in line for line in drawn(a_snapshot(), 80))


def test_everything_without_a_height() -> None:
    """Printed once, all carriers and failovers are there."""
    lines = drawn(a_snapshot(40, 50), 120, None)

    assert 50 == sum("RESULT_ERROR" in line for line in lines)
    assert 40 == sum("Tunisie" in line for line in lines)


@pytest.mark.parametrize(
    ("values", "expected"), [([], ""), ([0, 0], "··"), ([1], "▇"), ([1, 50, 100], "▁▄█"), ([5, 5], "▇▇"), ([0, 7], "·█")]
)
def test_sparkline(values: list[int], expected: str) -> None:
    assert len(expected) == len(sparkline(values))
    assert [mark == "·" for mark in expected] == [mark == "·" for mark in sparkline(values)]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
def test_sparkline_rises_with_its_values(values: list[int]) -> None:
    marks = sparkline(values)
    ordered = [mark for _, mark in sorted(zip(values, marks, strict=True), key=lambda pair: pair[0])]
    ranks = ["·▁▂▃▄▅▆▇█".index(mark) for mark in ordered]

    assert ranks == sorted(ranks)
    assert [not value for value in sorted(values)] == [not rank for rank in ranks]


@pytest.mark.parametrize(
    ("n", "expected"),
    [(0, "0"), (9999, "9999"), (10_000, "10k"), (12_345, "12.3k"), (999_499, "999k"), (999_500, "1M"), (12_345_678, "12.3M")],
)
def test_compact(n: int, expected: str) -> None:
    assert expected == compact(n)


def test_no_router(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what to do, like every command."""
    assert run("top", "--data", str(tmp_path)) == 1
    assert "seedrouter up" in capsys.readouterr().err


def test_interval_is_bounded(run: Run) -> None:
    assert run("top", "--interval", "0.1") == 2
