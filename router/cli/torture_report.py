"""What came of a torture: printed, or as one document."""

from typing import Any

from router.cli.output import print_rich, print_table
from router.cli.torture_run import Outcome


def as_document(outcome: Outcome) -> dict[str, Any]:
    """All counts, the seed and what was broken, with its times."""
    return {
        "seed": outcome.seed,
        **outcome.verdict.as_document(),
        "answers": outcome.answers,
        "restarts": outcome.restarts,
        "nemeses": outcome.nemeses,
        "took_seconds": round(outcome.took_seconds, 1),
    }


def print_outcome(outcome: Outcome) -> None:
    """The counts, the ids where there should be none, and the verdict."""
    from rich.text import Text

    verdict = outcome.verdict
    rows = [
        ("attempted", verdict.attempted, ""),
        ("acknowledged", verdict.acknowledged, _counted(verdict.states)),
        ("never answered", verdict.unanswered, f"answers: {_counted(outcome.answers)}"),
        ("on the air", verdict.on_air, ""),
        ("lost", len(verdict.lost), "must be 0: acknowledged, without an end"),
        ("unexpected", len(verdict.unexpected), "must be 0: on the air, never acknowledged"),
        ("accepted twice", len(verdict.forked), "must be 0: same Idempotency-Key, two messages"),
        ("on the air twice", len(verdict.twice), "must be 0"),
        ("on the air late", len(verdict.late), "must be 0: after its time"),
        ("said sent, not on air", len(verdict.unseen), "must be 0"),
        ("ambiguous", len(verdict.ambiguous), "permission, then silence: waits, is not sent again"),
        ("refunded", verdict.refunded, ""),
        ("balance", verdict.balance, f"must be {_range(*verdict.expected_balance)}"),
        ("things broken", len(outcome.nemeses), f"restarts: {_counted(outcome.restarts)}"),
    ]
    print_table(("what", "count", "more"), rows, title=f"Torture with seed {outcome.seed}")
    for name, ids in verdict.as_document()["ids"].items():
        if name != "ambiguous":
            print(f"{name}: {', '.join(ids)}")
    judged = "OK" if verdict.ok else f"FAILED: {'; '.join(verdict.problems)} (run it again with --seed {outcome.seed} --keep)"
    print_rich(Text(f"{judged} ({outcome.took_seconds:.1f} s)", style="bold green" if verdict.ok else "bold red"))


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()) if count) or "none"


def _range(least: int, most: int) -> str:
    return str(least) if least == most else f"{least} to {most}"
