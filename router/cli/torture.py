"""`torture`: breaks a whole router of its own, again and again, and proves that every promise was kept."""

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from router.cli.errors import CliError
from router.cli.options import Json

if TYPE_CHECKING:
    from router.cli.torture_run import Outcome
    from router.settings import Settings

_HOST: Final = "127.0.0.1"


def torture(
    seconds: Annotated[int, typer.Option("--seconds", min=1, max=3600, help="How long things are broken.")] = 30,
    phones: Annotated[int, typer.Option("--phones", min=6, max=300, help="Simulated phones, over three carriers.")] = 30,
    rate: Annotated[float, typer.Option("--rate", min=1, max=500, help="Codes a second.")] = 50,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Break the same things at the same times again.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder: Redis' data, the ledger of the air.")] = False,
    as_json: Json = False,
) -> None:
    """Kill processes and phones while codes go through, and prove that none was lost, sent twice or sent late, and the money adds up."""
    from router.cli.config import trial_settings
    from router.cli.logs import configure_logs
    from router.cli.output import print_json
    from router.cli.torture_report import as_document, print_outcome

    os.environ["NO_PROXY"] = os.environ["no_proxy"] = _HOST
    folder = Path(tempfile.mkdtemp(prefix="seedrouter-torture-"))
    try:
        settings = trial_settings(folder, retry_seed_seconds=2.0, breaker_pause_seconds=2.0, max_attempts=20)
        configure_logs(settings.log_format, settings.log_level)
        outcome = _run(settings, seconds, phones, rate, random.SystemRandom().randrange(2**31) if seed is None else seed)
    finally:
        if keep:
            print(f"The data folder is kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(as_document(outcome))
    else:
        print_outcome(outcome)
    raise typer.Exit(0 if outcome.verdict.ok else 1)


def _run(settings: "Settings", seconds: int, phones: int, rate: float, seed: int) -> "Outcome":
    from router.cli.torture_run import Torture
    from router.cli.up import Stack

    stack = Stack(settings)
    run = Torture(stack, seconds=seconds, phones=phones, rate=rate, seed=seed)

    async def work() -> None:
        await run.run()
        stack.request_stop()

    run.say(f"starting Redis, the api, a dispatcher, a timekeeper and a courier (seed {seed})")
    code = stack.run(work)
    if run.outcome is None:
        raise CliError("it was stopped" if code != 1 else "the router did not start: see what it logged above")
    return run.outcome
