"""`simulate`: phones that speak the real protocols, and give what they send to a ledger instead of a network."""

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from router.cli.errors import CliError
from router.cli.options import Data, Json
from router.cli.output import print_json, print_table

if TYPE_CHECKING:
    from router.settings import Settings
    from workers.simulator.fleet import Fleet, FleetOptions, FleetReport


class Protocol(StrEnum):
    """What phones speak: our own seed API, SMSGate's app, or every second phone the one and the other."""

    SEEDS = "seeds"
    SMSGATE = "smsgate"
    BOTH = "both"


def _rate(option: str, text: str) -> Any:
    return typer.Option(option, min=0.0, max=1.0, help=f"Share of messages: {text}")


def simulate(
    count: Annotated[int, typer.Argument(metavar="N", min=1, help="How many phones, over Algeria's carriers by their shares.")],
    protocol: Annotated[
        Protocol, typer.Option("--protocol", help="What they speak: the seed API, as SMSGate's app does, or half and half.")
    ] = Protocol.SEEDS,
    sims: Annotated[int, typer.Option("--sims", min=1, max=3, help="SMSGate: SIMs in a phone, of several carriers.")] = 1,
    private_token: Annotated[
        str | None,
        typer.Option("--private-token", help="SMSGate: with which phones register. Default: SEEDROUTER_MOBILE_PRIVATE_TOKEN, or DATA's."),
    ] = None,
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
    reorder_rate: Annotated[float, _rate("--reorder-rate", "reported out of order (SMSGate).")] = 0.0,
    offline_rate: Annotated[float, _rate("--offline-rate", "the network goes right after it (SMSGate).")] = 0.0,
    clock_offset: Annotated[
        float, typer.Option("--clock-offset-seconds", help="How far the phones' clocks are ahead of this machine's.")
    ] = 0.0,
    radio_parts: Annotated[
        int, typer.Option("--radio-parts", min=0, help="SMSGate: parts that Android lets a SIM send in half an hour. 0: no limit.")
    ] = 30,
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
    from workers.simulator.numbers import split_by_carrier
    from workers.simulator.smsgate.behaviour import AppBehaviour
    from workers.simulator.smsgate.fleet import AppOptions

    settings = load_settings(data=data)
    configure_logs(settings.log_format, settings.log_level)
    place = find_router(data, os.environ, url)
    path = ledger or settings.data / "air.jsonl"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    apps = {Protocol.SEEDS: 0, Protocol.SMSGATE: count, Protocol.BOTH: count // 2}[protocol]
    options = FleetOptions(
        url=place.url,
        operator_token=place.token,
        ledger=path,
        carriers=split_by_carrier(count - apps),
        behaviour=Behaviour(
            pace_seconds=pace_seconds,
            fail_rate=fail_rate,
            silent_rate=silent_rate,
            die_after_send_rate=die_rate,
            doze_rate=doze_rate,
            doze_seconds=doze_seconds,
            late_report_rate=late_rate,
            repeat_report_rate=repeat_rate,
            delivered_rate=delivered_rate,
            clock_offset_seconds=clock_offset,
        ),
        seed=randomness,
        first_number=first_number,
        apps=None
        if apps == 0
        else AppOptions(
            phones=split_by_carrier(apps),
            sims=sims,
            private_token=private_token or _private_token(settings),
            behaviour=AppBehaviour(
                fail_rate=fail_rate,
                lost_result_rate=silent_rate,
                die_rate=die_rate,
                doze_rate=doze_rate,
                doze_seconds=doze_seconds,
                offline_rate=offline_rate,
                late_report_rate=late_rate,
                repeat_report_rate=repeat_rate,
                reorder_rate=reorder_rate,
                delivered_rate=delivered_rate,
                clock_offset_seconds=clock_offset,
                radio_limit_parts=radio_parts,
            ),
            seed=randomness,
            first_number=first_number,
        ),
    )
    import uvloop

    report = uvloop.run(_run(options))
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(report))
    else:
        _print(report)


def _private_token(settings: "Settings") -> str:
    """As it was given, or as the router's data folder has it. Raises `CliError`."""
    given = settings.mobile_private_token.get_secret_value()
    if given:
        return given
    from router.secrets import FILE_NAME, load_secrets

    if not (settings.data / FILE_NAME).exists():
        raise CliError("no private token for SMSGate phones: give --private-token, or set SEEDROUTER_MOBILE_PRIVATE_TOKEN")
    return load_secrets(settings.data, settings.given_secrets()).mobile_private_token


async def _run(options: "FleetOptions") -> "FleetReport":
    from router.lifeline import follow_parent
    from workers.simulator.client import EnrolmentRefused, Unanswered
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
    except EnrolmentRefused as error:
        raise CliError(f"{options.url}: {error}") from None


def _introduce(fleet: "Fleet") -> None:
    options = fleet.options
    print(f"{len(fleet.phones) + len(fleet.app_phones)} phones are on at {options.url}; what they send is in {options.ledger}", flush=True)


def _print(report: "FleetReport") -> None:
    import msgspec

    from router.domain.carriers import carrier_name

    counted = [*((carrier_name(carrier), counts) for carrier, counts in report.by_carrier.items()), ("all", report.totals)]
    names = report.totals.__struct_fields__
    rows = [(name, *(msgspec.structs.asdict(counts)[field] for field in names)) for name, counts in counted]
    print_table(("carrier", *names), rows, title=f"{report.alive} of {report.phones} phones were alive at the end")
    if report.apps is not None:
        did = [(name.replace("_", " "), count) for name, count in msgspec.structs.asdict(report.apps).items()]
        print_table(("what", "count"), did, title="What the phones with SMSGate's app did")
    if report.undelivered_reports:
        print(f"{report.undelivered_reports} reports did not reach the router.")
