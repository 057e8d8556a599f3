"""`demo`: a whole router, simulated phones, the real SDK, and two phones that die in the middle of it."""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from router.cli.errors import CliError
from router.cli.options import Json

if TYPE_CHECKING:
    from router.cli.demo_report import Outcome
    from router.settings import Settings

_HOST: Final = "127.0.0.1"


def demo(
    seeds: Annotated[int, typer.Option("--seeds", min=6, max=300, help="Simulated phones, over three carriers.")] = 12,
    codes: Annotated[int, typer.Option("--codes", min=24, max=1500, help="One-time codes to send and to verify.")] = 60,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder: Redis' data, the ledger of the air.")] = False,
    as_json: Json = False,
) -> None:
    """Send codes through simulated phones, kill two of them in the middle, and prove that every code arrived, once."""
    from router.cli.config import trial_settings
    from router.cli.demo_report import print_outcome
    from router.cli.logs import configure_logs
    from router.cli.output import print_json

    _require_sdk()
    # The SDK would ask a proxy of the environment for our own loopback
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = _HOST
    folder = Path(tempfile.mkdtemp(prefix="seedrouter-demo-"))
    try:
        settings = trial_settings(folder, code_seconds=120.0, code_length=6)
        configure_logs(settings.log_format, settings.log_level)
        outcome = _run(settings, seeds, codes)
    finally:
        if keep:
            print(f"The data folder is kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if as_json:
        print_json(outcome.as_document())
    else:
        print_outcome(outcome)
    raise typer.Exit(0 if outcome.ok else 1)


def _run(settings: "Settings", seeds: int, codes: int) -> "Outcome":
    from router.cli.demo_story import Story
    from router.cli.up import Stack

    stack = Stack(settings)
    story = Story(stack, seeds=seeds, codes=codes)

    async def tell() -> None:
        await story.tell()
        stack.request_stop()

    story.say("starting Redis, the api, a dispatcher, a timekeeper and a courier")
    code = stack.run(tell)
    if story.outcome is None:
        raise CliError("the demo was stopped" if code != 1 else "the router did not start: see what it logged above")
    return story.outcome


def _require_sdk() -> None:
    try:
        import gatewire  # type: ignore[import-untyped] # noqa: F401 - is it there?
    except ImportError:
        raise CliError('the demo talks through GateWire\'s SDK: pip install "seedrouter[demo]"') from None
