"""`bench kill`: nothing that was put on the queue is lost, whoever dies. kill -9 of consumers, of producers and of Redis, and the counts.

The strict claim is for consumers, for producers, and for Redis with `appendfsync always`. `redis-everysec` is the router's default
setting: there Redis itself promises only what is older than a second, and the count says what became of that.
"""

import argparse
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from bench.figures import tell
from bench.kill_run import NEMESES, Outcome, Trial, TrialPlan

_SIDES = {"ours": ("ours",), "stock": ("stock",), "both": ("stock", "ours")}
_LOST_TOLD = 20


def run(arguments: Sequence[str]) -> None:
    """Options: --messages, --kills, --what, --broker, --seed, --keep. Raises SystemExit(1) where ours lost an entry, or made one up."""
    options = _options(arguments)
    # `timeout` and a shell's `kill` send SIGTERM: what was started is ended all the same
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    print(f"kill: seed {seed}", file=sys.stderr, flush=True)
    broken = False
    for nemesis in options.what:
        for broker in _SIDES[options.broker]:
            plan = TrialPlan(broker=broker, nemesis=nemesis, messages=options.messages, kills=options.kills, seed=seed)
            outcome = _try(plan, options.keep)
            _tell(plan, outcome)
            broken |= broker == "ours" and _breaks_the_claim(plan, outcome)
    if broken:
        raise SystemExit(1)


def _try(plan: TrialPlan, keep: bool) -> Outcome:
    print(f"kill: {plan.nemesis}, {plan.broker}", file=sys.stderr, flush=True)
    folder = Path(tempfile.mkdtemp(prefix=f"seedrouter-kill-{plan.broker}-{plan.nemesis}-"))
    try:
        return Trial(plan, folder).run()
    finally:
        if keep:
            print(f"kill: the ledgers are in {folder}", file=sys.stderr, flush=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _tell(plan: TrialPlan, outcome: Outcome) -> None:
    details: dict[str, Any] = {
        "kills": outcome.kills,
        **msgspec.structs.asdict(outcome.counts),
        "held": outcome.held,
        "marked": outcome.marked,
        "from_living": outcome.from_living,
        "late_help": outcome.late_help,
        "seconds": outcome.seconds,
        "seed": plan.seed,
    }
    tell("kill", f"lost by {plan.broker}, kill -9 of {plan.nemesis}", "entries", [outcome.counts.lost], details=details)
    if outcome.lost_ids:
        print(f"kill: lost {outcome.lost_ids[:_LOST_TOLD]}", file=sys.stderr, flush=True)


def _breaks_the_claim(plan: TrialPlan, outcome: Outcome) -> bool:
    counts = outcome.counts
    # Where little was acknowledged, little was promised: that proves nothing
    proves_nothing = counts.acknowledged < counts.attempted / 2
    return proves_nothing or counts.unexpected > 0 or (counts.lost > 0 and plan.nemesis != "redis-everysec")


def _nemeses(text: str) -> list[str]:
    named = text.split(",")
    if unknown := set(named).difference(NEMESES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: there are {', '.join(NEMESES)}")
    return named


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bench kill")
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--what", type=_nemeses, default=list(NEMESES), help=f"some of {','.join(NEMESES)}")
    parser.add_argument("--broker", choices=tuple(_SIDES), default="both")
    parser.add_argument("--seed", type=int, help="kill at the same moments again")
    parser.add_argument("--keep", action="store_true", help="keep the folder: ledgers, logs, journal of the kills, Redis' data")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    run(sys.argv[1:])
