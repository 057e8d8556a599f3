"""`simulate`: phones that speak the real protocol, and give what they send to a ledger instead of a network."""

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli.errors import CliError
from router.cli.options import Data, Json
from router.cli.output import print_json, print_table

if TYPE_CHECKING:
    from workers.simulator.fleet import Fleet, FleetOptions, FleetReport


def _rate(option: str, text: str) -> Any:
    return typer.Option(option, min=0.0, max=1.0, help=f"Share of messages: {text}")


def simulate(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many phones, over Algeria's carriers by their shares.")],
    url: Annotated[str | None, typer.Option("--url", help="The router's URL. Default: as for every command.")] = None,
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", dir_okay=False, help="What goes on the air, as JSON lines. Default: DATA/air.jsonl."),
    ] = None,
    pace_seconds: Annotated[float, typer.Option("--pace-seconds", min=0.0, help="Rest after a send, per part.")] = 0.5,
    fail_rate: Annotated[float, _rate("--fail-rate", "reported as failed.")] = 0.0,
    silent_rate: Annotated[float, _rate("--silent-rate", "taken, and never dealt with.")] = 0.0,
    die_rate: Annotated[float, _rate("--die-rate", "sent, then the phone is dead, without a report.")] = 0.0,
    doze_rate: Annotated[float, _rate("--doze-rate", "the phone sleeps a while before.")] = 0.0,
    doze_seconds: Annotated[float, typer.Option("--doze-seconds", min=0.0, help="How long it sleeps, on average.")] = 120.0,
    late_rate: Annotated[float, _rate("--late-rate", "reported late.")] = 0.0,
    repeat_rate: Annotated[float, _rate("--repeat-rate", "reported twice.")] = 0.0,
    delivered_rate: Annotated[float, _rate("--delivered-rate", "with a delivery report.")] = 0.0,
    randomness: Annotated[int, typer.Option("--seed", help="Of randomness: the same number, the same behaviour.")] = 0,
    first_number: Annotated[int, typer.Option("--first-number", min=0, help="The first phone's number within its carrier.")] = 0,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Run N simulated phones against the running router until Ctrl-C, then tell what came of it."""
    import os

    from router.cli.client import find_router
    from router.cli.config import load_settings
    from router.cli.logs import configure_logs
    from workers.simulator.behaviour import Behaviour
    from workers.simulator.fleet import FleetOptions

    settings = load_settings(data=data)
    configure_logs(settings.log_format, settings.log_level)
    place = find_router(data, os.environ, url)
    path = ledger or settings.data / "air.jsonl"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    behaviour = Behaviour(
        pace_seconds=pace_seconds,
        fail_rate=fail_rate,
        silent_rate=silent_rate,
        die_after_send_rate=die_rate,
        doze_rate=doze_rate,
        doze_seconds=doze_seconds,
        late_report_rate=late_rate,
        repeat_report_rate=repeat_rate,
        delivered_rate=delivered_rate,
    )
    options = FleetOptions(
        url=place.url,
        operator_token=place.token,
        ledger=path,
        count=count,
        behaviour=behaviour,
        seed=randomness,
        first_number=first_number,
    )
    import uvloop

    report = uvloop.run(_run(options))
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(report))
    else:
        _print(report)


async def _run(options: "FleetOptions") -> "FleetReport":
    from router.lifeline import follow_parent
    from workers.simulator.client import Unanswered
    from workers.simulator.fleet import run_fleet

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop_from_thread() -> None:
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    follow_parent(stop_from_thread)
    try:
        return await run_fleet(options, stop, _introduce)
    except Unanswered as error:
        raise CliError(f"{options.url} cannot be asked to enrol the phones: {error}") from None


def _introduce(fleet: "Fleet") -> None:
    options = fleet.options
    print(f"{len(fleet.phones)} phones are on at {options.url}; what they send is in {options.ledger}", flush=True)


def _print(report: "FleetReport") -> None:
    import msgspec

    from router.domain.carriers import carrier_name

    counted = [*((carrier_name(carrier), counts) for carrier, counts in report.by_carrier.items()), ("all", report.totals)]
    names = report.totals.__struct_fields__
    rows = [(name, *(msgspec.structs.asdict(counts)[field] for field in names)) for name, counts in counted]
    print_table(("carrier", *names), rows, title=f"{report.alive} of {report.phones} phones were alive at the end")
    if report.undelivered_reports:
        print(f"{report.undelivered_reports} reports did not reach the router.")
