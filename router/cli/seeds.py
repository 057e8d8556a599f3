"""`seeds`: the SIMs that send."""

import time
from typing import Annotated, Any

import typer

from router.cli.options import Data, Json
from router.cli.output import ago, moment, print_fields, print_json, print_table, router_at

app = typer.Typer(help="Seeds: one SIM in one phone each.", no_args_is_help=True)
Imsi = Annotated[str, typer.Argument(metavar="IMSI")]
Msisdn = Annotated[str | None, typer.Option("--msisdn", help="The SIM's own number.")]
Carrier = Annotated[str | None, typer.Option("--carrier", help="MCC+MNC, such as 60302. Default: what the IMSI says.")]
Pace = Annotated[float | None, typer.Option("--pace-seconds", min=0, help="Time for one part; 0 = the router's setting.")]
HalfHour = Annotated[int | None, typer.Option("--per-half-hour", min=0, help="Parts per half hour; 0 = no limit.")]
Hour = Annotated[int | None, typer.Option("--per-hour", min=0, help="Parts per hour; 0 = no limit.")]
Day = Annotated[int | None, typer.Option("--per-day", min=0, help="Parts per day; 0 = no limit.")]


@app.command("enrol")
def enrol(
    imsi: Imsi,
    msisdn: Msisdn = None,
    carrier: Carrier = None,
    pace_seconds: Pace = None,
    per_half_hour: HalfHour = None,
    per_hour: Hour = None,
    per_day: Day = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a SIM send; prints its token, which is shown this once. An older token is void."""
    body = {
        "imsi": imsi,
        "msisdn": msisdn,
        "carrier": carrier,
        "pace_seconds": pace_seconds,
        "quota": _quota(per_half_hour, per_hour, per_day),
    }
    with router_at(data) as router:
        seed = router.post("/seeds", body)
    if as_json:
        print_json(seed)
        return
    print_fields({"imsi": seed["imsi"], "carrier": f"{seed['carrier']} {seed['carrier_name']}", "token": seed["token"]})
    print("The token is shown this once.")


@app.command("list")
def list_seeds(
    online: Annotated[bool | None, typer.Option("--online/--offline", help="Only these.")] = None,
    carrier: Annotated[str | None, typer.Option("--carrier", help="Only this carrier's, as MCC+MNC.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """All seeds, with their signs of life, their room and their record."""
    with router_at(data) as router:
        seeds = router.get("/seeds", online=None if online is None else str(online).lower(), carrier=carrier)
    if as_json:
        print_json(seeds)
        return
    now = time.time()
    columns = (
        "imsi",
        "carrier",
        "state",
        "ping",
        "in flight",
        "parts per 30 min, 1 h, 1 d",
        "sent",
        "failed",
        "failing",
        "to sent",
    )
    rows = [
        (
            seed["imsi"],
            f"{seed['carrier_name']} {seed['carrier']}".strip(),
            state_of(seed),
            ago(seed["lps"], now),
            f"{seed['in_flight']}/{seed['capacity']}",
            " ".join(_used(seed, window) for window in ("half_hour", "hour", "day")),
            seed["sent"],
            seed["failed"],
            f"{seed['failure_share']:.0%}",
            f"{seed['seconds_to_sent']:.1f} s",
        )
        for seed in seeds
    ]
    print_table(columns, rows, empty="no seeds: enrol one with `seedrouter seeds enrol IMSI`, or try `seedrouter simulate 3`")


@app.command("show")
def show(imsi: Imsi, data: Data = None, as_json: Json = False) -> None:
    """One seed."""
    from router.cli.client import path_of

    with router_at(data) as router:
        _print(router.get(path_of("seeds", imsi)), as_json)


@app.command("enable")
def enable(imsi: Imsi, data: Data = None, as_json: Json = False) -> None:
    """Give it messages (again), also after a drain."""
    _change(imsi, {"enabled": True, "draining": False}, data, as_json)


@app.command("disable")
def disable(imsi: Imsi, data: Data = None, as_json: Json = False) -> None:
    """Give it no more messages."""
    _change(imsi, {"enabled": False}, data, as_json)


@app.command("drain")
def drain(imsi: Imsi, data: Data = None, as_json: Json = False) -> None:
    """Let it send what it has, and give it nothing new."""
    _change(imsi, {"draining": True}, data, as_json)


@app.command("set")
def change(
    imsi: Imsi,
    msisdn: Msisdn = None,
    carrier: Carrier = None,
    pace_seconds: Pace = None,
    per_half_hour: HalfHour = None,
    per_hour: Hour = None,
    per_day: Day = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change what is given; the rest stays as it is."""
    quota = _quota(per_half_hour, per_hour, per_day)
    _change(imsi, {"msisdn": msisdn, "carrier": carrier, "pace_seconds": pace_seconds, "quota": quota}, data, as_json)


def state_of(seed: dict[str, Any]) -> str:
    """In one word or two: why it is given messages, or not."""
    if not seed["enrolled"]:
        return "not enrolled"
    if not seed["enabled"]:
        return "disabled"
    if not seed["online"]:
        return "offline"
    if seed["draining"]:
        return "draining"
    return "tripped" if seed["tripped_until"] else "online"


def _change(imsi: str, body: dict[str, Any], data: Any, as_json: bool) -> None:
    from router.cli.client import path_of

    with router_at(data) as router:
        _print(router.patch(path_of("seeds", imsi), body), as_json)


def _print(seed: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(seed)
        return
    print_fields(
        {
            "imsi": seed["imsi"],
            "state": state_of(seed),
            "number": seed["msisdn"],
            "carrier": f"{seed['carrier_name']} {seed['carrier']}".strip(),
            "country": seed["country"],
            "last ping": moment(seed["lps"]),
            "in flight (parts)": f"{seed['in_flight']} of {seed['capacity']}",
            "pace": f"{seed['pace_seconds']:g} s per part",
            "half hour (parts)": _used(seed, "half_hour"),
            "hour (parts)": _used(seed, "hour"),
            "day (parts)": _used(seed, "day"),
            "sent": seed["sent"],
            "failed": seed["failed"],
            "failures in a row": seed["consecutive_failures"],
            "tripped until": moment(seed["tripped_until"]),
            "failing": f"{seed['failure_share']:.0%}",
            "to sent": f"{seed['seconds_to_sent']:.1f} s",
        }
    )


def _used(seed: dict[str, Any], window: str) -> str:
    return f"{seed['quota_used'][window]}/{seed['quota_limits'][window] or '∞'}"


def _quota(half_hour: int | None, hour: int | None, day: int | None) -> dict[str, int] | None:
    given = {"half_hour": half_hour, "hour": hour, "day": day}
    return {name: limit for name, limit in given.items() if limit is not None} or None
