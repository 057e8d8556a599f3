"""`devices`: the phones of SMSGate's app, whose SIMs are seeds."""

import time
from typing import Annotated, Any

import typer

from router.cli.options import Data, Json
from router.cli.output import ago, print_json, print_table, router_at

app = typer.Typer(help="Devices: phones that run SMSGate's app. Each SIM is a seed.", no_args_is_help=True)


@app.command("list")
def list_devices(
    account: Annotated[str | None, typer.Option("--account", help="Only this account's, by id or name.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """All phones, with their owners, their SIMs and their clocks."""
    from router.cli.client import account_id_of

    with router_at(data) as router:
        devices = router.get("/devices", account=None if account is None else account_id_of(router, account))
    if as_json:
        print_json(devices)
        return
    now = time.time()
    columns = ("id", "name", "owner", "serves", "seen", "clock", "seed", "carrier", "state")
    rows = [row for device in devices for row in _rows(device, now)]
    print_table(columns, rows, empty="no phones: point SMSGate's app at this router's /mobile/v1, with the private token")


@app.command("delete")
def delete(device: Annotated[str, typer.Argument(metavar="ID")], data: Data = None, as_json: Json = False) -> None:
    """Void a phone's token; its SIMs send nothing more."""
    from router.cli.client import path_of

    with router_at(data) as router:
        router.delete(path_of("devices", device))
    if as_json:
        print_json({"id": device, "deleted": True})
        return
    print(f"{device} is deleted: the phone hears 401, and registers anew if its app still may")


def _rows(device: dict[str, Any], now: float) -> list[tuple[Any, ...]]:
    """A line per SIM; what is the phone's stands in the first."""
    owner = device["account_name"] or device["account"]
    phone = (
        device["id"],
        device["name"],
        owner,
        "everybody" if device["shared"] else "its owner",
        ago(device["last_seen"] or None, now),
        _clock(device),
    )
    rest = [(sim["seed"], _carrier(sim), _state(sim)) for sim in device["sims"]]
    return [(*(phone if place == 0 else (" ",) * len(phone)), *sim) for place, sim in enumerate(rest)]


def _clock(device: dict[str, Any]) -> str | None:
    if device["clock_offset"] is None:
        return None
    return f"{device['clock_offset']:+.1f} ± {device['clock_margin']:.1f} s"


def _carrier(sim: dict[str, Any]) -> str:
    if sim["carrier"]:
        return f"{sim['carrier_name']} {sim['carrier']}"
    return f"unknown (the phone shows {sim['told']!r})" if sim["told"] else "unknown"


def _state(sim: dict[str, Any]) -> str:
    if not sim["enabled"]:
        return "disabled"
    if not sim["carrier"]:
        return "no carrier: say it with `seeds set`"
    return "online" if sim["online"] else "offline"
