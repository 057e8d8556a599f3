"""`seeds`: the SIMs that send."""

import time
from enum import StrEnum
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
Recipients = Annotated[int | None, typer.Option("--recipients", min=0, help="Distinct recipients per UTC month; 0 = no limit.")]
Account = Annotated[str | None, typer.Option("--account", help="The account whose phone it is.")]
Shared = Annotated[bool | None, typer.Option("--shared/--private", help="Serves every account, or its own one only.")]


class Protocol(StrEnum):
    """How the seed's phone gets its work."""

    SEEDS = "seeds"
    AMQP = "amqp"


@app.command("enrol")
def enrol(
    imsi: Imsi,
    msisdn: Msisdn = None,
    carrier: Carrier = None,
    pace_seconds: Pace = None,
    per_half_hour: HalfHour = None,
    per_hour: Hour = None,
    per_day: Day = None,
    recipients: Recipients = None,
    account: Account = None,
    shared: Shared = None,
    protocol: Annotated[
        Protocol | None, typer.Option("--protocol", help="amqp: its phone takes its work from RabbitMQ (DekuSMS); seeds: no longer.")
    ] = None,
    subscription_id: Annotated[
        int | None, typer.Option("--subscription-id", min=0, help="With amqp: the SIM's subscription id on its phone.")
    ] = None,
    calling_code: Annotated[
        str | None, typer.Option("--calling-code", help="With amqp: the country's, such as 213. Default: what the carrier says.")
    ] = None,
    project: Annotated[
        str | None, typer.Option("--project", help="With amqp: the exchange. Default: the setting phones_amqp_project.")
    ] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Let a SIM send; prints its token, which is shown this once. An older token is void."""
    body = {
        "imsi": imsi,
        "msisdn": msisdn,
        "carrier": carrier,
        "pace_seconds": pace_seconds,
        "quota": _quota(per_half_hour, per_hour, per_day, recipients),
        "account": account,
        "shared": shared,
    }
    at_rabbitmq = {"protocol": protocol, "subscription_id": subscription_id, "calling_code": calling_code, "project": project}
    body |= {name: value for name, value in at_rabbitmq.items() if value is not None}
    with router_at(data) as router:
        seed = router.post("/seeds", body)
    if as_json:
        print_json(seed)
        return
    told = {"imsi": seed["imsi"], "carrier": f"{seed['carrier']} {seed['carrier_name']}", "token": seed["token"]}
    if seed.get("queue"):
        told |= {"binding": seed["binding"], "queue": seed["queue"]}
    print_fields(told)
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
    columns: dict[str, list[Any]] = {
        "imsi": [seed["imsi"] for seed in seeds],
        "carrier": [f"{seed['carrier_name']} {seed['carrier']}".strip() for seed in seeds],
        "state": [seed["state"] for seed in seeds],
        "ping": [ago(seed["lps"], now) for seed in seeds],
        "owner": list(map(_owner, seeds)),
        "phone": list(map(_phone, seeds)),
        "queue": [seed.get("queue", "") for seed in seeds],
        "in flight": [f"{seed['in_flight']}/{seed['capacity']}" for seed in seeds],
        "parts per 30 min, 1 h, 1 d": [" ".join(_used(seed, window) for window in ("half_hour", "hour", "day")) for seed in seeds],
        "left": list(map(_left, seeds)),
        "recipients": list(map(_recipients, seeds)),
        "rest": list(map(_rest, seeds)),
        "sent": [seed["sent"] for seed in seeds],
        "failed": [seed["failed"] for seed in seeds],
        "failing": [f"{seed['failure_share']:.0%}" for seed in seeds],
        "to sent": [f"{seed['seconds_to_sent']:.1f} s" for seed in seeds],
        "reliability": list(map(_reliability, seeds)),
    }
    # What no seed has anything to say about takes no room
    told = {name: values for name, values in columns.items() if any(value != "" for value in values)}
    empty = "no seeds: enrol one with `seedrouter seeds enrol IMSI`, or try `seedrouter simulate 3`"
    print_table(list(told), list(zip(*told.values(), strict=True)), empty=empty)
    if unknown := [seed["imsi"] for seed in seeds if seed["enrolled"] and not seed["carrier"]]:
        print(f"Nobody knows the carrier of {', '.join(unknown)}: say it with `seedrouter seeds carrier {unknown[0]} CARRIER`.")


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
    recipients: Recipients = None,
    account: Account = None,
    shared: Shared = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Change what is given; the rest stays as it is."""
    quota = _quota(per_half_hour, per_hour, per_day, recipients)
    body = {"msisdn": msisdn, "carrier": carrier, "pace_seconds": pace_seconds, "quota": quota, "account": account, "shared": shared}
    _change(imsi, body, data, as_json)


@app.command("carrier")
def set_carrier(
    imsi: Imsi,
    carrier: Annotated[str, typer.Argument(metavar="CARRIER", help="MCC+MNC, such as 60302.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Say which carrier a SIM is of, where its phone does not tell or tells it wrong."""
    _change(imsi, {"carrier": carrier}, data, as_json)


@app.command("test")
def run_test(
    imsi: Imsi,
    wait_seconds: Annotated[float | None, typer.Option("--wait-seconds", min=0, help="Default: until the test is over.")] = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Send an SMS through this seed alone, and wait for what becomes of it. Exit code 1 unless it succeeded."""
    from router.cli.seed_test import follow

    with router_at(data) as router:
        test = follow(router, imsi, wait_seconds)
    if as_json:
        print_json(test)
    else:
        print_fields(
            {
                "test": test["id"],
                "result": test["status"],
                "started": moment(test["started_at"]),
                "sent": moment(test["sent_at"]),
                "arrived": moment(test["received_at"]),
                "told to the router": moment(test["routed_at"]),
                "message": f"{test['message_id']} {test['message_state'] or ''}",
                "reason": test["message_reason"],
            }
        )
    if test["status"] != "success":
        raise typer.Exit(1)


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
            "state": seed["state"],
            "number": seed["msisdn"],
            "carrier": f"{seed['carrier_name']} {seed['carrier']}".strip(),
            "country": seed["country"],
            "owner": _owner(seed),
            "phone": _phone(seed),
            "queue": seed.get("queue", ""),
            "last ping": moment(seed["lps"]),
            "in flight (parts)": f"{seed['in_flight']} of {seed['capacity']}",
            "pace": f"{seed['pace_seconds']:g} s per part",
            "half hour (parts)": _used(seed, "half_hour"),
            "hour (parts)": _used(seed, "hour"),
            "day (parts)": _used(seed, "day"),
            "left": _left(seed),
            "recipients this month": _recipients(seed),
            "rest after a message": _rest(seed),
            "resting until": moment(seed["resting_until"]),
            "sent": seed["sent"],
            "failed": seed["failed"],
            "failures in a row": seed["consecutive_failures"],
            "tripped until": moment(seed["tripped_until"]),
            "failing": f"{seed['failure_share']:.0%}",
            "to sent": f"{seed['seconds_to_sent']:.1f} s",
            "reliability": _reliability(seed),
        }
    )


def _used(seed: dict[str, Any], window: str) -> str:
    return f"{seed['quota_used'][window]}/{seed['quota_limits'][window] or '∞'}"


def _owner(seed: dict[str, Any]) -> str:
    if not seed["account"]:
        return ""
    return f"{seed['account']}, shared" if seed["shared"] else f"{seed['account']} only"


def _phone(seed: dict[str, Any]) -> str:
    """Which SIM of which phone; nothing for a seed that is not in one of SMSGate's app."""
    return f"{seed['device']} SIM {seed['sim'] or '?'}" if seed["device"] else ""


def _left(seed: dict[str, Any]) -> str:
    """Of the tightest quota of parts, and of recipients."""
    left = "∞" if seed["parts_left"] is None else f"{seed['parts_left']}"
    return left if seed["recipients_left"] is None else f"{left}, {seed['recipients_left']} to new recipients"


def _recipients(seed: dict[str, Any]) -> str:
    return f"{seed['recipients_used']}/{seed['recipients_limit']}" if seed["recipients_limit"] else ""


def _rest(seed: dict[str, Any]) -> str:
    return f"{seed['rest_seconds']:.0f} s" if seed["rest_seconds"] else ""


def _reliability(seed: dict[str, Any]) -> str:
    """Share of its latest tests that succeeded, and how many those are; nothing before the first one."""
    return "" if seed["reliability"] is None else f"{seed['reliability']:.0%} of {seed['tests']}"


def _quota(half_hour: int | None, hour: int | None, day: int | None, recipients: int | None) -> dict[str, int] | None:
    given = {"half_hour": half_hour, "hour": hour, "day": day, "recipients": recipients}
    return {name: limit for name, limit in given.items() if limit is not None} or None
